/* The real state machine (services, deployments, recovery, store) in a simulated world: fake driver, proxy,
 * probes, timers and clock, random orders from people, random failures, and an agent that is killed at any
 * moment and recovers. After every effect the promises are checked: what serves is never stopped, every
 * deployment ends, nothing is left. TEAL_RANDOM_RUNS and TEAL_RANDOM_SEED choose how many histories, and
 * which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "config/config.h"

/* A simulated kill forgets the agent's memory on purpose. */
int __lsan_is_turned_off(void); /* ASAN_OPTIONS of the runner would outvote our own defaults */
int __lsan_is_turned_off(void)
{
	return 1;
}

/* --- the world --- */

enum { CONTAINERS = 256, TASKS = 4096 };

struct task {
	int64_t due_us;
	uint64_t order;
	void (*fn)(void *arg);
	void *arg;
	bool of_agent; /* dies with the agent's process */
	struct uvx_timer *timer;
};

struct box { /* a container in the world */
	char id[RT_ID_MAX];
	bool exists, running, stopping;
};

static struct {
	uint64_t seed, tasks_run;
	int64_t now_us;
	struct task tasks[TASKS];
	size_t n_tasks;
	struct box boxes[CONTAINERS];
	struct agent *agent;
	uint64_t epoch; /* counts the agent's lives: callbacks of a dead one are dropped */
	struct {
		bool routed, hold;
		uint32_t generation;
	} proxy;
	bool failing; /* this version's containers crash or never become ready */
	unsigned rebooted;
	char path[64], boot_id[BOOT_ID_LEN];
} w;

static uint32_t rnd(uint32_t below)
{
	w.seed = w.seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w.seed >> 33) % below;
}

static void task_add(
	int64_t after_us, void (*fn)(void *arg), void *arg, bool of_agent, struct uvx_timer *timer)
{
	assert_true(w.n_tasks < TASKS);
	w.tasks[w.n_tasks++] =
		(struct task){ w.now_us + after_us, w.tasks_run + w.n_tasks, fn, arg, of_agent, timer };
}

static bool task_run(int64_t until_us)
{
	size_t best = w.n_tasks;
	for (size_t i = 0; i < w.n_tasks; i++)
		if (best == w.n_tasks || w.tasks[i].due_us < w.tasks[best].due_us ||
			(w.tasks[i].due_us == w.tasks[best].due_us && w.tasks[i].order < w.tasks[best].order))
			best = i;
	if (best == w.n_tasks || w.tasks[best].due_us > until_us)
		return false;
	struct task t = w.tasks[best];
	w.tasks[best] = w.tasks[--w.n_tasks];
	w.now_us = t.due_us > w.now_us ? t.due_us : w.now_us;
	w.tasks_run++;
	t.fn(t.arg);
	return true;
}

static void run_for(int64_t us)
{
	int64_t until = w.now_us + us;
	while (task_run(until))
		;
	w.now_us = until;
}

/* --- clock and loop helpers, simulated --- */

int64_t clock_boot_us(void)
{
	return w.now_us;
}
int64_t clock_boot_ms(void)
{
	return w.now_us / 1000;
}
int64_t clock_wall_ms(void)
{
	return 1700000000000 + w.now_us / 1000;
}
void clock_boot_id(char ret[BOOT_ID_LEN])
{
	memcpy(ret, w.boot_id, BOOT_ID_LEN);
}
char *format_utc(int64_t wall_ms, char text[UTC_LEN])
{
	snprintf(text, UTC_LEN, "%" PRId64, wall_ms);
	return text;
}

struct uvx_timer {
	void (*fn)(void *arg);
	void *arg;
	struct uvx_timer **place;
};

static void timer_fire(void *arg)
{
	struct uvx_timer t = *(struct uvx_timer *)arg;
	*t.place = NULL;
	free(arg);
	t.fn(t.arg);
}

int uvx_timer_start(
	uv_loop_t *loop, uint64_t after_ms, void (*fn)(void *arg), void *arg, struct uvx_timer **t)
{
	(void)loop;
	uvx_timer_cancel(t);
	struct uvx_timer *n = calloc(1, sizeof *n);
	*n = (struct uvx_timer){ fn, arg, t };
	task_add((int64_t)after_ms * 1000, timer_fire, n, true, n);
	*t = n;
	return 0;
}

