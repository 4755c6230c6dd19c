/* The native driver with real containers: the contract of every driver, and what only this one promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "base/proc.h"
#include "driver_contract.h"
#include "driver_rig.h"

#define ID "web.1.1"

static void run_facts(struct rig *r, const struct rig_want *want, struct rig_lines *ret)
{
	struct rig_want w = *want;
	w.argv = ARGV("facts");
	rig_start_ok(r, &w, NULL);
	assert_int_equal(rig_await_exit(r, ID).code, 0);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = UINT32_MAX }, ret);
	assert_int_equal(rig_destroy(r, ID), 0);
	assert_int_equal(r->driver->logs_remove(r->host, "web", 1, NULL), 0);
}

static void check_fact(const struct rig_lines *l, const char *key, const char *value)
{
	const char *is = rig_fact(l, key);
	if (!is || strcmp(is, value) != 0)
		fail_msg("%s is \"%s\", not \"%s\"", key, is ? is : "absent", value);
}

static void check_errno(const struct rig_lines *l, const char *key, int code)
{
	char text[16];
	snprintf(text, sizeof text, "%d", code);
	check_fact(l, key, text);
}

/* Read-only, not its own, or not in this kernel: which of them is asked first is the kernel's business. */
static void check_refused(const struct rig_lines *l, const char *key)
{
	const char *is = rig_fact(l, key);
	if (!is || (atoi(is) != EROFS && atoi(is) != EACCES && atoi(is) != ENOENT))
		fail_msg("%s is %s, not refused", key, is ? is : "absent");
}

static void test_isolation(void **state)
{
	struct rig_lines l;
	run_facts(*state, &(struct rig_want){ 0 }, &l);
	check_fact(&l, "init", "teal-init");
	check_fact(&l, "pid", "2");
	check_fact(&l, "processes", "2");
	check_fact(&l, "uid", "0");
	assert_null(strstr(rig_fact(&l, "uid_map"), " 0 4294967295"));
	check_fact(&l, "hostname", "web-1-1");
	check_fact(&l, "cwd", "/");
	check_fact(&l, "fds", "3");
	check_errno(&l, "init_fds_errno", EACCES);
	check_fact(&l, "NoNewPrivs", "1");
	check_fact(&l, "Seccomp", "2");
	check_fact(&l, "CapBnd", "00000000000004fb");
	check_fact(&l, "CapEff", "00000000000004fb");
	check_fact(&l, "CapInh", "0000000000000000");
	check_fact(&l, "CapAmb", "0000000000000000");
	check_errno(&l, "write_root", EROFS);
	check_errno(&l, "write_tmp", 0);
	check_errno(&l, "write_run", 0);
	check_errno(&l, "write_null", 0);
	check_refused(&l, "write_sysctl");
	check_refused(&l, "write_sysrq");
	check_refused(&l, "write_sys");
	check_fact(&l, "keys", "");
	check_errno(&l, "mount_errno", EPERM);
	check_errno(&l, "unshare_errno", EPERM);
	check_errno(&l, "alg_errno", EPERM);
	check_errno(&l, "clone3_errno", ENOSYS);
	check_errno(&l, "future_errno", ENOSYS);
	check_errno(&l, "chown_errno", 0);
	check_errno(&l, "foreign_id_errno", EINVAL);
	check_fact(&l, "hosts", "127.0.0.1\tlocalhost");
	check_fact(&l, "env:TEAL_SERVICE", "web");
	check_fact(&l, "env:TEAL_GENERATION", "1");
	check_fact(&l, "env:TEAL_REPLICA", "1");
	check_fact(&l, "env:TEAL_SLOT", "blue");
	check_fact(&l, "env:HOSTNAME", "web-1-1");
	assert_non_null(rig_fact(&l, "env:PATH"));
}

static void test_user_and_directory(void **state)
{
	struct rig_lines l;
	struct spec_pair env[] = { { .key = (char *)"MODE", .value = (char *)"a b=c" } };
	run_facts(*state,
		&(struct rig_want){ .user = (char *)"app",
			.cwd = (char *)"/tmp",
			.environment = env,
			.n_environment = 1 },
		&l);
	check_fact(&l, "uid", "1234");
	check_fact(&l, "gid", "5678");
	check_fact(&l, "CapEff", "0000000000000000");
	check_fact(&l, "cwd", "/tmp");
	check_fact(&l, "env:MODE", "a b=c");
	check_errno(&l, "write_root", EROFS);
	check_errno(&l, "write_run", EACCES);
}

