#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "driver_contract.h"
#include "driver_rig.h"

#define ID "web.1.1"

static void test_exit_code_arrives(void **state)
{
	struct rig *r = *state;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("exit", "7") }, NULL);
	struct rt_exit e = rig_await_exit(r, ID);
	assert_int_equal(e.code, 7);
	assert_int_equal(e.signal, 0);
	assert_false(e.oom);
	assert_true(e.at_ms > 0);
	struct rt_state s;
	struct err err;
	assert_int_equal(r->driver->inspect(r->host, ID, &s, &err), 0);
	assert_false(s.running);
	assert_int_equal(s.exit.code, 7);
	assert_int_equal(rig_destroy(r, ID), 0);
	assert_int_equal(r->driver->inspect(r->host, ID, &s, &err), -ENOENT);
}

static void test_exit_signal_arrives(void **state)
{
	struct rig *r = *state;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("raise", "11") }, NULL);
	struct rt_exit e = rig_await_exit(r, ID);
	assert_int_equal(e.signal, SIGSEGV);
	assert_int_equal(e.code, 128 + SIGSEGV);
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_wrong_command_says_why(void **state)
{
	struct rig *r = *state;
	struct err err = { 0 };
	char *const argv[] = { (char *)"/bin/absent", NULL };
	assert_int_equal(rig_start(r, &(struct rig_want){ .argv = argv }, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/bin/absent"));
	assert_non_null(strstr(err.msg, "No such file or directory"));
	assert_non_null(strstr(err.msg, ID));
	struct rt_state s;
	assert_int_equal(r->driver->inspect(r->host, ID, &s, &err), -ENOENT);
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_start_of_running_is_already(void **state)
{
	struct rig *r = *state;
	struct err err = { 0 };
	rig_start_ok(r, &(struct rig_want){ 0 }, NULL);
	assert_int_equal(rig_start(r, &(struct rig_want){ 0 }, NULL, &err), -EALREADY);
	assert_int_equal(rig_destroy(r, ID), 0);
	assert_int_equal(rig_await_exit(r, ID).signal, SIGKILL);
}

static void test_stop_is_polite_first(void **state)
{
	struct rig *r = *state;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("term") }, NULL);
	rig_await_line(r, ID, "ready");
	assert_int_equal(rig_stop(r, ID, SIGTERM, 10000), 0);
	struct rt_exit e = rig_await_exit(r, ID);
	assert_int_equal(e.code, 3);
	assert_int_equal(e.signal, 0);
	assert_int_equal(rig_stop(r, ID, SIGTERM, 10000), 0);
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_stop_kills_after_grace(void **state)
{
	struct rig *r = *state;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("ignore") }, NULL);
	rig_await_line(r, ID, "ready");
	uint64_t before = uv_hrtime();
	assert_int_equal(rig_stop(r, ID, SIGTERM, 60), 0);
	assert_true(uv_hrtime() - before >= 55 * UINT64_C(1000000));
	assert_int_equal(rig_await_exit(r, ID).signal, SIGKILL);
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_absent_ones_are_fine(void **state)
{
	struct rig *r = *state;
	struct err err;
	int code;
	char output[4096];
	assert_int_equal(rig_stop(r, "web.9.9", SIGTERM, 10), 0);
	assert_int_equal(rig_destroy(r, "web.9.9"), 0);
	assert_int_equal(rig_exec(r, "web.9.9", ARGV("exit", "0"), 0, &code, output, &err), -ENOENT);
}

static void test_restart_keeps_id_and_is_fresh(void **state)
{
	struct rig *r = *state;
	struct rig_want want = { .writable = true, .argv = ARGV("facts") };
	for (int i = 0; i < 2; i++) {
		struct rig_lines l;
		rig_start_ok(r, &want, NULL);
		assert_int_equal(rig_await_exit(r, ID).code, 0);
		rig_logs(r, ID, &(struct rt_log_query){ .tail = 64 }, &l);
		assert_string_equal(
			rig_fact(&l, "write_root"), "0"); /* would be EEXIST-free twice only if fresh */
	}
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_exec_runs_inside(void **state)
{
	struct rig *r = *state;
	int code = -1;
	char output[4096];
	struct err err = { 0 };
	rig_start_ok(r, &(struct rig_want){ 0 }, NULL);
	assert_int_equal(rig_exec(r, ID, ARGV("echo", "hello"), 5000, &code, output, &err), 0);
	assert_int_equal(code, 0);
	assert_string_equal(output, "hello\n");
	assert_int_equal(rig_exec(r, ID, ARGV("exit", "5"), 5000, &code, output, &err), 0);
	assert_int_equal(code, 5);
	assert_int_equal(
		rig_exec(r, ID, (char *const[]){ (char *)"absent", NULL }, 5000, &code, output, &err),
		-ENOENT);
	assert_non_null(strstr(err.msg, "absent"));
	assert_int_equal(rig_destroy(r, ID), 0);
	rig_await_exit(r, ID);
}

static void test_exec_output_is_cut(void **state)
{
	struct rig *r = *state;
	int code = -1;
	char output[4096];
	struct err err = { 0 };
	rig_start_ok(r, &(struct rig_want){ 0 }, NULL);
	assert_int_equal(rig_exec(r, ID, ARGV("flood", "20000"), 10000, &code, output, &err), 0);
	assert_int_equal(code, 0);
	assert_int_equal(strlen(output), 4095);
	assert_int_equal(rig_destroy(r, ID), 0);
	rig_await_exit(r, ID);
}

static void test_exec_timeout_ends_the_tree(void **state)
{
	struct rig *r = *state;
	int code = -1;
	char output[4096];
	struct err err = { 0 };
	rig_start_ok(r, &(struct rig_want){ 0 }, NULL);
	assert_int_equal(rig_exec(r, ID, ARGV("tree"), 100, &code, output, &err), -ETIMEDOUT);
	assert_string_equal(output, "ready\n");
	/* The prober sees pid 1, the application and itself: nothing of the tree. */
	assert_int_equal(rig_exec(r, ID, ARGV("facts"), 5000, &code, output, &err), 0);
	assert_non_null(strstr(output, "\nprocesses=3\n"));
	assert_int_equal(rig_destroy(r, ID), 0);
	rig_await_exit(r, ID);
}

static void on_cancelled(void *arg, int result, const struct rt_state *s, const struct err *why)
{
	(void)s;
	assert_non_null(why);
	*(int *)arg = result;
}

static void test_start_can_be_cancelled(void **state)
{
	struct rig *r = *state;
	struct spec_container c = { .command = (char **)(uintptr_t)ARGV("wait"), .read_only = true };
	struct rt_launch l = {
		.id = ID, .service = "web", .slot = "blue", .generation = 1, .replica = 1, .container = &c
	};
	struct rt_op *op = NULL;
	struct err err;
	int result = 1;
	memcpy(l.image_digest, r->digest, DIGEST_LEN);
	assert_int_equal(r->driver->start(r->host, &l, on_cancelled, &result, &op, &err), 0);
	rt_cancel(op);
	assert_int_equal(result, 1);
	assert_int_equal(rig_destroy(r, ID), 0);
	assert_int_equal(result, -ECANCELED);
	assert_int_equal(r->n_exits, 0);
}

static void test_destroy_while_starting(void **state)
{
	struct rig *r = *state;
	struct spec_container c = { .command = (char **)(uintptr_t)ARGV("wait"), .read_only = true };
	struct rt_launch l = {
		.id = ID, .service = "web", .slot = "blue", .generation = 1, .replica = 1, .container = &c
	};
	struct err err;
	int result = 1;
	memcpy(l.image_digest, r->digest, DIGEST_LEN);
	assert_int_equal(r->driver->start(r->host, &l, on_cancelled, &result, NULL, &err), 0);
	assert_int_equal(rig_destroy(r, ID), 0);
	assert_int_equal(result, -ECANCELED);
	struct rt_state s;
	assert_int_equal(r->driver->inspect(r->host, ID, &s, &err), -ENOENT);
}

static void test_adopt_finds_running_and_ended(void **state)
{
	struct rig *r = *state;
	struct rt_state before, states[4];
	rig_start_ok(r, &(struct rig_want){ .id = "web.1.1" }, &before);
	rig_start_ok(r, &(struct rig_want){ .id = "web.1.2", .argv = ARGV("exit", "4") }, NULL);
	rig_await_exit(r, "web.1.2");
	rig_reopen(r);
	assert_int_equal(rig_adopt(r, states, 4), 2);
	struct rt_state *running = states[0].running ? &states[0] : &states[1];
	struct rt_state *ended = states[0].running ? &states[1] : &states[0];
	assert_true(running->running);
	assert_string_equal(running->id, "web.1.1");
	assert_int_equal(running->pid, before.pid);
	assert_int_equal(running->started_ms, before.started_ms);
	assert_memory_equal(&running->address, &before.address, sizeof(struct sockaddr_in));
	assert_false(ended->running);
	assert_string_equal(ended->id, "web.1.2");
	assert_int_equal(ended->exit.code, 4);
	assert_int_equal(rig_stop(r, "web.1.1", SIGTERM, 5000), 0);
	assert_int_equal(rig_await_exit(r, "web.1.1").signal, SIGTERM);
	assert_int_equal(rig_destroy(r, "web.1.1"), 0);
	assert_int_equal(rig_destroy(r, "web.1.2"), 0);
}

static void test_logs_tail_since_follow(void **state)
{
	struct rig *r = *state;
	struct rig_lines l;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("flood", "10") }, NULL);
	rig_await_exit(r, ID);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = 3 }, &l);
	assert_int_equal(l.n, 3);
	assert_string_equal(l.text[0], "line 7 ");
	assert_string_equal(l.text[2], "line 9 ");
	rig_logs(r, ID, &(struct rt_log_query){ .tail = UINT32_MAX }, &l);
	assert_int_equal(l.n, 10);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = UINT32_MAX, .since_ms = l.at_ms[9] + 1000 }, &l);
	assert_int_equal(l.n, 0);
	assert_int_equal(rig_destroy(r, ID), 0);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = UINT32_MAX }, &l); /* they outlive the container */
	assert_int_equal(l.n, 10);
	struct err err;
	assert_int_equal(r->driver->logs_remove(r->host, "web", 1, &err), 0);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = UINT32_MAX, .follow = true }, &l);
	assert_int_equal(l.n, 0);
}

