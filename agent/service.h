/* A service: its generations, which of them serves, and the deployment that changes it. Private to agent/.
 * service.c holds the state and its record, deployment.c steps the table, actions.c does what a state asks
 * for, request.c turns orders (apply, rollback, abort, remove) into deployments. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "agent/deploy.h"
#include "agent/generation.h"

enum dep_kind { KIND_DEPLOY, KIND_ROLLBACK, KIND_REMOVE, KIND_MAX };
const char *dep_kind_name(enum dep_kind k);
int dep_kind_by_name(const char *name, enum dep_kind *ret);

/* The watch over a generation that has just taken the connections. */
struct bake {
	bool on, alarmed;
	int64_t until_boot_ms;
	uint32_t exits;
	bool counted; /* the baselines are known */
	struct px_counts new_base, old_base, new_now, old_now;
	struct uvx_timer *timer;
};

struct deployment {
	int64_t id;
	struct service *service;
	enum dep_kind kind;
	enum dep_state state;
	struct generation *from, *to; /* NULL: none */
	char *by, *source;
	char *request;		      /* JSON, while it is queued: what survives a crash of it */
	int64_t created_ms, since_ms; /* wall clock */
	int64_t created_boot_us;      /* for durations; 0 after a reboot */
	int64_t deadline_boot_ms;     /* of the state; always set while running */
	struct uvx_timer *deadline, *settled, *confirm;
	char reason[200]; /* what it waits for */
	json_t *steps;	  /* array of step objects */
	json_t *diff;
	bool failing;	      /* on its way back */
	enum dep_event cause; /* what made it so */
	json_t *failure;      /* {"step","reason",…}; NULL until failing */
	int64_t flip_started_us, flip_us;
	int64_t drained, cut;
	bool confirming; /* settling also waits for `teal promote` */
	bool drain_over; /* settling ends when the drain and the bake are over */
	struct bake bake;
	json_t *warnings; /* array, for the result */
	struct rt_op *op; /* image fetch or log tail under way */
	bool cutting;	  /* revert: the failed generation drains */
};

/* An apply that waits for the running deployment to end. At most one; a newer one replaces it. */
struct queued {
	int64_t deployment; /* its id, given to the caller already */
	struct spec *spec;
	char digest[DIGEST_LEN], image_digest[DIGEST_LEN];
	bool force;
	char *by, *source;
};

/* A drain that the proxy was asked for; freed when it has ended, or with its service. */
struct drain {
	LIST_ENTRY(drain) link;
	struct service *service;
	uint32_t generation;
};

struct service {
	struct agent *agent;
	char name[SPEC_NAME_MAX];
	UT_hash_handle hh;
	LIST_HEAD(, generation) generations; /* those with containers, or about to have some; newest first */
	uint32_t next_generation;
	struct generation *active, *standby;
	int64_t standby_until_boot_ms;
	struct uvx_timer *standby_over;
	char held_digest[DIGEST_LEN];
	uint32_t held_generation;
	int64_t held_since_ms;
	char *held_reason;

	struct sockaddr_storage *bound; /* listeners we hold */
	size_t n_bound, cap_bound;
	LIST_HEAD(, drain) drains;
	struct generation *routed;     /* where the proxy was told to send new connections */
	bool holding;		       /* … or to let them wait */
	struct deployment *deployment; /* NULL: idle */
	struct queued *queued;
	bool rebooted; /* during recovery: its record is of an earlier boot */
	bool removed;  /* its last deployment was a removal: free it when that has ended */
};

/* --- service.c --- */
struct service *service_find(struct agent *a, const char *name);
struct service *service_new(struct agent *a, const char *name); /* NULL: out of memory */
/* Tells containers the names of all services: after one came or went. */
void services_name(struct agent *a);
void service_free(struct service *s);
struct generation *service_generation(struct service *s, uint32_t number); /* live ones only; NULL */
/* Writes the service's and these generations' records; inside the caller's transaction. */
void service_store(struct service *s);
void generation_store(struct generation *g);
/* Reads a retired generation's record back to life, with the slot that is free. */
int service_revive(struct service *s, uint32_t number, struct generation **ret, struct err *err);
/* The digest of a recorded generation as this version makes it; "" if there is no such record. */
void service_digest_of(struct service *s, uint32_t number, char ret[DIGEST_LEN]);
const char *service_free_slot(const struct service *s);

/* Sends new connections to g (or lets them wait); service_route_done follows. */
int service_route(struct service *s, struct generation *g, bool hold, struct err *err);
/* Again, after a replica changed. */
void service_route_again(struct service *s);
/* Binds what g publishes; what was bound here and now fails is let go again. */
int service_bind(struct service *s, const struct spec *spec, struct err *err);
/* While it waits to be promoted, g's first port answers on its spec's preview address; NULL: no more. */
int service_preview(struct service *s, struct generation *g, struct err *err);
/* Lets go of every listener that no generation in use publishes. */
void service_unbind_unused(struct service *s);

/* Takes g out of service for good: destroys its containers; its record stays. */
void service_retire(struct service *s, struct generation *g, enum gen_state last);
/* Asks the proxy to drain g; action_drained follows, unless new connections go to g again. */
int service_drain(struct service *s, struct generation *g, uint32_t timeout_ms, struct err *err);
/* Removes records, logs and images beyond `history`. */
void service_prune(struct service *s);
/* Does a generation of any service, running or in history, name this image? */
bool image_is_used(struct agent *a, const char *digest);
/* Images that no generation names and nobody asked for by hand, as image_list gives them; new reference. */
json_t *images_unused(struct agent *a);
/* Removes those. */
void images_collect(struct agent *a);
void service_set_standby(struct service *s, struct generation *g, int64_t until_boot_ms);

