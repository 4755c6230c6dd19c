/* Owner, mode, times and extended attributes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/image/tree_private.h"

/* Attributes that belong to the file rather than to this host's security modules or to a mount. */
static bool is_kept(const char *name)
{
	static const char *const exact[] = { "security.capability", "system.posix_acl_access",
		"system.posix_acl_default" };
	for (size_t i = 0; i < ARRAY_LEN(exact); i++)
		if (strcmp(name, exact[i]) == 0)
			return true;
	return strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The kernel's list, "a\0b\0"; an empty one where the file system has no attributes. */
static int list_xattrs(int fd, struct buf *ret)
{
	for (;;) {
		ssize_t size = flistxattr(fd, NULL, 0);
		if (size <= 0)
			return size == 0 || errno == ENOTSUP ? 0 : -errno;
		char *to = buf_room(ret, (size_t)size);
		if (!to)
			return -ENOMEM;
		ssize_t n = flistxattr(fd, to, (size_t)size);
		if (n < 0 && errno == ERANGE)
			continue; /* grew meanwhile */
		if (n < 0)
			return -errno;
		ret->len = (size_t)n;
		return 0;
	}
}

static int read_xattr(int fd, const char *name, struct buf *ret)
{
	ret->len = 0;
	ssize_t size = fgetxattr(fd, name, NULL, 0);
	char *to = size < 0 ? NULL : buf_room(ret, (size_t)size);
	if (!to)
		return size < 0 ? -errno : -ENOMEM;
	size = fgetxattr(fd, name, to, (size_t)size);
	if (size < 0)
		return -errno;
	ret->len = (size_t)size;
	return 0;
}

typedef int (*xattr_seen)(void *arg, const char *name, const struct buf *value);

/* Calls seen for each attribute that is kept, in byte order. */
static int each_xattr(int fd, xattr_seen seen, void *arg)
{
	OWN_BUF struct buf list = { 0 };
	OWN_BUF struct buf value = { 0 };
	OWN_FREE const char **names = NULL;
	size_t n = 0, cap = 0;
	int r = list_xattrs(fd, &list);
	for (const char *p = list.data; r == 0 && p && p < list.data + list.len; p += strlen(p) + 1) {
		if (!is_kept(p))
			continue;
		r = vec_reserve(&names, &cap, n + 1, sizeof *names);
		if (r == 0)
			names[n++] = p;
	}
	if (n > 1)
		qsort(names, n, sizeof *names, compare_names);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = read_xattr(fd, names[i], &value);
		if (r == 0)
			r = seen(arg, names[i], &value);
	}
	return r;
}

static int add_to_record(void *arg, const char *name, const struct buf *value)
{
	struct buf *record = arg;
	buf_adds(record, " ");
	tree_add_string(record, name, strlen(name));
	buf_adds(record, "=");
	tree_add_string(record, value->data, value->len);
	return record->failed ? -ENOMEM : 0;
}

int tree_xattrs_record(const struct walk *w, int fd, struct buf *record, struct err *err)
{
	int r = each_xattr(fd, add_to_record, record);
	return r < 0 ? err_set(err, -r, "read attributes of %s", walk_path(w)) : 0;
}

static int set_on(void *arg, const char *name, const struct buf *value)
{
	return fsetxattr(*(const int *)arg, name, value->data, value->len, 0) < 0 ? -errno : 0;
}

int tree_meta_copy(const struct walk *w, int from, int to, const struct stat *st, struct err *err)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };
	/* In this order: a new owner takes set-id bits and capabilities away. */
	if (fchown(to, st->st_uid, st->st_gid) < 0)
		return err_set(err, errno, "keep the owner of %s", walk_path(w));
	if (fchmod(to, st->st_mode & 07777) < 0)
		return err_set(err, errno, "keep the mode of %s", walk_path(w));
	int r = each_xattr(from, set_on, &to);
	if (r < 0)
		return err_set(err, -r, "keep the attributes of %s", walk_path(w));
	if (futimens(to, times) < 0)
		return err_set(err, errno, "keep the times of %s", walk_path(w));
	return 0;
}
