/* Processes: what a child gets and what it does not, how a failed exec is told, and pids that are not who
 * they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/proc.h"
#include "scratch.h"

#define ARGV(...) ((char *const *)(const char *const[]){ __VA_ARGS__, NULL })

static char *const no_env[] = { NULL };

static void await_end(const struct proc *p)
{
	struct pollfd pfd = { .fd = p->pidfd, .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 20000), 1);
}

/* Waits for the end and returns the wait status; p is closed. */
static int finish(struct proc *p)
{
	int status = -1;
	await_end(p);
	assert_int_equal(proc_reap(p, &status), 0);
	assert_int_equal(proc_reap(p, &status), -ECHILD);
	proc_close(p);
	assert_int_equal(p->pidfd, -1);
	return status;
}

static void read_end(int fd, struct buf *out)
{
	for (;;) {
		char *to = buf_room(out, 4096);
		ssize_t n = read(fd, to, 4096);
		assert_true(n >= 0);
		if (n == 0)
			return;
		out->len += (size_t)n;
		out->data[out->len] = '\0';
	}
}

/* Runs `sh -c script` with what how says beside; its descriptor `to` is a pipe, and what comes out of it the
 * result. */
static int run_script(struct spawn how, const char *script, int to, struct buf *out)
{
	int p[2];
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	struct spawn_fd fds[8];
	for (unsigned i = 0; i < how.n_fds; i++)
		fds[i] = how.fds[i];
	fds[how.n_fds++] = (struct spawn_fd){ .from = p[1], .to = to };
	how.fds = fds;
	how.path = "/bin/sh";
	char text[1000];
	snprintf(text, sizeof text, "%s", script);
	how.argv = ARGV("sh", "-c", text);
	how.envp = how.envp ? how.envp : no_env;
	struct proc child = PROC_NONE;
	struct err err = { 0 };
	int r = proc_spawn(&how, &child, &err);
	close(p[1]);
	if (r < 0) {
		close(p[0]);
		fail_msg("%s", err.msg);
	}
	read_end(p[0], out);
	close(p[0]);
	return finish(&child);
}

static void test_spawn(void **state)
{
	(void)state;
	OWN_BUF struct buf out = { 0 };

	unsigned fds = count_open_fds();
	int status = run_script(
		(struct spawn){ .envp = ARGV("COLOUR=teal") }, "echo $COLOUR; pwd; exit 3", 1, &out);
	assert_string_equal(out.data, "teal\n/\n");
	assert_int_equal(WEXITSTATUS(status), 3);
	OWN_BUF struct buf cwd = { 0 };
	run_script((struct spawn){ .cwd = "/usr" }, "pwd; kill -9 $$", 1, &cwd);
	assert_string_equal(cwd.data, "/usr\n");
	assert_int_equal(count_open_fds(), fds);
}

static void test_status_of_a_signal(void **state)
{
	(void)state;
	OWN_BUF struct buf out = { 0 };
	int status = run_script((struct spawn){ 0 }, "kill -TERM $$", 1, &out);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
}

/* Three standard descriptors and the named ones; nothing else, CLOEXEC or not. */
static void test_only_named_descriptors(void **state)
{
	(void)state;
	int leaky[3];
	for (size_t i = 0; i < ARRAY_LEN(leaky); i++)
		leaky[i] = fcntl(STDERR_FILENO, F_DUPFD, i == 0 ? 4 : i == 1 ? 40 : 900);
	struct spawn_fd fds[] = { { .from = leaky[1], .to = 5 }, { .from = leaky[1], .to = 7 } };
	OWN_BUF struct buf out = { 0 };
	run_script((struct spawn){ .fds = fds, .n_fds = 2 },
		"i=0; while [ $i -lt 1000 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i + 1)); done; "
		"readlink /proc/$$/fd/0; readlink "
		"/proc/$$/fd/2",
		1, &out);
	for (size_t i = 0; i < ARRAY_LEN(leaky); i++)
		close(leaky[i]);
	assert_string_equal(out.data, "0\n1\n2\n5\n7\n/dev/null\n/dev/null\n");
}

