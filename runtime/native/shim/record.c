#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/shim/shim.h"

/* Renamed into place but not synced: after a power cut nothing of it is true any more. */
int record_state(struct shim *s, struct err *err)
{
	char boot_id[BOOT_ID_LEN], text[512];
	clock_boot_id(boot_id);
	int n = snprintf(text, sizeof text,
		"{\"boot_id\":\"%s\",\"init\":{\"pid\":%d,\"start_time\":%llu},\"started_ms\":%lld}\n",
		boot_id, (int)s->init, (unsigned long long)s->init_start_time, (long long)s->started_ms);
	OWN_FD int fd = openat(s->bundle_fd, BUNDLE_STATE ".tmp",
		O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text, (size_t)n) != n ||
		renameat(s->bundle_fd, BUNDLE_STATE ".tmp", s->bundle_fd, BUNDLE_STATE) < 0)
		return err_set(err, errno, "write " BUNDLE_STATE);
	return 0;
}

int record_exit(struct shim *s, const struct shim_report *end, struct err *err)
{
	char text[160];
	int n = snprintf(text, sizeof text, "{\"code\":%d,\"signal\":%d,\"oom\":%s,\"at_ms\":%lld}\n",
		end->code, end->signal, end->oom ? "true" : "false", (long long)end->at_ms);
	return fs_write_durable(s->bundle_fd, BUNDLE_EXIT, text, (size_t)n, 0600, err);
}
