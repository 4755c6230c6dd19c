#include "agent/events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/uvx.h"

enum {
	KEEP = 10000,	/* events and finished deployments in the store */
	FLUSH_MS = 200, /* how much a crash may lose of the log of events; never of state */
	FLUSH_AT = 500, /* events waiting: flush in the next turn */
	RETRY_MS = 2000,
	WAITING_MAX = 5000, /* kept in memory while the store takes none */
	RESERVE = 2000	    /* numbers that a crash may leave unused; many more than FLUSH_MS sees */
};

struct event_tap {
	LIST_ENTRY(event_tap) link;
	struct event_log *log;
	char *service;
	void (*each)(void *arg, const json_t *event); /* NULL: untapped while the list was walked */
	void *arg;
};

struct event_log {
	uv_loop_t *loop;
	struct store *store;
	int64_t last, reserved; /* no number above `reserved` was given out before that was durable */
	unsigned since_prune;
	struct row_event *waiting; /* not in the store yet */
	size_t n_waiting, cap_waiting, n_told;
	bool failing, telling;
	struct uvx_timer *flush;
	LIST_HEAD(, event_tap) taps;
};

/* Moves the reservation within the caller's transaction; it holds once that is committed. */
static int64_t reserve_more(struct event_log *log)
{
	if (log->last + RESERVE / 2 <= log->reserved)
		return log->reserved;
	store_reserve_events(log->store, log->last + RESERVE);
	return log->last + RESERVE;
}

static void reserve_exactly(struct event_log *log, int64_t upto)
{
	struct err why = { 0 };
	store_begin(log->store);
	store_reserve_events(log->store, upto);
	if (store_commit(log->store, &why) < 0)
		log_warn("event numbers: %s", why.msg);
	else
		log->reserved = upto;
}

int events_open(uv_loop_t *loop, struct store *store, struct event_log **ret, struct err *err)
{
	OWN_FREE struct event_log *log = calloc(1, sizeof *log);
	if (!log)
		return err_set(err, ENOMEM, "open events");
	log->loop = loop;
	log->store = store;
	int r = store_reserved_events(store, &log->last, err);
	if (r < 0)
		return r;
	LIST_INIT(&log->taps);
	reserve_exactly(log, log->last + RESERVE);
	*ret = TAKE_PTR(log);
	return 0;
}

static void drop_waiting(struct event_log *log, size_t n)
{
	if (n == 0)
		return;
	for (size_t i = 0; i < n; i++)
		row_event_done(&log->waiting[i]);
	log->n_waiting -= n;
	log->n_told -= n;
	memmove(log->waiting, log->waiting + n, log->n_waiting * sizeof *log->waiting);
}

static void flush_now(void *arg)
{
	events_flush(arg);
}

/* The store takes none (a full disk): the events wait for a better time, the newest of them. */
static void flush_failed(struct event_log *log, const struct err *why)
{
	if (!log->failing)
		log_warn("events are not kept for now: %s", why->msg);
	log->failing = true;
	if (log->n_waiting > WAITING_MAX)
		drop_waiting(log, log->n_waiting - WAITING_MAX / 2);
	uvx_timer_start(log->loop, RETRY_MS, flush_now, log, &log->flush);
}

void events_flush(struct event_log *log)
{
	struct err why = { 0 };
	if (log->n_waiting == 0 || log->telling)
		return;
	store_begin(log->store);
	for (size_t i = 0; i < log->n_waiting; i++)
		store_put_event(log->store, &log->waiting[i]);
	int64_t reserved = reserve_more(log);
	bool prune = log->since_prune + log->n_waiting > KEEP / 10;
	if (prune)
		store_prune(log->store, KEEP);
	if (store_commit(log->store, &why) < 0) {
		flush_failed(log, &why);
		return;
	}
	log->failing = false;
	log->reserved = reserved;
	log->since_prune = prune ? 0 : log->since_prune + (unsigned)log->n_waiting;
	drop_waiting(log, log->n_waiting);
}

