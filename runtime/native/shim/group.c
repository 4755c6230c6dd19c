#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/shim/shim.h"

#define CGROUP2_MAGIC 0x63677270

int group_open_v2(const struct shim_config *c)
{
	struct statfs fs;
	if (strv_len(c->cgroups) != 1)
		return -1;
	int fd = open(c->cgroups[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && (fstatfs(fd, &fs) < 0 || fs.f_type != CGROUP2_MAGIC)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int group_join(const struct shim_config *c, pid_t pid, struct err *err)
{
	char text[16];
	snprintf(text, sizeof text, "%d", (int)pid);
	for (char **dir = c->cgroups; dir && *dir; dir++) {
		OWN_FREE char *path = fs_join(*dir, "cgroup.procs", NULL);
		int r = path ? fs_write_kernel(AT_FDCWD, path, text, err)
			     : err_set(err, ENOMEM, "join cgroup");
		if (r < 0)
			return err_wrap(err, "join cgroup");
	}
	return 0;
}

/* "oom_kill 3" in memory.events (v2) or memory.oom_control (v1). */
static bool has_killed(const char *dir, const char *file)
{
	OWN_FREE char *path = fs_join(dir, file, NULL);
	OWN_BUF struct buf text = { 0 };
	if (!path || fs_read_kernel(AT_FDCWD, path, &text, NULL) < 0 || !text.data)
		return false;
	const char *at = strstr(text.data, "oom_kill ");
	return at && strtoull(at + sizeof "oom_kill", NULL, 10) > 0;
}

bool group_oom(const struct shim_config *c)
{
	for (char **dir = c->cgroups; dir && *dir; dir++)
		if (has_killed(*dir, "memory.events") || has_killed(*dir, "memory.oom_control"))
			return true;
	return false;
}

void group_remove(const struct shim_config *c)
{
	for (char **dir = c->cgroups; dir && *dir; dir++)
		rmdir(*dir);
}
