/* What happened, in order: kept in the store, and handed to whoever follows. A sequence number is never used
 * twice, even when the last events before a crash were lost. */
#pragma once
#include <stdint.h>
#include <uv.h>

#include "agent/store.h"
#include "base/json.h"

struct event_log;
struct event_tap; /* one follower */

struct event {
	const char *service; /* NULL: of the agent */
	int64_t generation, deployment;
	const char *type;
	json_t *data; /* taken; may be NULL */
};

int events_open(uv_loop_t *loop, struct store *store, struct event_log **ret, struct err *err);
void events_close(struct event_log *log);
/* Writes to the agent's log too, once. */
void events_add(struct event_log *log, const struct event *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Puts what is not in the store yet there: before reading it, and at the end. */
void events_flush(struct event_log *log);
int64_t events_last(const struct event_log *log);
/* each runs for every later event (of one service, or of all: NULL) until events_untap; json is borrowed. */
int events_tap(struct event_log *log, const char *service, void (*each)(void *arg, const json_t *event),
	void *arg, struct event_tap **ret);
void events_untap(struct event_tap *tap);
json_t *event_json(const struct row_event *r);
