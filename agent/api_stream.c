#include "agent/api_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/own.h"
#include "base/parse.h"

bool api_query_flag(struct http_request *r, const char *name)
{
	const char *text = http_query(r, name);
	return text && strcmp(text, "0") != 0;
}

int api_query_number(struct http_request *r, const char *name, uint64_t max, uint64_t def, uint64_t *ret)
{
	const char *text = http_query(r, name);
	*ret = def;
	if (!text || !*text || parse_u64(text, 0, max, ret) == 0)
		return 0;
	http_error(r, 400, "bad_request", "%s: \"%s\" is not a number up to %" PRIu64, name, text, max);
	return -EINVAL;
}

#define EVENT_PAGE 100 /* read from the store at a time */

struct event_stream {
	struct agent *agent;
	struct http_request *request;
	char *service; /* NULL: of all */
	int64_t after; /* what was sent already */
	bool follow, sse, lost;
	unsigned rows; /* in this page */
	struct event_tap *tap;
};

static void event_write(void *arg, const json_t *event)
{
	struct event_stream *s = arg;
	OWN_FREE char *text = json_dumps(event, JSON_COMPACT);
	OWN_BUF struct buf out = { 0 };
	if (!text)
		return;
	if (s->sse)
		buf_addf(&out, "id: %" PRId64 "\nevent: %s\ndata: %s\n\n", json_int(event, "seq", 0),
			json_str(event, "type", ""), text);
	else
		buf_addf(&out, "%s\n", text);
	if (out.failed || http_stream_write(s->request, out.data, out.len) < 0)
		s->lost = true;
}

static void event_row(void *arg, const struct row_event *row)
{
	struct event_stream *s = arg;
	OWN_JSON json_t *j = event_json(row);
	s->after = row->seq;
	s->rows++;
	if (j)
		event_write(s, j);
}

static void event_gone(void *arg)
{
	struct event_stream *s = arg;
	events_untap(s->tap);
	free(s->service);
	free(s);
}

/* The past, as fast as the client takes it; then, without a gap, what comes. */
static void event_pages(void *arg)
{
	struct event_stream *s = arg;
	struct agent *a = s->agent;
	do {
		if (http_stream_backlog(s->request) > HTTP_STREAM_PACE_BYTES) {
			http_stream_wait_room(s->request, event_pages, s);
			return;
		}
		s->rows = 0;
		events_flush(a->events);
		store_events(a->store, s->service, s->after, EVENT_PAGE, event_row, s, NULL);
	} while (s->rows == EVENT_PAGE && !s->lost);
	if (!s->follow || events_tap(a->events, s->service, event_write, s, &s->tap) < 0)
		http_stream_end(s->request);
}

static struct event_stream *event_stream_new(struct agent *a, struct http_request *r, uint64_t after)
{
	const char *service = http_query(r, "service"), *accept = http_header(r, "Accept");
	const char *resume = http_header(r, "Last-Event-ID");
	OWN_FREE struct event_stream *s = calloc(1, sizeof *s);
	if (!s || (service && !(s->service = strdup(service))))
		return NULL;
	s->agent = a;
	s->request = r;
	s->follow = api_query_flag(r, "follow");
	s->sse = accept && strstr(accept, "text/event-stream");
	if (resume)
		parse_u64(resume, 0, INT64_MAX, &after);
	s->after = (int64_t)after;
	return TAKE_PTR(s);
}

void api_events(void *arg, struct http_request *r)
{
	uint64_t after;
	if (api_query_number(r, "after", INT64_MAX, 0, &after) < 0)
		return;
	struct event_stream *s = event_stream_new(arg, r, after);
	if (!s) {
		http_error(r, 500, "internal", "out of memory");
		return;
	}
	http_stream(r, s->sse ? "text/event-stream" : "application/x-ndjson", event_gone, s);
	event_pages(s);
}
