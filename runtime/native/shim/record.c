#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "base/proc.h"
#include "runtime/native/shim/shim.h"

/* Renamed into place but not synced: after a power cut nothing of it is true any more. */
static int replace_file(int dirfd, const char *name, const char *text, size_t len, struct err *err)
{
	char tmp[64];
	snprintf(tmp, sizeof tmp, "%s.tmp", name);
	OWN_FD int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len || renameat(dirfd, tmp, dirfd, name) < 0)
		return err_set(err, errno, "write %s", name);
	return 0;
}

int record_state(struct shim *s, const char *phase, struct err *err)
{
	char boot_id[BOOT_ID_LEN], text[512];
	uint64_t start_time = 0;
	clock_boot_id(boot_id);
	if (proc_start_time(getpid(), &start_time) < 0)
		return err_set(err, ESRCH, "read own start time");
	int n = snprintf(text, sizeof text,
		"{\"phase\":\"%s\",\"boot_id\":\"%s\",\"shim\":{\"pid\":%d,\"start_time\":%llu},"
		"\"init\":{\"pid\":%d,\"start_time\":%llu},\"started_ms\":%lld}\n",
		phase, boot_id, (int)getpid(), (unsigned long long)start_time, (int)s->init,
		(unsigned long long)s->init_start_time, (long long)s->started_ms);
	return replace_file(s->bundle_fd, BUNDLE_STATE, text, (size_t)n, err);
}

int record_exit(struct shim *s, int wstatus, bool oom, struct err *err)
{
	char text[160];
	int sig = WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : 0;
	int code = sig ? 128 + sig : WEXITSTATUS(wstatus);
	int n = snprintf(text, sizeof text, "{\"code\":%d,\"signal\":%d,\"oom\":%s,\"at_ms\":%lld}\n", code,
		sig, oom ? "true" : "false", (long long)clock_wall_ms());
	return fs_write_durable(s->bundle_fd, BUNDLE_EXIT, text, (size_t)n, 0600, err);
}
