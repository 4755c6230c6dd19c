/* What each state of a deployment does on entering, and how what comes back becomes the next event.
 * Idempotent: after a crash the agent runs the action of the recorded state again. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/parse.h"

/* Steps in the loop's next turn, if the deployment is still in the state it was in. */
struct late_step {
	struct agent *agent;
	char service[SPEC_NAME_MAX];
	int64_t deployment;
	enum dep_state state;
	enum dep_event ev;
	struct err why;
};

static void step_now(void *arg)
{
	OWN_FREE struct late_step *l = arg;
	struct service *s = service_find(l->agent, l->service);
	if (l->agent->closing || !s || !s->deployment || s->deployment->id != l->deployment ||
		s->deployment->state != l->state)
		return;
	deployment_step(s, l->ev, l->why.code ? &l->why : NULL);
}

static void step_later(struct deployment *d, enum dep_event ev, const struct err *why)
{
	struct late_step *l = calloc(1, sizeof *l);
	if (!l)
		return; /* the state's deadline brings it on */
	*l = (struct late_step){
		.agent = d->service->agent, .deployment = d->id, .state = d->state, .ev = ev
	};
	snprintf(l->service, sizeof l->service, "%s", d->service->name);
	if (why)
		l->why = *why;
	if (uvx_defer(d->service->agent->loop, step_now, l) < 0)
		free(l);
}

