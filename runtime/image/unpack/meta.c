/* Owner, mode, attributes and times of an entry. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/image/unpack/unpack.h"

#define ID_MAX ((int64_t)UINT32_MAX - 1)

struct dir_record { /* followed by the name and its NUL */
	struct timespec times[2];
};

static mode_t mode_of(const struct unpack *u, struct archive_entry *e)
{
	return archive_entry_perm(e) & (u->flat ? 0777 : 07777);
}

/* A clock that is out of any range would be refused by the kernel, or wrap. */
static struct timespec clamp(time_t sec, long nsec)
{
	const int64_t max = (int64_t)1 << 34; /* what ext4 can hold */
	if (sec < -((int64_t)1 << 31))
		return (struct timespec){ .tv_sec = -((int64_t)1 << 31) };
	if (sec >= max)
		return (struct timespec){ .tv_sec = max - 1 };
	return (struct timespec){ .tv_sec = sec, .tv_nsec = nsec >= 0 && nsec < 1000000000 ? nsec : 0 };
}

static void times_of(struct archive_entry *e, struct timespec ret[2])
{
	ret[1] = clamp(archive_entry_mtime(e), archive_entry_mtime_nsec(e));
	ret[0] = archive_entry_atime_is_set(e) ? clamp(archive_entry_atime(e), archive_entry_atime_nsec(e))
					       : ret[1];
}

static int check_owner(struct archive_entry *e, struct err *err)
{
	int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);
	if (uid < 0 || uid > ID_MAX || gid < 0 || gid > ID_MAX)
		return err_say(err, EINVAL, "its owner is out of range");
	return 0;
}

static int set_owner(const struct unpack *u, int fd, struct archive_entry *e, struct err *err)
{
	int r = check_owner(e, err);
	if (r < 0 || u->flat)
		return r;
	if (fchown(fd, (uid_t)archive_entry_uid(e), (gid_t)archive_entry_gid(e)) < 0)
		return err_set(err, errno, "set owner %lld:%lld", (long long)archive_entry_uid(e),
			(long long)archive_entry_gid(e));
	return 0;
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* What a file in a container may bring along. What means something to overlayfs or to us is no image's to
 * say; other namespaces (trusted, security modules) are this host's own. */
static bool is_kept(const char *name)
{
	if (has_prefix(name, "user.overlay.") || has_prefix(name, "user.teal."))
		return false;
	return has_prefix(name, "user.") || strcmp(name, "security.capability") == 0;
}

static int set_xattrs(struct unpack *u, int fd, struct archive_entry *e, struct err *err)
{
	const char *name;
	const void *value;
	size_t size, total = 0;
	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
		total += strlen(name) + size;
		if (total > UNPACK_MAX_XATTR_BYTES)
			return err_say(
				err, E2BIG, "more than %u bytes of attributes", UNPACK_MAX_XATTR_BYTES);
		if (!is_kept(name) || (u->flat && !has_prefix(name, "user."))) {
			u->left_out++;
			continue;
		}
		if (fsetxattr(fd, name, value, size, 0) < 0)
			return err_set(err, errno, "set attribute %.80s", name);
	}
	return 0;
}

/* In this order: a new owner takes set-id bits and capabilities away. */
static int set_all(struct unpack *u, int fd, struct archive_entry *e, mode_t mode, struct err *err)
{
	int r = set_owner(u, fd, e, err);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = err_set(err, errno, "set mode %o", mode);
	return r < 0 ? r : set_xattrs(u, fd, e, err);
}

int meta_on_file(struct unpack *u, int fd, struct archive_entry *e, struct err *err)
{
	struct timespec times[2];
	int r = set_all(u, fd, e, mode_of(u, e), err);
	times_of(e, times);
	if (r == 0 && futimens(fd, times) < 0)
		r = err_set(err, errno, "set times");
	return r;
}

/* Attributes that a directory of the same name got before, from an earlier entry or as a mark, but for the
 * one that hides what is below. */
static void forget_xattrs(int fd)
{
	char names[UNPACK_MAX_XATTR_BYTES];
	ssize_t n = flistxattr(fd, names, sizeof names);
	for (const char *p = names; n > 0 && p < names + n; p += strlen(p) + 1)
		if (has_prefix(p, "user.") && !has_prefix(p, "user.overlay."))
			fremovexattr(fd, p);
}

static int record_dir(struct unpack *u, struct archive_entry *e, struct err *err)
{
	struct dir_record record;
	times_of(e, record.times);
	buf_add(&u->dirs, &record, sizeof record);
	buf_add(&u->dirs, u->path, strlen(u->path) + 1);
	return u->dirs.failed ? err_say(err, E2BIG, "too many directories") : 0;
}

int meta_on_dir(struct unpack *u, int dir, const char *name, struct archive_entry *e, struct err *err)
{
	OWN_FD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open directory");
	forget_xattrs(fd);
	/* Who is not root must still be able to fill it, and to remove it one day. */
	int r = set_all(u, fd, e, mode_of(u, e) | (u->flat ? 0700 : 0), err);
	return r < 0 ? r : record_dir(u, e, err);
}

int meta_on_name(struct unpack *u, int dir, const char *name, struct archive_entry *e, struct err *err)
{
	struct timespec times[2];
	int r = check_owner(e, err);
	if (r < 0)
		return r;
	times_of(e, times);
	if (!u->flat && fchownat(dir, name, (uid_t)archive_entry_uid(e), (gid_t)archive_entry_gid(e),
				AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(err, errno, "set owner");
	if (archive_entry_filetype(e) != AE_IFLNK && fchmodat(dir, name, mode_of(u, e), 0) < 0)
		return err_set(err, errno, "set mode");
	if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(err, errno, "set times");
	return 0;
}

int meta_finish_dirs(struct unpack *u, struct err *err)
{
	const char *p = u->dirs.data, *end = p ? p + u->dirs.len : NULL;
	while (p < end) {
		struct dir_record record;
		OWN_FD int fd = -1;
		memcpy(&record, p, sizeof record);
		const char *path = p + sizeof record;
		p = path + strlen(path) + 1;
		if (path_open_dir(u, path, false, &fd, NULL) < 0)
			continue; /* something else took its place */
		if (futimens(fd, record.times) < 0)
			return err_set(err, errno, "set times of %.300s", path);
	}
	return 0;
}