/* The sources sit on each other's targets: a swap, a rotation. */
static void test_descriptors_that_cross(void **state)
{
	(void)state;
	int p[3][2];
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pipe2(p[i], O_CLOEXEC), 0);
		char name = (char)('a' + i);
		assert_int_equal(write(p[i][1], &name, 1), 1);
		close(p[i][1]);
	}
	struct spawn_fd fds[] = { { .from = p[0][0], .to = p[1][0] }, { .from = p[1][0], .to = p[2][0] },
		{ .from = p[2][0], .to = p[0][0] } };
	OWN_BUF struct buf out = { 0 };
	char script[200];
	snprintf(script, sizeof script, "cat <&%d; cat <&%d; cat <&%d", p[0][0], p[1][0], p[2][0]);
	assert_true(p[2][0] < 10); /* the shell knows one digit only */
	run_script((struct spawn){ .fds = fds, .n_fds = 3 }, script, 1, &out);
	for (int i = 0; i < 3; i++)
		close(p[i][0]);
	assert_string_equal(out.data, "cab");
}

/* A service manager, or a careless parent, may start us with any of 0, 1 and 2 closed. */
static int spawn_with_closed(unsigned closed)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return 1;
	int out = fcntl(p[1], F_DUPFD_CLOEXEC, 20), in = fcntl(p[0], F_DUPFD_CLOEXEC, 20);
	close(p[0]);
	close(p[1]);
	for (int fd = 0; fd <= 2; fd++)
		if (closed & (1u << fd))
			close(fd);
	struct spawn_fd fds[] = { { .from = out, .to = 3 } };
	struct spawn how = { .path = "/bin/sh",
		.argv = ARGV(
			"sh", "-c", "for i in 0 1 2; do l=$(readlink /proc/$$/fd/$i); echo $l >&3; done"),
		.envp = no_env,
		.fds = fds,
		.n_fds = 1 };
	struct proc child = PROC_NONE;
	if (proc_spawn(&how, &child, NULL) < 0)
		return 2;
	close(out);
	char text[200] = "";
	size_t n = 0;
	for (ssize_t r; (r = read(in, text + n, sizeof text - 1 - n)) > 0;)
		n += (size_t)r;
	how.path = "/nonexistent";
	how.n_fds = 0;
	if (proc_spawn(&how, &child, NULL) != -ENOENT)
		return 3;
	return strcmp(text, "/dev/null\n/dev/null\n/dev/null\n") == 0 ? 0 : 4;
}

static void test_spawn_with_closed_standard_descriptors(void **state)
{
	(void)state;
	for (unsigned closed = 0; closed < 8; closed++) {
		int status = 0;
		pid_t pid = fork();
		if (pid == 0)
			_exit(spawn_with_closed(closed));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (status != 0)
			fail_msg("closed %u: status %x", closed, (unsigned)status);
	}
}

static void test_exec_failures(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	struct proc child = { .pid = 77, .pidfd = -77 };
	scratch_write(s, "plain", "no program", 10);

	static const struct spawn_fd bad_fd[] = { { .from = 9999, .to = 5 } };
	struct spawn_fd many[17];
	for (unsigned i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (struct spawn_fd){ .from = 2, .to = 10 + (int)i };
	const struct {
		struct spawn how;
		int r;
	} rows[] = {
		{ { .path = "/nonexistent/program" }, -ENOENT },
		{ { .path = scratch_name(s, "plain") }, -EACCES },
		{ { .path = "/" }, -EACCES },
		{ { .path = "/bin/true", .cwd = "/nonexistent" }, -ENOENT },
		{ { .path = "/bin/true", .fds = bad_fd, .n_fds = 1 }, -EBADF },
		{ { .path = "/bin/true", .fds = many, .n_fds = 17 }, -E2BIG },
	};
	unsigned fds = count_open_fds();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct spawn how = rows[i].how;
		how.argv = ARGV("x");
		how.envp = no_env;
		int r = proc_spawn(&how, &child, &err);
		if (r != rows[i].r)
			fail_msg("row %zu: %d %s", i, r, err.msg);
		assert_non_null(strstr(err.msg, how.path));
		assert_int_equal(child.pid, 77);
	}
	assert_int_equal(count_open_fds(), fds);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie stays behind */
	assert_int_equal(errno, ECHILD);
}

