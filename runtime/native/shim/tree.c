/* Mounts as descriptors: detached trees that become visible only where they are attached. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/own.h"
#include "runtime/native/shim/shim.h"

static const struct {
	const char *name;
	uint64_t set, clear;
} ATTRIBUTES[] = {
	{ "ro", MOUNT_ATTR_RDONLY, 0 },
	{ "rw", 0, MOUNT_ATTR_RDONLY },
	{ "nosuid", MOUNT_ATTR_NOSUID, 0 },
	{ "suid", 0, MOUNT_ATTR_NOSUID },
	{ "nodev", MOUNT_ATTR_NODEV, 0 },
	{ "dev", 0, MOUNT_ATTR_NODEV },
	{ "noexec", MOUNT_ATTR_NOEXEC, 0 },
	{ "exec", 0, MOUNT_ATTR_NOEXEC },
	{ "noatime", MOUNT_ATTR_NOATIME, 0 },
	{ "relatime", 0, 0 },
	{ "private", 0, 0 },
	{ "rprivate", 0, 0 },
	{ "bind", 0, 0 },
	{ "rbind", 0, 0 },
};

int tree_options(char *const *options, uint64_t *ret_attributes, char ***ret_own, bool *ret_recursive)
{
	uint64_t attributes = 0;
	*ret_recursive = false;
	for (char *const *o = options; o && *o; o++) {
		size_t i = 0;
		while (i < ARRAY_LEN(ATTRIBUTES) && strcmp(ATTRIBUTES[i].name, *o) != 0)
			i++;
		if (i < ARRAY_LEN(ATTRIBUTES))
			attributes = (attributes & ~ATTRIBUTES[i].clear) | ATTRIBUTES[i].set;
		else if (strv_add(ret_own, *o) < 0)
			return -ENOMEM;
		*ret_recursive |= strcmp(*o, "rbind") == 0;
	}
	*ret_attributes = attributes;
	return 0;
}

int tree_clone(int dirfd, const char *path, unsigned flags, int *ret_mount, struct err *err)
{
	int fd = open_tree(dirfd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
	if (fd < 0)
		return err_set(err, errno, "clone mount %s", path);
	*ret_mount = fd;
	return 0;
}

int tree_set(int mount_fd, uint64_t attributes, bool recursive, struct err *err)
{
	struct mount_attr attr = { .attr_set = attributes };
	unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	if (attributes & MOUNT_ATTR_NOATIME)
		attr.attr_clr = MOUNT_ATTR__ATIME;
	if (attributes && mount_setattr(mount_fd, "", flags, &attr, sizeof attr) < 0)
		return err_set(err, errno, "set mount attributes");
	return 0;
}

int tree_idmap(int mount_fd, int userns_fd, struct err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd };
	if (mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
		return err_set(err, errno, "map owners of the mount");
	return 0;
}

/* "key=value" or "flag" */
static int configure(int fs, char *option)
{
	char *value = strchr(option, '=');
	if (!value)
		return fsconfig(fs, FSCONFIG_SET_FLAG, option, NULL, 0);
	*value = '\0';
	int r = fsconfig(fs, FSCONFIG_SET_STRING, option, value + 1, 0);
	*value = '=';
	return r;
}

int tree_new(const char *type, char *const *options, uint64_t attributes, int *ret_mount, struct err *err)
{
	OWN_FD int fs = fsopen(type, FSOPEN_CLOEXEC);
	if (fs < 0)
		return err_set(err, errno, "open file system %s", type);
	for (char *const *o = options; o && *o; o++)
		if (configure(fs, *o) < 0)
			return err_set(err, errno, "file system %s: option %s", type, *o);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_set(err, errno, "create file system %s", type);
	int fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attributes);
	if (fd < 0)
		return err_set(err, errno, "mount file system %s", type);
	*ret_mount = fd;
	return 0;
}

int tree_attach(int mount_fd, int target_fd, const char *what, struct err *err)
{
	if (move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_set(err, errno, "mount %s", what);
	return 0;
}

int tree_resolve(int root_fd, const char *path, int *ret)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	for (int tries = 0; tries < 32; tries++) {
		long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof how);
		if (fd >= 0) {
			*ret = (int)fd;
			return 0;
		}
		if (errno != EAGAIN) /* a rename somewhere raced with ".."; says nothing about us */
			return -errno;
	}
	return -EAGAIN;
}
