/* How a deployment ends: its result, what is recorded, what stands by, what is held, and what comes next. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/secrets.h"
#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/parse.h"

static const char *const step_names[DEP_STATE_MAX] = {
	[DEP_IDLE] = "queue",
	[DEP_PULLING] = "pull",
	[DEP_HOLDING] = "hold",
	[DEP_STARTING] = "start",
	[DEP_PROBING] = "health",
	[DEP_AWAITING] = "promote",
	[DEP_HELD_STARTING] = "start",
	[DEP_HELD_PROBING] = "health",
	[DEP_FLIPPING] = "flip",
	[DEP_SETTLING] = "drain",
	[DEP_ABORTING] = "undo",
	[DEP_REVERTING] = "undo",
	[DEP_REMOVING] = "remove",
};

static void failure_reason(
	const struct deployment *d, enum dep_event cause, const struct err *why, struct buf *out)
{
	char limit[FORMAT_MAX];
	bool probing = d->state == DEP_PROBING || d->state == DEP_HELD_PROBING;
	if (cause == DEP_EV_DEADLINE && probing)
		buf_addf(out,
			"generation %u did not become healthy within deploy.healthy_deadline (%s); %u of %zu "
			"replicas ready",
			d->to->number, format_duration_ms(d->to->spec->deploy.healthy_deadline_ms, limit),
			gen_ready(d->to), d->to->n);
	else if (cause == DEP_EV_DEADLINE && d->state == DEP_AWAITING)
		buf_addf(out, "not promoted within deploy.promote_timeout (%s)",
			format_duration_ms(d->to->spec->deploy.promote_timeout_ms, limit));
	else if (cause == DEP_EV_REBOOTED)
		buf_adds(out, "the host restarted");
	else if (why && why->msg[0])
		buf_adds(out, why->msg);
	else
		buf_adds(out, dep_event_name(cause));
}

static json_t *advice(const struct deployment *d)
{
	json_t *list = json_array();
	const char *name = d->service->name;
	char line[256];
	if (d->to && dep_traits[d->state].new_may_exist) {
		snprintf(line, sizeof line, "teal logs %s --generation %u", name, d->to->number);
		json_array_append_new(list, json_string(line));
	}
	snprintf(line, sizeof line, "teal history %s", name);
	json_array_append_new(list, json_string(line));
	if (d->state == DEP_PROBING || d->state == DEP_HELD_PROBING)
		json_array_append_new(list, json_string("teal explain deploy.healthy_deadline"));
	if (d->state == DEP_PULLING)
		json_array_append_new(list, json_string("teal doctor"));
	return list;
}

void deployment_fail(struct deployment *d, enum dep_event cause, const struct err *why)
{
	OWN_BUF struct buf reason = { 0 };
	const struct replica *r = d->to ? gen_sickest(d->to) : NULL;
	const char *step = cause != DEP_EV_BAD		   ? step_names[d->state]
			   : why && why->code == ETIMEDOUT ? "confirm"
							   : "bake";
	if (d->failing)
		return;
	d->failing = true;
	d->cause = cause;
	failure_reason(d, cause, why, &reason);
	d->failure = json_pack("{s:s, s:s, s:o, s:o}", "step", step, "reason", reason.data ? reason.data : "",
		"try", advice(d), "log", json_array());
	if (d->failure && r) {
		json_object_set_new(d->failure, "replica", json_integer(r->index));
		if (r->answer.text[0])
			json_object_set_new(d->failure, "probe", json_string(r->answer.text));
	}
	deployment_note(d, step, "fail", "%s", reason.data ? reason.data : "");
}

json_t *result_unchanged(struct service *s, const struct generation *g)
{
	char comment[128];
	snprintf(comment, sizeof comment, "%s: up to date at generation %u", s->name, g->number);
	return json_pack("{s:b, s:s, s:s, s:i, s:i, s:s, s:i, s:i, s:{}, s:i, s:n, s:n, s:[]}", "changed", 0,
		"comment", comment, "service", s->name, "generation", (int)g->number, "previous",
		(int)g->number, "result", "unchanged", "exit", 0, "duration_ms", 0, "diff", "serves",
		(int)g->number, "standby_until", "failure", "warnings");
}

struct outcome {
	const char *name;
	int exit;
	bool changed;
	char comment[256];
};

/* Only a generation that was flipped to is recorded as active. */
static bool has_served(const struct generation *g)
{
	return g && g->state == GEN_ACTIVE;
}

static const char *reason_of(const struct deployment *d)
{
	return json_str(d->failure, "reason", "");
}

/* The way back ended without the old generation: the new one, which answers, goes on serving. */
static bool stays(const struct deployment *d)
{
	return d->failing && d->to && d->service->routed == d->to && !d->to->destroying &&
	       gen_ready(d->to) > 0;
}

static struct generation *serving_after(const struct deployment *d)
{
	if (d->kind == KIND_REMOVE)
		return NULL;
	return d->failing && !stays(d) ? d->from : d->to;
}