static void wait_for(struct deployment *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void wait_for(struct deployment *d, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(d->reason, sizeof d->reason, fmt, ap);
	va_end(ap);
}

/* --- pulling --- */

static enum dep_event pulled(const struct deployment *d)
{
	bool held = d->to->spec->deploy.order == SPEC_ORDER_STOP_FIRST && d->from;
	return held ? DEP_EV_DONE_HOLD : DEP_EV_DONE;
}

struct pull {
	struct agent *agent;
	char service[SPEC_NAME_MAX];
	int64_t deployment;
};

static void on_pulled(void *arg, int result, const char digest[DIGEST_LEN], const struct err *why)
{
	OWN_FREE struct pull *p = arg;
	struct service *s = service_find(p->agent, p->service);
	struct deployment *d = s ? s->deployment : NULL;
	struct err changed = { 0 };
	if (p->agent->closing || !d || d->id != p->deployment)
		return;
	if (d->state != DEP_PULLING)
		return;
	d->op = NULL;
	if (result == 0 && strcmp(digest, d->to->image_digest) != 0) {
		result = err_say(&changed, ESTALE, "%s changed while it was being imported; apply again",
			d->to->spec->container.image);
		why = &changed;
	}
	if (result < 0) {
		deployment_step(s, DEP_EV_FAILED, why);
		return;
	}
	deployment_note(d, "pull", "ok", "image %.19s imported", d->to->image_digest);
	deployment_step(s, pulled(d), NULL);
}

static void act_pull(struct deployment *d)
{
	struct agent *a = d->service->agent;
	const char *image = d->to->spec->container.image;
	struct err why = { 0 };
	if (service_bind(d->service, d->to->spec, &why) < 0) {
		step_later(d, DEP_EV_FAILED, &why);
		return;
	}
	if (a->driver->image_present(a->host, d->to->image_digest)) {
		deployment_note(d, "pull", "ok", "image %.19s is here already", d->to->image_digest);
		step_later(d, pulled(d), NULL);
		return;
	}
	wait_for(d, "importing %s", image);
	deployment_note(d, "pull", "run", "%s", image);
	struct pull *p = calloc(1, sizeof *p);
	int r = p ? 0 : err_set(&why, ENOMEM, "%s", image);
	if (p) {
		*p = (struct pull){ .agent = a, .deployment = d->id };
		snprintf(p->service, sizeof p->service, "%s", d->service->name);
		r = a->driver->image_fetch(a->host, image, on_pulled, p, &d->op, &why);
	}
	if (r < 0) {
		free(p);
		step_later(d, DEP_EV_FAILED, &why);
	}
}

/* --- holding: stop-first --- */

static void act_hold(struct deployment *d)
{
	struct err why = { 0 };
	wait_for(d, "new connections wait in the proxy while generation %u stops", d->from->number);
	deployment_note(d, "hold", "run", "new connections wait; generation %u drains", d->from->number);
	if (service_route(d->service, d->from, true, &why) < 0 ||
		service_drain(d->service, d->from, d->to->spec->deploy.drain_timeout_ms, &why) < 0)
		step_later(d, DEP_EV_FAILED, &why);
}

/* --- starting and probing --- */

static void act_start(struct deployment *d)
{
	struct service *s = d->service;
	if (s->standby && s->standby != d->to) /* two generations at a time: the slot is needed now */
		service_retire(s, s->standby, GEN_RETIRED);
	wait_for(d, "starting %zu container%s of generation %u", d->to->n, d->to->n == 1 ? "" : "s",
		d->to->number);
	deployment_note(d, "start", "run", "generation %u (%s), %zu replica%s", d->to->number, d->to->slot,
		d->to->n, d->to->n == 1 ? "" : "s");
	gen_start(d->to, true);
}

static void all_ready(void *arg)
{
	struct deployment *d = arg;
	const struct replica *r = &d->to->replicas[0];
	deployment_note(d, "health", "ok", "%u of %zu ready: %s", gen_ready(d->to), d->to->n, r->answer.text);
	deployment_step(d->service, DEP_EV_DONE, NULL);
}

/* Every replica ready, and for min_healthy_time: a timer that any unready replica stops. */
static void probe_progress(struct deployment *d)
{
	unsigned ready = gen_ready(d->to);
	wait_for(d, "%u of %zu replicas ready", ready, d->to->n);
	if (ready < d->to->n)
		uvx_timer_cancel(&d->settled);
	else if (!d->settled)
		uvx_timer_start(d->service->agent->loop, d->to->spec->deploy.min_healthy_ms, all_ready, d,
			&d->settled);
}

static void act_probe(struct deployment *d)
{
	deployment_note(d, "health", "run", "waiting for %zu replica%s", d->to->n, d->to->n == 1 ? "" : "s");
	gen_check(d->to);
	if (gen_running(d->to) < d->to->n)
		step_later(d, DEP_EV_NEW_DIED, NULL); /* it ended while nobody was watching */
	else
		probe_progress(d);
}

/* --- flipping --- */

static void act_flip(struct deployment *d)
{
	struct err why = { 0 };
	wait_for(d, "the proxy moves new connections to generation %u", d->to->number);
	d->flip_started_us = clock_boot_us();
	deployment_note(d, "flip", "run", "to generation %u", d->to->number);
	int r = service_bind(d->service, d->to->spec, &why);
	if (r == 0)
		r = service_route(d->service, d->to, false, &why);
	if (r < 0)
		step_later(d, DEP_EV_FAILED, &why);
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

/* --- settling: the old generation drains --- */

static void act_settle(struct deployment *d)
{
	struct err why = { 0 };
	service_unbind_unused(d->service);
	if (!d->from || gen_running(d->from) == 0) {
		step_later(d, DEP_EV_DONE, NULL);
		return;
	}
	int64_t left = d->deadline_boot_ms - clock_boot_ms();
	int64_t drain = d->to->spec->deploy.drain_timeout_ms;
	wait_for(d, "generation %u drains", d->from->number);
	deployment_note(d, "drain", "run", "generation %u", d->from->number);
	if (service_drain(d->service, d->from, (uint32_t)(drain < left ? drain : left), &why) < 0) {
		log_warn("%s: %s", d->service->name, why.msg);
		step_later(d, DEP_EV_DONE, NULL);
	}
}

/* --- aborting: the new generation goes, the old one was never touched --- */

struct tail {
	struct agent *agent;
	char service[SPEC_NAME_MAX];
	int64_t deployment;
	json_t *lines;
};

static void tail_line(void *arg, int64_t at_ms, const char *stream, const char *text, size_t len)
{
	struct tail *t = arg;
	json_t *line = json_stringn(text, len);
	if (!line) /* not UTF-8: say so rather than lose it */
		line = json_string("(a line that is not UTF-8)");
	json_array_append_new(t->lines,
		json_pack("{s:o, s:s, s:o}", "at", json_time(at_ms), "stream", stream, "line", line));
}

static void destroy_new(struct deployment *d)
{
	if (d->to)
		gen_destroy(d->to);
	else
		step_later(d, DEP_EV_DONE, NULL);
}

static void tail_done(void *arg, int result, const struct err *why)
{
	struct tail *t = arg;
	struct service *s = service_find(t->agent, t->service);
	(void)result;
	(void)why;
	if (!t->agent->closing && s && s->deployment && s->deployment->id == t->deployment) {
		s->deployment->op = NULL;
		if (s->deployment->failure)
			json_object_set(s->deployment->failure, "log", t->lines);
		destroy_new(s->deployment);
	}
	json_decref(t->lines);
	free(t);
}

/* The last lines of the sickest replica belong to the failure's message; then its generation goes. */
static void tail_then_destroy(struct deployment *d)
{
	struct agent *a = d->service->agent;
	const struct replica *r = d->to ? gen_sickest(d->to) : NULL;
	const struct rt_log_query query = { .tail = 10 };
	struct tail *t = r ? calloc(1, sizeof *t) : NULL;
	if (t) {
		*t = (struct tail){ .agent = a, .deployment = d->id, .lines = json_array() };
		snprintf(t->service, sizeof t->service, "%s", d->service->name);
		if (t->lines &&
			a->driver->logs(a->host, r->id, &query, tail_line, tail_done, t, &d->op, NULL) == 0)
			return;
		json_decref(t->lines);
		free(t);
	}
	destroy_new(d);
}

static void act_abort(struct deployment *d)
{
	wait_for(d, "removing what was started");
	if (d->op)
		rt_cancel(TAKE_PTR(d->op));
	deployment_note(d, "undo", "run", "the new generation is removed");
	tail_then_destroy(d);
}

/* --- reverting: the old generation serves again first --- */

static void revert_route(struct deployment *d)
{
	struct err why = { 0 };
	d->flip_started_us = clock_boot_us();
	if (service_bind(d->service, d->from->spec, &why) < 0 ||
		service_route(d->service, d->from, false, &why) < 0)
		log_error("%s: back to generation %u: %s", d->service->name, d->from->number, why.msg);
}

static void act_revert(struct deployment *d)
{
	deployment_note(d, "undo", "run", "back to generation %u", d->from ? d->from->number : 0);
	d->cutting = false;
	if (!d->from) { /* there was nothing before: take the listeners away */
		d->service->routed = NULL;
		px_forget(d->service->agent->proxy, d->service->name);
		d->service->n_bound = 0;
		tail_then_destroy(d);
		return;
	}
	wait_for(d, "generation %u takes the connections back", d->from->number);
	if (gen_running(d->from) > 0) {
		revert_route(d);
		return;
	}
	wait_for(d, "generation %u is started again", d->from->number);
	gen_start(d->from, false);
}

static void revert_done(struct deployment *d)
{
	struct err why = { 0 };
	d->flip_us = clock_boot_us() - d->flip_started_us;
	d->cutting = true;
	service_unbind_unused(d->service);
	wait_for(d, "connections of generation %u end", d->to->number);
	if (gen_running(d->to) == 0 ||
		service_drain(d->service, d->to, d->to->spec->deploy.drain_timeout_ms, &why) < 0)
		tail_then_destroy(d);
}

/* --- removing the whole service --- */

static void remove_generations(struct deployment *d)
{
	struct generation *g, *next;
	unsigned n = 0;
	for (g = LIST_FIRST(&d->service->generations); g; g = next) {
		next = LIST_NEXT(g, link);
		gen_destroy(g);
		n++;
	}
	if (n == 0)
		step_later(d, DEP_EV_DONE, NULL);
}

static void act_remove(struct deployment *d)
{
	struct service *s = d->service;
	struct err why = { 0 };
	s->removed = true;
	wait_for(d, "connections end, then everything of %s is removed", s->name);
	deployment_note(d, "remove", "run", "%s", s->name);
	service_unbind_unused(s);
	s->routed = NULL;
	if (!s->active || gen_running(s->active) == 0 ||
		service_drain(s, s->active, s->active->spec->deploy.drain_timeout_ms, &why) < 0)
		remove_generations(d);
}

static void act_finish(struct deployment *d)
{
	(void)d; /* deployment_step ends it itself */
}

const dep_action_fn dep_actions[] = {
	[DEP_ACT_FINISH] = act_finish,
	[DEP_ACT_PULL] = act_pull,
	[DEP_ACT_HOLD] = act_hold,
	[DEP_ACT_START] = act_start,
	[DEP_ACT_PROBE] = act_probe,
	[DEP_ACT_FLIP] = act_flip,
	[DEP_ACT_SETTLE] = act_settle,
	[DEP_ACT_ABORT] = act_abort,
	[DEP_ACT_REVERT] = act_revert,
	[DEP_ACT_REMOVE] = act_remove,
};

/* --- what comes back --- */

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
		deployment_step(d->service, DEP_EV_DONE, NULL);
		break;
	case DEP_HOLDING: gen_destroy(d->from); break;
	case DEP_REVERTING: tail_then_destroy(d); break;
	case DEP_REMOVING: remove_generations(d); break;
	case DEP_IDLE:
	case DEP_PULLING:
	case DEP_STARTING:
	case DEP_PROBING:
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
		wait_for(d, "%" PRIu64 " connection%s of generation %u left", counts->active,
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
		if (starting || probing || d->state == DEP_FLIPPING) {
			struct err died = { 0 };
			if (r->exit.oom)
				err_say(&died, ECHILD, "replica %u was killed for want of memory", r->index);
			else if (r->exit.signal)
				err_say(&died, ECHILD, "replica %u was ended by %s", r->index,
					signal_name(r->exit.signal));
			else
				err_say(&died, ECHILD, "replica %u exited with code %d", r->index,
					r->exit.code);
			deployment_step(d->service, DEP_EV_NEW_DIED, &died);
		}
		break;
	case GEN_EV_CHANGED:
		if (probing)
			probe_progress(d);
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
		revert_route(d);
}

void action_generation_event(struct deployment *d, struct generation *g, enum gen_event ev, struct replica *r,
	const struct err *why)
{
	if (g == d->to)
		new_event(d, ev, r, why);
	else
		old_event(d, g, ev);
}
