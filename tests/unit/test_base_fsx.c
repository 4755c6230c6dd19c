/* Files and trees: bounded reads, durable writes, and removal that touches nothing but its tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "scratch.h"

static bool exists(const struct scratch *s, const char *name)
{
	struct stat st;
	return fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- reading --- */

static void test_read_is_bounded(void **state)
{
	struct scratch *s = *state;
	char big[10000];
	memset(big, 'x', sizeof big);
	scratch_write(s, "f", big, sizeof big);
	OWN_BUF struct buf b = { 0 };
	struct err err = { 0 };
	assert_int_equal(fs_read_file(s->fd, "f", 10000, &b, &err), 0);
	assert_int_equal(b.len, 10000);
	assert_int_equal(b.data[10000], '\0');
	/* A second read replaces the first; a failed one leaves it alone. */
	assert_int_equal(fs_read_file(s->fd, "f", 9999, &b, &err), -EFBIG);
	assert_non_null(strstr(err.msg, "read f: larger than 9999 bytes"));
	assert_int_equal(b.len, 10000);
	scratch_write(s, "empty", "", 0);
	assert_int_equal(fs_read_file(s->fd, "empty", 0, &b, &err), 0);
	assert_int_equal(b.len, 0);
	assert_string_equal(b.data, "");
	assert_int_equal(fs_read_file(s->fd, "f", SIZE_MAX, &b, &err), 0);
}

static void test_read_refuses_what_is_no_file(void **state)
{
	struct scratch *s = *state;
	OWN_BUF struct buf b = { 0 };
	struct err err = { 0 };
	unsigned fds = count_open_fds();
	scratch_write(s, "target", "secret", 6);
	assert_int_equal(symlinkat("target", s->fd, "link"), 0);
	assert_int_equal(mkfifoat(s->fd, "fifo", 0600), 0);
	assert_int_equal(mkdirat(s->fd, "dir", 0700), 0);
	assert_int_equal(fs_read_file(s->fd, "link", 100, &b, &err), -ELOOP);
	assert_int_equal(fs_read_file(s->fd, "fifo", 100, &b, &err), -EINVAL); /* and does not hang */
	assert_int_equal(fs_read_file(s->fd, "dir", 100, &b, &err), -EINVAL);
	assert_int_equal(fs_read_file(s->fd, "absent", 100, &b, &err), -ENOENT);
	assert_string_equal(err.msg, "open absent: No such file or directory");
	assert_int_equal(fs_read_file(AT_FDCWD, "/dev/zero", 100, &b, &err), -EINVAL);
	assert_null(b.data);
	assert_int_equal(count_open_fds(), fds);
}

static void test_kernel_files(void **state)
{
	struct scratch *s = *state;
	OWN_BUF struct buf b = { 0 };
	assert_int_equal(fs_read_kernel(AT_FDCWD, "/proc/sys/kernel/ostype", &b, NULL), 0);
	assert_string_equal(b.data, "Linux");
	assert_int_equal(b.len, 5);
	assert_int_equal(fs_read_kernel(AT_FDCWD, "/proc/self/status", &b, NULL), 0);
	assert_non_null(strstr(b.data, "Pid:"));
	scratch_write(s, "two", "a\n\n", 3);
	assert_int_equal(fs_read_kernel(s->fd, "two", &b, NULL), 0);
	assert_string_equal(b.data, "a\n");
	assert_int_equal(fs_read_kernel(AT_FDCWD, "/proc/self/absent", &b, NULL), -ENOENT);
	struct err err = { 0 };
	assert_int_equal(fs_write_kernel(s->fd, "two", "xy", &err), 0);
	assert_int_equal(fs_read_kernel(s->fd, "two", &b, NULL), 0);
	assert_string_equal(b.data, "xy"); /* it writes over, it does not truncate: "xy\n" */
	assert_int_equal(fs_write_kernel(s->fd, "not-made", "x", &err), -ENOENT);
	assert_false(exists(s, "not-made"));
	assert_int_equal(fs_write_kernel(AT_FDCWD, "/dev/full", "x", &err), -ENOSPC);
	assert_string_equal(err.msg, "write \"x\" to /dev/full: No space left on device");
}