static void failure_comment(const struct deployment *d, const char *result, char *ret, size_t size)
{
	const char *name = d->service->name;
	unsigned to = d->to ? d->to->number : 0, from = d->from ? d->from->number : 0;
	char serving[64] = "nothing serves";
	if (from)
		snprintf(serving, sizeof serving, "generation %u still serves", from);
	if (stays(d))
		snprintf(ret, size,
			"%s: generation %u serves on, generation %u could not be brought back: %s", name, to,
			from, reason_of(d));
	else if (to)
		snprintf(ret, size, "%s: %s; generation %u %s: %s", name, serving, to, result, reason_of(d));
	else
		snprintf(ret, size, "%s: %s; the queued deployment was %s: %s", name, serving, result,
			reason_of(d));
}

static void outcome_of(const struct deployment *d, struct outcome *ret)
{
	const char *name = d->service->name;
	unsigned to = d->to ? d->to->number : 0, from = d->from ? d->from->number : 0;
	*ret = (struct outcome){ .changed = true };
	if (d->kind == KIND_REMOVE) {
		ret->name = "removed";
		snprintf(ret->comment, sizeof ret->comment, "%s: removed", name);
	} else if (d->failing) {
		bool asked = d->cause == DEP_EV_ABORT || d->cause == DEP_EV_ROLLBACK;
		ret->name = has_served(d->to) ? "reverted" : asked ? "aborted" : "failed";
		ret->exit = 3;
		ret->changed = false;
		failure_comment(d, ret->name, ret->comment, sizeof ret->comment);
	} else {
		ret->name = d->kind == KIND_ROLLBACK ? "rolled_back" : "deployed";
		if (from)
			snprintf(ret->comment, sizeof ret->comment, "%s: generation %u serves (was %u)", name,
				to, from);
		else
			snprintf(ret->comment, sizeof ret->comment, "%s: generation %u serves", name, to);
	}
}

static int64_t duration_ms(const struct deployment *d)
{
	if (d->created_boot_us)
		return (clock_boot_us() - d->created_boot_us) / 1000;
	return clock_wall_ms() - d->created_ms;
}

static json_t *number_or_null(uint32_t n)
{
	return n ? json_integer(n) : json_null();
}

static json_t *result_json(const struct deployment *d, const struct outcome *o)
{
	struct service *s = d->service;
	const struct generation *serves = serving_after(d);
	json_t *j = json_pack("{s:b, s:s, s:s, s:s, s:i, s:I, s:I, s:{s:I, s:I}, s:O}", "changed", o->changed,
		"comment", o->comment, "service", s->name, "result", o->name, "exit", o->exit, "duration_ms",
		(json_int_t)duration_ms(d), "flip_us", (json_int_t)d->flip_us, "drain", "ended",
		(json_int_t)d->drained, "cut", (json_int_t)d->cut, "warnings", d->warnings);
	if (!j)
		return NULL;
	json_object_set_new(j, "generation", number_or_null(d->to ? d->to->number : 0));
	json_object_set_new(j, "previous", number_or_null(d->from ? d->from->number : 0));
	json_object_set_new(j, "serves", number_or_null(serves ? serves->number : 0));
	json_object_set_new(j, "diff", d->diff ? json_incref(d->diff) : json_object());
	json_object_set_new(j, "failure", d->failure ? json_incref(d->failure) : json_null());
	int64_t left = s->standby ? s->standby_until_boot_ms - clock_boot_ms() : 0;
	json_object_set_new(j, "standby_until", s->standby ? json_time(clock_wall_ms() + left) : json_null());
	return j;
}

static void set_text(char **to, const char *text)
{
	free(*to);
	*to = text ? strdup(text) : NULL;
}

static void hold_digest(struct service *s, const struct generation *g, const char *reason)
{
	memcpy(s->held_digest, g->digest, sizeof s->held_digest);
	s->held_generation = g->number;
	s->held_since_ms = clock_wall_ms();
	set_text(&s->held_reason, reason);
	struct event e = { .service = s->name, .generation = g->number, .type = "hold" };
	events_add(s->agent->events, &e, "%s: the spec of generation %u is on hold (%s)", s->name, g->number,
		reason);
}

static void release_hold(struct service *s)
{
	s->held_digest[0] = '\0';
	s->held_generation = 0;
	set_text(&s->held_reason, NULL);
}

static void settle_holds(struct deployment *d)
{
	struct service *s = d->service;
	char reason[160];
	if (d->failing) {
		if (has_served(d->to)) {
			snprintf(reason, sizeof reason, "%s", reason_of(d));
			hold_digest(s, d->to, reason);
		}
	} else if (d->kind == KIND_ROLLBACK && d->from && d->from->number > d->to->number) {
		snprintf(reason, sizeof reason, "rolled back by %s", d->by);
		hold_digest(s, d->from, reason);
	} else if (d->kind == KIND_DEPLOY || strcmp(d->to->digest, s->held_digest) == 0) {
		release_hold(s);
	}
}