static void test_follow_sees_the_last_line(void **state)
{
	struct rig *r = *state;
	struct rig_lines l = { 0 };
	struct rt_log_query query = { .tail = UINT32_MAX, .follow = true };
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("term") }, NULL);
	rig_await_line(r, ID, "ready");
	rig_follow(r, ID, &query, &l);
	assert_int_equal(rig_stop(r, ID, SIGTERM, 5000), 0);
	rig_run_until(r, &l.ended, "end of logs");
	assert_int_equal(l.result, 0);
	assert_int_equal(l.n, 2);
	assert_string_equal(l.text[1], "bye");
	rig_await_exit(r, ID);
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_long_lines_are_whole(void **state)
{
	struct rig *r = *state;
	struct rig_lines l;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("long", "50000") }, NULL);
	rig_await_exit(r, ID);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = 2 }, &l);
	assert_int_equal(l.n, 2);
	assert_memory_equal(l.text[0], "abcdefghijklmnopqrstuvwxyzabc", 29);
	assert_string_equal(l.text[1], "end");
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void read_hello(const struct sockaddr_storage *address, uint16_t port, char *text, size_t size)
{
	struct sockaddr_in in;
	memcpy(&in, address, sizeof in);
	in.sin_port = htons(port);
	OWN_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&in, sizeof in) < 0)
		fail_msg("connect: %s", strerror(errno));
	ssize_t n = read(fd, text, size - 1);
	assert_true(n > 0);
	text[n] = '\0';
}

