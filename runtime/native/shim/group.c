#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/shim/shim.h"

#define CGROUP2_MAGIC 0x63677270

static bool is_v2(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_MAGIC;
}

void group_done(struct group_set *g)
{
	for (unsigned i = 0; i < g->n_tasks; i++)
		own_close(&g->tasks[i]);
	own_close(&g->v2);
	g->n_tasks = 0;
}

int group_add(struct group_set *g, int dirfd, const char *path, struct err *err)
{
	OWN_FD int dir = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(err, errno, "open cgroup %s", path);
	if (is_v2(dir)) {
		own_close(&g->v2);
		g->v2 = TAKE_FD(dir);
		return 0;
	}
	if (g->n_tasks == GROUP_MAX)
		return err_say(err, E2BIG, "too many cgroups");
	int tasks = openat(dir, "tasks", O_WRONLY | O_CLOEXEC);
	if (tasks < 0)
		return err_set(err, errno, "open cgroup %s/tasks", path);
	g->tasks[g->n_tasks++] = tasks;
	return 0;
}

int group_open(const struct shim_config *c, struct group_set *ret, struct err *err)
{
	for (char **dir = c->cgroups; dir && *dir; dir++) {
		int r = group_add(ret, AT_FDCWD, *dir, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A thread that moves itself, and not by cgroup.procs, takes no lock that waits for every processor of the
 * host: ten milliseconds and more. What may be written was decided when the files were opened. */
int group_enter(const struct group_set *g, struct err *err)
{
	for (unsigned i = 0; i < g->n_tasks; i++)
		if (write(g->tasks[i], "0", 1) < 0)
			return err_set(err, errno, "join cgroup");
	return 0;
}

pid_t group_fork(const struct group_set *g, uint64_t flags, int *ret_pidfd)
{
	int pidfd = -1;
	struct clone_args args = { .flags = flags | CLONE_PIDFD | (g->v2 >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = g->v2 >= 0 ? (uint64_t)g->v2 : 0 };
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid > 0)
		*ret_pidfd = pidfd;
	return pid;
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
