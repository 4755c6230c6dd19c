#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"

/* The public part first: tests see no more of it. */
struct scratch_impl {
	struct scratch pub;
	char **names;
};

int scratch_setup(void **state)
{
	struct scratch_impl *s = calloc(1, sizeof *s);
	const char *tmp = getenv("TMPDIR");
	if (!s)
		return -1;
	if (!tmp) /* memory, where there is some: thousands of entries are made and removed */
		tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(s->pub.path, sizeof s->pub.path, "%.150s/teal-unit-XXXXXX", tmp);
	if (!mkdtemp(s->pub.path))
		return -1;
	s->pub.fd = open(s->pub.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = s;
	return s->pub.fd < 0;
}

/* Not by fs_remove_tree, which is among what is tested. */
static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	remove(path);
	return 0;
}

int scratch_teardown(void **state)
{
	struct scratch_impl *s = *state;
	int r = nftw(s->pub.path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	close(s->pub.fd);
	strv_free(s->names);
	free(s);
	return r;
}

const char *scratch_name(struct scratch *s, const char *name)
{
	struct scratch_impl *impl = (struct scratch_impl *)s;
	assert_int_equal(strv_addf(&impl->names, "%s/%s", s->path, name), 0);
	return impl->names[strv_len(impl->names) - 1];
}

void scratch_write(const struct scratch *s, const char *name, const void *bytes, size_t len)
{
	OWN_FD int fd = openat(s->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
}

struct buf scratch_read(const struct scratch *s, const char *name)
{
	struct buf b = { 0 };
	assert_int_equal(fs_read_file(s->fd, name, 1 << 28, &b, NULL), 0);
	return b;
}

static unsigned count_entries(int dirfd, const char *name)
{
	OWN_FD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	OWN_DIR DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	unsigned n = 0;
	assert_non_null(dir);
	(void)TAKE_FD(fd);
	while (readdir(dir))
		n++;
	return n - 2;
}

unsigned scratch_count(const struct scratch *s, const char *name)
{
	return count_entries(s->fd, name);
}

unsigned count_open_fds(void)
{
	return count_entries(AT_FDCWD, "/proc/self/fd");
}

unsigned lowest_free_fd(void)
{
	int fd = dup(STDERR_FILENO);
	assert_true(fd >= 0);
	close(fd);
	return (unsigned)fd;
}
