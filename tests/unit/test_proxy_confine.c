/* What a captured teal-proxy could not do. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka wants the standard headers first */
#include <cmocka.h>

#include "base/own.h"
#include "proxy/confine.h"
#include "tests/unit/proxy_rig.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINED 0
#else
#define CONFINED 1
#endif

static bool status_has(pid_t pid, const char *line)
{
	char path[64], text[256];
	bool found = false;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	OWN_FILE FILE *f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(text, sizeof text, f))
		found |= strncmp(text, line, strlen(line)) == 0;
	return found;
}

static void test_running_proxy_is_confined(void **state)
{
	struct rig *r = *state;
	assert_true(status_has(r->pid, "NoNewPrivs:\t1"));
	assert_true(status_has(r->pid, CONFINED ? "Seccomp:\t2" : "Seccomp:\t"));
}

static void run_program(void)
{
	execl("/bin/true", "true", (char *)NULL);
}

static void trace_parent(void)
{
	syscall(SYS_ptrace, 16, getppid(), 0, 0);
}

static void open_file(void)
{
	if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0)
		_exit(42);
}

static void map_code(void)
{
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		_exit(42);
}

static void make_unix_socket(void)
{
	if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		_exit(42);
}

static void make_raw_socket(void)
{
	if (socket(AF_INET, SOCK_RAW, 1) < 0)
		_exit(42);
}

static void bind_port(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) < 0)
		_exit(42);
}

static void fork_off(void)
{
	if (fork() < 0)
		_exit(42);
}

static const struct {
	const char *name;
	void (*attempt)(void);
	int signal; /* what it ends with; 0: fails */
} attempts[] = {
	{ "run a program", run_program, SIGSYS },
	{ "trace a process", trace_parent, SIGSYS },
	{ "open a file", open_file, 0 },
	{ "map code", map_code, 0 },
	{ "make a unix socket", make_unix_socket, 0 },
	{ "make a raw socket", make_raw_socket, 0 },
	{ "bind a port", bind_port, 0 },
	{ "fork", fork_off, 0 },
};

static int attempt_confined(void (*attempt)(void), bool calls)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (confine_files(NULL) < 0 || (calls && confine_calls(NULL) < 0))
			_exit(1);
		attempt();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_attempts_fail(void **state)
{
	(void)state;
	for (size_t i = 0; CONFINED && i < ARRAY_LEN(attempts); i++) {
		int status = attempt_confined(attempts[i].attempt, true);
		print_message("%s: status %x\n", attempts[i].name, (unsigned)status);
		if (attempts[i].signal)
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == attempts[i].signal);
		else
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	}
}

/* The second line of defence stands alone too. */
static void test_files_are_out_of_reach_by_landlock(void **state)
{
	(void)state;
	int status = attempt_confined(open_file, false);
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1) {
		print_message("skip: this kernel has no Landlock\n");
		skip();
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_running_proxy_is_confined, rig_setup, rig_teardown),
		cmocka_unit_test(test_attempts_fail),
		cmocka_unit_test(test_files_are_out_of_reach_by_landlock),
	};
	return cmocka_run_group_tests_name("proxy confinement", tests, NULL, NULL);
}