/* The generation that was left behind: kept warm for a while, or taken down. */
static void settle_old(struct deployment *d)
{
	struct service *s = d->service;
	uint32_t standby_ms = d->to->spec->deploy.standby_ms;
	char time[FORMAT_MAX];
	if (!d->from)
		return;
	if (gen_running(d->from) > 0 && standby_ms > 0) {
		service_set_standby(s, d->from, clock_boot_ms() + standby_ms);
		deployment_note(d, "standby", "ok", "generation %u stays warm for %s", d->from->number,
			format_duration_ms(standby_ms, time));
	} else {
		service_retire(s, d->from, GEN_RETIRED);
	}
}

/* The generation that failed: only its record is left, as soon as its containers are gone. */
static void settle_failed(struct deployment *d)
{
	struct service *s = d->service;
	struct generation *g = d->to;
	if (!g)
		return;
	if (stays(d)) {
		gen_set_state(g, GEN_ACTIVE);
		s->active = g;
		if (d->from)
			service_retire(s, d->from, GEN_RETIRED);
		return;
	}
	/* One with a result has served before: this attempt does not change what it is. */
	enum gen_state last = g->result || has_served(g) ? GEN_RETIRED : GEN_FAILED;
	if (s->routed == g)
		s->routed = NULL;
	if (gen_exists(g))
		service_retire(s, g, last);
	else
		gen_set_state(g, last);
}

static void record_generations(struct deployment *d, const struct outcome *o)
{
	if (d->to && d->kind == KIND_DEPLOY && !d->to->result) {
		set_text(&d->to->result, o->name);
		set_text(&d->to->reason, d->failing ? reason_of(d) : NULL);
		d->to->took_ms = duration_ms(d);
	}
	if (d->kind == KIND_ROLLBACK && !d->failing && d->from && d->from->number > d->to->number) {
		set_text(&d->from->result, "rolled_back");
		set_text(&d->from->reason, d->service->held_reason);
	}
}

static void record_end(struct deployment *d, json_t *result)
{
	struct service *s = d->service;
	struct store *store = s->agent->store;
	struct row_deployment row = { 0 };
	struct err why = { 0 };
	OWN_FREE char *text = result ? json_canonical(result) : NULL;
	store_begin(store);
	if (d->kind == KIND_REMOVE)
		store_delete_service(store, s->name);
	else
		service_store(s);
	if (d->kind != KIND_REMOVE && d->from)
		generation_store(d->from);
	if (d->kind != KIND_REMOVE && d->to)
		generation_store(d->to);
	deployment_store(d);
	if (store_deployment(store, d->id, &row, NULL) == 0) {
		free(row.result);
		row.result = TAKE_PTR(text);
		row.done = 1;
		store_put_deployment(store, &row);
	}
	if (store_commit(store, &why) < 0)
		log_error(
			"%s: the end of deployment %" PRId64 " is not recorded: %s", s->name, d->id, why.msg);
	row_deployment_done(&row);
}

static void announce_end(struct deployment *d, json_t *result, const char *comment)
{
	struct event e = { .service = d->service->name,
		.generation = d->to ? d->to->number : 0,
		.deployment = d->id,
		.type = "deployment.done",
		.data = json_incref(result) };
	events_add(d->service->agent->events, &e, "%s", comment);
}

static void end_removal(struct service *s)
{
	struct agent *a = s->agent;
	px_forget(a->proxy, s->name);
	a->driver->logs_remove(a->host, s->name, 0, NULL);
	secrets_remove(a, s->name);
	service_free(s);
	services_name(a);
	images_collect(a);
}

void deployment_drop(struct deployment *d)
{
	struct outcome o;
	outcome_of(d, &o);
	OWN_JSON json_t *result = result_json(d, &o);
	record_end(d, result);
	announce_end(d, result, o.comment);
	deployment_free(d);
}

void deployment_finish(struct deployment *d)
{
	struct service *s = d->service;
	struct outcome o;
	outcome_of(d, &o);
	snprintf(d->reason, sizeof d->reason, "%.199s", o.comment);
	if (d->kind != KIND_REMOVE) {
		settle_holds(d);
		if (d->failing)
			settle_failed(d);
		else
			settle_old(d);
		record_generations(d, &o);
	}
	OWN_JSON json_t *result = result_json(d, &o);
	record_end(d, result);
	s->deployment = NULL;
	announce_end(d, result, o.comment);
	struct generation *dead =
		d->failing && d->to && d->to != s->active && !gen_exists(d->to) ? d->to : NULL;
	bool removal = d->kind == KIND_REMOVE;
	deployment_free(d);
	if (dead)
		gen_free(dead);
	if (removal) {
		end_removal(s);
		return;
	}
	service_unbind_unused(s);
	if (s->holding && s->active &&
		s->routed == s->active) /* whatever came of it: nobody waits for ever */
		service_route(s, s->active, false, NULL);
	service_prune(s);
	service_dequeue(s);
}
