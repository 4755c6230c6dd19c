/* One layer on top of those before it. Both trees are ours alone, but what is in them strangers chose: names
 * are followed by descriptors, and symlinks only where a layer goes through one that a lower layer has,
 * inside the root. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/image/layer_marks.h"
#include "runtime/image/layers.h"

#define DEPTH_MAX 160u /* more than teal-unpack makes */

struct merge {
	int root;
	unsigned depth;
	struct buf path; /* of the current entry, for messages and for finding it from the root */
};

static int fail(const struct merge *m, const char *what, struct err *err)
{
	return err_set(err, errno, "%s %.300s", what, m->path.len ? m->path.data : "/");
}

static bool has_mark(int fd, const char *mark)
{
	char value[1];
	return fgetxattr(fd, mark, value, sizeof value) == 1;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int remove_there(const struct merge *m, int to, const char *name, struct err *err)
{
	if (unlinkat(to, name, 0) == 0 || errno == ENOENT)
		return 0;
	return errno == EISDIR ? fs_remove_tree(to, name, err) : fail(m, "replace", err);
}

static int remove_all(int dir, struct err *err)
{
	OWN_DIR DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!d)
		return err_set(err, errno, "list a directory");
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = fs_remove_tree(dir, e->d_name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The mark of a link to a file in a layer below: that file, under this name too. 1: it is no such mark. */
static int link_noted(
	const struct merge *m, int from, int to, const char *name, const struct stat *st, struct err *err)
{
	char target[PATH_MAX], dir[PATH_MAX];
	if (!S_ISREG(st->st_mode) || st->st_size > 0)
		return 1;
	OWN_FD int fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : fgetxattr(fd, MARK_LINK, target, sizeof target - 1);
	if (n <= 0)
		return 1;
	target[n] = '\0';
	memcpy(dir, target, (size_t)n + 1);
	char *slash = strrchr(dir, '/');
	const char *last = target;
	if (slash) {
		*slash = '\0';
		last = target + (slash - dir) + 1;
	}
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	OWN_FD int at = (int)syscall(SYS_openat2, m->root, slash ? dir : ".", &how, sizeof how);
	struct stat there;
	if (at < 0 || fstatat(at, last, &there, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(there.st_mode))
		return err_say(err, EINVAL, "entry \"%.300s\": a hard link to %.300s, which no layer has",
			m->path.data, target);
	return linkat(at, last, to, name, 0) < 0 ? fail(m, "link", err) : 0;
}

static int merge_file(
	const struct merge *m, int from, int to, const char *name, const struct stat *st, struct err *err)
{
	int r = remove_there(m, to, name, err);
	if (r == 0)
		r = link_noted(m, from, to, name, st, err);
	if (r != 1)
		return r;
	return linkat(from, name, to, name, 0) < 0 ? fail(m, "link", err) : 0;
}

static int open_made(const struct merge *m, int to, const char *name, int *ret, struct err *err)
{
	int r = remove_there(m, to, name, err);
	if (r < 0)
		return r;
	if (mkdirat(to, name, 0755) < 0)
		return fail(m, "create", err);
	*ret = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret < 0 || fchmod(*ret, 0755) < 0)
		return fail(m, "create", err);
	return 0;
}

/* Where a layer's directory lands. One that the layer only passes through may be a symlink below. */
static int open_target(
	const struct merge *m, int to, const char *name, bool implicit, int *ret, struct err *err)
{
	*ret = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret >= 0)
		return 0;
	if (implicit) {
		struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
			.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
		*ret = (int)syscall(SYS_openat2, m->root, m->path.data, &how, sizeof how);
		if (*ret >= 0)
			return 0;
	}
	return open_made(m, to, name, ret, err);
}

static bool is_given(const char *xattr)
{
	return strncmp(xattr, "user.overlay.", 13) != 0 && strncmp(xattr, "user.teal.", 10) != 0 &&
	       (strncmp(xattr, "user.", 5) == 0 || strcmp(xattr, "security.capability") == 0);
}

static int copy_xattrs(int from, int to)
{
	char old[4096], names[65536], value[65536];
	ssize_t n = flistxattr(to, old, sizeof old);
	for (const char *p = old; n > 0 && p < old + n; p += strlen(p) + 1)
		if (strncmp(p, "user.", 5) == 0)
			fremovexattr(to, p);
	n = flistxattr(from, names, sizeof names);
	for (const char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
		if (!is_given(p))
			continue;
		ssize_t size = fgetxattr(from, p, value, sizeof value);
		if (size < 0 || fsetxattr(to, p, value, (size_t)size, 0) < 0)
			return -errno;
	}
	return 0;
}

static int take_meta(const struct merge *m, int from, int to, struct err *err)
{
	struct stat st;
	if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
		fchmod(to, st.st_mode & 07777) < 0)
		return fail(m, "set the owner of", err);
	int r = copy_xattrs(from, to);
	return r < 0 ? err_set(err, -r, "set attributes of %.300s", m->path.len ? m->path.data : "/") : 0;
}

static int merge_children(struct merge *m, int from, int to, struct err *err);

/* Its times, or those it had, whatever is put into it now. */
static int merge_into(struct merge *m, int from, int to, bool implicit, struct err *err)
{
	struct stat st;
	if (m->depth >= DEPTH_MAX)
		return err_say(err, ENAMETOOLONG, "%.300s: too many directories deep", m->path.data);
	if (fstat(implicit ? to : from, &st) < 0)
		return fail(m, "look at", err);
	int r = has_mark(from, MARK_OPAQUE) ? remove_all(to, err) : 0;
	if (r == 0 && !implicit)
		r = take_meta(m, from, to, err);
	m->depth++;
	if (r == 0)
		r = merge_children(m, from, to, err);
	m->depth--;
	const struct timespec times[] = { st.st_atim, st.st_mtim };
	if (r == 0 && futimens(to, times) < 0)
		r = fail(m, "set the times of", err);
	return r;
}

static int merge_dir(struct merge *m, int from, int to, const char *name, struct err *err)
{
	OWN_FD int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN_FD int target = -1;
	if (source < 0)
		return fail(m, "open", err);
	bool implicit = has_mark(source, MARK_IMPLICIT);
	int r = open_target(m, to, name, implicit, &target, err);
	return r < 0 ? r : merge_into(m, source, target, implicit, err);
}

static int merge_entry(struct merge *m, int from, int to, const char *name, struct err *err)
{
	struct stat st;
	size_t mark = m->path.len;
	if (buf_addf(&m->path, "%s%s", mark ? "/" : "", name) < 0)
		return err_set(err, ENOMEM, "merge layers");
	int r;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = fail(m, "look at", err);
	else if (S_ISDIR(st.st_mode))
		r = merge_dir(m, from, to, name, err);
	else if (is_whiteout(&st))
		r = remove_there(m, to, name, err);
	else
		r = merge_file(m, from, to, name, &st, err);
	m->path.len = mark;
	m->path.data[mark] = '\0';
	return r;
}

static int merge_children(struct merge *m, int from, int to, struct err *err)
{
	OWN_DIR DIR *dir = fdopendir(openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!dir)
		return fail(m, "list", err);
	for (struct dirent *e; errno = 0, (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int r = merge_entry(m, from, to, e->d_name, err);
		if (r < 0)
			return r;
	}
	return errno ? fail(m, "list", err) : 0;
}

int layer_merge(int root, int layer_tree, struct err *err)
{
	struct merge m = { .root = root };
	int r = merge_into(&m, layer_tree, root, has_mark(layer_tree, MARK_IMPLICIT), err);
	buf_done(&m.path);
	return r;
}