/* --- writing --- */

static void test_write_durable(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	mode_t old = umask(077);
	unsigned fds = count_open_fds();
	for (int i = 0; i < 3; i++) {
		char text[32];
		snprintf(text, sizeof text, "version %d", i);
		assert_int_equal(fs_write_durable(s->fd, "f", text, strlen(text), 0644, &err), 0);
		OWN_BUF struct buf b = scratch_read(s, "f");
		assert_string_equal(b.data, text);
	}
	struct stat st;
	fstatat(s->fd, "f", &st, 0);
	assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask */
	umask(old);
	assert_int_equal(scratch_count(s, "."), 1);
	assert_int_equal(fs_write_durable(AT_FDCWD, scratch_name(s, "abs"), "", 0, 0600, &err), 0);
	assert_true(exists(s, "abs"));
	assert_int_equal(count_open_fds(), fds);
}

/* Neither what a crash left under the temporary name, nor what somebody put there, is written through. */
static void test_write_durable_over_leftovers(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	scratch_write(s, "victim", "precious", 8);
	scratch_write(s, "f.tmp", "half of a longer file than the new one", 38);
	assert_int_equal(fs_write_durable(s->fd, "f", "new", 3, 0600, &err), 0);
	OWN_BUF struct buf b = scratch_read(s, "f");
	assert_string_equal(b.data, "new");
	assert_int_equal(symlinkat("victim", s->fd, "f.tmp"), 0);
	assert_int_equal(fs_write_durable(s->fd, "f", "newer", 5, 0600, &err), 0);
	assert_int_equal(linkat(s->fd, "victim", s->fd, "f.tmp", 0), 0);
	assert_int_equal(fs_write_durable(s->fd, "f", "newest", 6, 0600, &err), 0);
	assert_int_equal(mkfifoat(s->fd, "f.tmp", 0600), 0);
	assert_int_equal(fs_write_durable(s->fd, "f", "last", 4, 0600, &err), 0);
	OWN_BUF struct buf victim = scratch_read(s, "victim");
	assert_string_equal(victim.data, "precious");
	/* A symlink under the name itself is replaced, not followed. */
	assert_int_equal(symlinkat("victim", s->fd, "link"), 0);
	assert_int_equal(fs_write_durable(s->fd, "link", "x", 1, 0600, &err), 0);
	OWN_BUF struct buf again = scratch_read(s, "victim");
	assert_string_equal(again.data, "precious");
}

static void test_write_durable_fails_whole(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	unsigned fds = count_open_fds();
	assert_int_equal(fs_write_durable(s->fd, "none/f", "x", 1, 0600, &err), -ENOENT);
	mkdirat(s->fd, "dir", 0700);
	assert_int_equal(fs_write_durable(s->fd, "dir", "x", 1, 0600, &err), -EISDIR);
	assert_false(exists(s, "dir.tmp"));
	/* A full disk, as the file size limit plays it: the old content stays. */
	assert_int_equal(fs_write_durable(s->fd, "f", "old", 3, 0600, &err), 0);
	struct rlimit was, tight;
	char big[8192] = { 0 };
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	tight = was;
	tight.rlim_cur = 4096;
	setrlimit(RLIMIT_FSIZE, &tight);
	int r = fs_write_durable(s->fd, "f", big, sizeof big, 0600, &err);
	setrlimit(RLIMIT_FSIZE, &was);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(r, -EFBIG);
	assert_string_equal(err.msg, "write f: File too large");
	OWN_BUF struct buf b = scratch_read(s, "f");
	assert_string_equal(b.data, "old");
	assert_false(exists(s, "f.tmp"));
	assert_int_equal(count_open_fds(), fds);
}