void uvx_timer_cancel(struct uvx_timer **t)
{
	struct uvx_timer *old = TAKE_PTR(*t);
	for (size_t i = 0; old && i < w.n_tasks; i++) {
		if (w.tasks[i].timer != old)
			continue;
		w.tasks[i] = w.tasks[--w.n_tasks];
		break;
	}
	free(old);
}

int uvx_defer(uv_loop_t *loop, void (*fn)(void *arg), void *arg)
{
	(void)loop;
	task_add(0, fn, arg, true, NULL);
	return 0;
}

/* --- operations of the fake driver and proxy: they end after a while, if the agent still lives --- */

struct op {
	void *arg, *done;
	char id[RT_ID_MAX];
	int result;
	bool cancelled;
	uint32_t generation;
};

static struct op *op_new(void *done, void *arg, const char *id, uint32_t max_us, void (*fn)(void *arg))
{
	struct op *op = calloc(1, sizeof *op);
	op->done = done;
	op->arg = arg;
	snprintf(op->id, sizeof op->id, "%s", id);
	task_add(1 + rnd(max_us), fn, op, true, NULL);
	return op;
}

static struct box *box_find(const char *id)
{
	for (size_t i = 0; i < CONTAINERS; i++)
		if (w.boxes[i].exists && strcmp(w.boxes[i].id, id) == 0)
			return &w.boxes[i];
	return NULL;
}

static struct box *box_make(const char *id)
{
	struct box *b = box_find(id);
	for (size_t i = 0; !b && i < CONTAINERS; i++)
		if (!w.boxes[i].exists)
			b = &w.boxes[i];
	assert_non_null(b);
	*b = (struct box){ .exists = true };
	snprintf(b->id, sizeof b->id, "%s", id);
	return b;
}

static uint32_t generation_of(const char *id)
{
	char service[SPEC_NAME_MAX];
	uint32_t generation = 0, replica;
	assert_int_equal(rt_id_parse(id, service, &generation, &replica), 0);
	return generation;
}

static unsigned living(uint32_t generation)
{
	unsigned n = 0;
	for (size_t i = 0; i < CONTAINERS; i++)
		n += w.boxes[i].exists && w.boxes[i].running && generation_of(w.boxes[i].id) == generation;
	return n;
}

static void state_of(const char *id, bool running, struct rt_state *ret)
{
	*ret = (struct rt_state){
		.running = running, .pid = 1000, .started_ms = clock_wall_ms(), .n_ports = 1
	};
	snprintf(ret->id, sizeof ret->id, "%s", id);
	ret->ports[0] = 80;
	ret->address.ss_family = AF_INET;
	ret->exit.code = running ? 0 : 1;
}

static void crash(void *arg)
{
	struct op *op = arg;
	struct box *b = box_find(op->id);
	struct rt_exit e = { .code = 1, .at_ms = clock_wall_ms() };
	if (b && b->running) {
		char name[SPEC_NAME_MAX];
		uint32_t generation, replica;
		b->running = false;
		rt_id_parse(op->id, name, &generation, &replica);
		struct service *s = w.agent ? service_find(w.agent, name) : NULL;
		struct generation *g = s ? service_generation(s, generation) : NULL;
		if (g && !b->stopping)
			gen_exited(g, replica, &e);
	}
	free(op);
}

static void world_crash_later(const char *id)
{
	struct op *op = calloc(1, sizeof *op);
	snprintf(op->id, sizeof op->id, "%s", id);
	task_add(rnd(3000000), crash, op, false, NULL);
}

static void started(void *arg)
{
	OWN_FREE struct op *op = arg;
	struct err why = { .code = ENOEXEC, .msg = "exec: no" };
	struct rt_state state;
	if (op->cancelled || op->result < 0) {
		((rt_started)op->done)(op->arg, op->cancelled ? -ECANCELED : op->result, NULL, &why);
		return;
	}
	box_make(op->id)->running = true;
	if (w.failing && rnd(3) == 0)
		world_crash_later(op->id);
	state_of(op->id, true, &state);
	((rt_started)op->done)(op->arg, 0, &state, NULL);
}

