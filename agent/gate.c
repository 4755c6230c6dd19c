/* Where a deployment waits for somebody: to be promoted before the flip, to be confirmed after it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

enum dep_event gate_event(const struct deployment *d)
{
	bool gate = d->kind == KIND_DEPLOY && d->to->spec->deploy.promote == SPEC_PROMOTE_MANUAL && d->from;
	return gate && d->state == DEP_PROBING ? DEP_EV_DONE_GATE : DEP_EV_DONE;
}

void act_await(struct deployment *d)
{
	const char *preview = d->to->spec->deploy.preview;
	struct err why = { 0 };
	deployment_wait(d,
		"`teal promote %s` lets generation %u take the connections, `teal abort %s` ends it",
		d->service->name, d->to->number, d->service->name);
	if (preview && service_preview(d->service, d->to, &why) < 0) {
		log_warn("%s: preview: %s", d->service->name, why.msg);
		preview = NULL;
	}
	gen_check(d->to);
	deployment_note(d, "promote", "run", "generation %u is ready and waits for `teal promote %s`%s%s",
		d->to->number, d->service->name, preview ? "; preview on " : "", preview ? preview : "");
	if (gen_running(d->to) < d->to->n)
		deployment_step_later(d, DEP_EV_NEW_DIED, NULL);
}

void gate_stop(struct deployment *d)
{
	uvx_timer_cancel(&d->confirm);
	d->confirming = false;
	service_preview(d->service, NULL, NULL);
}

static bool confirmed_before(const struct deployment *d)
{
	size_t i;
	json_t *j;
	json_array_foreach (d->steps, i, j)
		if (strcmp(json_str(j, "step", ""), "confirm") == 0 &&
			strcmp(json_str(j, "status", ""), "ok") == 0)
			return true;
	return false;
}

static void not_confirmed(void *arg)
{
	struct deployment *d = arg;
	char time[FORMAT_MAX];
	struct err why = { 0 };
	err_say(&why, ETIMEDOUT, "not confirmed within %s",
		format_duration_ms(d->to->spec->deploy.confirm_ms, time));
	d->confirming = false;
	deployment_step(d->service, DEP_EV_BAD, &why);
}

void confirm_start(struct deployment *d)
{
	uint32_t confirm_ms = d->to->spec->deploy.confirm_ms;
	char time[FORMAT_MAX];
	if (confirm_ms == 0 || !d->from || d->kind != KIND_DEPLOY || confirmed_before(d))
		return;
	int64_t began = d->deadline_boot_ms - deployment_limit_ms(d),
		left = began + confirm_ms - clock_boot_ms();
	d->confirming = true;
	deployment_note(d, "confirm", "run", "`teal promote %s` within %s, or generation %u serves again",
		d->service->name, format_duration_ms(confirm_ms, time), d->from->number);
	uvx_timer_start(
		d->service->agent->loop, left > 0 ? (uint64_t)left : 0, not_confirmed, d, &d->confirm);
}

static int promote_waiting(struct deployment *d, const char *by, struct err *err)
{
	if (gen_ready(d->to) < d->to->n)
		return err_say(err, EBUSY,
			"%s: generation %u is not ready (%u of %zu replicas); it goes on waiting",
			d->service->name, d->to->number, gen_ready(d->to), d->to->n);
	deployment_note(d, "promote", "ok", "by %s", by);
	deployment_step(d->service, DEP_EV_PROMOTE, NULL);
	return 0;
}

int service_promote(struct service *s, const char *by, int64_t *ret_id, struct err *err)
{
	struct deployment *d = s->deployment;
	if (!d || (d->state != DEP_AWAITING && !d->confirming))
		return err_say(err, ENOENT, "%s: nothing waits to be promoted or confirmed", s->name);
	*ret_id = d->id;
	if (d->state == DEP_AWAITING)
		return promote_waiting(d, by, err);
	uvx_timer_cancel(&d->confirm);
	d->confirming = false;
	deployment_note(d, "confirm", "ok", "by %s", by);
	store_begin(s->agent->store);
	deployment_store(d);
	int r = store_commit(s->agent->store, err);
	deployment_settled(d);
	return r;
}
