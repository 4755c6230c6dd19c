#include "base/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"

static int read_all(int fd, size_t max, struct buf *out)
{
	for (;;) {
		char *to = buf_room(out, 4096);
		if (!to)
			return -ENOMEM;
		ssize_t n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		out->len += (size_t)n;
		out->data[out->len] = '\0';
		if (out->len > max)
			return -EFBIG;
	}
}

static int read_into(int fd, const char *path, size_t max, struct buf *ret, struct err *err)
{
	OWN_BUF struct buf b = { 0 };
	int r = read_all(fd, max, &b);
	if (r == -EFBIG)
		return err_say(err, EFBIG, "read %s: larger than %zu bytes", path, max);
	if (r < 0)
		return err_set(err, -r, "read %s", path);
	buf_done(ret);
	*ret = b;
	b = (struct buf){ 0 };
	return 0;
}

int fs_read_file(int dirfd, const char *path, size_t max, struct buf *ret, struct err *err)
{
	OWN_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return err_say(err, EINVAL, "open %s: not a regular file", path);
	return read_into(fd, path, max, ret, err);
}

int fs_read_kernel(int dirfd, const char *path, struct buf *ret, struct err *err)
{
	OWN_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open %s", path);
	int r = read_into(fd, path, 1 << 20, ret, err);
	if (r == 0 && ret->len > 0 && ret->data[ret->len - 1] == '\n')
		ret->data[--ret->len] = '\0';
	return r;
}

int fs_write_kernel(int dirfd, const char *path, const char *text, struct err *err)
{
	OWN_FD int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open %s", path);
	ssize_t n;
	do
		n = write(fd, text, strlen(text));
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_set(err, errno, "write \"%s\" to %s", text, path) : 0;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int sync_parent(int dirfd, const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	OWN_FREE char *parent =
		slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!parent)
		return err_set(err, ENOMEM, "sync %s", path);
	return fs_sync_dir(dirfd, parent, err);
}

int fs_write_durable(int dirfd, const char *path, const void *bytes, size_t len, mode_t mode, struct err *err)
{
	OWN_BUF struct buf tmp = { 0 };
	if (buf_addf(&tmp, "%s.tmp", path) < 0)
		return err_set(err, ENOMEM, "write %s", path);
	/* What a crash left there goes; what somebody put there (a link, a pipe) is never written through. */
	unlinkat(dirfd, tmp.data, 0);
	OWN_FD int fd = openat(dirfd, tmp.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return err_set(err, errno, "create %s", tmp.data);
	int r = fchmod(fd, mode) < 0 ? -errno : write_all(fd, bytes, len);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, tmp.data, dirfd, path) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, tmp.data, 0);
		return err_set(err, -r, "write %s", path);
	}
	return sync_parent(dirfd, path, err);
}

int fs_mkdirs(const char *path, mode_t mode, struct err *err)
{
	OWN_FREE char *copy = strdup(path);
	if (!copy)
		return err_set(err, ENOMEM, "create %s", path);
	if (!*path)
		return err_say(err, EINVAL, "create directory: no path");
	for (char *p = copy + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char saved = *p;
		*p = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return err_set(err, errno, "create directory %s", copy);
		*p = saved;
		if (saved == '\0')
			break;
	}
	struct stat st;
	if (stat(path, &st) < 0)
		return err_set(err, errno, "create directory %s", path);
	return S_ISDIR(st.st_mode) ? 0 : err_set(err, ENOTDIR, "create directory %s", path);
}

int fs_open_dir(int dirfd, const char *path, int *ret, struct err *err)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open directory %s", path);
	*ret = fd;
	return 0;
}

int fs_sync_dir(int dirfd, const char *path, struct err *err)
{
	OWN_FD int fd = -1;
	int r = fs_open_dir(dirfd, path, &fd, err);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? err_set(err, errno, "sync %s", path) : 0;
}

char *fs_join(const char *first, ...)
{
	OWN_BUF struct buf b = { 0 };
	va_list ap;
	buf_adds(&b, first);
	va_start(ap, first);
	for (const char *part; (part = va_arg(ap, const char *));)
		buf_addf(&b, "/%s", part);
	va_end(ap);
	return buf_take(&b);
}
