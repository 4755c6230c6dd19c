/* Helpers around the loop: each callback once, never early, never after its cancel; every loop closes with 0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "base/uvx.h"
#include "scratch.h"

#define ARGV(...) ((char *const *)(const char *const[]){ __VA_ARGS__, NULL })

static int setup(void **state)
{
	uv_loop_t *loop = calloc(1, sizeof *loop);
	*state = loop;
	return loop ? uv_loop_init(loop) : -1;
}

static int teardown(void **state)
{
	uv_loop_t *loop = *state;
	uv_run(loop, UV_RUN_DEFAULT);
	int r = uv_loop_close(loop);
	free(loop);
	return r;
}

static void test_errors(void **state)
{
	(void)state;
	struct err err = { 0 };
	assert_int_equal(uvx_err(&err, UV_EADDRINUSE, "listen on 1.2.3.4:80"), -EADDRINUSE);
	assert_string_equal(err.msg, "listen on 1.2.3.4:80: address already in use");
	assert_int_equal(err.code, EADDRINUSE);
}

/* --- timers --- */

struct timers {
	uv_loop_t *loop;
	struct uvx_timer *a, *b, *c;
	unsigned fired_a, fired_b, fired_c;
	struct uvx_timer *seen; /* what the place held when the callback ran */
};

static void fire_c(void *arg)
{
	struct timers *t = arg;
	t->fired_c++;
}

static void fire_b(void *arg)
{
	struct timers *t = arg;
	t->fired_b++;
}

static void fire_a(void *arg)
{
	struct timers *t = arg;
	t->fired_a++;
	t->seen = t->a;
	uvx_timer_cancel(&t->a); /* itself: nothing left to cancel */
	uvx_timer_cancel(&t->b); /* due at the same time */
}

static void test_timer_fires_once(void **state)
{
	struct timers t = { .loop = *state, .seen = (void *)1 };
	assert_int_equal(uvx_timer_start(t.loop, 0, fire_a, &t, &t.a), 0);
	assert_non_null(t.a);
	assert_int_equal(t.fired_a, 0);
	uv_run(t.loop, UV_RUN_DEFAULT);
	assert_int_equal(t.fired_a, 1);
	assert_null(t.seen);
	assert_null(t.a);
}

static void test_timer_cancels_another_that_is_due(void **state)
{
	struct timers t = { .loop = *state };
	uvx_timer_start(t.loop, 1, fire_a, &t, &t.a);
	uvx_timer_start(t.loop, 1, fire_b, &t, &t.b);
	uvx_timer_start(t.loop, 1, fire_c, &t, &t.c);
	uv_run(t.loop, UV_RUN_DEFAULT);
	assert_int_equal(t.fired_a, 1);
	assert_int_equal(t.fired_b, 0);
	assert_int_equal(t.fired_c, 1);
}

static void test_timer_started_again_replaces(void **state)
{
	struct timers t = { .loop = *state };
	uvx_timer_start(t.loop, 100000, fire_b, &t, &t.a);
	uvx_timer_start(t.loop, 1, fire_c, &t, &t.a);
	uv_run(t.loop, UV_RUN_DEFAULT);
	assert_int_equal(t.fired_b, 0);
	assert_int_equal(t.fired_c, 1);
}

static void again(void *arg)
{
	struct timers *t = arg;
	if (++t->fired_a < 5)
		assert_int_equal(uvx_timer_start(t->loop, t->fired_a % 2, again, t, &t->a), 0);
}

static void test_timer_starts_itself_again(void **state)
{
	struct timers t = { .loop = *state };
	uvx_timer_start(t.loop, 0, again, &t, &t.a);
	uv_run(t.loop, UV_RUN_DEFAULT);
	assert_int_equal(t.fired_a, 5);
	assert_null(t.a);
	uvx_timer_cancel(&t.a);
}

/* The owner may be freed in its timer's callback: nothing looks into it afterwards (the sanitizer watches).
 */
