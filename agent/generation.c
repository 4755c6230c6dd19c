#include "agent/generation.h"

#include <errno.h>
#include <string.h>

#include "agent/secrets.h"
#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/parse.h"

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 30000, STABLE_MS = 10000 };

static const char *const state_names[] = {
	[GEN_PENDING] = "pending",
	[GEN_STARTING] = "starting",
	[GEN_READY] = "ready",
	[GEN_ACTIVE] = "active",
	[GEN_DRAINING] = "draining",
	[GEN_STANDBY] = "standby",
	[GEN_RETIRING] = "retiring",
	[GEN_RETIRED] = "retired",
	[GEN_FAILED] = "failed",
};
_Static_assert(ARRAY_LEN(state_names) == GEN_STATE_MAX, "every generation state has its name");

static const char *const replica_names[] = {
	[REPLICA_NONE] = "none",
	[REPLICA_STARTING] = "starting",
	[REPLICA_RUNNING] = "running",
	[REPLICA_BACKOFF] = "backoff",
	[REPLICA_EXITED] = "exited",
	[REPLICA_STOPPING] = "stopping",
};
_Static_assert(ARRAY_LEN(replica_names) == REPLICA_STATE_MAX, "every replica state has its name");

const char *gen_state_name(enum gen_state s)
{
	return state_names[s];
}

int gen_state_by_name(const char *name, enum gen_state *ret)
{
	for (int s = 0; s < GEN_STATE_MAX; s++) {
		if (strcmp(state_names[s], name) == 0) {
			*ret = (enum gen_state)s;
			return 0;
		}
	}
	return -EINVAL;
}

const char *replica_state_name(enum replica_state s)
{
	return replica_names[s];
}

char *replica_exit_text(const struct replica *r, char text[REPLICA_EXIT_TEXT])
{
	if (r->exit.oom)
		snprintf(text, REPLICA_EXIT_TEXT, "was killed for want of memory");
	else if (r->exit.signal)
		snprintf(text, REPLICA_EXIT_TEXT, "was ended by %s", signal_name(r->exit.signal));
	else if (r->exit.code < 0)
		snprintf(text, REPLICA_EXIT_TEXT, "ended; its shim was killed");
	else
		snprintf(text, REPLICA_EXIT_TEXT, "exited with code %d", r->exit.code);
	return text;
}

static struct agent *agent_of(const struct generation *g)
{
	return g->service->agent;
}

struct generation *gen_new(struct service *service, uint32_t number, const char *slot, struct spec *spec)
{
	struct generation *g = calloc(1, sizeof *g);
	struct replica *replicas = calloc(spec->deploy.replicas, sizeof *replicas);
	if (!g || !replicas) {
		free(g);
		free(replicas);
		return NULL;
	}
	*g = (struct generation){ .service = service,
		.number = number,
		.slot = slot,
		.spec = spec_ref(spec),
		.replicas = replicas,
		.n = spec->deploy.replicas,
		.created_ms = clock_wall_ms(),
		.since_ms = clock_wall_ms() };
	for (uint32_t i = 0; i < g->n; i++) {
		struct replica *r = &g->replicas[i];
		r->gen = g;
		r->index = i + 1;
		rt_id_format(r->id, service->name, number, r->index);
	}
	LIST_INSERT_HEAD(&service->generations, g, link);
	return g;
}

static void tell(struct replica *r, enum gen_event ev, const struct err *why)
{
	service_generation_event(r->gen->service, r->gen, ev, r, why);
}

void gen_let_go(struct generation *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct replica *r = &g->replicas[i];
		replica_check_stop(r);
		uvx_timer_cancel(&r->backoff);
	}
}

void gen_free(struct generation *g)
{
	if (!g)
		return;
	gen_let_go(g);
	LIST_REMOVE(g, link);
	spec_unref(g->spec);
	free(g->replicas);
	free(g->by);
	free(g->source);
	free(g->result);
	free(g->reason);
	free(g);
}

void gen_set_state(struct generation *g, enum gen_state state)
{
	if (g->state == state)
		return;
	log_debug("%s.%u: %s -> %s", g->service->name, g->number, gen_state_name(g->state),
		gen_state_name(state));
	g->state = state;
	g->since_ms = clock_wall_ms();
}

void gen_check(struct generation *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->replicas[i].state == REPLICA_RUNNING && !g->replicas[i].check)
			replica_check_start(&g->replicas[i], HC_STARTING);
}

static void start_replica(struct replica *r);

static void backoff_over(void *arg)
{
	start_replica(arg);
}

/* A proven generation's container has ended, or could not be started again. */
static void restart_later(struct replica *r)
{
	if (agent_of(r->gen)->closing)
		return;
	unsigned shift = r->failures < 10 ? r->failures : 10;
	uint64_t wait = (uint64_t)BACKOFF_FIRST_MS << shift;
	r->failures++;
	r->state = REPLICA_BACKOFF;
	if (uvx_timer_start(agent_of(r->gen)->loop, wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS,
		    backoff_over, r, &r->backoff) < 0)
		r->state = REPLICA_EXITED;
}