static int fake_start(struct rt_host *h, const struct rt_launch *l, rt_started done, void *arg,
	struct rt_op **ret, struct err *err)
{
	(void)h;
	struct box *b = box_find(l->id);
	if (b && b->running)
		return err_say(err, EALREADY, "%s runs", l->id);
	struct op *op = op_new((void *)done, arg, l->id, 50000, started);
	op->result = w.failing && rnd(4) == 0 ? -ENOEXEC : 0;
	*ret = (struct rt_op *)op;
	return 0;
}

/* The promise itself: nobody stops what serves. */
static void assert_may_end(const char *id)
{
	const struct service *s = service_find(w.agent, "web");
	uint32_t generation = generation_of(id);
	const struct box *b = box_find(id);
	if (!b || !b->running || s->removed || !w.proxy.routed || w.proxy.generation != generation ||
		w.proxy.hold)
		return;
	/* A deployment without a predecessor that fails takes its own containers away. */
	if (s->deployment && s->deployment->failing && !s->deployment->from)
		return;
	fail_msg("seed %" PRIu64 ": %s serves and is being ended", w.seed, id);
}

static void stopped(void *arg)
{
	OWN_FREE struct op *op = arg;
	struct box *b = box_find(op->id);
	if (b)
		b->running = false;
	((rt_done)op->done)(op->arg, 0, NULL);
}

static int fake_stop(
	struct rt_host *h, const char *id, int sig, uint32_t grace, rt_done done, void *arg, struct err *err)
{
	(void)h;
	(void)sig;
	(void)grace;
	(void)err;
	assert_may_end(id);
	if (box_find(id))
		box_find(id)->stopping = true;
	op_new((void *)done, arg, id, 200000, stopped);
	return 0;
}

static void destroyed(void *arg)
{
	OWN_FREE struct op *op = arg;
	struct box *b = box_find(op->id);
	if (b)
		b->exists = b->running = false;
	if (op->done)
		((rt_done)op->done)(op->arg, 0, NULL);
}

static int fake_destroy(struct rt_host *h, const char *id, rt_done done, void *arg, struct err *err)
{
	(void)h;
	(void)err;
	assert_may_end(id);
	op_new((void *)done, arg, id, 50000, destroyed);
	return 0;
}

static void fetched(void *arg)
{
	OWN_FREE struct op *op = arg;
	struct err why = { .code = EIO, .msg = "disk on fire" };
	char digest[DIGEST_LEN];
	digest_of("image", 5, digest);
	if (op->cancelled)
		op->result = -ECANCELED;
	((rt_image_done)op->done)(
		op->arg, op->result, op->result < 0 ? NULL : digest, op->result < 0 ? &why : NULL);
}

static int fake_fetch(struct rt_host *h, const char *ref, const char *digest, rt_image_done done, void *arg,
	struct rt_op **ret, struct err *err)
{
	(void)h;
	(void)ref;
	(void)digest;
	(void)err;
	struct op *op = op_new((void *)done, arg, "", 400000, fetched);
	op->result = rnd(8) == 0 ? -EIO : 0;
	*ret = (struct rt_op *)op;
	return 0;
}

static bool fake_present(struct rt_host *h, const char *digest)
{
	(void)h;
	(void)digest;
	return rnd(2) == 0;
}

static json_t *fake_images(struct rt_host *h)
{
	(void)h;
	return json_array();
}

static void logs_end(void *arg)
{
	OWN_FREE struct op *op = arg;
	((rt_done)op->done)(op->arg, 0, NULL);
}

static int fake_logs(struct rt_host *h, const char *id, const struct rt_log_query *q, rt_log_line line,
	rt_done end, void *arg, struct rt_op **ret, struct err *err)
{
	(void)h;
	(void)q;
	(void)err;
	line(arg, 1, "stdout", "hello", 5);
	*ret = (struct rt_op *)op_new((void *)end, arg, id, 1000, logs_end);
	return 0;
}

static int fake_logs_remove(struct rt_host *h, const char *service, uint32_t generation, struct err *err)
{
	(void)h;
	(void)service;
	(void)generation;
	(void)err;
	return 0;
}

static int fake_adopt(
	struct rt_host *h, void (*seen)(void *arg, const struct rt_state *state), void *arg, struct err *err)
{
	(void)h;
	(void)err;
	for (size_t i = 0; i < CONTAINERS; i++) {
		struct rt_state state;
		if (!w.boxes[i].exists)
			continue;
		w.boxes[i].stopping = false;
		state_of(w.boxes[i].id, w.boxes[i].running, &state);
		seen(arg, &state);
	}
	return 0;
}