/* What generations report. */
void service_generation_event(
	struct service *s, struct generation *g, enum gen_event ev, struct replica *r, const struct err *why);
void service_replica_event(struct service *s, struct replica *r, const char *type);

/* --- deployment.c --- */
struct deployment *deployment_new(struct service *s, enum dep_kind kind, const char *by, const char *source);
void deployment_free(struct deployment *d);
/* The one door: looks the event up, records the next state, then runs its action. false: refused or ignored.
 */
bool deployment_step(struct service *s, enum dep_event ev, const struct err *why);
void deployment_store(struct deployment *d);
/* How long its state may take. */
uint32_t deployment_limit_ms(const struct deployment *d);
/* Sets the absolute deadline of the state it is in. */
void deployment_arm(struct deployment *d);
/* "ok", "fail" or "run" for a step of this name; a running one is completed in place. */
void deployment_note(struct deployment *d, const char *step, const char *status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Steps in the loop's next turn, if the deployment is still in the state it is in now. */
void deployment_step_later(struct deployment *d, enum dep_event ev, const struct err *why);
/* Says what it waits for, for people. */
void deployment_wait(struct deployment *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- actions.c: one for each dep_action; idempotent --- */
typedef void (*dep_action_fn)(struct deployment *d);
extern const dep_action_fn dep_actions[];
/* The last lines of the sickest replica into the failure, then the new generation goes. */
void act_destroy_new(struct deployment *d);
void act_remove_generations(struct deployment *d);
void act_revert_route(struct deployment *d);

/* --- progress.c --- */
/* Every replica ready, and for min_healthy_time: a timer that any unready replica stops. */
void progress_probing(struct deployment *d);
void service_route_done(struct service *s, int result, const struct err *why);
void action_drained(struct deployment *d, uint32_t generation, const struct px_counts *counts, bool over);
void action_generation_event(struct deployment *d, struct generation *g, enum gen_event ev, struct replica *r,
	const struct err *why);

/* --- gate.c --- */
void act_await(struct deployment *d);
void gate_stop(struct deployment *d);
/* What a proven generation's deployment does next. */
enum dep_event gate_event(const struct deployment *d);
/* Settling: asks for the confirmation that the spec wants, unless it was given. */
void confirm_start(struct deployment *d);

/* --- bake.c --- */
/* Begins when settling does; ends with deployment_settled, or with DEP_EV_BAD. */
void bake_start(struct deployment *d);
void bake_stop(struct deployment *d);
/* A replica of the new generation ended, or is unready. */
void bake_exited(struct deployment *d, const struct replica *r);
void bake_unready(struct deployment *d, const struct replica *r);
/* Takes the connections back, or only says so: where there is nothing to go back to, or auto_revert is false.
 */
void bake_trouble(struct deployment *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Steps on if neither drain nor bake nor confirmation is under way. */
void deployment_settled(struct deployment *d);

/* --- outcome.c --- */
/* Ends d: result, records, event, hold, standby; starts what is queued. Frees d, and s when it was removed.
 */
void deployment_finish(struct deployment *d);
/* The same for one that was queued and will never start. */
void deployment_drop(struct deployment *d);
json_t *result_unchanged(struct service *s, const struct generation *g);
/* Records why d is on its way back, once: the first reason counts. */
void deployment_fail(struct deployment *d, enum dep_event cause, const struct err *why);

/* --- request.c --- */
struct apply {
	struct spec *spec; /* the callee takes a reference */
	char image_digest[DIGEST_LEN], digest[DIGEST_LEN];
	bool force;
	const char *by, *source;
};
enum verdict { VERDICT_NONE, VERDICT_CREATE, VERDICT_DEPLOY, VERDICT_FLIP, VERDICT_HELD };
const char *verdict_name(enum verdict v);
/* What applying this digest would do now; no effect. s NULL: the service doesn't exist yet. */
enum verdict service_judge(const struct service *s, const char *digest, bool force);
/* 0 with the deployment's id, or 1 with *ret_result when nothing was to do. -EPERM: held. */
int service_apply(
	struct agent *a, const struct apply *request, int64_t *ret_id, json_t **ret_result, struct err *err);
/* to 0: the one before. -ENOENT: no such generation. */
int service_rollback(struct service *s, uint32_t to, const char *by, int64_t *ret_id, struct err *err);
/* Lets the deployment that waits for it go on, or confirms the generation that has just taken the
 * connections. */
int service_promote(struct service *s, const char *by, int64_t *ret_id, struct err *err);
/* A new generation of the spec that serves, by the whole way: containers made anew without a gap. */
int service_restart(struct service *s, const char *by, int64_t *ret_id, struct err *err);
int service_abort(struct service *s, const char *by, int64_t *ret_id, struct err *err);
int service_remove(struct service *s, const char *by, int64_t *ret_id, struct err *err);
/* Called when a deployment has ended: the next one, if one is queued. */
void service_dequeue(struct service *s);
/* Reads a queued deployment's record back, at start. */
int service_requeue(struct service *s, const struct row_deployment *row, struct err *err);
void queued_free(struct queued *q);

/* --- views.c: the shapes of docs/api.md; new references --- */
json_t *view_deployment(const struct deployment *d);
json_t *view_deployment_row(const struct row_deployment *r);
json_t *view_generation_row(const struct row_generation *r);
json_t *view_plan(struct agent *a, const struct apply *request);
json_t *view_held(const struct service *s);
/* Asks the proxy for its counts first, so it answers later: always, and never before it returned. */
void view_status(struct service *s, void (*done)(void *arg, json_t *status), void *arg);
json_t *json_time(int64_t wall_ms); /* null for 0 */

/* --- recover.c --- */
int agent_recover(struct agent *a, struct err *err);