static void test_mkdirs(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	assert_int_equal(fs_mkdirs(scratch_name(s, "a/b//c/d/"), 0700, &err), 0);
	assert_int_equal(fs_mkdirs(scratch_name(s, "a/b/c/d"), 0700, &err), 0);
	assert_true(exists(s, "a/b/c/d"));
	scratch_write(s, "file", "", 0);
	assert_int_equal(fs_mkdirs(scratch_name(s, "file"), 0700, &err), -ENOTDIR);
	assert_int_equal(fs_mkdirs(scratch_name(s, "file/x"), 0700, &err), -ENOTDIR);
	assert_int_equal(fs_mkdirs("", 0700, &err), -EINVAL);
	assert_int_equal(fs_mkdirs("/", 0700, &err), 0);
	assert_int_equal(fs_mkdirs("/proc/teal-unit", 0700, &err), -ENOENT);
	/* A symlink to a directory is a directory. */
	assert_int_equal(symlinkat("a", s->fd, "l"), 0);
	assert_int_equal(fs_mkdirs(scratch_name(s, "l/e"), 0700, &err), 0);
	assert_true(exists(s, "a/e"));
}

static void test_open_and_sync_dir(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	int fd = -1;
	assert_int_equal(fs_open_dir(s->fd, ".", &fd, &err), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	scratch_write(s, "file", "", 0);
	fd = -7;
	assert_int_equal(fs_open_dir(s->fd, "file", &fd, &err), -ENOTDIR);
	assert_int_equal(fd, -7);
	assert_int_equal(fs_sync_dir(s->fd, ".", &err), 0);
	assert_int_equal(fs_sync_dir(s->fd, "absent", &err), -ENOENT);
}

static void test_join(void **state)
{
	(void)state;
	OWN_FREE char *one = fs_join("a", NULL), *three = fs_join("/a", "b", "c", NULL);
	assert_string_equal(one, "a");
	assert_string_equal(three, "/a/b/c");
}

/* --- removal --- */

static void make_dirs(const struct scratch *s, const char *const *names)
{
	for (; *names; names++)
		assert_int_equal(mkdirat(s->fd, *names, 0700), 0);
}

static void test_remove_follows_no_symlink(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	make_dirs(s, (const char *const[]){ "keep", "keep/sub", "t", "t/sub", NULL });
	scratch_write(s, "keep/sub/file", "x", 1);
	assert_int_equal(symlinkat("../keep", s->fd, "t/link"), 0);
	assert_int_equal(symlinkat("../../keep/sub", s->fd, "t/sub/link"), 0);
	assert_int_equal(symlinkat("nowhere", s->fd, "t/dangling"), 0);
	assert_int_equal(symlinkat("keep", s->fd, "top-link"), 0);
	assert_int_equal(mkfifoat(s->fd, "t/fifo", 0600), 0);
	assert_int_equal(fs_remove_tree(s->fd, "t", &err), 0);
	assert_false(exists(s, "t"));
	assert_int_equal(fs_remove_tree(s->fd, "top-link", &err), 0);
	assert_false(exists(s, "top-link"));
	assert_true(exists(s, "keep/sub/file"));
	/* A symlink on the way to the tree is as good as the directory. */
	assert_int_equal(symlinkat("keep", s->fd, "way"), 0);
	assert_int_equal(fs_remove_tree(s->fd, "way/sub", &err), 0);
	assert_false(exists(s, "keep/sub"));
	assert_true(exists(s, "keep"));
}

static void test_remove_names(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	unsigned fds = count_open_fds();
	assert_int_equal(fs_remove_tree(s->fd, "absent", &err), 0);
	assert_int_equal(fs_remove_tree(s->fd, "absent/deeper", &err), 0);
	static const char *const refused[] = { "", ".", "..", "/", "//", "a/..", "a/.", "../" };
	make_dirs(s, (const char *const[]){ "a", NULL });
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (fs_remove_tree(s->fd, refused[i], &err) != -EINVAL)
			fail_msg("\"%s\"", refused[i]);
	assert_true(exists(s, "a"));
	make_dirs(s, (const char *const[]){ "a/b", "a/b/c", NULL });
	assert_int_equal(fs_remove_tree(s->fd, "a/b//", &err), 0);
	assert_false(exists(s, "a/b"));
	assert_int_equal(fs_remove_tree(AT_FDCWD, scratch_name(s, "a"), &err), 0);
	assert_false(exists(s, "a"));
	scratch_write(s, "file", "", 0);
	assert_int_equal(fs_remove_tree(s->fd, "file/x", &err), -ENOTDIR);
	assert_int_equal(fs_remove_tree(s->fd, "file", &err), 0);
	assert_false(exists(s, "file"));
	assert_int_equal(count_open_fds(), fds);
}

/* Builds name/d/d/…, `depth` deep, with a file in each; nobody could name the lowest by one path. */
static void make_deep(const struct scratch *s, const char *name, unsigned depth)
{
	assert_int_equal(mkdirat(s->fd, name, 0700), 0);
	int fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < depth; i++) {
		OWN_FD int file = openat(fd, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(file >= 0);
		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		int lower = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(lower >= 0);
		close(fd);
		fd = lower;
	}
	close(fd);
}

static void test_remove_deep(void **state)
{
	struct scratch *s = *state;
	struct err err = { 0 };
	make_deep(s, "deep", 400);
	/* Somebody knew which names the removal takes for what it moves. */
	make_dirs(s,
		(const char *const[]){ "deep/.removed-0", "deep/.removed-0/full", "deep/.removed-2", NULL });
	scratch_write(s, "deep/.removed-1", "", 0);
	struct rlimit was, tight;
	getrlimit(RLIMIT_NOFILE, &was);
	tight = was;
	tight.rlim_cur = 120;
	setrlimit(RLIMIT_NOFILE, &tight);
	int r = fs_remove_tree(s->fd, "deep", &err);
	setrlimit(RLIMIT_NOFILE, &was);
	assert_string_equal(err.msg, "");
	assert_int_equal(r, 0);
	assert_int_equal(scratch_count(s, "."), 0);
}

static void test_remove_wide(void **state)
{
	struct scratch *s = *state;
	char name[64];
	make_dirs(s, (const char *const[]){ "wide", NULL });
	for (int i = 0; i < 1200; i++) {
		snprintf(name, sizeof name, "wide/a-rather-long-name-for-an-entry-%d", i);
		if (i % 3)
			assert_int_equal(mknodat(s->fd, name, S_IFREG | 0600, 0), 0);
		else
			assert_int_equal(mkdirat(s->fd, name, 0700), 0);
	}
	assert_int_equal(fs_remove_tree(s->fd, "wide", NULL), 0);
	assert_int_equal(scratch_count(s, "."), 0);
}

struct race {
	struct scratch *s;
	int r;
	struct err err;
};

static void *remove_beside(void *arg)
{
	struct race *race = arg;
	race->r = fs_remove_tree(race->s->fd, "shared", &race->err);
	return NULL;
}

/* Four at the same tree: what another one removed first is as good as removed by oneself. */
static void test_remove_concurrently(void **state)
{
	struct scratch *s = *state;
	char name[64];
	for (int round = 0; round < 2; round++) {
		make_deep(s, "shared", 150);
		for (int i = 0; i < 300; i++) {
			snprintf(name, sizeof name, "shared/e%d", i);
			assert_int_equal(mkdirat(s->fd, name, 0700), 0);
		}
		pthread_t threads[4];
		struct race races[4];
		for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
			races[i] = (struct race){ .s = s };
			assert_int_equal(pthread_create(&threads[i], NULL, remove_beside, &races[i]), 0);
		}
		for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
			pthread_join(threads[i], NULL);
			if (races[i].r != 0)
				fail_msg("%s", races[i].err.msg);
		}
		assert_int_equal(scratch_count(s, "."), 0);
	}
}