static const struct rt_driver fake_driver = { .name = "fake",
	.start = fake_start,
	.stop = fake_stop,
	.destroy = fake_destroy,
	.image_fetch = fake_fetch,
	.image_present = fake_present,
	.image_list = fake_images,
	.logs = fake_logs,
	.logs_remove = fake_logs_remove,
	.adopt = fake_adopt };

void rt_cancel(struct rt_op *op)
{
	if (op)
		((struct op *)op)->cancelled = true;
}

void rt_id_format(char ret[RT_ID_MAX], const char *service, uint32_t generation, uint32_t replica)
{
	snprintf(ret, RT_ID_MAX, "%s.%u.%u", service, generation, replica);
}

int rt_id_parse(const char *id, char service[SPEC_NAME_MAX], uint32_t *ret_generation, uint32_t *ret_replica)
{
	return sscanf(id, "%40[^.].%u.%u", service, ret_generation, ret_replica) == 3 ? 0 : -EINVAL;
}

/* --- probes: a healthy version is ready soon, a failing one perhaps never --- */

struct hc_check {
	struct hc_callbacks callbacks;
	struct hc_answer answer;
	enum hc_verdict verdict;
	bool stopped;
};

static void check_ready(void *arg)
{
	struct hc_check *c = arg;
	if (c->stopped) {
		free(c);
		return;
	}
	c->verdict = HC_READY;
	c->callbacks.changed(c->callbacks.arg, HC_READY, &c->answer);
}

int hc_start(struct hc_engine *e, const struct hc_target *target, const hc_exec_vtable *exec, void *exec_arg,
	enum hc_verdict initial, const struct hc_callbacks *callbacks, struct hc_check **ret, struct err *err)
{
	(void)e;
	(void)target;
	(void)exec;
	(void)exec_arg;
	(void)err;
	struct hc_check *c = calloc(1, sizeof *c);
	c->callbacks = *callbacks;
	c->verdict = initial;
	c->answer.at_ms = 1;
	if (initial == HC_STARTING && !(w.failing && rnd(2) == 0))
		task_add(1000 + rnd(500000), check_ready, c, false, NULL);
	*ret = c;
	return 0;
}
void hc_stop(struct hc_check *c)
{
	if (c)
		c->stopped = true; /* freed by its task, or leaked: the simulation is short */
}
const struct hc_answer *hc_last(const struct hc_check *c)
{
	return &c->answer;
}
const char *hc_verdict_name(enum hc_verdict v)
{
	return v == HC_READY ? "ready" : "not ready";
}

/* --- the proxy: outlives the agent --- */

static void route_reached(void *arg)
{
	OWN_FREE struct op *op = arg;
	((px_done)op->done)(op->arg, op->result, NULL);
}

int px_route(struct px_client *c, const struct px_route *route, px_done done, void *arg, struct err *err)
{
	(void)c;
	(void)err;
	op_new((void *)done, arg, "", 3000, route_reached);
	if (strcmp(route->service, "web") != 0)
		return 0; /* a preview */
	w.proxy.routed = true;
	w.proxy.hold = route->hold;
	w.proxy.generation = route->generation;
	return 0;
}

static void drain_over(void *arg)
{
	OWN_FREE struct op *op = arg;
	struct px_counts counts = { .ended = 3 };
	if (w.proxy.routed && w.proxy.generation == op->generation && !w.proxy.hold &&
		!service_find(w.agent, "web")->removed)
		return; /* routed to again: cancelled */
	((px_drained)op->done)(op->arg, &counts);
}

int px_drain(struct px_client *c, const char *service, uint32_t generation, uint32_t timeout_ms,
	px_drained progress, px_drained drained, void *arg, struct err *err)
{
	(void)c;
	(void)service;
	(void)timeout_ms;
	(void)progress;
	(void)err;
	op_new((void *)drained, arg, "", 900000, drain_over)->generation = generation;
	return 0;
}

