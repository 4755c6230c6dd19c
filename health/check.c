/* The scheduler: one probe after the other, and who is told of the answers. */
#include "health/check.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/line.h"
#include "base/own.h"
#include "base/uvx.h"

#define STEADY_JITTER_PART 10u /* of the interval: plus or minus half of that */

int hc_engine_open(uv_loop_t *loop, struct hc_engine **ret, struct err *err)
{
	OWN_FREE struct hc_engine *e = calloc(1, sizeof *e);
	if (!e)
		return err_set(err, ENOMEM, "start health checks");
	*e = (struct hc_engine){ .loop = loop, .refs = 1, .random = (uint32_t)uv_hrtime() | 1 };
	int r = hc_curl_open(e, &e->curl, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(e);
	return 0;
}

void hc_engine_unref(struct hc_engine *e)
{
	if (--e->refs > 0)
		return;
	void (*closed)(void *arg) = e->closed;
	void *arg = e->closed_arg;
	free(e);
	closed(arg);
}

void hc_engine_close(struct hc_engine *e, void (*closed)(void *arg), void *arg)
{
	assert(e->checks == 0);
	e->closed = closed;
	e->closed_arg = arg;
	hc_curl_close(e->curl); /* takes turns of the loop, so that closed never runs in here */
	hc_engine_unref(e);
}

struct sockaddr_storage hc_address(const struct hc_check *c, uint16_t port)
{
	struct sockaddr_storage a = c->address;
	if (a.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&a)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)&a)->sin_port = htons(port);
	return a;
}

/* Replicas that were started together must not be probed together for ever; while one starts, it is early
 * answers that matter. */
static uint64_t next_gap_ms(struct hc_check *c)
{
	uint32_t gap = hc_judge_gap_ms(&c->judge, c->health, c->probes);
	if (c->judge.verdict == HC_STARTING)
		return gap;
	uint32_t *x = &c->engine->random; /* xorshift32 */
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	uint32_t range = gap / STEADY_JITTER_PART;
	return gap - range / 2 + *x % (range + 1);
}

static void on_timer(uv_timer_t *timer)
{
	struct hc_check *c = timer->data;
	struct err err = { 0 };
	c->probe_began_ns = uv_hrtime();
	if (!c->kind) {
		c->judge.successes = c->health->successes; /* asking again would tell nothing new */
		hc_check_answer(c, true, "no port to probe");
	} else if (c->kind->start(c, &err) < 0) {
		hc_check_answer(c, false, "%s", err.msg);
	}
}

static void record(struct hc_check *c, bool ok, const char *fmt, va_list ap)
{
	char text[4096];
	vsnprintf(text, sizeof text, fmt, ap);
	c->last = (struct hc_answer){
		.ok = ok,
		.at_ms = clock_wall_ms(),
		.took_us = (uint32_t)((uv_hrtime() - c->probe_began_ns) / 1000),
		.successes = c->judge.successes,
		.failures = c->judge.failures,
	};
	line_copy(c->last.text, sizeof c->last.text, text);
}

void hc_check_answer(struct hc_check *c, bool ok, const char *fmt, ...)
{
	assert(!c->probe && !c->stopped);
	if (c->probes < UINT32_MAX)
		c->probes++;
	bool changed = hc_judge_answer(&c->judge, c->health, ok, clock_boot_ms() - c->began_ms);
	va_list ap;
	va_start(ap, fmt);
	record(c, ok, fmt, ap);
	va_end(ap);

	/* Either callback may stop the check; its memory lasts until the loop's next turn. */
	if (c->callbacks.answered)
		c->callbacks.answered(c->callbacks.arg, &c->last);
	if (changed && !c->stopped)
		c->callbacks.changed(c->callbacks.arg, c->judge.verdict, &c->last);
	if (!c->stopped && c->kind)
		uv_timer_start(&c->timer, on_timer, next_gap_ms(c), 0);
}

static const struct hc_probe_kind *kind_of(const struct hc_target *t)
{
	static const struct hc_probe_kind *const kinds[] = {
		[SPEC_CHECK_NONE] = &hc_probe_tcp,
		[SPEC_CHECK_HTTP] = &hc_probe_http,
		[SPEC_CHECK_TCP] = &hc_probe_tcp,
		[SPEC_CHECK_EXEC] = &hc_probe_exec,
	};
	if (t->health->kind == SPEC_CHECK_NONE && t->n_ports == 0)
		return NULL; /* ready without a question */
	return kinds[t->health->kind];
}

static int target_check(const struct hc_target *t, const hc_exec_vtable *exec, struct err *err)
{
	enum spec_check kind = t->health->kind;
	if ((kind == SPEC_CHECK_HTTP || kind == SPEC_CHECK_TCP) && t->n_ports == 0)
		return err_say(err, EINVAL, "health check: no port to probe");
	if (kind == SPEC_CHECK_EXEC && (!exec || !t->health->exec || !t->health->exec[0]))
		return err_say(err, EINVAL, "health check: nothing to run");
	return 0;
}

static int ports_copy(struct hc_check *c, const struct hc_target *t)
{
	/* An http or tcp check asks one port; the other ones may be there for other purposes. */
	size_t n = t->health->kind == SPEC_CHECK_NONE || t->n_ports == 0 ? t->n_ports : 1;
	c->ports = calloc(n + 1, sizeof *c->ports);
	if (!c->ports)
		return -ENOMEM;
	if (n > 0)
		memcpy(c->ports, t->ports, n * sizeof *c->ports);
	c->n_ports = n;
	return 0;
}

int hc_start(struct hc_engine *e, const struct hc_target *target, const hc_exec_vtable *exec, void *exec_arg,
	enum hc_verdict initial, const struct hc_callbacks *callbacks, struct hc_check **ret, struct err *err)
{
	int r = target_check(target, exec, err);
	if (r < 0)
		return r;
	OWN_FREE struct hc_check *c = calloc(1, sizeof *c);
	if (!c || ports_copy(c, target) < 0)
		return err_set(err, ENOMEM, "start health check");
	c->engine = e;
	c->kind = kind_of(target);
	c->health = target->health;
	c->address = target->address;
	c->exec = exec;
	c->exec_arg = exec_arg;
	c->callbacks = *callbacks;
	c->judge.verdict = initial;
	c->began_ms = clock_boot_ms();
	uv_timer_init(e->loop, &c->timer);
	c->timer.data = c;
	if (c->kind || initial != HC_READY)
		uv_timer_start(&c->timer, on_timer, 0, 0);
	e->checks++;
	e->refs++;
	*ret = TAKE_PTR(c);
	return 0;
}

static void on_check_closed(uv_handle_t *h)
{
	struct hc_check *c = h->data;
	struct hc_engine *e = c->engine;
	free(c->ports);
	free(c);
	hc_engine_unref(e);
}

void hc_stop(struct hc_check *c)
{
	if (!c)
		return;
	c->stopped = true;
	c->engine->checks--;
	if (c->probe)
		c->kind->cancel(c);
	uv_close((uv_handle_t *)&c->timer, on_check_closed);
}

const struct hc_answer *hc_last(const struct hc_check *c)
{
	return &c->last;
}

enum hc_verdict hc_verdict_of(const struct hc_check *c)
{
	return c->judge.verdict;
}