static int in_child(int (*fn)(struct scratch *s), struct scratch *s)
{
	pid_t pid = fork();
	int status = 0;
	if (pid == 0)
		_exit(fn(s));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

enum { SKIPPED = 77 };

/* In a mount namespace of its own: a volume of the same file system still mounted in the tree keeps all it
 * holds. */
static int remove_with_mount(struct scratch *s)
{
	struct err err = { 0 };
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return SKIPPED;
	/* s->fd is a place in the old namespace, where nothing is mounted. */
	if (chdir(s->path) < 0 || mount("volume", "tree/mnt", NULL, MS_BIND, NULL) < 0)
		return SKIPPED;
	if (fs_remove_tree(AT_FDCWD, "tree", &err) != -EBUSY ||
		!strstr(err.msg, "something is mounted there"))
		return 1;
	if (fs_remove_tree(AT_FDCWD, "tree/mnt", &err) != -EBUSY)
		return 2;
	if (access("volume/data", F_OK) < 0)
		return 3;
	if (umount2("tree/mnt", MNT_DETACH) < 0 || fs_remove_tree(AT_FDCWD, "tree", &err) != 0)
		return 4;
	return access("volume/data", F_OK) == 0 && access("tree", F_OK) < 0 ? 0 : 5;
}

static void test_remove_stops_at_mounts(void **state)
{
	struct scratch *s = *state;
	make_dirs(s, (const char *const[]){ "volume", "tree", "tree/mnt", NULL });
	scratch_write(s, "volume/data", "x", 1);
	int r = in_child(remove_with_mount, s);
	if (r == SKIPPED) {
		print_message("skip: may not mount here\n");
		skip();
	}
	assert_int_equal(r, 0);
}

static int remove_unprivileged(struct scratch *s)
{
	struct err err = { 0 };
	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return SKIPPED;
	if (mkdirat(s->fd, "t", 0700) < 0 || mkdirat(s->fd, "t/ro", 0700) < 0 ||
		mkdirat(s->fd, "t/ro/none", 0700) < 0 || mkdirat(s->fd, "t/ro/none/x", 0700) < 0)
		return 1;
	if (fchmodat(s->fd, "t/ro/none", 0, 0) < 0 || fchmodat(s->fd, "t/ro", 0555, 0) < 0 ||
		fchmodat(s->fd, "t", 0111, 0) < 0)
		return 1;
	if (fs_remove_tree(s->fd, "t", &err) != 0)
		return 2;
	return faccessat(s->fd, "t", F_OK, 0) < 0 ? 0 : 3;
}

/* An image may bring directories that even their owner may not write to, or not read. */
static void test_remove_needs_no_root(void **state)
{
	struct scratch *s = *state;
	assert_int_equal(fchmod(s->fd, 0777), 0);
	int r = in_child(remove_unprivileged, s);
	if (r == SKIPPED)
		skip();
	assert_int_equal(r, 0);
}

static int remove_of_another(struct scratch *s)
{
	struct err err = { 0 };
	if (geteuid() != 0 || setgid(65534) < 0 || setuid(65534) < 0)
		return SKIPPED;
	int r = fs_remove_tree(s->fd, "foreign", &err);
	return r == -EACCES && strstr(err.msg, "foreign: remove file: Permission denied") ? 0 : 1;
}

static void test_remove_says_what_it_could_not(void **state)
{
	struct scratch *s = *state;
	make_dirs(s, (const char *const[]){ "foreign", NULL });
	scratch_write(s, "foreign/file", "", 0);
	assert_int_equal(fchmod(s->fd, 0777), 0);
	assert_int_equal(fchmodat(s->fd, "foreign", 0755, 0), 0);
	int r = in_child(remove_of_another, s);
	if (r == SKIPPED)
		skip();
	assert_int_equal(r, 0);
	assert_true(exists(s, "foreign/file"));
}

#define scratch_test(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_read_is_bounded),
		scratch_test(test_read_refuses_what_is_no_file),
		scratch_test(test_kernel_files),
		scratch_test(test_write_durable),
		scratch_test(test_write_durable_over_leftovers),
		scratch_test(test_write_durable_fails_whole),
		scratch_test(test_mkdirs),
		scratch_test(test_open_and_sync_dir),
		cmocka_unit_test(test_join),
		scratch_test(test_remove_follows_no_symlink),
		scratch_test(test_remove_names),
		scratch_test(test_remove_deep),
		scratch_test(test_remove_wide),
		scratch_test(test_remove_concurrently),
		scratch_test(test_remove_stops_at_mounts),
		scratch_test(test_remove_needs_no_root),
		scratch_test(test_remove_says_what_it_could_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