static void announce_if_all_run(struct generation *g)
{
	if (g->announced || !g->wanted || gen_running(g) < g->n)
		return;
	g->announced = true;
	tell(&g->replicas[0], GEN_EV_STARTED, NULL);
}

static void gone(void *arg)
{
	struct generation *g = arg;
	g->destroying = false;
	for (size_t i = 0; i < g->n; i++)
		g->replicas[i].state = REPLICA_NONE;
	if (g->start_again)
		gen_start(g, g->strict);
	else
		service_generation_event(g->service, g, GEN_EV_GONE, NULL, NULL);
}

static void on_destroyed(void *arg, int result, const struct err *why)
{
	struct replica *r = arg;
	if (result < 0 && why)
		log_error("%s: remove: %s", r->id, why->msg);
	if (--r->gen->stopping == 0)
		gone(r->gen);
}

static void on_stopped(void *arg, int result, const struct err *why)
{
	struct replica *r = arg;
	struct agent *a = agent_of(r->gen);
	struct err failed = { 0 };
	if (result < 0 && why)
		log_warn("%s: stop: %s", r->id, why->msg);
	if (a->driver->destroy(a->host, r->id, on_destroyed, r, &failed) < 0)
		on_destroyed(r, -failed.code, &failed);
}

static void stop_replica(struct replica *r)
{
	struct agent *a = agent_of(r->gen);
	const struct spec_container *c = &r->gen->spec->container;
	struct err why = { 0 };
	if (a->driver->stop(a->host, r->id, c->stop_signal, c->stop_grace_ms, on_stopped, r, &why) < 0)
		on_stopped(r, -why.code, &why);
}

static void on_started(void *arg, int result, const struct rt_state *state, const struct err *why)
{
	struct replica *r = arg;
	struct generation *g = r->gen;
	r->starting = NULL;
	r->start_pending = false;
	if (r->state == REPLICA_STOPPING) { /* gen_destroy waits for this answer */
		stop_replica(r);
		return;
	}
	if (result == 0) {
		r->state = REPLICA_RUNNING;
		r->rt = *state;
		r->has_exit = false;
		service_replica_event(g->service, r, "replica.started");
		if (g->announced) { /* a restart: probes go on by themselves */
			replica_check_start(r, HC_STARTING);
			tell(r, GEN_EV_CHANGED, NULL);
		}
		announce_if_all_run(g);
		return;
	}
	snprintf(r->answer.text, sizeof r->answer.text, "%.399s", why ? why->msg : "could not be started");
	r->state = REPLICA_EXITED;
	if (g->strict)
		tell(r, GEN_EV_START_FAILED, why);
	else if (g->wanted)
		restart_later(r);
}

static void launch_of(const struct replica *r, struct rt_launch *ret)
{
	const struct generation *g = r->gen;
	*ret = (struct rt_launch){ .service = g->service->name,
		.slot = g->slot,
		.generation = g->number,
		.replica = r->index,
		.container = &g->spec->container,
		.spec = g->spec,
		.ports = g->spec->ports,
		.n_ports = g->spec->n_ports,
		.labels = g->spec->labels,
		.n_labels = g->spec->n_labels };
	memcpy(ret->id, r->id, sizeof ret->id);
	memcpy(ret->image_digest, g->image_digest, sizeof ret->image_digest);
	memcpy(ret->spec_digest, g->digest, sizeof ret->spec_digest);
}

/* A start that fails at once must be told later, like any other. */
struct late_failure {
	struct replica *replica;
	struct err why;
};

static void fail_late(void *arg)
{
	OWN_FREE struct late_failure *f = arg;
	on_started(f->replica, -f->why.code, NULL, &f->why);
}

static void start_replica(struct replica *r)
{
	struct agent *a = agent_of(r->gen);
	OWN_FREE char *secrets = secrets_dir(a, r->gen->service->name);
	struct rt_launch launch;
	struct err why = { 0 };
	launch_of(r, &launch);
	launch.secrets_dir = secrets;
	r->state = REPLICA_STARTING;
	r->start_pending = true;
	r->verdict = HC_STARTING;
	int result = a->driver->start(a->host, &launch, on_started, r, &r->starting, &why);
	if (result == 0)
		return;
	struct late_failure *f = calloc(1, sizeof *f);
	if (f) {
		*f = (struct late_failure){ .replica = r, .why = why };
		if (uvx_defer(a->loop, fail_late, f) == 0)
			return;
		free(f);
	}
	r->start_pending = false;
	restart_later(r);
}

static void announce_late(void *arg)
{
	struct generation *g = arg;
	announce_if_all_run(g);
}

