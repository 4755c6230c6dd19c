/* In the child, in its own mount namespace: the new root and everything below it. Nothing here names a path
 * of the host; targets are resolved below the new root by descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/shim/shim.h"

bool mount_is_bind(const struct mount_spec *m)
{
	for (char *const *o = m->options; o && *o; o++)
		if (strcmp(*o, "bind") == 0 || strcmp(*o, "rbind") == 0)
			return true;
	return m->type && strcmp(m->type, "bind") == 0;
}

/* The mount point, made if it stands on one of the file systems that we mounted ourselves. */
static int open_target(int root_fd, const char *path, int *ret)
{
	char parent[PATH_MAX];
	int r = tree_resolve(root_fd, path, ret);
	if (r != -ENOENT)
		return r;
	int n = snprintf(parent, sizeof parent, "%s", path);
	char *slash = strrchr(parent, '/');
	if (n >= (int)sizeof parent || !slash || slash == parent)
		return -ENOENT;
	*slash = '\0';
	OWN_FD int dir = -1;
	r = tree_resolve(root_fd, parent, &dir);
	if (r == 0 && mkdirat(dir, slash + 1, 0755) < 0)
		r = -errno;
	return r < 0 ? r : tree_resolve(root_fd, path, ret);
}

/* Kernel interfaces mounted through a symlink would let an image choose where they appear. */
static int refuse_symlink(int root_fd, const struct mount_spec *m, struct err *err)
{
	static const char *const FIXED[] = { "/proc", "/sys", "/dev" };
	struct stat st;
	for (size_t i = 0; i < ARRAY_LEN(FIXED); i++)
		if (strcmp(m->target, FIXED[i]) == 0 &&
			fstatat(root_fd, m->target + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			!S_ISDIR(st.st_mode))
			return err_say(err, ENOTDIR, "mount %s: not a directory in the image", m->target);
	return 0;
}

static bool is_procfs(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

static int mount_one(int root_fd, const struct mount_spec *m, int bind_fd, struct err *err)
{
	OWN_STRV char **own = NULL;
	OWN_FD int fs = -1, target = -1;
	uint64_t attributes = 0;
	bool recursive = false;
	int r = refuse_symlink(root_fd, m, err);
	if (r < 0)
		return r;
	if (tree_options(m->options, &attributes, &own, &recursive) < 0)
		return err_set(err, ENOMEM, "mount %s", m->target);
	r = open_target(root_fd, m->target, &target);
	if (r < 0)
		return err_set(err, -r, "mount %s: open target", m->target);
	if (is_procfs(target)) /* what is taken for the kernel's answers, ours and the program's, must be them
				*/
		return err_say(err, EPERM, "mount %s: nothing may be mounted inside of /proc", m->target);
	if (bind_fd >= 0)
		r = tree_set(bind_fd, attributes, recursive, err);
	else
		r = tree_new(strcmp(m->type, "cgroup") == 0 ? "cgroup2" : m->type, own, attributes, &fs, err);
	return r < 0 ? err_wrap(err, "mount %s", m->target)
		     : tree_attach(bind_fd >= 0 ? bind_fd : fs, target, m->target, err);
}

static int mount_all(const struct shim_config *c, int root_fd, const int *binds, unsigned n_binds,
	const int devs[DEV_COUNT], struct err *err)
{
	unsigned bind = 0;
	for (size_t i = 0; i < c->n_mounts; i++) {
		const struct mount_spec *m = &c->mounts[i];
		bool is_bind = mount_is_bind(m);
		if (is_bind && bind >= n_binds)
			return err_say(err, EINVAL, "mount %s: no source", m->target);
		int r = mount_one(root_fd, m, is_bind ? binds[bind++] : -1, err);
		if (r == 0 && strcmp(m->target, "/dev") == 0 && !is_bind)
			r = dev_populate(root_fd, devs, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Somebody who can write to the image may put a symlink where /proc was mounted, even now. */
static int open_sysctl(int root_fd, const char *path, int *ret)
{
	struct open_how how = { .flags = O_WRONLY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS };
	OWN_FD int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof how);
	if (fd < 0)
		return -errno;
	if (!is_procfs(fd))
		return -EXDEV;
	*ret = TAKE_FD(fd);
	return 0;
}

/* Through the container's own /proc, which is ours since nothing of the image can have run yet. */
static int write_sysctls(const struct shim_config *c, int root_fd, struct err *err)
{
	for (char **s = c->sysctls; s && *s; s++) {
		const char *value = strchr(*s, '=');
		OWN_FREE char *path = fs_join("proc/sys", *s, NULL);
		OWN_FD int fd = -1;
		if (!value++ || !path)
			return err_set(err, ENOMEM, "set sysctl");
		path[strcspn(path, "=")] = '\0';
		int r = open_sysctl(root_fd, path, &fd);
		if (r == 0 && write(fd, value, strlen(value)) < 0)
			r = -errno;
		if (r < 0)
			return err_set(err, -r, "set sysctl: %s", path);
	}
	return 0;
}

static int make_readonly(int root_fd, const char *path, struct err *err)
{
	OWN_FD int fd = -1, tree = -1;
	int r = tree_resolve(root_fd, path, &fd);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(err, -r, "protect %s", path);
	r = tree_clone(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &tree, err);
	if (r == 0)
		r = tree_set(tree, MOUNT_ATTR_RDONLY, true, err);
	return r < 0 ? err_wrap(err, "protect %s", path) : tree_attach(tree, fd, path, err);
}

struct mask {
	int null, empty; /* attached mounts to clone: the host's /dev/null, an empty directory */
};

static int mask_one(int root_fd, const char *path, struct mask *mask, struct err *err)
{
	OWN_FD int fd = -1, tree = -1;
	struct stat st;
	int r = tree_resolve(root_fd, path, &fd);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || fstat(fd, &st) < 0)
		return err_set(err, r < 0 ? -r : errno, "mask %s", path);
	if (!S_ISDIR(st.st_mode)) {
		r = tree_clone(mask->null, "", AT_EMPTY_PATH, &tree, err);
	} else if (mask->empty >= 0) {
		r = tree_clone(mask->empty, "", AT_EMPTY_PATH, &tree, err);
	} else {
		char size[] = "nr_blocks=1", inodes[] = "nr_inodes=1", mode[] = "mode=0555";
		char *options[] = { size, inodes, mode, NULL };
		r = tree_new("tmpfs", options,
			MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, &tree,
			err);
	}
	if (r == 0)
		r = tree_attach(tree, fd, path, err);
	if (r == 0 && S_ISDIR(st.st_mode) && mask->empty < 0)
		mask->empty = TAKE_FD(tree);
	return r < 0 ? err_wrap(err, "mask %s", path) : 0;
}

static int mask_all(const struct shim_config *c, int root_fd, struct err *err)
{
	OWN_FD int null = -1, empty = -1;
	struct stat st;
	int r = 0;
	if (!c->masked)
		return 0;
	r = tree_resolve(root_fd, "dev/null", &null);
	if (r < 0 || fstat(null, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return err_say(err, ENODEV, "mask paths: /dev/null is not the null device");
	struct mask mask = { .null = null, .empty = -1 };
	for (char **path = c->masked; r == 0 && *path; path++)
		r = mask_one(root_fd, *path, &mask, err);
	empty = mask.empty;
	return r;
}

/* The old root ends up stacked on the new one's "."; detaching it leaves nothing of the host to walk to. */
static int enter_root(int root_fd, struct err *err)
{
	if (fchdir(root_fd) < 0)
		return err_set(err, errno, "enter root");
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_set(err, errno, "pivot_root");
	if (umount2(".", MNT_DETACH) < 0)
		return err_set(err, errno, "detach the old root");
	return chdir("/") < 0 ? err_set(err, errno, "enter root") : 0;
}

static unsigned count_binds(const struct shim_config *c)
{
	unsigned n = 0;
	for (size_t i = 0; i < c->n_mounts; i++)
		n += mount_is_bind(&c->mounts[i]);
	return n;
}

int mounts_apply(struct shim *s, int root_mount, const int *sources, unsigned n_sources,
	const int devs[DEV_COUNT], struct err *err)
{
	const struct shim_config *c = &s->config;
	unsigned n_binds = count_binds(c);
	if (n_binds + c->n_devices != n_sources)
		return err_say(err, EPROTO, "the shim sent %u mounts", n_sources);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_set(err, errno, "make mounts private");
	OWN_FD int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return err_set(err, errno, "open /");
	int r = tree_attach(root_mount, top, "root", err);
	if (r == 0)
		r = mount_all(c, root_mount, sources, n_binds, devs, err);
	for (size_t i = 0; r == 0 && i < c->n_devices; i++)
		r = dev_attach_lent(root_mount, &c->devices[i], sources[n_binds + i], err);
	if (r == 0)
		r = secrets_place(c, root_mount, err);
	if (r == 0)
		r = write_sysctls(c, root_mount, err);
	if (r == 0)
		r = mask_all(c, root_mount, err);
	for (char **path = c->readonly; r == 0 && path && *path; path++)
		r = make_readonly(root_mount, *path, err);
	return r < 0 ? r : enter_root(root_mount, err);
}
