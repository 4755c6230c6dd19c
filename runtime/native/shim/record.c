#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "base/proc.h"
#include "runtime/native/shim/shim.h"

/* Renamed into place but not synced: after a power cut nothing of it is true any more. Under a new name each
 * time, since a file system may flush when a rename replaces a file. */
static int put_record(int dirfd, const char *name, const char *text, size_t len, struct err *err)
{
	char tmp[64];
	snprintf(tmp, sizeof tmp, "%s.tmp", name);
	OWN_FD int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len || renameat(dirfd, tmp, dirfd, name) < 0)
		return err_set(err, errno, "write %s", name);
	return 0;
}

int record_state(struct shim *s, const char *name, struct err *err)
{
	char boot_id[BOOT_ID_LEN], text[512];
	uint64_t start_time = 0;
	clock_boot_id(boot_id);
	if (proc_start_time(getpid(), &start_time) < 0)
		return err_set(err, ESRCH, "read own start time");
	int n = snprintf(text, sizeof text,
		"{\"boot_id\":\"%s\",\"shim\":{\"pid\":%d,\"start_time\":%llu},"
		"\"init\":{\"pid\":%d,\"start_time\":%llu},\"started_ms\":%lld}\n",
		boot_id, (int)getpid(), (unsigned long long)start_time, (int)s->init,
		(unsigned long long)s->init_start_time, (long long)s->started_ms);
	return put_record(s->bundle_fd, name, text, (size_t)n, err);
}

int record_exit(struct shim *s, const struct shim_report *end, struct err *err)
{
	char text[160];
	int n = snprintf(text, sizeof text, "{\"code\":%d,\"signal\":%d,\"oom\":%s,\"at_ms\":%lld}\n",
		end->code, end->signal, end->oom ? "true" : "false", (long long)end->at_ms);
	if (s->status_fd < 0)
		return put_record(s->bundle_fd, BUNDLE_EXIT, text, (size_t)n, err);
	return fs_write_durable(s->bundle_fd, BUNDLE_EXIT, text, (size_t)n, 0600, err);
}
