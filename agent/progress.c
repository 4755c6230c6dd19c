/* How what generations and the proxy report becomes the next event of a deployment. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"

static void all_ready(void *arg)
{
	struct deployment *d = arg;
	const struct replica *r = &d->to->replicas[0];
	deployment_note(d, "health", "ok", "%u of %zu ready: %s", gen_ready(d->to), d->to->n, r->answer.text);
	deployment_step(d->service, gate_event(d), NULL);
}

/* Every replica ready, and for min_healthy_time: a timer that any unready replica stops. */
void progress_probing(struct deployment *d)
{
	unsigned ready = gen_ready(d->to);
	deployment_wait(d, "%u of %zu replicas ready", ready, d->to->n);
	if (ready < d->to->n)
		uvx_timer_cancel(&d->settled);
	else if (!d->settled)
		uvx_timer_start(d->service->agent->loop, d->to->spec->deploy.min_healthy_ms, all_ready, d,
			&d->settled);
}

static void flip_done(struct deployment *d)
{
	OWN_BUF struct buf where = { 0 };
	d->flip_us = clock_boot_us() - d->flip_started_us;
	for (size_t i = 0; i < d->to->spec->n_ports; i++)
		buf_addf(&where, "%s%s", i ? ", " : "", d->to->spec->ports[i].published);
	gen_proven(d->to);
	deployment_note(d, "flip", "ok", "%s now go%s to generation %u, in %" PRId64 ".%01" PRId64 " ms",
		where.data ? where.data : "new connections", d->to->spec->n_ports == 1 ? "es" : "",
		d->to->number, d->flip_us / 1000, d->flip_us / 100 % 10);
	deployment_step(d->service, DEP_EV_DONE, NULL);
}

static void revert_done(struct deployment *d)
{
	struct err why = { 0 };
	d->flip_us = clock_boot_us() - d->flip_started_us;
	d->cutting = true;
	service_unbind_unused(d->service);
	deployment_wait(d, "connections of generation %u end", d->to->number);
	if (gen_running(d->to) == 0 ||
		service_drain(d->service, d->to, d->to->spec->deploy.drain_timeout_ms, &why) < 0)
		act_destroy_new(d);
}

void service_route_done(struct service *s, int result, const struct err *why)
{
	struct deployment *d = s->deployment;
	if (!d || result == -ECANCELED)
		return;
	if (d->state == DEP_FLIPPING && s->routed == d->to) {
		if (result < 0)
			deployment_step(s, DEP_EV_FAILED, why);
		else
			flip_done(d);
	} else if (d->state == DEP_REVERTING && d->from && s->routed == d->from && !s->holding &&
		   !d->cutting) {
		revert_done(d);
	}
}

static void old_drained(struct deployment *d, const struct px_counts *counts)
{
	d->drained = (int64_t)counts->ended;
	d->cut = (int64_t)counts->cut;
	switch (d->state) {
	case DEP_SETTLING:
		deployment_note(d, "drain", "ok",
			"%" PRIu64 " connections ended by themselves, %" PRIu64 " cut", counts->ended,
			counts->cut);
		d->drain_over = true;
		deployment_settled(d);
		break;
	case DEP_HOLDING: gen_destroy(d->from); break;
	case DEP_REVERTING: act_destroy_new(d); break;
	case DEP_REMOVING: act_remove_generations(d); break;
	case DEP_IDLE:
	case DEP_PULLING:
	case DEP_STARTING:
	case DEP_PROBING:
	case DEP_AWAITING:
	case DEP_HELD_STARTING:
	case DEP_HELD_PROBING:
	case DEP_FLIPPING:
	case DEP_ABORTING:
	case DEP_STATE_MAX: break;
	}
}

static bool drains(const struct deployment *d, uint32_t generation)
{
	const struct generation *g = d->state == DEP_REVERTING	? d->to
				     : d->state == DEP_REMOVING ? d->service->active
								: d->from;
	return g && g->number == generation;
}

void action_drained(struct deployment *d, uint32_t generation, const struct px_counts *counts, bool over)
{
	if (!drains(d, generation))
		return; /* of an earlier deployment */
	if (over)
		old_drained(d, counts);
	else
		deployment_wait(d, "%" PRIu64 " connection%s of generation %u left", counts->active,
			counts->active == 1 ? "" : "s", generation);
}

/* All containers of the generation that this state was destroying are gone. */
static void destroyed(struct deployment *d, struct generation *g)
{
	struct service *s = d->service;
	struct generation *left;
	if (d->state == DEP_HOLDING && g == d->from) {
		deployment_note(d, "hold", "ok", "generation %u stopped; connections wait", g->number);
		deployment_step(s, DEP_EV_DONE, NULL);
	} else if ((d->state == DEP_ABORTING || d->state == DEP_REVERTING) && g == d->to) {
		deployment_note(d, "undo", "ok", "generation %u is removed", g->number);
		deployment_step(s, DEP_EV_DONE, NULL);
	} else if (d->state == DEP_REMOVING) {
		LIST_FOREACH (left, &s->generations, link)
			if (gen_exists(left))
				return;
		deployment_note(d, "remove", "ok", "%s", s->name);
		deployment_step(s, DEP_EV_DONE, NULL);
	}
}

static void new_event(struct deployment *d, enum gen_event ev, struct replica *r, const struct err *why)
{
	bool starting = d->state == DEP_STARTING || d->state == DEP_HELD_STARTING;
	bool probing = d->state == DEP_PROBING || d->state == DEP_HELD_PROBING;
	switch (ev) {
	case GEN_EV_STARTED:
		if (!starting)
			break;
		deployment_note(d, "start", "ok", "generation %u (%s), %zu replica%s", d->to->number,
			d->to->slot, d->to->n, d->to->n == 1 ? "" : "s");
		deployment_step(d->service, DEP_EV_DONE, NULL);
		break;
	case GEN_EV_START_FAILED:
		if (starting)
			deployment_step(d->service, DEP_EV_FAILED, why);
		break;
	case GEN_EV_EXITED:
		bake_exited(d, r);
		if (starting || probing || d->state == DEP_AWAITING || d->state == DEP_FLIPPING) {
			char how[REPLICA_EXIT_TEXT];
			struct err died = { 0 };
			err_say(&died, ECHILD, "replica %u %s", r->index, replica_exit_text(r, how));
			deployment_step(d->service, DEP_EV_NEW_DIED, &died);
		}
		break;
	case GEN_EV_CHANGED:
		if (probing)
			progress_probing(d);
		else
			bake_unready(d, r);
		break;
	case GEN_EV_GONE: destroyed(d, d->to); break;
	}
}

static void old_event(struct deployment *d, struct generation *g, enum gen_event ev)
{
	if (ev == GEN_EV_GONE)
		destroyed(d, g);
	else if (d->state == DEP_REVERTING && ev == GEN_EV_CHANGED && !d->cutting && gen_ready(g) > 0 &&
		 (d->service->routed != g || d->service->holding))
		act_revert_route(d);
}

void action_generation_event(struct deployment *d, struct generation *g, enum gen_event ev, struct replica *r,
	const struct err *why)
{
	if (g == d->to)
		new_event(d, ev, r, why);
	else
		old_event(d, g, ev);
}
