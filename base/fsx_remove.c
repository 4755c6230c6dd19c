#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fsx.h"
#include "base/own.h"

enum {
	DEPTH_MAX = 64,	     /* descriptors and stack frames at a time; what is deeper is moved up first */
	PASSES_MAX = 1 << 20 /* over one directory; more than one only for what was moved up into it */
};

struct removal {
	int top;	  /* directory at the top of the tree */
	unsigned moved;	  /* directories that were moved up into it */
	unsigned removed; /* entries that are gone, or moved */
	struct err *err;
};

static int remove_entry(struct removal *rm, int dirfd, const char *name, unsigned depth);

static int open_beneath(int dirfd, const char *name, unsigned flags)
{
	struct open_how how = { .flags = flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS };
	return (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
}

/* For those who are not root: a directory of an image that its owner may not read, or not write to, goes too.
 */
static int open_locked(int dirfd, const char *name)
{
	OWN_FD int handle = open_beneath(dirfd, name, O_PATH);
	char self[64];
	if (handle < 0)
		return -1;
	snprintf(self, sizeof self, "/proc/self/fd/%d", handle);
	if (chmod(self, 0700) < 0)
		return -1;
	return openat(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_directory(int dirfd, const char *name)
{
	int fd = open_beneath(dirfd, name, O_RDONLY);
	struct stat st;
	if (fd < 0)
		return errno == EACCES ? open_locked(dirfd, name) : -1;
	if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
		fchmod(fd, 0700);
	return fd;
}

/* A tree may be deeper than we have descriptors or stack: whoever filled it chose. Its lower part becomes a
 * child of the top directory, where the next pass finds it. */
static int move_up(struct removal *rm, int dirfd, const char *name)
{
	for (;;) {
		char fresh[32];
		snprintf(fresh, sizeof fresh, ".removed-%u", rm->moved++);
		if (renameat(dirfd, name, rm->top, fresh) == 0 || errno == ENOENT) {
			rm->removed++;
			return 0;
		}
		bool taken = errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR;
		if (!taken)
			return err_set(rm->err, errno, "remove %s", name);
	}
}

static int remove_children(struct removal *rm, DIR *dir, unsigned depth)
{
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(dir);
		if (!e)
			return errno ? err_set(rm->err, errno, "list directory") : 0;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = remove_entry(rm, dirfd(dir), e->d_name, depth + 1);
		if (r < 0)
			return r;
	}
}

static int remove_directory(struct removal *rm, int dirfd, const char *name, DIR *dir, unsigned depth)
{
	for (unsigned pass = 0; pass < PASSES_MAX; pass++) {
		unsigned before = rm->removed;
		int r = remove_children(rm, dir, depth);
		if (r < 0) {
			err_wrap(rm->err, "%s", name);
			return r;
		}
		if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
			rm->removed++;
			return 0;
		}
		if (errno != ENOTEMPTY || rm->removed == before)
			break;
		rewinddir(dir);
	}
	return err_set(rm->err, errno, "remove %s", name);
}

static int remove_entry(struct removal *rm, int dirfd, const char *name, unsigned depth)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT) {
		rm->removed++;
		return 0;
	}
	if (errno != EISDIR)
		return err_set(rm->err, errno, "remove %s", name);
	OWN_FD int fd = open_directory(dirfd, name);
	if (fd < 0 && errno == EXDEV)
		return err_say(rm->err, EBUSY, "remove %s: something is mounted there", name);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(rm->err, errno, "open %s", name);
	if (depth == DEPTH_MAX)
		return move_up(rm, dirfd, name);
	OWN_DIR DIR *dir = fdopendir(fd);
	if (!dir)
		return err_set(rm->err, errno, "list %s", name);
	if (depth == 0)
		rm->top = fd;
	(void)TAKE_FD(fd); /* dir's now */
	return remove_directory(rm, dirfd, name, dir, depth);
}

int fs_remove_tree(int dirfd, const char *path, struct err *err)
{
	OWN_FREE char *copy = strdup(path);
	OWN_FD int parent = -1;
	if (!copy)
		return err_set(err, ENOMEM, "remove %s", path);
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	char *slash = strrchr(copy, '/'), *name = slash ? slash + 1 : copy;
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(err, EINVAL, "remove \"%s\"", path);
	if (slash) {
		*slash = '\0';
		parent = openat(dirfd, slash == copy ? "/" : copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0)
			return errno == ENOENT ? 0 : err_set(err, errno, "remove %s", path);
	}
	struct removal rm = { .top = -1, .err = err };
	return remove_entry(&rm, slash ? parent : dirfd, name, 0);
}