static void check_network(struct rig *r, enum spec_network network)
{
	struct spec_port ports[] = { { .name = (char *)"http", .target = 80 } };
	struct rt_state s;
	char text[128];
	for (int i = 1; i <= 2; i++) { /* two generations may have the same port */
		char id[24];
		snprintf(id, sizeof id, "web.%d.1", i);
		rig_start_ok(r,
			&(struct rig_want){ .id = id,
				.argv = ARGV("serve"),
				.network = network,
				.ports = ports,
				.n_ports = 1,
				.user = (char *)"1000" },
			&s);
		rig_await_line(r, id, "ready");
		assert_int_equal(s.n_ports, 1);
		read_hello(&s.address, s.ports[0], text, sizeof text);
		assert_non_null(strstr(text, i == 1 ? "web-1-1" : "web-2-1"));
	}
	for (int i = 1; i <= 2; i++) {
		char id[24];
		snprintf(id, sizeof id, "web.%d.1", i);
		assert_int_equal(rig_destroy(r, id), 0);
		rig_await_exit(r, id);
	}
}

static void test_host_network_gets_a_port(void **state)
{
	check_network(*state, SPEC_NETWORK_HOST);
}

static void test_private_network_is_reachable(void **state)
{
	check_network(*state, SPEC_NETWORK_PRIVATE);
}

