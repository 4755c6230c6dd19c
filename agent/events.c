#include "agent/events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/uvx.h"

enum {
	KEEP = 10000,	   /* events and finished deployments in the store */
	FLUSH_MS = 200,	   /* how much a crash may lose of the log of events; never of state */
	AFTER_CRASH = 1000 /* sequence numbers skipped at start: more than FLUSH_MS can hold */
};

struct event_tap {
	LIST_ENTRY(event_tap) link;
	char *service;
	void (*each)(void *arg, const json_t *event);
	void *arg;
};

struct event_log {
	uv_loop_t *loop;
	struct store *store;
	int64_t last;
	unsigned since_prune;
	struct row_event *waiting; /* not in the store yet */
	size_t n_waiting, cap_waiting;
	struct uvx_timer *flush;
	LIST_HEAD(, event_tap) taps;
};

int events_open(uv_loop_t *loop, struct store *store, struct event_log **ret, struct err *err)
{
	struct event_log *log = calloc(1, sizeof *log);
	if (!log)
		return err_set(err, ENOMEM, "open events");
	log->loop = loop;
	log->store = store;
	log->last = store_last_event(store);
	if (log->last > 0)
		log->last += AFTER_CRASH;
	LIST_INIT(&log->taps);
	*ret = log;
	return 0;
}

void events_flush(struct event_log *log)
{
	struct err why = { 0 };
	if (log->n_waiting == 0)
		return;
	store_begin(log->store);
	for (size_t i = 0; i < log->n_waiting; i++) {
		store_put_event(log->store, &log->waiting[i]);
		row_event_done(&log->waiting[i]);
	}
	log->since_prune += (unsigned)log->n_waiting;
	log->n_waiting = 0;
	if (log->since_prune > KEEP / 10) {
		store_prune(log->store, KEEP);
		log->since_prune = 0;
	}
	if (store_commit(log->store, &why) < 0)
		log_warn("events are not kept: %s", why.msg);
}

static void flush_now(void *arg)
{
	events_flush(arg);
}

void events_close(struct event_log *log)
{
	if (!log)
		return;
	uvx_timer_cancel(&log->flush);
	events_flush(log);
	while (!LIST_EMPTY(&log->taps))
		events_untap(LIST_FIRST(&log->taps));
	free(log->waiting);
	free(log);
}

json_t *event_json(const struct row_event *r)
{
	char at[UTC_LEN];
	json_t *j = json_pack("{s:I, s:s, s:s, s:s}", "seq", (json_int_t)r->seq, "at",
		format_utc(r->at_ms, at), "type", r->type, "text", r->text ? r->text : "");
	if (!j)
		return NULL;
	json_put_str(j, "service", r->service);
	if (r->generation)
		json_object_set_new(j, "generation", json_integer(r->generation));
	if (r->deployment)
		json_object_set_new(j, "deployment", json_integer(r->deployment));
	if (r->data)
		json_object_set_new(j, "data", json_loads(r->data, 0, NULL));
	return j;
}

static void tell_taps(struct event_log *log, const struct row_event *r)
{
	OWN_JSON json_t *j = NULL;
	struct event_tap *tap, *next;
	for (tap = LIST_FIRST(&log->taps); tap; tap = next) {
		next = LIST_NEXT(tap, link);
		if (tap->service && (!r->service || strcmp(tap->service, r->service) != 0))
			continue;
		if (!j && !(j = event_json(r)))
			return;
		tap->each(tap->arg, j);
	}
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

void events_add(struct event_log *log, const struct event *e, const char *fmt, ...)
{
	OWN_JSON json_t *data = e->data;
	struct row_event r = { .seq = ++log->last,
		.at_ms = clock_wall_ms(),
		.service = copy(e->service),
		.type = copy(e->type),
		.data = data ? json_canonical(data) : NULL,
		.generation = e->generation,
		.deployment = e->deployment };
	struct buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	r.text = buf_take(&text);
	log_info("%s", r.text ? r.text : r.type);
	tell_taps(log, &r);
	if (vec_reserve(&log->waiting, &log->cap_waiting, log->n_waiting + 1, sizeof r) < 0) {
		row_event_done(&r);
		return;
	}
	log->waiting[log->n_waiting++] = r;
	if (!log->flush)
		uvx_timer_start(log->loop, FLUSH_MS, flush_now, log, &log->flush);
}

int64_t events_last(const struct event_log *log)
{
	return log->last;
}

int events_tap(struct event_log *log, const char *service, void (*each)(void *arg, const json_t *event),
	void *arg, struct event_tap **ret)
{
	struct event_tap *tap = calloc(1, sizeof *tap);
	if (!tap)
		return -ENOMEM;
	*tap = (struct event_tap){ .service = copy(service), .each = each, .arg = arg };
	LIST_INSERT_HEAD(&log->taps, tap, link);
	*ret = tap;
	return 0;
}

void events_untap(struct event_tap *tap)
{
	if (!tap)
		return;
	LIST_REMOVE(tap, link);
	free(tap->service);
	free(tap);
}