static void test_no_descriptors_left(void **state)
{
	(void)state;
	struct spawn how = { .path = "/bin/true", .argv = ARGV("true"), .envp = no_env };
	struct rlimit was, tight;
	getrlimit(RLIMIT_NOFILE, &was);
	unsigned open_now = count_open_fds(), failed = 0, lowest = lowest_free_fd();
	bool worked = false;
	for (unsigned spare = 0; spare < 12 && !worked; spare++) {
		struct proc child = PROC_NONE;
		struct err err = { 0 };
		tight = was;
		tight.rlim_cur = lowest + spare;
		setrlimit(RLIMIT_NOFILE, &tight);
		int r = proc_spawn(&how, &child, &err);
		setrlimit(RLIMIT_NOFILE, &was);
		worked = r == 0;
		failed += r < 0;
		/* F_DUPFD says EINVAL for a place above the limit. */
		if (r < 0 && r != -EMFILE && r != -EINVAL)
			fail_msg("with %u spare: %s", spare, err.msg);
		if (r == 0)
			finish(&child);
	}
	assert_true(worked && failed > 0);
	assert_int_equal(count_open_fds(), open_now);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* Ignored, blocked and handled signals of ours are all as at birth in the child. */
static void test_signals_are_reset(void **state)
{
	(void)state;
	OWN_BUF struct buf out = { 0 };
	sigset_t set, was;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, &was);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, on_signal);
	run_script((struct spawn){ 0 },
		"while read -r a b; do case $a in Sig[BI]*) echo $a $b ;; esac; done </proc/$$/status", 1,
		&out);
	sigset_t now;
	sigprocmask(SIG_SETMASK, &was, &now);
	assert_true(sigismember(&now, SIGTERM) && !sigismember(&now, SIGINT)); /* ours is as it was */
	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
	assert_string_equal(out.data, "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n");
}

static void test_ids_and_session(void **state)
{
	(void)state;
	OWN_BUF struct buf session = { 0 };
	run_script((struct spawn){ .new_session = true },
		"read -r a b c d e sid rest </proc/$$/stat; [ $sid = $$ ] && echo own", 1, &session);
	assert_string_equal(session.data, "own\n");
	if (geteuid() != 0)
		skip();
	OWN_BUF struct buf ids = { 0 };
	run_script((struct spawn){ .set_ids = true, .uid = 65534, .gid = 65533 },
		"grep -E '^(Uid|Gid|Groups):' /proc/self/status; grep CapEff /proc/self/status", 1, &ids);
	assert_string_equal(ids.data, "Uid:\t65534\t65534\t65534\t65534\nGid:\t65533\t65533\t65533\t65533\n"
				      "Groups:\t \nCapEff:\t0000000000000000\n");
}

/* A name in parentheses with spaces and parentheses of its own shifts no field. */
static void test_start_time_behind_odd_names(void **state)
{
	(void)state;
	uint64_t before = 0, odd = 0;
	char was[16] = "";
	assert_int_equal(proc_start_time(getpid(), &before), 0);
	prctl(PR_GET_NAME, was);
	prctl(PR_SET_NAME, ") R 1 (2 3) 4");
	assert_int_equal(proc_start_time(getpid(), &odd), 0);
	prctl(PR_SET_NAME, was);
	assert_true(before > 0 && before == odd);
	assert_int_equal(proc_start_time(-1, &odd), -ESRCH);
	assert_int_equal(proc_start_time(0x7ffffff0, &odd), -ESRCH);
}

