/* The step of a deployment: the only code that changes its state. Write the intent, make it durable, then
 * act. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"

enum {
	PULL_LIMIT_MS = 600000,
	FLIP_LIMIT_MS = 30000,
	SLACK_MS = 30000 /* what removal and recovery may take beyond the spec's own times */
};

static const char *const kind_names[] = {
	[KIND_DEPLOY] = "deploy",
	[KIND_ROLLBACK] = "rollback",
	[KIND_REMOVE] = "remove",
};
_Static_assert(ARRAY_LEN(kind_names) == KIND_MAX, "every kind has its name");

const char *dep_kind_name(enum dep_kind k)
{
	return kind_names[k];
}

int dep_kind_by_name(const char *name, enum dep_kind *ret)
{
	for (int k = 0; k < KIND_MAX; k++) {
		if (strcmp(kind_names[k], name) == 0) {
			*ret = (enum dep_kind)k;
			return 0;
		}
	}
	return -EINVAL;
}

struct deployment *deployment_new(struct service *s, enum dep_kind kind, const char *by, const char *source)
{
	OWN_FREE struct deployment *d = calloc(1, sizeof *d);
	json_t *steps = json_array(), *warnings = json_array();
	if (!d || !steps || !warnings) {
		json_decref(steps);
		json_decref(warnings);
		return NULL;
	}
	*d = (struct deployment){ .service = s,
		.kind = kind,
		.state = DEP_IDLE,
		.by = strdup(by ? by : "unknown"),
		.source = source ? strdup(source) : NULL,
		.created_ms = clock_wall_ms(),
		.since_ms = clock_wall_ms(),
		.created_boot_us = clock_boot_us(),
		.steps = steps,
		.warnings = warnings };
	return TAKE_PTR(d);
}

void deployment_free(struct deployment *d)
{
	if (!d)
		return;
	uvx_timer_cancel(&d->deadline);
	uvx_timer_cancel(&d->settled);
	uvx_timer_cancel(&d->confirm);
	bake_stop(d);
	json_decref(d->steps);
	json_decref(d->warnings);
	json_decref(d->diff);
	json_decref(d->failure);
	free(d->by);
	free(d->source);
	free(d->request);
	free(d);
}

static char *dump(const json_t *j)
{
	return j ? json_canonical(j) : NULL;
}

void deployment_store(struct deployment *d)
{
	OWN_FREE char *steps = dump(d->steps), *diff = dump(d->diff), *failure = dump(d->failure);
	struct row_deployment r = { .id = d->id,
		.service = d->service->name,
		.kind = (char *)(uintptr_t)dep_kind_name(d->kind),
		.state = (char *)(uintptr_t)dep_traits[d->state].key,
		.from_generation = d->from ? d->from->number : 0,
		.to_generation = d->to ? d->to->number : 0,
		.by = d->by,
		.source = d->source,
		.created_ms = d->created_ms,
		.since_ms = d->since_ms,
		.deadline_boot_ms = d->deadline_boot_ms,
		.boot_id = d->service->agent->boot_id,
		.reason = d->reason,
		.steps = steps,
		.failure = failure,
		.diff = diff,
		.request = d->request,
		.failing = d->failing };
	store_put_deployment(d->service->agent->store, &r);
	d->id = r.id;
}

void deployment_wait(struct deployment *d, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(d->reason, sizeof d->reason, fmt, ap);
	va_end(ap);
}

static json_t *step_object(struct deployment *d, const char *step)
{
	size_t i;
	json_t *j;
	json_array_foreach (d->steps, i, j)
		if (strcmp(json_str(j, "step", ""), step) == 0 &&
			strcmp(json_str(j, "status", ""), "run") == 0)
			return j;
	j = json_pack("{s:s}", "step", step);
	if (j && json_array_append_new(d->steps, j) < 0)
		return NULL;
	return j;
}

void deployment_note(struct deployment *d, const char *step, const char *status, const char *fmt, ...)
{
	OWN_BUF struct buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	json_t *j = step_object(d, step);
	if (!j || text.failed)
		return;
	int64_t now_us = clock_boot_us(), began_us = json_int(j, "began_us", now_us);
	int64_t took_us = now_us - began_us;
	if (strcmp(status, "run") == 0)
		json_object_set_new(j, "began_us", json_integer(now_us)); /* steps may overlap */
	else
		json_object_del(j, "began_us");
	json_object_set_new(j, "status", json_string(status));
	json_object_set_new(j, "text", json_string(text.data ? text.data : ""));
	json_object_set_new(j, "took_ms", json_integer(took_us / 1000));
	json_object_set_new(j, "at", json_time(clock_wall_ms()));
	struct event e = { .service = d->service->name,
		.generation = d->to ? d->to->number : 0,
		.deployment = d->id,
		.type = "deployment.step",
		.data = json_incref(j) };
	events_add(d->service->agent->events, &e, "%s: %s %s: %s", d->service->name, step, status,
		text.data ? text.data : "");
}

static uint32_t longest(uint32_t a, uint32_t b, uint32_t c)
{
	uint32_t ab = a > b ? a : b;
	return ab > c ? ab : c;
}