static void free_owner(void *arg)
{
	free(arg);
}

static void test_timer_owner_ends_in_callback(void **state)
{
	struct timers *t = calloc(1, sizeof *t);
	assert_int_equal(uvx_timer_start(*state, 0, free_owner, t, &t->a), 0);
	uv_run(*state, UV_RUN_DEFAULT);
	struct timers *cancelled = calloc(1, sizeof *cancelled);
	assert_int_equal(uvx_timer_start(*state, 0, free_owner, cancelled, &cancelled->a), 0);
	uvx_timer_cancel(&cancelled->a);
	free(cancelled);
}

/* The time passed until a timer fires counts from its start, not from the loop's last look at the clock. */
static void test_timer_after_a_long_callback(void **state)
{
	uv_loop_t *loop = *state;
	struct timers t = { .loop = loop };
	uv_update_time(loop);
	usleep(30000); /* what a slow callback would do */
	uint64_t begin = uv_hrtime();
	uvx_timer_start(loop, 20, fire_a, &t, &t.a);
	uv_run(loop, UV_RUN_DEFAULT);
	assert_true(uv_hrtime() - begin >= 19000000);
}

/* --- deferred calls --- */

struct order {
	uv_loop_t *loop;
	char text[16];
};

static void append(struct order *o, char c)
{
	o->text[strlen(o->text)] = c;
}

static void add_3(void *arg)
{
	append(arg, '3');
}

static void add_2(void *arg)
{
	append(arg, '2');
}

static void add_1(void *arg)
{
	struct order *o = arg;
	assert_int_equal(uvx_defer(o->loop, add_3, o), 0);
	append(o, '1');
}

static void test_defer_in_order(void **state)
{
	struct order o = { .loop = *state };
	assert_int_equal(uvx_defer(o.loop, add_1, &o), 0);
	assert_int_equal(uvx_defer(o.loop, add_2, &o), 0);
	assert_string_equal(o.text, "");
	uv_run(o.loop, UV_RUN_DEFAULT);
	assert_string_equal(o.text, "123");
}

/* --- processes --- */

struct ending {
	struct proc proc;
	struct uvx_watch *watch, *other;
	unsigned ended;
	int status;
};

static void on_ended(void *arg)
{
	struct ending *e = arg;
	e->ended++;
	assert_int_equal(proc_reap(&e->proc, &e->status), 0);
	proc_close(&e->proc); /* the watch has let go of it */
}

static void start(struct ending *e, const char *program, char *const *argv)
{
	struct err err = { 0 };
	struct spawn how = { .path = program, .argv = argv, .envp = (char *const[]){ NULL } };
	*e = (struct ending){ .proc = PROC_NONE };
	if (proc_spawn(&how, &e->proc, &err) < 0)
		fail_msg("%s", err.msg);
}

static void test_watch(void **state)
{
	uv_loop_t *loop = *state;
	struct ending e[3];
	unsigned fds = count_open_fds();
	for (size_t i = 0; i < ARRAY_LEN(e); i++) {
		start(&e[i], "/bin/sh", ARGV("sh", "-c", "exit 7"));
		assert_int_equal(
			uvx_watch_start(loop, e[i].proc.pidfd, on_ended, &e[i], &e[i].watch, NULL), 0);
	}
	uv_run(loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < ARRAY_LEN(e); i++) {
		assert_int_equal(e[i].ended, 1);
		assert_int_equal(WEXITSTATUS(e[i].status), 7);
	}
	assert_true(count_open_fds() <= fds + 1); /* the loop's epoll may have come */
}

