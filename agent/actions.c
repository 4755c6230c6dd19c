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

void deployment_step_later(struct deployment *d, enum dep_event ev, const struct err *why)
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

/* --- pulling --- */

static enum dep_event pulled(const struct deployment *d)
{
	bool held = spec_stop_first(d->to->spec) && d->from;
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
		deployment_step_later(d, DEP_EV_FAILED, &why);
		return;
	}
	if (a->driver->image_present(a->host, d->to->image_digest)) {
		deployment_note(d, "pull", "ok", "image %.19s is here already", d->to->image_digest);
		deployment_step_later(d, pulled(d), NULL);
		return;
	}
	deployment_wait(d, "importing %s", image);
	deployment_note(d, "pull", "run", "%s", image);
	struct pull *p = calloc(1, sizeof *p);
	int r = p ? 0 : err_set(&why, ENOMEM, "%s", image);
	if (p) {
		*p = (struct pull){ .agent = a, .deployment = d->id };
		snprintf(p->service, sizeof p->service, "%s", d->service->name);
		r = a->driver->image_fetch(a->host, image, d->to->image_digest, on_pulled, p, &d->op, &why);
	}
	if (r < 0) {
		free(p);
		deployment_step_later(d, DEP_EV_FAILED, &why);
	}
}

/* --- holding: stop-first --- */

static void act_hold(struct deployment *d)
{
	struct err why = { 0 };
	deployment_wait(d, "new connections wait in the proxy while generation %u stops", d->from->number);
	deployment_note(d, "hold", "run", "new connections wait; generation %u drains", d->from->number);
	if (service_route(d->service, d->from, true, &why) < 0 ||
		service_drain(d->service, d->from, d->to->spec->deploy.drain_timeout_ms, &why) < 0)
		deployment_step_later(d, DEP_EV_FAILED, &why);
}

/* --- starting and probing --- */

static void act_start(struct deployment *d)
{
	struct service *s = d->service;
	if (s->standby && s->standby != d->to) /* two generations at a time: the slot is needed now */
		service_retire(s, s->standby, GEN_RETIRED);
	deployment_wait(d, "starting %zu container%s of generation %u", d->to->n, d->to->n == 1 ? "" : "s",
		d->to->number);
	deployment_note(d, "start", "run", "generation %u (%s), %zu replica%s", d->to->number, d->to->slot,
		d->to->n, d->to->n == 1 ? "" : "s");
	gen_start(d->to, true);
}

static void act_probe(struct deployment *d)
{
	deployment_note(d, "health", "run", "waiting for %zu replica%s", d->to->n, d->to->n == 1 ? "" : "s");
	gen_check(d->to);
	if (gen_running(d->to) < d->to->n)
		deployment_step_later(d, DEP_EV_NEW_DIED, NULL); /* it ended while nobody was watching */
	else
		progress_probing(d);
}

/* --- flipping --- */

static void act_flip(struct deployment *d)
{
	struct err why = { 0 };
	deployment_wait(d, "the proxy moves new connections to generation %u", d->to->number);
	d->flip_started_us = clock_boot_us();
	deployment_note(d, "flip", "run", "to generation %u", d->to->number);
	int r = service_bind(d->service, d->to->spec, &why);
	if (r == 0)
		r = service_route(d->service, d->to, false, &why);
	if (r < 0)
		deployment_step_later(d, DEP_EV_FAILED, &why);
}

/* --- settling: the old generation drains --- */

static void act_settle(struct deployment *d)
{
	struct err why = { 0 };
	uint32_t drain_ms = d->to->spec->deploy.drain_timeout_ms;
	service_unbind_unused(d->service);
	bake_start(d);
	confirm_start(d);
	d->drain_over = !d->from || gen_running(d->from) == 0;
	if (d->drain_over) {
		deployment_settled(d);
		return;
	}
	int64_t left = d->deadline_boot_ms - clock_boot_ms();
	deployment_wait(d, "generation %u drains", d->from->number);
	deployment_note(d, "drain", "run", "generation %u", d->from->number);
	if (service_drain(d->service, d->from, (uint32_t)(drain_ms < left ? drain_ms : left), &why) < 0) {
		log_warn("%s: %s", d->service->name, why.msg);
		d->drain_over = true;
		deployment_settled(d);
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
		deployment_step_later(d, DEP_EV_DONE, NULL);
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
void act_destroy_new(struct deployment *d)
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
	deployment_wait(d, "removing what was started");
	if (d->op)
		rt_cancel(TAKE_PTR(d->op));
	deployment_note(d, "undo", "run", "the new generation is removed");
	act_destroy_new(d);
}

/* --- reverting: the old generation serves again first --- */

void act_revert_route(struct deployment *d)
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
		act_destroy_new(d);
		return;
	}
	deployment_wait(d, "generation %u takes the connections back", d->from->number);
	gen_start(d->from, false); /* what is missing of it, be it all */
	if (gen_running(d->from) > 0)
		act_revert_route(d);
	else
		deployment_wait(d, "generation %u is started again", d->from->number);
}

/* --- removing the whole service --- */

void act_remove_generations(struct deployment *d)
{
	struct generation *g, *next;
	unsigned n = 0;
	for (g = LIST_FIRST(&d->service->generations); g; g = next) {
		next = LIST_NEXT(g, link);
		gen_destroy(g);
		n++;
	}
	if (n == 0)
		deployment_step_later(d, DEP_EV_DONE, NULL);
}

static void act_remove(struct deployment *d)
{
	struct service *s = d->service;
	struct err why = { 0 };
	s->removed = true;
	deployment_wait(d, "connections end, then everything of %s is removed", s->name);
	deployment_note(d, "remove", "run", "%s", s->name);
	service_unbind_unused(s);
	s->routed = NULL;
	if (!s->active || gen_running(s->active) == 0 ||
		service_drain(s, s->active, s->active->spec->deploy.drain_timeout_ms, &why) < 0)
		act_remove_generations(d);
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
	[DEP_ACT_AWAIT] = act_await,
	[DEP_ACT_FLIP] = act_flip,
	[DEP_ACT_SETTLE] = act_settle,
	[DEP_ACT_ABORT] = act_abort,
	[DEP_ACT_REVERT] = act_revert,
	[DEP_ACT_REMOVE] = act_remove,
};