/* An orderly end leaves no gap in the numbers. */
void events_close(struct event_log *log)
{
	if (!log)
		return;
	events_flush(log);
	reserve_exactly(log, log->last);
	uvx_timer_cancel(&log->flush);
	drop_waiting(log, log->n_waiting);
	while (!LIST_EMPTY(&log->taps))
		events_untap(LIST_FIRST(&log->taps));
	free(log->waiting);
	free(log);
}

json_t *event_json(const struct row_event *r)
{
	char at[UTC_LEN];
	json_t *j = json_pack("{s:I, s:s}", "seq", (json_int_t)r->seq, "at", format_utc(r->at_ms, at));
	if (!j)
		return NULL;
	json_put_str(j, "type", r->type);
	json_put_str(j, "text", r->text ? r->text : "");
	json_put_str(j, "service", r->service);
	if (r->generation)
		json_object_set_new(j, "generation", json_integer(r->generation));
	if (r->deployment)
		json_object_set_new(j, "deployment", json_integer(r->deployment));
	if (r->data)
		json_object_set_new(j, "data", json_loads(r->data, 0, NULL));
	return j;
}

static void tap_free(struct event_tap *tap)
{
	LIST_REMOVE(tap, link);
	free(tap->service);
	free(tap);
}

static void tell_taps(struct event_log *log, const json_t *event)
{
	const char *service = json_str(event, "service", NULL);
	struct event_tap *tap;
	LIST_FOREACH (tap, &log->taps, link)
		if (tap->each && (!tap->service || (service && strcmp(tap->service, service) == 0)))
			tap->each(tap->arg, event);
}

/* In order, also if a tap adds events of its own; taps that went meanwhile are freed at the end. */
static void tell_waiting(struct event_log *log)
{
	struct event_tap *tap, *next;
	log->telling = true;
	while (log->n_told < log->n_waiting) {
		OWN_JSON json_t *event = NULL;
		const struct row_event *r = &log->waiting[log->n_told++];
		if (!LIST_EMPTY(&log->taps))
			event = event_json(r);
		if (event)
			tell_taps(log, event);
	}
	log->telling = false;
	for (tap = LIST_FIRST(&log->taps); tap; tap = next) {
		next = LIST_NEXT(tap, link);
		if (!tap->each)
			tap_free(tap);
	}
}

/* Takes what r owns. */
static int keep_event(struct event_log *log, struct row_event *r)
{
	if (!r->type || !r->text ||
		vec_reserve(&log->waiting, &log->cap_waiting, log->n_waiting + 1, sizeof *r) < 0) {
		row_event_done(r);
		return -ENOMEM;
	}
	log->waiting[log->n_waiting++] = *r;
	return 0;
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
	log_info("%s", r.text ? r.text : e->type);
	if (keep_event(log, &r) < 0)
		return;
	if (!log->telling)
		tell_waiting(log);
	if (!log->flush || (log->n_waiting == FLUSH_AT && !log->failing))
		uvx_timer_start(
			log->loop, log->n_waiting < FLUSH_AT ? FLUSH_MS : 0, flush_now, log, &log->flush);
}

int64_t events_last(const struct event_log *log)
{
	return log->last;
}

int events_tap(struct event_log *log, const char *service, void (*each)(void *arg, const json_t *event),
	void *arg, struct event_tap **ret)
{
	struct event_tap *tap = calloc(1, sizeof *tap);
	OWN_FREE char *of = copy(service);
	if (!tap || (service && !of)) {
		free(tap);
		return -ENOMEM;
	}
	*tap = (struct event_tap){ .log = log, .service = TAKE_PTR(of), .each = each, .arg = arg };
	LIST_INSERT_HEAD(&log->taps, tap, link);
	*ret = tap;
	return 0;
}

void events_untap(struct event_tap *tap)
{
	if (!tap)
		return;
	if (tap->log->telling)
		tap->each = NULL;
	else
		tap_free(tap);
}
