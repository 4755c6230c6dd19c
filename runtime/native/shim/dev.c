#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/own.h"
#include "runtime/native/shim/shim.h"

/* A user namespace may not make device nodes, so the host's are attached; what stands at the path is believed
 * only if it has the right number. */
static const struct {
	const char *name;
	unsigned major, minor;
} DEVICES[] = {
	{ "null", 1, 3 },
	{ "zero", 1, 5 },
	{ "full", 1, 7 },
	{ "random", 1, 8 },
	{ "urandom", 1, 9 },
	{ "tty", 5, 0 },
};
_Static_assert(ARRAY_LEN(DEVICES) == DEV_COUNT, "one mount each");

static const struct {
	const char *name, *to;
} LINKS[] = {
	{ "fd", "/proc/self/fd" },
	{ "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" },
	{ "ptmx", "pts/ptmx" },
};

static int clone_one(size_t i, int *ret, struct err *err)
{
	char path[32];
	struct stat st;
	snprintf(path, sizeof path, "/dev/%s", DEVICES[i].name);
	OWN_FD int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open %s", path);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(DEVICES[i].major, DEVICES[i].minor))
		return err_say(err, ENODEV, "%s of the host is not device %u:%u", path, DEVICES[i].major,
			DEVICES[i].minor);
	return tree_clone(fd, "", AT_EMPTY_PATH, ret, err);
}

int dev_clone(int ret_mounts[DEV_COUNT], struct err *err)
{
	for (size_t i = 0; i < DEV_COUNT; i++) {
		int r = clone_one(i, &ret_mounts[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int dev_clone_lent(const struct device_spec *d, int *ret_mount, struct err *err)
{
	struct stat st;
	OWN_FD int fd = open(d->path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open %s", d->path);
	if ((st.st_mode & S_IFMT) != (d->block ? S_IFBLK : S_IFCHR) ||
		st.st_rdev != makedev(d->major, d->minor))
		return err_say(
			err, ENODEV, "%s of the host is not device %u:%u", d->path, d->major, d->minor);
	return tree_clone(fd, "", AT_EMPTY_PATH, ret_mount, err);
}

/* On the container's own /dev, where nothing of the image can stand in the way. */
int dev_attach_lent(int root_fd, const struct device_spec *d, int mount, struct err *err)
{
	char names[256];
	OWN_FD int dir = -1;
	int r = tree_resolve(root_fd, "dev", &dir);
	if (r < 0 || snprintf(names, sizeof names, "%s", d->path + 5) >= (int)sizeof names)
		return err_set(err, r < 0 ? -r : ENAMETOOLONG, "open /dev");
	char *name = names;
	for (char *slash; (slash = strchr(name, '/')); name = slash + 1) {
		*slash = '\0';
		if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
			return err_set(err, errno, "create %s", d->path);
		int next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return err_set(err, errno, "create %s", d->path);
		own_close(&dir);
		dir = next;
	}
	OWN_FD int node = openat(dir, name, O_CREAT | O_EXCL | O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (node < 0 && errno == EEXIST) /* one that every container has */
		node = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (node < 0)
		return err_set(err, errno, "create %s", d->path);
	return tree_attach(mount, node, d->path, err);
}

int dev_populate(int root_fd, const int mounts[DEV_COUNT], struct err *err)
{
	OWN_FD int dev = -1;
	int r = tree_resolve(root_fd, "dev", &dev);
	if (r < 0)
		return err_set(err, -r, "open /dev");
	for (size_t i = 0; i < DEV_COUNT; i++) {
		OWN_FD int node = openat(dev, DEVICES[i].name, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0666);
		if (node < 0)
			return err_set(err, errno, "create /dev/%s", DEVICES[i].name);
		r = tree_attach(mounts[i], node, DEVICES[i].name, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_LEN(LINKS); i++)
		if (symlinkat(LINKS[i].to, dev, LINKS[i].name) < 0)
			return err_set(err, errno, "create /dev/%s", LINKS[i].name);
	return 0;
}