static void test_close_cancels(void **state)
{
	struct rig *r = *state;
	struct spec_container c = { .command = (char **)(uintptr_t)ARGV("wait"), .read_only = true };
	struct rt_launch l = {
		.id = ID, .service = "web", .slot = "blue", .generation = 1, .replica = 1, .container = &c
	};
	struct rt_state states[2];
	struct err err;
	int result = 1;
	memcpy(l.image_digest, r->digest, DIGEST_LEN);
	assert_int_equal(r->driver->start(r->host, &l, on_cancelled, &result, NULL, &err), 0);
	rig_reopen(r);
	assert_int_equal(result, -ECANCELED);
	assert_int_equal(rig_adopt(r, states, 2), 0);
}

const struct CMUnitTest DRIVER_CONTRACT[] = {
	cmocka_unit_test(test_exit_code_arrives),
	cmocka_unit_test(test_exit_signal_arrives),
	cmocka_unit_test(test_wrong_command_says_why),
	cmocka_unit_test(test_start_of_running_is_already),
	cmocka_unit_test(test_stop_is_polite_first),
	cmocka_unit_test(test_stop_kills_after_grace),
	cmocka_unit_test(test_absent_ones_are_fine),
	cmocka_unit_test(test_restart_keeps_id_and_is_fresh),
	cmocka_unit_test(test_exec_runs_inside),
	cmocka_unit_test(test_exec_output_is_cut),
	cmocka_unit_test(test_exec_timeout_ends_the_tree),
	cmocka_unit_test(test_start_can_be_cancelled),
	cmocka_unit_test(test_destroy_while_starting),
	cmocka_unit_test(test_adopt_finds_running_and_ended),
	cmocka_unit_test(test_logs_tail_since_follow),
	cmocka_unit_test(test_follow_sees_the_last_line),
	cmocka_unit_test(test_long_lines_are_whole),
	cmocka_unit_test(test_host_network_gets_a_port),
	cmocka_unit_test(test_private_network_is_reachable),
	cmocka_unit_test(test_close_cancels),
};
const size_t DRIVER_CONTRACT_LEN = sizeof DRIVER_CONTRACT / sizeof *DRIVER_CONTRACT;
