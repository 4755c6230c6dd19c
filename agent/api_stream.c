#include "agent/api_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/own.h"
#include "base/parse.h"

static bool flag(struct http_request *r, const char *name)
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

/* --- events --- */

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
	s->follow = flag(r, "follow");
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

/* --- logs --- */

struct log_source {
	struct log_stream *stream;
	struct rt_op *op;
	uint32_t generation, replica;
	bool open;
};

struct log_stream {
	struct agent *agent;
	struct http_request *request; /* NULL: the client is gone */
	struct log_source *sources;
	size_t n, cap;
	unsigned open;
	bool starting; /* sources are still being opened */
	bool waiting;  /* for the client: the sources are paused */
};

static void log_stream_release(struct log_stream *s)
{
	if (s->open > 0 || s->starting || s->request)
		return;
	free(s->sources);
	free(s);
}

static void log_pause(struct log_stream *s, bool paused)
{
	s->waiting = paused;
	for (size_t i = 0; i < s->n; i++)
		if (s->sources[i].open)
			rt_pause(s->sources[i].op, paused);
}

static void log_room(void *arg)
{
	log_pause(arg, false);
}

/* A log is read faster than a terminal shows it. */
static void log_send(struct log_stream *s, const char *bytes, size_t len)
{
	if (http_stream_write(s->request, bytes, len) < 0 || s->waiting ||
		http_stream_backlog(s->request) <= HTTP_STREAM_PACE_BYTES)
		return;
	log_pause(s, true);
	http_stream_wait_room(s->request, log_room, s);
}

static void log_line_write(void *arg, int64_t at_ms, const char *stream, const char *text, size_t len)
{
	struct log_source *src = arg;
	struct log_stream *s = src->stream;
	if (!s->request)
		return;
	json_t *line = json_stringn(text, len);
	if (!line) { /* not UTF-8: byte for byte as Latin-1, so that nothing is lost */
		OWN_BUF struct buf latin = { 0 };
		for (size_t i = 0; i < len; i++) {
			unsigned char c = (unsigned char)text[i];
			char two[2] = { (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)) };
			buf_add(&latin, c < 0x80 ? &text[i] : two, c < 0x80 ? 1 : 2);
		}
		line = json_stringn(latin.data ? latin.data : "", latin.len);
	}
	OWN_JSON json_t *j = json_pack("{s:o, s:i, s:i, s:s, s:o}", "at", json_time(at_ms), "generation",
		(int)src->generation, "replica", (int)src->replica, "stream", stream, "line", line);
	OWN_FREE char *dump = j ? json_dumps(j, JSON_COMPACT) : NULL;
	OWN_BUF struct buf out = { 0 };
	buf_addf(&out, "%s\n", dump ? dump : "{}");
	if (!out.failed)
		log_send(s, out.data, out.len);
}

static void log_source_end(void *arg, int result, const struct err *why)
{
	struct log_source *src = arg;
	struct log_stream *s = src->stream;
	(void)result;
	(void)why;
	src->open = false;
	src->op = NULL;
	s->open--;
	if (s->open == 0 && !s->starting && s->request)
		http_stream_end(s->request); /* gone releases */
	else
		log_stream_release(s);
}

static void log_gone(void *arg)
{
	struct log_stream *s = arg;
	s->request = NULL;
	for (size_t i = 0; i < s->n; i++)
		if (s->sources[i].open)
			rt_cancel(s->sources[i].op);
	log_stream_release(s);
}

static int log_add(struct log_stream *s, uint32_t generation, uint32_t replica)
{
	int r = vec_reserve(&s->sources, &s->cap, s->n + 1, sizeof *s->sources);
	if (r == 0)
		s->sources[s->n++] =
			(struct log_source){ .stream = s, .generation = generation, .replica = replica };
	return r;
}

static void log_add_generation(struct log_stream *s, const struct generation *g, uint64_t replica)
{
	for (uint32_t i = 1; g && i <= g->n; i++)
		if (replica == 0 || replica == i)
			log_add(s, g->number, i);
}

/* Without a generation: what serves, and what a running deployment is about to serve with. */
static int log_choose(
	struct log_stream *s, const char *name, uint64_t generation, uint64_t replica, struct err *err)
{
	struct service *sv = service_find(s->agent, name);
	struct row_generation row = { 0 };
	struct generation *g = sv && generation ? service_generation(sv, (uint32_t)generation) : NULL;
	if (!sv)
		return err_say(err, ENOENT, "there is no service %s", name);
	if (g) {
		log_add_generation(s, g, replica);
	} else if (generation) { /* retired or failed: its logs are kept */
		int r = store_generation(s->agent->store, name, (int64_t)generation, &row, err);
		if (r < 0)
			return r;
		OWN_JSON json_t *spec = json_loads(row.spec, 0, NULL);
		int64_t n = json_int(json_object_get(spec, "deploy"), "replicas", 1);
		row_generation_done(&row);
		for (uint32_t i = 1; i <= n; i++)
			if (replica == 0 || replica == i)
				log_add(s, (uint32_t)generation, i);
	} else {
		log_add_generation(s, sv->active, replica);
		if (sv->deployment && sv->deployment->to != sv->active)
			log_add_generation(s, sv->deployment->to, replica);
	}
	return 0;
}

static void log_open_all(struct log_stream *s, const char *name, const struct rt_log_query *query)
{
	struct agent *a = s->agent;
	for (size_t i = 0; i < s->n; i++) {
		struct log_source *src = &s->sources[i];
		char id[RT_ID_MAX];
		rt_id_format(id, name, src->generation, src->replica);
		src->open = a->driver->logs(a->host, id, query, log_line_write, log_source_end, src, &src->op,
				    NULL) == 0;
		s->open += src->open;
	}
}

void api_logs(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	uint64_t generation, replica, tail, since;
	struct err why = { 0 };
	if (api_query_number(r, "generation", UINT32_MAX, 0, &generation) < 0 ||
		api_query_number(r, "replica", UINT32_MAX, 0, &replica) < 0 ||
		api_query_number(r, "tail", UINT32_MAX, UINT32_MAX, &tail) < 0 ||
		api_query_number(r, "since_ms", INT64_MAX, 0, &since) < 0)
		return;
	struct log_stream *s = calloc(1, sizeof *s);
	char name[SPEC_NAME_MAX];
	snprintf(name, sizeof name, "%s", http_param(r, "service"));
	struct rt_log_query query = {
		.tail = (uint32_t)tail, .since_ms = (int64_t)since, .follow = flag(r, "follow")
	};
	if (s)
		s->agent = a;
	if (!s || log_choose(s, name, generation, replica, &why) < 0) {
		http_error(
			r, s ? 404 : 500, s ? "not_found" : "internal", "%s", s ? why.msg : "out of memory");
		free(s);
		return;
	}
	s->request = r;
	s->starting = true;
	http_stream(r, "application/x-ndjson", log_gone, s);
	log_open_all(s, name, &query);
	s->starting = false;
	if (s->open == 0 && s->request)
		http_stream_end(s->request);
}
