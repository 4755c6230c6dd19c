/* The bake: for a while after the flip, trouble of the new generation takes the connections back by itself.
 * Containers and probes report by themselves; the proxy is asked how many connections failed, and compared
 * with the old generation. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"

enum { LOOK_MS = 200, WHOLE = 100000 /* thousandths of a percent in 1 */ };

/* Who asked the proxy: the deployment may have ended before it answers. */
struct look {
	struct agent *agent;
	char service[SPEC_NAME_MAX];
	int64_t deployment;
	bool of_new;
};

static const struct spec_revert *rules(const struct deployment *d)
{
	return &d->to->spec->deploy.revert;
}

void bake_stop(struct deployment *d)
{
	d->bake.on = false;
	uvx_timer_cancel(&d->bake.timer);
}

void deployment_settled(struct deployment *d)
{
	if (d->state == DEP_SETTLING && d->drain_over && !d->bake.on && !d->confirming)
		deployment_step_later(d, DEP_EV_DONE, NULL);
	else if (d->state == DEP_SETTLING && d->drain_over && d->confirming && !d->bake.on)
		deployment_wait(d, "`teal promote %s` confirms generation %u; otherwise it goes back",
			d->service->name, d->to->number);
	else if (d->bake.on && d->drain_over)
		deployment_wait(d, "generation %u bakes", d->to->number);
}

/* With nowhere to go back to, or when told not to, trouble is only reported; once. */
void bake_trouble(struct deployment *d, const char *fmt, ...)
{
	struct err why = { .code = ECANCELED };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why.msg, sizeof why.msg, fmt, ap);
	va_end(ap);
	if (d->from && d->to->spec->deploy.auto_revert) {
		deployment_step(d->service, DEP_EV_BAD, &why);
		return;
	}
	if (d->bake.alarmed)
		return;
	d->bake.alarmed = true;
	json_array_append_new(d->warnings, json_string(why.msg));
	struct event e = { .service = d->service->name,
		.generation = d->to->number,
		.deployment = d->id,
		.type = "deployment.alarm" };
	events_add(
		d->service->agent->events, &e, "%s: trouble during the bake: %s", d->service->name, why.msg);
}

void bake_exited(struct deployment *d, const struct replica *r)
{
	char how[REPLICA_EXIT_TEXT];
	if (d->bake.on && rules(d)->exits > 0 && ++d->bake.exits >= rules(d)->exits)
		bake_trouble(d, "replica %u %s", r->index, replica_exit_text(r, how));
}

void bake_unready(struct deployment *d, const struct replica *r)
{
	if (d->bake.on && rules(d)->unready && r->state == REPLICA_RUNNING && r->verdict == HC_UNREADY)
		bake_trouble(d, "replica %u is unready: %s", r->index, r->answer.text);
}

static uint64_t share(uint64_t part, uint64_t whole)
{
	return whole ? part * WHOLE / whole : 0;
}

struct rate {
	const char *what;
	uint64_t bad, old_bad;
	uint32_t limit;
};

/* Above the old generation's own share: what both suffer is not the new one's fault. true: it was trouble. */
static bool rate_is_bad(struct deployment *d, const struct rate *r, uint64_t total, uint64_t old_total)
{
	uint64_t now = share(r->bad, total), before = share(r->old_bad, old_total);
	if (r->limit == 0 || total < rules(d)->min_samples || now <= before || now - before < r->limit)
		return false;
	bake_trouble(d,
		"%" PRIu64 ".%" PRIu64 "%% of %" PRIu64 " connections were %s (generation %u: %" PRIu64
		".%" PRIu64 "%%)",
		now / 1000, now / 100 % 10, total, r->what, d->from ? d->from->number : 0, before / 1000,
		before / 100 % 10);
	return true;
}

static void judge(struct deployment *d)
{
	const struct bake *b = &d->bake;
	const struct rate rates[] = {
		{ "refused", b->new_now.connect_errors - b->new_base.connect_errors,
			b->old_base.connect_errors, rules(d)->connect_errors },
		{ "reset", b->new_now.resets - b->new_base.resets, b->old_base.resets, rules(d)->resets },
	};
	uint64_t total = b->new_now.total - b->new_base.total, old_total = b->old_base.total;
	for (size_t i = 0; i < ARRAY_LEN(rates); i++)
		if (rate_is_bad(d, &rates[i], total, old_total))
			return; /* d may be past baking */
}

static void over(struct deployment *d)
{
	const struct bake *b = &d->bake;
	char time[FORMAT_MAX];
	bake_stop(d);
	deployment_note(d, "bake", b->alarmed ? "fail" : "ok",
		"%s: %" PRIu64 " connections, %" PRIu64 " refused, %" PRIu64 " reset, %u exits",
		format_duration_ms(d->to->spec->deploy.bake_ms, time), b->new_now.total - b->new_base.total,
		b->new_now.connect_errors - b->new_base.connect_errors,
		b->new_now.resets - b->new_base.resets, b->exits);
	deployment_settled(d);
}

static void looked(void *arg, int result, const struct px_counts *counts)
{
	OWN_FREE struct look *l = arg;
	struct service *s = l->agent->closing ? NULL : service_find(l->agent, l->service);
	struct deployment *d = s ? s->deployment : NULL;
	if (!d || d->id != l->deployment || !d->bake.on || result < 0)
		return;
	struct bake *b = &d->bake;
	if (!l->of_new) {
		b->old_base = *counts;
		return;
	}
	if (!b->counted)
		b->new_base = *counts;
	b->counted = true;
	b->new_now = *counts;
	judge(d);
}

static void look(struct deployment *d, const struct generation *g)
{
	struct service *s = d->service;
	struct look *l = g ? calloc(1, sizeof *l) : NULL;
	if (!l)
		return;
	*l = (struct look){ .agent = s->agent, .deployment = d->id, .of_new = g == d->to };
	memcpy(l->service, s->name, sizeof l->service);
	if (px_count(s->agent->proxy, s->name, g->number, looked, l, NULL) < 0)
		free(l); /* the proxy is down: the next look */
}

static void look_again(void *arg)
{
	struct deployment *d = arg;
	int64_t left = d->bake.until_boot_ms - clock_boot_ms();
	if (left <= 0) {
		over(d);
		return;
	}
	look(d, d->to);
	uvx_timer_start(d->service->agent->loop, (uint64_t)(left < LOOK_MS ? left : LOOK_MS), look_again, d,
		&d->bake.timer);
}

/* Resumed after a crash it goes on for what is left of it: settling's deadline is recorded, and so tells when
 * it began. */
void bake_start(struct deployment *d)
{
	uint32_t bake_ms = d->to->spec->deploy.bake_ms;
	if (bake_ms == 0)
		return;
	int64_t began = d->deadline_boot_ms - deployment_limit_ms(d);
	d->bake = (struct bake){ .on = true, .until_boot_ms = began + bake_ms };
	deployment_note(d, "bake", "run", "generation %u is watched", d->to->number);
	look(d, d->from);
	look_again(d);
}