static void test_writable_root(void **state)
{
	struct rig_lines l;
	run_facts(*state, &(struct rig_want){ .writable = true }, &l);
	check_errno(&l, "write_root", 0);
}

static void test_host_network_hides_cgroups(void **state)
{
	struct rig_lines l;
	run_facts(*state, &(struct rig_want){ .network = SPEC_NETWORK_HOST }, &l);
	check_refused(&l, "write_sys");
	check_fact(&l, "CapBnd", "00000000000004fb");
	check_errno(&l, "mount_errno", EPERM);
}

static void test_failed_steps_say_why(void **state)
{
	static const struct {
		struct rig_want want;
		const char *says;
		int code;
	} CASES[] = {
		{ { .cwd = (char *)"/absent" }, "working directory /absent: No such file or directory",
			ENOENT },
		{ { .user = (char *)"nobody-here" }, "the image has no user \"nobody-here\"", ENOENT },
		{ { .user = (char *)"70000" }, "outside of the container's ids", ERANGE },
	};
	struct rig *r = *state;
	for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
		struct err err = { 0 };
		assert_int_equal(rig_start(r, &CASES[i].want, NULL, &err), -CASES[i].code);
		if (!strstr(err.msg, CASES[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.msg, CASES[i].says);
	}
}

static void test_oom_is_told(void **state)
{
	struct rig *r = *state;
	rig_start_ok(
		r, &(struct rig_want){ .argv = ARGV("eat"), .limits = { .memory_bytes = 24 << 20 } }, NULL);
	struct rt_exit e = rig_await_exit(r, ID);
	assert_true(e.oom);
	assert_int_equal(e.signal, SIGKILL);
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_pids_limit_holds(void **state)
{
	struct rig *r = *state;
	struct rig_lines l;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("forks"), .limits = { .pids = 10 } }, NULL);
	assert_int_equal(rig_await_exit(r, ID).code, 0);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = 1 }, &l);
	assert_string_equal(l.text[0], "forks=9 errno=11");
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_orphans_are_reaped(void **state)
{
	struct rig *r = *state;
	rig_start_ok(r, &(struct rig_want){ .argv = ARGV("orphans") }, NULL);
	assert_int_equal(rig_await_exit(r, ID).code, 0);
	assert_int_equal(rig_destroy(r, ID), 0);
}

static bool read_stat(pid_t pid, char *ret_state, pid_t *ret_parent)
{
	char path[64], name[64];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	OWN_FILE FILE *f = fopen(path, "re");
	return f && fscanf(f, "%*d (%63[^)]) %c %d", name, ret_state, ret_parent) == 3;
}

static pid_t parent_of(pid_t pid)
{
	char letter;
	pid_t parent = 0;
	assert_true(read_stat(pid, &letter, &parent));
	return parent;
}

/* Gone, or a corpse that whoever inherited it has not buried yet. */
static bool is_dead(pid_t pid)
{
	char letter;
	pid_t parent;
	return !read_stat(pid, &letter, &parent) || letter == 'Z';
}

/* Ended at once, with its shim: nothing lives on unwatched. */
static void test_killed_shim_takes_its_container_along(void **state)
{
	struct rig *r = *state;
	struct rt_state s;
	rig_start_ok(r, &(struct rig_want){ 0 }, &s);
	kill(parent_of(s.pid), SIGKILL);
	struct rt_exit e = rig_await_exit(r, ID);
	assert_int_equal(e.code, -1);
	assert_true(is_dead(s.pid));
	rig_start_ok(r, &(struct rig_want){ 0 }, &s); /* and it can be started again */
	assert_int_equal(rig_destroy(r, ID), 0);
	rig_await_exit(r, ID);
}

static void test_adopt_reports_a_killed_shim(void **state)
{
	struct rig *r = *state;
	struct rt_state s, states[2];
	struct proc init;
	rig_start_ok(r, &(struct rig_want){ 0 }, &s);
	assert_int_equal(proc_open(s.pid, 0, &init, NULL), 0);
	pid_t shim = parent_of(s.pid);
	rig_reopen(r);
	kill(shim, SIGKILL);
	assert_int_equal(rig_adopt(r, states, 2), 1);
	if (states[0].running) /* not dead yet when it was looked at */
		assert_int_equal(rig_await_exit(r, ID).code, -1);
	else
		assert_int_equal(states[0].exit.code, -1);
	assert_int_equal(rig_destroy(r, ID), 0);
	proc_close(&init);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	OWN_FREE char *path = fs_join(dir, name, NULL);
	OWN_FILE FILE *f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
}

