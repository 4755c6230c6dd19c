/* The sealed copy of a program: it runs, and nobody can change it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "base/proc.h"
#include "runtime/native/seal.h"

static void test_runs_and_stays(void **state)
{
	OWN_FD int fd = -1;
	char path[32], name[] = "true", *argv[] = { name, NULL }, *envp[] = { NULL };
	(void)state;
	assert_int_equal(seal_program("/bin/true", &fd, NULL), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	pid_t pid = fork();
	if (pid == 0) {
		execve(path, argv, envp);
		_exit(1);
	}
	int wstatus = -1;
	assert_int_equal(waitpid(pid, &wstatus, 0), pid);
	assert_int_equal(wstatus, 0);
	OWN_FD int again = open(path, O_RDWR | O_CLOEXEC);
	int writer = again >= 0 ? again : fd; /* root gets in by another opening, and no further */
	assert_int_equal(pwrite(writer, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(writer, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0), MAP_FAILED);
	assert_int_equal(fcntl(writer, F_ADD_SEALS, F_SEAL_SEAL), -1);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* As every process of the agent is started: descriptors move about before the program runs. */
static void test_runs_when_spawned(void **state)
{
	OWN_FD int fd = -1;
	char path[32], name[] = "true", *argv[] = { name, NULL }, *envp[] = { NULL };
	int wstatus = -1;
	struct proc p;
	(void)state;
	assert_int_equal(seal_program("/bin/true", &fd, NULL), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct spawn_fd fds[] = { { .from = 2, .to = 20 } };
	struct spawn how = { .path = path, .argv = argv, .envp = envp, .fds = fds, .n_fds = 1 };
	assert_int_equal(proc_spawn(&how, &p, NULL), 0);
	assert_int_equal(waitpid(p.pid, &wstatus, 0), p.pid);
	assert_int_equal(wstatus, 0);
	proc_close(&p);
}

static void test_what_is_not_there(void **state)
{
	int fd = -1;
	struct err err = { 0 };
	(void)state;
	assert_int_equal(seal_program("/nowhere/teal-shim", &fd, &err), -ENOENT);
	assert_string_equal(err.msg, "open /nowhere/teal-shim: No such file or directory");
	assert_int_equal(fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_and_stays),
		cmocka_unit_test(test_runs_when_spawned),
		cmocka_unit_test(test_what_is_not_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