int px_bind(struct px_client *c, const char *service, const struct sockaddr_storage *address, struct err *err)
{
	(void)c;
	(void)service;
	(void)address;
	return rnd(40) == 0 ? err_say(err, EADDRINUSE, "taken") : 0;
}
void px_unbind(struct px_client *c, const char *service, const struct sockaddr_storage *address)
{
	(void)c;
	(void)service;
	(void)address;
}
void px_forget(struct px_client *c, const char *service)
{
	(void)c;
	if (strcmp(service, "web") != 0)
		return;
	w.proxy.routed = false;
	for (size_t i = w.n_tasks; i > 0; i--)
		if (w.tasks[i - 1].fn == drain_over)
			w.tasks[i - 1] = w.tasks[--w.n_tasks];
}
void px_routes_found(struct px_client *c, px_seen_route seen, void *arg)
{
	(void)c;
	if (w.proxy.routed)
		seen(arg, "web", w.proxy.generation, w.proxy.hold);
}
static void counted(void *arg)
{
	OWN_FREE struct op *op = arg;
	struct px_counts counts = { .total = 100 + (uint64_t)(w.now_us / 1000),
		.connect_errors = w.failing ? 60 : 0 };
	((px_counted)op->done)(op->arg, 0, &counts);
}

int px_count(struct px_client *c, const char *service, uint32_t generation, px_counted done, void *arg,
	struct err *err)
{
	(void)c;
	(void)service;
	(void)generation;
	if (rnd(10) == 0)
		return err_say(err, ENOTCONN, "the proxy is down");
	op_new((void *)done, arg, "", 2000, counted);
	return 0;
}

/* --- the agent's lives --- */

static void agent_begin(void)
{
	struct agent *a = calloc(1, sizeof *a);
	OWN_FREE char *note = NULL;
	struct err why = { 0 };
	a->driver = &fake_driver;
	a->lock_fd = -1;
	LIST_INIT(&a->waits);
	memcpy(a->boot_id, w.boot_id, sizeof a->boot_id);
	static char nowhere[] = "/nonexistent"; /* no spec here has secrets */
	a->settings.state_dir = nowhere;
	assert_int_equal(store_open(w.path, &a->store, &note, &why), 0);
	assert_null(note);
	assert_int_equal(events_open(NULL, a->store, &a->events, &why), 0);
	w.agent = a;
	assert_int_equal(agent_recover(a, &why), 0);
}

/* kill -9: nothing is said to anybody, nothing is written; callbacks and timers die with it. */
static void agent_kill(void)
{
	for (size_t i = w.n_tasks; i > 0; i--)
		if (w.tasks[i - 1].of_agent)
			w.tasks[i - 1] = w.tasks[--w.n_tasks];
	store_close(w.agent->store);
	w.agent = NULL;
	for (size_t i = 0; i < w.n_tasks; i++)
		if (w.tasks[i].fn == check_ready)
			((struct hc_check *)w.tasks[i].arg)->stopped = true;
}

static void reboot(void)
{
	agent_kill();
	for (size_t i = 0; i < CONTAINERS; i++)
		w.boxes[i].running = false;
	w.proxy.routed = false;
	snprintf(w.boot_id, sizeof w.boot_id, "boot-%u", ++w.rebooted);
	w.now_us += 60000000;
	agent_begin();
}

static void apply_version(uint32_t version, bool stop_first, bool force)
{
	struct diag_list d = { 0 };
	OWN_SPEC struct spec *spec = NULL;
	struct apply request = { .force = force, .by = "sim", .source = "sim.yaml" };
	struct err why = { 0 };
	OWN_JSON json_t *result = NULL;
	int64_t id;
	char text[512];
	snprintf(text, sizeof text,
		"name: web\nimage: rootfs:/img\ncommand: [x]\nenvironment: {VERSION: v%u}\nports: "
		"[\"127.0.0.1:8080:80\"]\n"
		"deploy: {replicas: 2, order: %s, standby: %s, drain_timeout: 2s, healthy_deadline: 5s, "
		"history: 2, bake_time: %s, promote: %s, promote_timeout: 4s, confirm: %s}\n",
		version, stop_first ? "stop-first" : "start-first", version % 3 ? "20s" : "0s",
		version % 2 ? "3s" : "0s", version == 4 ? "manual" : "auto", version == 5 ? "3s" : "0s");
	if (cfg_read(text, strlen(text), "sim", "/", &spec, &d) < 0)
		fail_msg("%s", d.items[0].text);
	diag_done(&d);
	request.spec = spec;
	digest_of("image", 5, request.image_digest);
	assert_int_equal(cfg_digest(spec, request.image_digest, request.digest), 0);
	service_apply(w.agent, &request, &id, &result, &why);
}