static void test_adopt_clears_leftovers(void **state)
{
	struct rig *r = *state;
	struct rt_state states[4];
	OWN_FREE char *half = fs_join(r->settings.state_dir, "containers/web.3.1", NULL);
	OWN_FREE char *torn = fs_join(r->settings.state_dir, "containers/web.4.1", NULL);
	assert_int_equal(fs_mkdirs(half, 0700, NULL), 0);
	put_file(half, "config.json", "{}");
	assert_int_equal(fs_mkdirs(torn, 0700, NULL), 0); /* as a power cut leaves it */
	put_file(torn, "config.json", "");
	put_file(torn, "state.json", "");
	rig_reopen(r);
	assert_int_equal(rig_adopt(r, states, 4), 1);
	assert_string_equal(states[0].id, "web.4.1");
	assert_false(states[0].running);
	assert_int_equal(states[0].exit.code, -1);
	assert_int_equal(access(half, F_OK), -1);
	assert_int_equal(rig_destroy(r, "web.4.1"), 0);
}

static void test_logs_rotate(void **state)
{
	struct rig *r = *state;
	struct rig_lines l;
	rig_start_ok(r,
		&(struct rig_want){ .argv = ARGV("flood", "2000"),
			.logging = { .max_size_bytes = 20000, .max_files = 3 } },
		NULL);
	rig_await_exit(r, ID);
	OWN_FREE char *dir = fs_join(r->settings.state_dir, "logs/web/1", NULL);
	OWN_DIR DIR *d = opendir(dir);
	unsigned files = 0;
	for (struct dirent *e; (e = readdir(d));) {
		struct stat st;
		if (e->d_name[0] == '.')
			continue;
		files++;
		assert_int_equal(fstatat(dirfd(d), e->d_name, &st, 0), 0);
		assert_true(st.st_size <= 20000);
	}
	assert_int_equal(files, 3);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = UINT32_MAX }, &l);
	if (l.n <= 780 || l.n >= 1200)
		fail_msg("%u lines are kept", l.n);
	unsigned all = l.n;
	rig_logs(r, ID, &(struct rt_log_query){ .tail = 1300 }, &l);
	assert_int_equal(l.n, all < 1300 ? all : 1300);
	rig_logs(r, ID, &(struct rt_log_query){ .tail = 600 }, &l); /* begins in an older file */
	assert_int_equal(l.n, 600);
	assert_string_equal(l.text[0], "line 1400 ");
	assert_int_equal(rig_destroy(r, ID), 0);
}

static void test_limit_without_controller_is_refused(void **state)
{
	struct rig *r = *state;
	struct spec s = { .container = {
				  .limits = { .memory_bytes = 1 << 24, .pids = 5, .cpu_milli = 100 } } };
	struct err err = { 0 };
	assert_int_equal(r->driver->check(r->host, &s, &err), 0);
}

static unsigned count_lines_with(const char *file, const char *text)
{
	char line[4096];
	unsigned n = 0;
	OWN_FILE FILE *f = fopen(file, "re");
	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, text) != NULL;
	return n;
}

static unsigned count_links(const struct rig *r)
{
	unsigned n = 0;
	char veth[16], bridge[24];
	struct if_nameindex *all = if_nameindex();
	snprintf(veth, sizeof veth, "t%s", r->settings.tag);
	snprintf(bridge, sizeof bridge, "teal-%s", r->settings.tag);
	for (struct if_nameindex *i = all; i && i->if_index; i++)
		n += strncmp(i->if_name, veth, 7) == 0 || strcmp(i->if_name, bridge) == 0;
	if_freenameindex(all);
	return n;
}

static unsigned count_processes(const char *text)
{
	unsigned n = 0;
	OWN_DIR DIR *d = opendir("/proc");
	for (struct dirent *e; (e = readdir(d));) {
		char path[300], line[1024];
		snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
		int fd = e->d_name[0] > '0' && e->d_name[0] <= '9' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		ssize_t len = fd >= 0 ? read(fd, line, sizeof line) : 0;
		n += len > 0 && memmem(line, (size_t)len, text, strlen(text)) != NULL;
		own_close(&fd);
	}
	return n;
}