void gen_start(struct generation *g, bool strict)
{
	g->wanted = true;
	g->strict = strict;
	g->announced = false;
	g->start_again = g->destroying;
	if (g->destroying)
		return;
	unsigned started = 0;
	for (size_t i = 0; i < g->n; i++) {
		struct replica *r = &g->replicas[i];
		if (r->state == REPLICA_RUNNING || r->state == REPLICA_STARTING)
			continue;
		uvx_timer_cancel(&r->backoff);
		start_replica(r);
		started++;
	}
	if (started == 0)
		uvx_defer(agent_of(g)->loop, announce_late, g);
}

void gen_proven(struct generation *g)
{
	g->strict = false;
	for (size_t i = 0; i < g->n; i++) {
		struct replica *r = &g->replicas[i];
		r->failures = 0;
		if (g->wanted && (r->state == REPLICA_NONE || r->state == REPLICA_EXITED))
			start_replica(r);
	}
}

void gen_adopt(struct generation *g, uint32_t replica, const struct rt_state *state, bool was_ready)
{
	struct replica *r = &g->replicas[replica - 1];
	g->wanted = g->announced = true;
	r->rt = *state;
	if (state->running) {
		r->state = REPLICA_RUNNING;
		replica_check_start(r, was_ready ? HC_READY : HC_STARTING);
	} else {
		r->state = REPLICA_EXITED;
		r->has_exit = true;
		r->exit = state->exit;
	}
}

static bool restarts(const struct replica *r)
{
	switch (r->gen->spec->container.restart) {
	case SPEC_RESTART_ALWAYS: return true;
	case SPEC_RESTART_ON_FAILURE: return r->exit.code != 0;
	case SPEC_RESTART_NO: return false;
	}
	return false;
}

void gen_recover(struct generation *g, bool rebooted)
{
	g->wanted = g->announced = true;
	for (size_t i = 0; i < g->n; i++) {
		struct replica *r = &g->replicas[i];
		bool start =
			r->state == REPLICA_NONE || (r->state == REPLICA_EXITED && (rebooted || restarts(r)));
		if (start)
			start_replica(r);
	}
}

void gen_exited(struct generation *g, uint32_t replica, const struct rt_exit *exit)
{
	if (replica == 0 || replica > g->n)
		return;
	struct replica *r = &g->replicas[replica - 1];
	if (r->state == REPLICA_STOPPING || r->state == REPLICA_STARTING)
		return; /* told by the operation that is under way */
	replica_check_stop(r);
	r->has_exit = true;
	r->exit = *exit;
	r->state = REPLICA_EXITED;
	r->rt.running = false;
	service_replica_event(g->service, r, "replica.exited");
	replica_set_verdict(r, HC_UNREADY);
	tell(r, GEN_EV_EXITED, NULL);
	/* The service may have decided to destroy the generation just now. */
	if (!g->wanted || g->strict || r->state != REPLICA_EXITED || !restarts(r))
		return;
	if (exit->at_ms - r->rt.started_ms > STABLE_MS)
		r->failures = 0;
	r->restarts++;
	restart_later(r);
}

void gen_destroy(struct generation *g)
{
	struct agent *a = agent_of(g);
	g->wanted = g->start_again = false;
	if (g->destroying)
		return;
	g->destroying = true;
	g->stopping = 1; /* ours, so that GONE can't come before the loop below is through */
	for (size_t i = 0; i < g->n; i++) {
		struct replica *r = &g->replicas[i];
		uvx_timer_cancel(&r->backoff);
		replica_check_stop(r);
		r->state = REPLICA_STOPPING;
		r->verdict = HC_UNREADY;
		g->stopping++;
		if (!r->start_pending)
			stop_replica(r);
		else if (r->starting)
			rt_cancel(r->starting);
	}
	if (--g->stopping == 0 && uvx_defer(a->loop, gone, g) < 0)
		gone(g);
}

bool gen_exists(const struct generation *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->replicas[i].state != REPLICA_NONE)
			return true;
	return g->destroying;
}

unsigned gen_ready(const struct generation *g)
{
	unsigned n = 0;
	for (size_t i = 0; i < g->n; i++)
		n += g->replicas[i].state == REPLICA_RUNNING && g->replicas[i].verdict == HC_READY;
	return n;
}

unsigned gen_running(const struct generation *g)
{
	unsigned n = 0;
	for (size_t i = 0; i < g->n; i++)
		n += g->replicas[i].state == REPLICA_RUNNING;
	return n;
}

const struct replica *gen_sickest(const struct generation *g)
{
	const struct replica *worst = NULL;
	for (size_t i = 0; i < g->n; i++) {
		const struct replica *r = &g->replicas[i];
		if (r->has_exit || r->state == REPLICA_EXITED)
			return r;
		if (r->verdict != HC_READY && !worst)
			worst = r;
	}
	return worst;
}
