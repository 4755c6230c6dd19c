/* After a start: the store knows the intent, the driver what lives, the proxy what is routed. Everything is
 * put together again, what belongs to nobody is removed, and a deployment that was under way goes on. A
 * second recovery changes nothing. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"

struct recovery {
	struct agent *agent;
	struct route {
		char service[SPEC_NAME_MAX];
		uint32_t generation;
	} * routes; /* what the proxy routed when we found it */
	size_t n_routes, cap_routes;
	char (*orphans)[RT_ID_MAX]; /* containers without a record */
	size_t n_orphans, cap_orphans;
};

static bool live_state(const char *name)
{
	enum gen_state state;
	return gen_state_by_name(name, &state) == 0 && state != GEN_RETIRED && state != GEN_FAILED;
}

struct live {
	uint32_t *numbers;
	size_t n, cap;
};

static void collect_live(void *arg, const struct row_generation *r)
{
	struct live *l = arg;
	if (live_state(r->state) && vec_reserve(&l->numbers, &l->cap, l->n + 1, sizeof *l->numbers) == 0)
		l->numbers[l->n++] = (uint32_t)r->number;
}

static void load_generations(struct service *s)
{
	struct live live = { 0 };
	struct err why = { 0 };
	if (store_generations(s->agent->store, s->name, collect_live, &live, &why) < 0)
		log_error("%s: %s", s->name, why.msg);
	for (size_t i = live.n; i > 0; i--) { /* oldest first: the list is newest first */
		struct generation *g;
		if (service_revive(s, live.numbers[i - 1], &g, &why) < 0)
			log_error("%s", why.msg);
	}
	free(live.numbers);
}

static void load_service(void *arg, const struct row_service *r)
{
	struct recovery *rec = arg;
	struct service *s = service_new(rec->agent, r->name);
	if (!s)
		return;
	s->next_generation = (uint32_t)r->next_generation;
	s->held_generation = (uint32_t)r->held_generation;
	s->held_since_ms = r->held_since_ms;
	if (r->held_digest)
		snprintf(s->held_digest, sizeof s->held_digest, "%s", r->held_digest);
	s->held_reason = r->held_reason ? strdup(r->held_reason) : NULL;
	char digest[DIGEST_LEN];
	if (r->held_generation > 0) {
		service_digest_of(s, s->held_generation, digest);
		if (digest[0])
			memcpy(s->held_digest, digest, sizeof s->held_digest);
	}
	load_generations(s);
	s->active = r->active ? service_generation(s, (uint32_t)r->active) : NULL;
	s->standby = r->standby ? service_generation(s, (uint32_t)r->standby) : NULL;
	bool same_boot = r->boot_id && strcmp(r->boot_id, rec->agent->boot_id) == 0;
	s->rebooted = !same_boot;
	s->standby_until_boot_ms = same_boot ? r->standby_until_boot_ms : 0;
}

static void load_deployment(void *arg, const struct row_deployment *r)
{
	struct recovery *rec = arg;
	struct service *s = service_find(rec->agent, r->service);
	enum dep_state state;
	enum dep_kind kind;
	struct err why = { 0 };
	if (!s || dep_state_by_key(r->state, &state) < 0 || dep_kind_by_name(r->kind, &kind) < 0) {
		log_error("deployment %" PRId64 " of %s can't be resumed", r->id, r->service);
		return;
	}
	if (state == DEP_IDLE) {
		if (service_requeue(s, r, &why) < 0)
			log_error("%s", why.msg);
		return;
	}
	struct deployment *d = deployment_new(s, kind, r->by, r->source);
	if (!d)
		return;
	d->id = r->id;
	d->state = state;
	d->from = r->from_generation ? service_generation(s, (uint32_t)r->from_generation) : NULL;
	d->to = r->to_generation ? service_generation(s, (uint32_t)r->to_generation) : NULL;
	d->created_ms = r->created_ms;
	d->created_boot_us = 0;
	d->since_ms = r->since_ms;
	d->deadline_boot_ms = r->deadline_boot_ms;
	d->failing = r->failing != 0;
	d->cause = DEP_EV_FAILED;
	json_t *steps = r->steps ? json_loads(r->steps, 0, NULL) : NULL;
	if (steps) {
		json_decref(d->steps);
		d->steps = steps;
	}
	d->diff = r->diff ? json_loads(r->diff, 0, NULL) : NULL;
	d->failure = r->failure ? json_loads(r->failure, 0, NULL) : NULL;
	deployment_free(s->deployment);
	s->deployment = d;
}

static void route_found(void *arg, const char *service, uint32_t generation, bool hold)
{
	struct recovery *rec = arg;
	(void)hold;
	if (vec_reserve(&rec->routes, &rec->cap_routes, rec->n_routes + 1, sizeof *rec->routes) < 0)
		return;
	struct route *r = &rec->routes[rec->n_routes++];
	snprintf(r->service, sizeof r->service, "%s", service);
	r->generation = generation;
}

static bool was_routed(const struct recovery *rec, const struct generation *g)
{
	for (size_t i = 0; i < rec->n_routes; i++)
		if (rec->routes[i].generation == g->number &&
			strcmp(rec->routes[i].service, g->service->name) == 0)
			return true;
	return false;
}

