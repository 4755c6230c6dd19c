/* The stream of containers' output. Followed without a generation, it goes on with the next generation and
 * after restarts, until the service is removed. */
#include <errno.h>
#include <string.h>

#include "agent/api_private.h"
#include "agent/service.h"
#include "base/clock.h"
#include "base/own.h"

struct log_source {
	struct log_stream *stream;
	struct rt_op *op;
	uint32_t generation, replica;
	bool open;
};

struct log_stream {
	struct agent *agent;
	struct http_request *request; /* NULL: the client is gone */
	struct log_source **sources;  /* each in its place for good: the driver holds pointers to them */
	size_t n, cap;
	char service[SPEC_NAME_MAX];
	uint64_t replica;      /* 0: all */
	struct event_tap *tap; /* follows the service into its next generations and restarts; or NULL */
	unsigned open;
	bool starting; /* sources are still being opened */
	bool waiting;  /* for the client: the sources are paused */
};

static void log_stream_release(struct log_stream *s)
{
	if (s->open > 0 || s->starting || s->request)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->sources[i]);
	free(s->sources);
	free(s);
}

static void log_pause(struct log_stream *s, bool paused)
{
	s->waiting = paused;
	for (size_t i = 0; i < s->n; i++)
		if (s->sources[i]->open)
			rt_pause(s->sources[i]->op, paused);
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
	if (s->open == 0 && !s->starting && !s->tap && s->request)
		http_stream_end(s->request); /* gone releases */
	else
		log_stream_release(s);
}

static void log_gone(void *arg)
{
	struct log_stream *s = arg;
	s->request = NULL;
	events_untap(TAKE_PTR(s->tap));
	for (size_t i = 0; i < s->n; i++)
		if (s->sources[i]->open)
			rt_cancel(s->sources[i]->op);
	log_stream_release(s);
}

static struct log_source *log_add(struct log_stream *s, uint32_t generation, uint32_t replica)
{
	struct log_source *src = calloc(1, sizeof *src);
	if (!src || vec_reserve(&s->sources, &s->cap, s->n + 1, sizeof *s->sources) < 0) {
		free(src);
		return NULL;
	}
	*src = (struct log_source){ .stream = s, .generation = generation, .replica = replica };
	return s->sources[s->n++] = src;
}

static void log_add_generation(struct log_stream *s, const struct generation *g, uint64_t replica)
{
	for (uint32_t i = 1; g && i <= g->n; i++)
		if (replica == 0 || replica == i)
			log_add(s, g->number, i);
}

/* Without a generation: what serves, and what a running deployment is about to serve with. */
static int log_choose(struct log_stream *s, uint64_t generation, struct err *err)
{
	const char *name = s->service;
	uint64_t replica = s->replica;
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

static void log_open(struct log_source *src, const struct rt_log_query *query)
{
	struct log_stream *s = src->stream;
	char id[RT_ID_MAX];
	rt_id_format(id, s->service, src->generation, src->replica);
	src->open = s->agent->driver->logs(s->agent->host, id, query, log_line_write, log_source_end, src,
			    &src->op, NULL) == 0;
	s->open += src->open;
}

static struct log_source *log_find(struct log_stream *s, uint32_t generation, uint32_t replica)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->sources[i]->generation == generation && s->sources[i]->replica == replica)
			return s->sources[i];
	return NULL;
}

/* A container has started: of a new generation, whose output is shown from its beginning, or again after its
 * end. */
static void log_joins(struct log_stream *s, uint32_t generation, uint32_t replica)
{
	struct log_source *src = log_find(s, generation, replica);
	struct rt_log_query query = { .tail = UINT32_MAX, .follow = true };
	if (src && src->open)
		return;
	if (src)
		query.since_ms = clock_wall_ms() - 1000; /* its start was just now */
	else
		src = log_add(s, generation, replica);
	if (src)
		log_open(src, &query);
}

static void log_event(void *arg, const json_t *event)
{
	struct log_stream *s = arg;
	const json_t *data = json_object_get(event, "data");
	const char *type = json_str(event, "type", "");
	char name[SPEC_NAME_MAX];
	uint32_t generation, replica;
	if (!s->request)
		return;
	if (strcmp(type, "deployment.done") == 0 && strcmp(json_str(data, "result", ""), "removed") == 0)
		http_stream_end(s->request);
	else if (strcmp(type, "replica.started") == 0 &&
		 rt_id_parse(json_str(data, "id", ""), name, &generation, &replica) == 0 &&
		 (s->replica == 0 || s->replica == replica))
		log_joins(s, generation, replica);
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
	struct rt_log_query query = {
		.tail = (uint32_t)tail, .since_ms = (int64_t)since, .follow = api_query_flag(r, "follow")
	};
	if (s) {
		s->agent = a;
		s->replica = replica;
		snprintf(s->service, sizeof s->service, "%s", http_param(r, "service"));
	}
	if (!s || log_choose(s, generation, &why) < 0) {
		http_error(
			r, s ? 404 : 500, s ? "not_found" : "internal", "%s", s ? why.msg : "out of memory");
		free(s);
		return;
	}
	s->request = r;
	s->starting = true;
	http_stream(r, "application/x-ndjson", log_gone, s);
	for (size_t i = 0; i < s->n; i++)
		log_open(s->sources[i], &query);
	s->starting = false;
	if (query.follow && generation == 0 && s->request)
		events_tap(a->events, s->service, log_event, s, &s->tap);
	if (s->open == 0 && !s->tap && s->request)
		http_stream_end(s->request);
}