static void test_nothing_is_left(void **state)
{
	struct rig *r = *state;
	unsigned mounts = count_lines_with("/proc/self/mountinfo", "");
	rig_start_ok(r,
		&(struct rig_want){ .writable = true,
			.limits = { .memory_bytes = 64 << 20, .pids = 20, .cpu_milli = 500 } },
		NULL);
	rig_start_ok(r, &(struct rig_want){ .id = "web.1.2" }, NULL);
	assert_int_equal(count_lines_with("/proc/self/mountinfo", ""), mounts); /* not even while they run */
	assert_int_equal(count_links(r), 3);
	assert_int_equal(
		count_processes(r->dir), 2); /* the shims; init and the application don't show the path */
	assert_int_equal(rig_destroy(r, "web.1.1"), 0);
	assert_int_equal(rig_destroy(r, "web.1.2"), 0);
	rig_await_exit(r, "web.1.1");
	rig_await_exit(r, "web.1.2");
	assert_int_equal(count_links(r), 0);
	assert_int_equal(count_processes(r->dir), 0);
	assert_int_equal(count_lines_with("/proc/self/mountinfo", ""), mounts);
	OWN_FREE char *containers = fs_join(r->settings.state_dir, "containers", NULL);
	assert_int_equal(rmdir(containers), 0); /* empty */
	assert_int_equal(mkdir(containers, 0700), 0);
}

static unsigned find_cgroups(const char *dir, const char *name, unsigned depth)
{
	unsigned n = 0;
	OWN_DIR DIR *d = opendir(dir);
	for (struct dirent *e; d && depth < 6 && (e = readdir(d));) {
		OWN_FREE char *path =
			e->d_name[0] != '.' && e->d_type == DT_DIR ? fs_join(dir, e->d_name, NULL) : NULL;
		if (path)
			n += (strcmp(e->d_name, name) == 0) + find_cgroups(path, name, depth + 1);
	}
	return n;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof *r);
	rig_open(r, "native");
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;
	char name[32];
	rig_close(r);
	snprintf(name, sizeof name, "teal-%s", r->settings.tag);
	assert_int_equal(find_cgroups("/sys/fs/cgroup", name, 0), 0);
	assert_int_equal(count_links(r), 0);
	free(r);
	return 0;
}

/* Each test has the driver to itself and leaves no exit unasked for. */
static int after_each(void **state)
{
	static const char *const IDS[] = { "web.1.1", "web.1.2", "web.2.1" };
	struct rig *r = *state;
	for (unsigned i = 0; i < r->n_exits; i++)
		print_error("unexpected exit of %s\n", r->exits[i].id);
	int left = (int)r->n_exits;
	for (size_t i = 0; i < ARRAY_LEN(IDS); i++)
		rig_destroy(r, IDS[i]); /* of a test that failed halfway */
	r->n_exits = 0;
	r->driver->logs_remove(r->host, "web", 0, NULL);
	return left;
}

static const struct CMUnitTest OWN_TESTS[] = {
	cmocka_unit_test(test_isolation),
	cmocka_unit_test(test_user_and_directory),
	cmocka_unit_test(test_writable_root),
	cmocka_unit_test(test_host_network_hides_cgroups),
	cmocka_unit_test(test_failed_steps_say_why),
	cmocka_unit_test(test_oom_is_told),
	cmocka_unit_test(test_pids_limit_holds),
	cmocka_unit_test(test_orphans_are_reaped),
	cmocka_unit_test(test_killed_shim_takes_its_container_along),
	cmocka_unit_test(test_adopt_reports_a_killed_shim),
	cmocka_unit_test(test_adopt_clears_leftovers),
	cmocka_unit_test(test_logs_rotate),
	cmocka_unit_test(test_limit_without_controller_is_refused),
	cmocka_unit_test(test_nothing_is_left),
};

int main(void)
{
	struct CMUnitTest all[64];
	size_t n = 0;
	if (geteuid() != 0) {
		print_message("skipped: real containers of the native driver need root\n");
		return 0;
	}
	for (size_t i = 0; i < DRIVER_CONTRACT_LEN; i++)
		all[n++] = DRIVER_CONTRACT[i];
	for (size_t i = 0; i < ARRAY_LEN(OWN_TESTS); i++)
		all[n++] = OWN_TESTS[i];
	for (size_t i = 0; i < n; i++)
		all[i].teardown_func = after_each;
	return _cmocka_run_group_tests("native driver", all, n, setup, teardown);
}
