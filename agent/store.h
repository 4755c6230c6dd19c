/* What must survive: services, generations, deployments, events. SQLite in WAL mode with synchronous=FULL:
 * when store_commit returned 0, a power cut loses nothing of it. One writer, on the loop thread: a commit
 * costs well under a millisecond on a healthy disk. Rows are plain structs; text members are owned (NULL =
 * absent). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct store;

struct row_service {
	char *name;
	int64_t next_generation;
	int64_t active, standby;       /* generation numbers; 0 = none */
	int64_t standby_until_boot_ms; /* with boot_id: after a reboot nothing stands by any more */
	char *boot_id;
	char *held_digest, *held_reason;
	int64_t held_generation, held_since_ms;
};

struct row_generation {
	char *service;
	int64_t number;
	char *digest, *image, *image_digest, *slot, *state, *spec;
	int64_t created_ms, since_ms;
	char *by, *source, *result, *reason;
	int64_t took_ms;
};

struct row_deployment {
	int64_t id; /* 0: not stored yet */
	char *service, *kind, *state;
	int64_t from_generation, to_generation;
	char *by, *source;
	int64_t created_ms, since_ms;
	int64_t deadline_boot_ms;
	char *boot_id;
	char *reason, *steps, *failure, *diff, *result; /* steps, failure, diff, result: JSON */
	char *request;					/* JSON; of one that is queued: what it is to do */
	int64_t failing;				/* it is on its way back: an error, an abort */
	int64_t done;
};

struct row_event {
	int64_t seq, at_ms;
	char *service, *type, *text, *data;
	int64_t generation, deployment;
};

void row_service_done(struct row_service *r);
void row_generation_done(struct row_generation *r);
void row_deployment_done(struct row_deployment *r);
void row_event_done(struct row_event *r);

/* Creates or opens path. A damaged or newer file is set aside (renamed with a time stamp, named in *ret_note,
 * owned by the caller; else NULL) and a fresh one begun: the agent never refuses to start because of what is
 * in its state. That nothing can be read or written there is an error. */
int store_open(const char *path, struct store **ret, char **ret_note, struct err *err);
void store_close(struct store *s);

/* Everything between begin and commit lands together or not at all. The first failure is remembered, later
 * changes are not tried, and commit reports it. Every change belongs between the two; they don't nest. */
void store_begin(struct store *s);
int store_commit(struct store *s, struct err *err);

void store_put_service(struct store *s, const struct row_service *r);
void store_put_generation(struct store *s, const struct row_generation *r);
/* Gives a new row its id; none when it failed. */
void store_put_deployment(struct store *s, struct row_deployment *r);
void store_put_event(struct store *s, const struct row_event *r);
void store_delete_service(
	struct store *s, const char *name); /* and its generations; deployments and events stay */
void store_delete_generation(struct store *s, const char *service, int64_t number);
/* Keeps the newest `keep` events and finished deployments. */
void store_prune(struct store *s, int64_t keep);

/* Calls each row in order (services by name; generations and deployments newest first; events oldest first).
 * The row is the callback's for the length of the call. service NULL = of all. */
int store_services(
	struct store *s, void (*each)(void *arg, const struct row_service *r), void *arg, struct err *err);
int store_generations(struct store *s, const char *service,
	void (*each)(void *arg, const struct row_generation *r), void *arg, struct err *err);
int store_deployments(struct store *s, const char *service, bool open_only,
	void (*each)(void *arg, const struct row_deployment *r), void *arg, struct err *err);
int store_events(struct store *s, const char *service, int64_t after, int64_t limit,
	void (*each)(void *arg, const struct row_event *r), void *arg, struct err *err);
/* -ENOENT when absent; the row is the caller's. */
int store_generation(
	struct store *s, const char *service, int64_t number, struct row_generation *ret, struct err *err);
int store_deployment(struct store *s, int64_t id, struct row_deployment *ret, struct err *err);
/* The newest that has ended; -ENOENT. */
int store_last_deployment(struct store *s, const char *service, struct row_deployment *ret, struct err *err);
/* The highest event number that may have been given out, stored or not; 0: none. */
int store_reserved_events(struct store *s, int64_t *ret, struct err *err);
void store_reserve_events(struct store *s, int64_t upto);