static void container_found(void *arg, const struct rt_state *state)
{
	struct recovery *rec = arg;
	char name[SPEC_NAME_MAX];
	uint32_t number = 0, replica = 0;
	struct service *s =
		rt_id_parse(state->id, name, &number, &replica) == 0 ? service_find(rec->agent, name) : NULL;
	struct generation *g = s ? service_generation(s, number) : NULL;
	if (g && replica >= 1 && replica <= g->n) {
		gen_adopt(g, replica, state, was_routed(rec, g) || g == s->standby);
		return;
	}
	if (vec_reserve(&rec->orphans, &rec->cap_orphans, rec->n_orphans + 1, sizeof *rec->orphans) == 0)
		snprintf(rec->orphans[rec->n_orphans++], RT_ID_MAX, "%s", state->id);
}

static void orphan_removed(void *arg, int result, const struct err *why)
{
	(void)arg;
	if (result < 0 && why)
		log_error("remove a container without a record: %s", why->msg);
}

static void remove_orphans(struct recovery *rec)
{
	struct agent *a = rec->agent;
	struct err why = { 0 };
	for (size_t i = 0; i < rec->n_orphans; i++) {
		log_warn("%s: no record of it: removed", rec->orphans[i]);
		if (a->driver->destroy(a->host, rec->orphans[i], orphan_removed, NULL, &why) < 0)
			log_error("%s: %s", rec->orphans[i], why.msg);
	}
	for (size_t i = 0; i < rec->n_routes; i++)
		if (!service_find(a, rec->routes[i].service))
			px_forget(a->proxy, rec->routes[i].service);
}

static bool held_path(const struct deployment *d)
{
	return d &&
	       (d->state == DEP_HOLDING || d->state == DEP_HELD_STARTING || d->state == DEP_HELD_PROBING);
}

/* The active generation serves again, unless the deployment that is resumed next decides about that. */
static void resume_serving(struct service *s)
{
	struct deployment *d = s->deployment;
	struct err why = { 0 };
	if (!s->active || (d && d->kind == KIND_REMOVE))
		return;
	if (service_bind(s, s->active->spec, &why) < 0)
		log_error("%s: %s", s->name, why.msg);
	bool undecided = d && (d->state == DEP_FLIPPING || d->state == DEP_REVERTING);
	if (!held_path(d))
		gen_recover(s->active, s->rebooted);
	if (!undecided && service_route(s, s->active, held_path(d) && !s->rebooted, &why) < 0)
		log_error("%s: %s", s->name, why.msg);
}

static void retire_leftovers(struct service *s)
{
	struct generation *g, *next;
	const struct deployment *d = s->deployment;
	for (g = LIST_FIRST(&s->generations); g; g = next) {
		next = LIST_NEXT(g, link);
		bool used = g == s->active || (d && (g == d->to || g == d->from));
		if (g == s->standby && !used) {
			int64_t left = s->standby_until_boot_ms - clock_boot_ms();
			if (left > 0 && gen_running(g) > 0) {
				gen_recover(g, false);
				service_set_standby(s, g, s->standby_until_boot_ms);
				continue;
			}
		} else if (used) {
			continue;
		}
		bool failed = g->result && strcmp(g->result, "deployed") != 0 &&
			      strcmp(g->result, "rolled_back") != 0;
		service_retire(s, g, failed || g->state == GEN_STARTING ? GEN_FAILED : GEN_RETIRED);
	}
}

/* A deployment whose generation's record can't be read has nothing to go on with. */
static void end_unreadable(struct service *s)
{
	struct deployment *d = s->deployment;
	struct err why = { 0 };
	if (!d || d->to || d->kind == KIND_REMOVE)
		return;
	err_say(&why, EUCLEAN, "the record of its generation can't be read");
	deployment_fail(d, DEP_EV_FAILED, &why);
	deployment_finish(d);
}

static void resume_service(struct service *s)
{
	end_unreadable(s);
	resume_serving(s);
	retire_leftovers(s);
	struct deployment *d = s->deployment;
	if (d && d->to && !s->rebooted)
		service_bind(s, d->to->spec, NULL);
	if (d)
		deployment_step(s, s->rebooted ? DEP_EV_REBOOTED : DEP_EV_RESUME, NULL);
	else
		service_dequeue(s);
}

int agent_recover(struct agent *a, struct err *err)
{
	struct recovery rec = { .agent = a };
	struct service *s, *next;
	struct err why = { 0 };
	int r = store_services(a->store, load_service, &rec, err);
	if (r == 0)
		r = store_deployments(a->store, NULL, true, load_deployment, &rec, err);
	if (r < 0)
		return r;
	px_routes_found(a->proxy, route_found, &rec);
	if (a->driver->adopt(a->host, container_found, &rec, &why) < 0)
		log_error("find the containers that run: %s", why.msg);
	remove_orphans(&rec);
	services_name(a);
	HASH_ITER (hh, a->services, s, next)
		resume_service(s);
	struct event e = { .type = "agent.start",
		.data = json_pack(
			"{s:s, s:i}", "version", TEAL_VERSION, "services", (int)HASH_COUNT(a->services)) };
	events_add(a->events, &e, "teald %s: %u service%s", TEAL_VERSION, HASH_COUNT(a->services),
		HASH_COUNT(a->services) == 1 ? "" : "s");
	free(rec.routes);
	free(rec.orphans);
	return r;
}