static void test_watch_stopped(void **state)
{
	uv_loop_t *loop = *state;
	struct ending e;
	start(&e, "/bin/sleep", ARGV("sleep", "60"));
	assert_int_equal(uvx_watch_start(loop, e.proc.pidfd, on_ended, &e, &e.watch, NULL), 0);
	uv_run(loop, UV_RUN_NOWAIT);
	uvx_watch_stop(e.watch);
	uvx_watch_stop(NULL);
	proc_signal(&e.proc, SIGKILL);
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(e.ended, 0);
	/* Watched again, although it ended long ago: it tells all the same. */
	assert_int_equal(uvx_watch_start(loop, e.proc.pidfd, on_ended, &e, &e.watch, NULL), 0);
	assert_int_equal(e.ended, 0);
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(e.ended, 1);
}

static void on_ended_stop_other(void *arg)
{
	struct ending *e = arg;
	uvx_watch_stop(TAKE_PTR(e->other));
	on_ended(e);
}

/* Both ended in the same turn; the first callback stops the other's watch. */
static void test_watch_stops_another(void **state)
{
	uv_loop_t *loop = *state;
	struct ending e[2];
	for (size_t i = 0; i < 2; i++)
		start(&e[i], "/bin/true", ARGV("true"));
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(
			uvx_watch_start(loop, e[i].proc.pidfd, on_ended_stop_other, &e[i], &e[i].watch, NULL),
			0);
	e[0].other = e[1].watch;
	e[1].other = e[0].watch;
	for (size_t i = 0; i < 2; i++) {
		struct pollfd pfd = { .fd = e[i].proc.pidfd, .events = POLLIN };
		assert_int_equal(poll(&pfd, 1, 20000), 1);
	}
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(e[0].ended + e[1].ended, 1);
	struct ending *left = e[0].ended ? &e[1] : &e[0];
	on_ended(left);
}

static void test_watch_of_nothing(void **state)
{
	struct err err = { 0 };
	struct uvx_watch *w = NULL;
	assert_true(uvx_watch_start(*state, -1, on_ended, NULL, &w, &err) < 0);
	assert_memory_equal(err.msg, "watch process: ", 15);
	assert_null(w);
}

/* --- work --- */

struct job {
	uv_thread_t loop_thread;
	int answer, result;
	bool beside; /* work ran on another thread */
	unsigned done;
	struct err err;
};

static int job_work(void *arg, struct err *err)
{
	struct job *j = arg;
	uv_thread_t here = uv_thread_self();
	j->beside = !uv_thread_equal(&here, &j->loop_thread);
	return j->answer < 0 ? err_set(err, -j->answer, "dig") : j->answer;
}

static void job_done(void *arg, int result, const struct err *err)
{
	struct job *j = arg;
	uv_thread_t here = uv_thread_self();
	assert_true(uv_thread_equal(&here, &j->loop_thread));
	j->done++;
	j->result = result;
	assert_int_equal(err != NULL, result < 0);
	if (err)
		j->err = *err;
}

static void test_work(void **state)
{
	uv_loop_t *loop = *state;
	struct job jobs[20] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
		jobs[i].loop_thread = uv_thread_self();
		jobs[i].answer = i % 2 ? -ENOSPC : (int)i;
		assert_int_equal(uvx_work(loop, job_work, job_done, &jobs[i]), 0);
		assert_int_equal(jobs[i].done, 0);
	}
	uv_run(loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
		assert_int_equal(jobs[i].done, 1);
		assert_true(jobs[i].beside);
		assert_int_equal(jobs[i].result, jobs[i].answer);
		assert_string_equal(jobs[i].err.msg, i % 2 ? "dig: No space left on device" : "");
	}
}

#define loop_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		loop_test(test_timer_fires_once),
		loop_test(test_timer_cancels_another_that_is_due),
		loop_test(test_timer_started_again_replaces),
		loop_test(test_timer_starts_itself_again),
		loop_test(test_timer_owner_ends_in_callback),
		loop_test(test_timer_after_a_long_callback),
		loop_test(test_defer_in_order),
		loop_test(test_watch),
		loop_test(test_watch_stopped),
		loop_test(test_watch_stops_another),
		loop_test(test_watch_of_nothing),
		loop_test(test_work),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
