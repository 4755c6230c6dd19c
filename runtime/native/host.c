#include "runtime/native/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"

static int write_map(pid_t pid, const char *file, struct err *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	return fs_write_kernel(AT_FDCWD, path, "0 524288 65536", err);
}

/* An idmapped clone of the state directory's mount: depends on the kernel and on the file system beneath. */
static int try_idmap(pid_t pid, const char *dir, struct err *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
	OWN_FD int ns = open(path, O_RDONLY | O_CLOEXEC);
	OWN_FD int tree = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (ns < 0 || tree < 0)
		return err_set(err, errno, "clone mount of %s", dir);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)ns };
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
		return err_set(err, errno,
			"idmapped mount of %s (needs Linux 5.12 and ext4, xfs, btrfs or newer tmpfs)", dir);
	return 0;
}

/* A child that only waits, in a new user namespace. By the system call: no code of ours runs in it. */
static int try_userns(const char *dir, struct err *err)
{
	struct clone_args args = { .flags = CLONE_NEWUSER | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return err_set(err, errno, "make a user namespace");
	int r = write_map(pid, "uid_map", err);
	if (r == 0)
		r = write_map(pid, "gid_map", err);
	if (r == 0)
		r = try_idmap(pid, dir, err);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

void host_probe(const struct settings *settings, struct host_features *ret)
{
	*ret = (struct host_features){ .root = geteuid() == 0,
		.time_namespace = access("/proc/self/ns/time", F_OK) == 0 };
	if (ret->root)
		ret->userns = try_userns(settings->state_dir, &ret->userns_error) == 0;
	else
		err_say(&ret->userns_error, EPERM, "teald does not run as root");
}

int host_check(const struct settings *settings, const struct host_features *f, const struct cgroups *g,
	const struct spec_container *c, struct err *err)
{
	if (!f->root)
		return err_say(err, ENOTSUP, "containers of the native runtime need teald to run as root");
	if (!f->userns && settings->userns == USERNS_REQUIRED)
		return err_say(err, ENOTSUP,
			"user namespaces don't work here (%s); enable them, or set `userns: preferred` in "
			"teald.yaml "
			"to run without",
			f->userns_error.msg);
	return cgroups_check(g, &c->limits, err);
}