static void random_order(void)
{
	struct service *s = service_find(w.agent, "web");
	struct err why = { 0 };
	int64_t id;
	uint32_t dice = rnd(100);
	w.failing = rnd(3) == 0;
	if (dice < 45 || !s)
		apply_version(rnd(6), rnd(4) == 0, rnd(5) == 0);
	else if (dice < 65)
		service_rollback(s, rnd(4) == 0 ? 1 + rnd(s->next_generation) : 0, "sim", &id, &why);
	else if (dice < 70)
		service_abort(s, "sim", &id, &why);
	else if (dice < 75)
		service_promote(s, "sim", &id, &why);
	else if (dice < 78)
		service_remove(s, "sim", &id, &why);
	else if (dice < 92) {
		agent_kill();
		agent_begin();
	} else if (dice < 94)
		reboot();
	else
		for (size_t i = 0; i < CONTAINERS; i++)
			if (w.boxes[i].running && rnd(4) == 0)
				world_crash_later(w.boxes[i].id);
}

static void assert_quiet(void)
{
	struct service *s = service_find(w.agent, "web");
	struct generation *g;
	if (!s) {
		for (size_t i = 0; i < CONTAINERS; i++)
			if (w.boxes[i].exists)
				fail_msg("%s is left after the service was removed", w.boxes[i].id);
		return;
	}
	if (s->deployment)
		fail_msg("deployment %" PRId64 " is still %s", s->deployment->id,
			dep_traits[s->deployment->state].key);
	assert_null(s->queued);
	LIST_FOREACH (g, &s->generations, link)
		if (g != s->active && g != s->standby)
			fail_msg("generation %u is %s and neither serves nor stands by", g->number,
				gen_state_name(g->state));
	for (size_t i = 0; i < CONTAINERS; i++)
		if (w.boxes[i].exists && !service_generation(s, generation_of(w.boxes[i].id)))
			fail_msg("%s is left", w.boxes[i].id);
	if (s->active && !w.failing) {
		assert_int_equal(living(s->active->number), s->active->n);
		assert_true(w.proxy.routed && !w.proxy.hold);
		assert_int_equal(w.proxy.generation, s->active->number);
	}
}

static void one_history(uint64_t seed)
{
	char command[96];
	memset(&w, 0, sizeof w);
	w.seed = seed;
	snprintf(w.boot_id, sizeof w.boot_id, "boot-0");
	snprintf(w.path, sizeof w.path, "/dev/shm/teal-sim-%d.db", (int)getpid());
	for (size_t i = 0; i < 3; i++) {
		static const char *const suffixes[] = { "", "-wal", "-shm" };
		snprintf(command, sizeof command, "%s%s", w.path, suffixes[i]);
		unlink(command);
	}
	agent_begin();
	uint32_t orders = 3 + rnd(12);
	for (uint32_t i = 0; i < orders; i++) {
		random_order();
		run_for(rnd(3) == 0 ? rnd(8000000) : rnd(300000));
	}
	w.failing = false;
	run_for(600 * (int64_t)1000000); /* every deadline there is has passed */
	assert_quiet();
	agent_kill();
	agent_begin();
	run_for(60 * (int64_t)1000000);
	assert_quiet();
	agent_kill();
	for (size_t i = 0; i < 3; i++) {
		static const char *const suffixes[] = { "", "-wal", "-shm" };
		snprintf(command, sizeof command, "%s%s", w.path, suffixes[i]);
		unlink(command);
	}
}

static void test_random_histories(void **state)
{
	const char *runs = getenv("TEAL_RANDOM_RUNS"), *seed = getenv("TEAL_RANDOM_SEED");
	uint64_t n = runs ? strtoull(runs, NULL, 10) : 200, first = seed ? strtoull(seed, NULL, 10) : 1;
	(void)state;
	for (uint64_t i = 0; i < n; i++) {
		if (getenv("TEAL_RANDOM_SHOW"))
			print_message("seed %" PRIu64 "\n", first + i);
		one_history((first + i) * 7919);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_histories) };
	log_open("sim", getenv("TEAL_RANDOM_SHOW") ? LOG_DEBUG_ : 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
