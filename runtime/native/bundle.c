#include "runtime/native/bundle_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/bundle.h"

/* Not synced: after a power cut nothing runs, and the agent starts everything afresh from its own record. */
static int put_file(int dir_fd, const char *name, const void *bytes, size_t len, mode_t mode, struct err *err)
{
	OWN_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return err_set(err, errno, "create %s", name);
	if (fchmod(fd, mode) < 0) /* what the container reads it reads as a stranger, whatever our umask is */
		return err_set(err, errno, "create %s", name);
	ssize_t n = write(fd, bytes, len);
	if (n != (ssize_t)len)
		return err_set(err, n < 0 ? errno : ENOSPC, "write %s", name);
	return 0;
}

int bundle_write(const char *dir, const json_t *config, const struct buf *filter, const struct etc_files *etc,
	struct err *err)
{
	OWN_FREE char *text = json_dumps(config, JSON_INDENT(1));
	OWN_FD int fd = -1;
	if (!text)
		return err_set(err, ENOMEM, "write " BUNDLE_CONFIG);
	if (mkdir(dir, 0700) < 0)
		return err_set(err, errno, "create bundle %s", dir);
	int r = fs_open_dir(AT_FDCWD, dir, &fd, err);
	if (r == 0)
		r = put_file(fd, ETC_RESOLV_CONF, etc->resolv_conf.data, etc->resolv_conf.len, 0644, err);
	if (r == 0)
		r = put_file(fd, ETC_HOSTS, etc->hosts.data, etc->hosts.len, 0644, err);
	if (r == 0 && filter->len > 0)
		r = put_file(fd, BUNDLE_SECCOMP, filter->data, filter->len, 0600, err);
	return r < 0 ? r : put_file(fd, BUNDLE_CONFIG, text, strlen(text), 0600, err);
}