uint32_t deployment_limit_ms(const struct deployment *d)
{
	const struct spec *to = d->to ? d->to->spec : NULL, *from = d->from ? d->from->spec : NULL;
	uint32_t drain = to ? to->deploy.drain_timeout_ms : from ? from->deploy.drain_timeout_ms : 0;
	uint32_t grace = from ? from->container.stop_grace_ms : 0;
	if (to && to->container.stop_grace_ms > grace)
		grace = to->container.stop_grace_ms;
	switch (d->state) {
	case DEP_PULLING: return PULL_LIMIT_MS;
	case DEP_STARTING:
	case DEP_HELD_STARTING: return to->deploy.healthy_deadline_ms;
	case DEP_FLIPPING: return FLIP_LIMIT_MS;
	case DEP_SETTLING:
		return longest(drain, to->deploy.bake_ms, to->deploy.confirm_ms) + grace + SLACK_MS;
	case DEP_AWAITING: return to->deploy.promote_timeout_ms;
	case DEP_HOLDING:
	case DEP_REMOVING: return drain + grace + SLACK_MS;
	case DEP_ABORTING: return grace + SLACK_MS;
	case DEP_REVERTING: return drain + grace + SLACK_MS + (from ? from->deploy.healthy_deadline_ms : 0);
	case DEP_IDLE:
	case DEP_PROBING:
	case DEP_HELD_PROBING:
	case DEP_STATE_MAX: break;
	}
	return 0;
}

static void deadline_passed(void *arg)
{
	struct deployment *d = arg;
	struct err why = { 0 };
	err_say(&why, ETIMEDOUT, "%s: not done within its time (%s)", dep_traits[d->state].name, d->reason);
	deployment_step(d->service, DEP_EV_DEADLINE, &why);
}

void deployment_arm(struct deployment *d)
{
	int64_t left = d->deadline_boot_ms - clock_boot_ms();
	uvx_timer_start(
		d->service->agent->loop, left > 0 ? (uint64_t)left : 0, deadline_passed, d, &d->deadline);
}

/* What a state says about the generations, before it is recorded: the flip is durable together with the step.
 */
static void enter(struct deployment *d, enum dep_state next, bool resumed)
{
	struct service *s = d->service;
	bool keeps_deadline = resumed || next == DEP_PROBING || next == DEP_HELD_PROBING;
	d->state = next;
	d->since_ms = clock_wall_ms();
	if (!keeps_deadline)
		d->deadline_boot_ms = clock_boot_ms() + deployment_limit_ms(d);
	if (d->to && (next == DEP_STARTING || next == DEP_HELD_STARTING))
		gen_set_state(d->to, GEN_STARTING);
	if (d->to && s->standby == d->to) { /* from the first step on it is the candidate */
		s->standby = NULL;
		uvx_timer_cancel(&s->standby_over);
	}
	if (next == DEP_FLIPPING)
		gen_set_state(d->to, GEN_READY);
	if (next == DEP_SETTLING) {
		gen_set_state(d->to, GEN_ACTIVE);
		s->active = d->to;
		if (d->from)
			gen_set_state(d->from, GEN_DRAINING);
	}
	if (next == DEP_REVERTING && d->from) {
		gen_set_state(d->from, GEN_ACTIVE);
		s->active = d->from;
	}
}

static int record(struct deployment *d, struct err *err)
{
	struct service *s = d->service;
	store_begin(s->agent->store);
	service_store(s);
	if (d->from)
		generation_store(d->from);
	if (d->to)
		generation_store(d->to);
	deployment_store(d);
	return store_commit(s->agent->store, err);
}

static void announce(struct deployment *d, enum dep_state old, enum dep_event ev)
{
	struct event e = { .service = d->service->name,
		.generation = d->to ? d->to->number : 0,
		.deployment = d->id,
		.type = "deployment.state",
		.data = json_pack(
			"{s:s, s:s}", "from", dep_traits[old].name, "to", dep_traits[d->state].name) };
	events_add(d->service->agent->events, &e, "%s: %s -> %s (%s)", d->service->name, dep_traits[old].name,
		dep_traits[d->state].name, dep_event_name(ev));
}

static bool turns_back(enum dep_state next)
{
	return next == DEP_ABORTING || next == DEP_REVERTING;
}

bool deployment_step(struct service *s, enum dep_event ev, const struct err *why)
{
	struct deployment *d = s->deployment;
	struct err failed = { 0 };
	if (!d)
		return false;
	enum dep_state old = d->state;
	struct dep_cell cell = dep_next(old, ev);
	if (cell.verdict == DEP_UNEXPECTED)
		log_error("%s: unexpected event %s in state %s", s->name, dep_event_name(ev),
			dep_traits[old].key);
	if (cell.verdict != DEP_GO)
		return false;
	if (turns_back(cell.next))
		deployment_fail(d, ev, why);
	enter(d, (enum dep_state)cell.next, ev == DEP_EV_RESUME);
	uvx_timer_cancel(&d->deadline);
	uvx_timer_cancel(&d->settled);
	bake_stop(d);
	gate_stop(d);
	if (d->state == DEP_IDLE) {
		announce(d, old, ev);
		deployment_finish(d);
		return true;
	}
	if (record(d, &failed) < 0) {
		log_error("%s: %s", s->name, failed.msg);
		if (!d->failing) { /* what can't be recorded must not go on; going back needs no record */
			struct dep_cell back = dep_next(d->state, DEP_EV_FAILED);
			deployment_fail(d, DEP_EV_FAILED, &failed);
			enter(d, back.verdict == DEP_GO ? (enum dep_state)back.next : DEP_ABORTING, false);
		}
	}
	announce(d, old, ev);
	deployment_arm(d);
	dep_actions[dep_traits[d->state].action](d);
	return true;
}