static void test_open_knows_who_is_who(void **state)
{
	(void)state;
	struct err err = { 0 };
	struct proc p = PROC_NONE, q = PROC_NONE;
	unsigned fds = count_open_fds();
	struct spawn how = { .path = "/bin/sleep", .argv = ARGV("sleep", "60"), .envp = no_env };
	assert_int_equal(proc_spawn(&how, &p, &err), 0);
	assert_int_equal(proc_open(p.pid, 0, &q, &err), 0);
	assert_true(q.start_time == p.start_time);
	assert_int_equal(fcntl(q.pidfd, F_GETFD), FD_CLOEXEC);
	proc_close(&q);
	assert_int_equal(proc_open(p.pid, p.start_time, &q, &err), 0);
	/* The same number, started at another time: somebody else. */
	struct proc untouched = PROC_NONE;
	assert_int_equal(proc_open(p.pid, p.start_time + 1, &untouched, &err), -ESRCH);
	assert_int_equal(untouched.pidfd, -1);
	assert_int_equal(proc_signal(&p, SIGKILL), 0);
	assert_int_equal(WTERMSIG(finish(&p)), SIGKILL);
	assert_int_equal(proc_open(q.pid, q.start_time, &untouched, &err), -ESRCH);
	assert_int_equal(proc_signal(&q, SIGTERM), -ESRCH);
	assert_int_equal(proc_signal(&p, SIGTERM), -ESRCH);
	proc_close(&q);
	proc_close(&q);
	assert_int_equal(proc_open(0, 0, &untouched, &err), -ESRCH);
	assert_int_equal(count_open_fds(), fds);
}

static void *report_tid(void *arg)
{
	int *p = arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	char end;
	if (write(p[1], &tid, sizeof tid) == sizeof tid)
		(void)!read(p[2], &end, 1);
	return NULL;
}

/* The pid came back as a thread of somebody: what had it is gone. */
static void test_open_of_a_thread(void **state)
{
	(void)state;
	int p[4];
	pid_t tid = 0;
	pthread_t thread;
	struct proc q = PROC_NONE;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(pipe(p + 2), 0);
	assert_int_equal(pthread_create(&thread, NULL, report_tid, p), 0);
	assert_int_equal(read(p[0], &tid, sizeof tid), sizeof tid);
	assert_int_equal(proc_open(tid, 0, &q, NULL), -ESRCH);
	assert_int_equal(write(p[3], "x", 1), 1);
	pthread_join(thread, NULL);
	for (int i = 0; i < 4; i++)
		close(p[i]);
}

/* That we have no descriptor left says nothing about the process. */
static void test_open_without_descriptors(void **state)
{
	(void)state;
	struct rlimit was, tight;
	struct proc q = PROC_NONE;
	int r = 0;
	getrlimit(RLIMIT_NOFILE, &was);
	unsigned lowest = lowest_free_fd();
	for (unsigned spare = 0; spare < 2; spare++) {
		tight = was;
		tight.rlim_cur = lowest + spare;
		setrlimit(RLIMIT_NOFILE, &tight);
		r = proc_open(getpid(), 0, &q, NULL);
		setrlimit(RLIMIT_NOFILE, &was);
		assert_int_equal(r, -EMFILE);
		assert_int_equal(q.pidfd, -1);
	}
}

static void test_reap(void **state)
{
	(void)state;
	struct proc p = PROC_NONE, init = PROC_NONE;
	int status = 12345;
	struct spawn how = { .path = "/bin/sleep", .argv = ARGV("sleep", "60"), .envp = no_env };
	assert_int_equal(proc_spawn(&how, &p, NULL), 0);
	assert_int_equal(proc_reap(&p, &status), -EAGAIN); /* lives: nothing to reap, and no waiting */
	assert_int_equal(status, 12345);
	proc_signal(&p, SIGTERM);
	assert_int_equal(WTERMSIG(finish(&p)), SIGTERM);
	/* Not a child of ours. */
	assert_int_equal(proc_open(getppid(), 0, &init, NULL), 0);
	assert_int_equal(proc_reap(&init, &status), -ECHILD);
	proc_close(&init);
	assert_true(proc_reap(&init, &status) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spawn),
		cmocka_unit_test(test_status_of_a_signal),
		cmocka_unit_test(test_only_named_descriptors),
		cmocka_unit_test(test_descriptors_that_cross),
		cmocka_unit_test(test_spawn_with_closed_standard_descriptors),
		cmocka_unit_test_setup_teardown(test_exec_failures, scratch_setup, scratch_teardown),
		cmocka_unit_test(test_no_descriptors_left),
		cmocka_unit_test(test_signals_are_reset),
		cmocka_unit_test(test_ids_and_session),
		cmocka_unit_test(test_start_time_behind_odd_names),
		cmocka_unit_test(test_open_knows_who_is_who),
		cmocka_unit_test(test_open_of_a_thread),
		cmocka_unit_test(test_open_without_descriptors),
		cmocka_unit_test(test_reap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
