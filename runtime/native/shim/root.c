/* The container's root as a detached mount. The usual case, a read-only image that has all mount points, is a
 * plain idmapped clone. Otherwise an overlay: a skeleton of the missing mount points above the image, so that
 * the image in the store is never written to, and a writable layer in the bundle where one is asked for. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/shim/shim.h"

#define ROOT_ATTRIBUTES (MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID)

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

/* A target below an earlier mount is made there, not in the image. */
static bool is_covered(const struct shim_config *c, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (is_below(c->mounts[index].target, c->mounts[i].target))
			return true;
	return false;
}

static bool wants_directory(const struct mount_spec *m)
{
	struct stat st;
	return !mount_is_bind(m) || !m->source || stat(m->source, &st) < 0 || S_ISDIR(st.st_mode);
}

/* The longest leading part of path that the image has, symlinks followed inside it, and what is left of path.
 */
static int find_existing(int root_fd, const char *path, int *ret_fd, const char **ret_rest)
{
	char prefix[PATH_MAX];
	size_t len = strlen(path);
	if (len >= sizeof prefix)
		return -ENAMETOOLONG;
	memcpy(prefix, path, len + 1);
	for (;;) {
		char *slash = strrchr(prefix, '/');
		if (slash)
			*slash = '\0';
		int r = tree_resolve(root_fd, slash && *prefix ? prefix : "/", ret_fd);
		if (r == 0) {
			*ret_rest = path + strlen(prefix);
			return 0;
		}
		if (r != -ENOENT || !slash)
			return r;
	}
}

/* Where fd stands below root_fd, by the kernel's own account of both. */
static int path_below(int root_fd, int fd, char ret[PATH_MAX])
{
	char link[64], base[PATH_MAX], full[PATH_MAX];
	const int fds[] = { root_fd, fd };
	char *const to[] = { base, full };
	for (int i = 0; i < 2; i++) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fds[i]);
		ssize_t n = readlink(link, to[i], PATH_MAX - 1);
		if (n < 0)
			return -errno;
		to[i][n] = '\0';
	}
	size_t n = strlen(base);
	if (strncmp(full, base, n) != 0 || (full[n] != '\0' && full[n] != '/'))
		return -EXDEV;
	memmove(ret, full + n, strlen(full + n) + 1);
	return 0;
}

static int enter(int *dir, const char *name, const struct stat *like)
{
	if (mkdirat(*dir, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	int fd = openat(*dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(*dir);
	*dir = fd;
	if (like && (fchown(fd, like->st_uid, like->st_gid) < 0 || fchmod(fd, like->st_mode & 07777) < 0))
		return -errno;
	return 0;
}

/* Repeats the image's directories down to `where` in the skeleton, owner and mode as in the image: a merged
 * directory shows the upper one's. */
static int repeat_existing(int root_fd, char *where, int *dir)
{
	struct stat st;
	if (fstat(root_fd, &st) < 0 || fchown(*dir, st.st_uid, st.st_gid) < 0 ||
		fchmod(*dir, st.st_mode & 07777) < 0)
		return -errno;
	OWN_FD int at = -1;
	int r = tree_resolve(root_fd, "/", &at);
	for (char *save, *name = strtok_r(where, "/", &save); r == 0 && name;
		name = strtok_r(NULL, "/", &save)) {
		int next = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0 || fstat(next, &st) < 0)
			return -errno;
		close(at);
		at = next;
		r = enter(dir, name, &st);
	}
	return r;
}

static int make_missing(int skel_fd, const char *rest, bool directory)
{
	char names[PATH_MAX];
	OWN_FD int dir = fcntl(skel_fd, F_DUPFD_CLOEXEC, 0);
	snprintf(names, sizeof names, "%s", rest);
	char *save, *name = strtok_r(names, "/", &save);
	while (dir >= 0 && name) {
		char *next = strtok_r(NULL, "/", &save);
		if (!next && !directory) {
			OWN_FD int file =
				openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);
			return file < 0 ? -errno : 0;
		}
		int r = enter(&dir, name, NULL);
		if (r < 0)
			return r;
		name = next;
	}
	return dir < 0 ? -errno : 0;
}

/* Adds the mount point to the skeleton if the image lacks it. 1: it did. */
static int complete_one(int root_fd, int skel_fd, const struct mount_spec *m)
{
	OWN_FD int there = -1, parent = -1;
	char where[PATH_MAX];
	const char *rest;
	int r = tree_resolve(root_fd, m->target, &there);
	if (r != -ENOENT)
		return r;
	r = find_existing(root_fd, m->target, &parent, &rest);
	if (r == 0)
		r = path_below(root_fd, parent, where);
	OWN_FD int dir = r == 0 ? fcntl(skel_fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (r == 0)
		r = repeat_existing(root_fd, where, &dir);
	if (r == 0)
		r = make_missing(dir, rest, wants_directory(m));
	return r < 0 ? r : 1;
}

static int open_subdir(struct shim *s, const char *name, int *ret, struct err *err)
{
	if (mkdirat(s->bundle_fd, name, 0700) < 0 && errno != EEXIST)
		return err_set(err, errno, "create %s", name);
	return fs_open_dir(s->bundle_fd, name, ret, err);
}

static int complete_skeleton(struct shim *s, bool *ret_needed, struct err *err)
{
	const struct shim_config *c = &s->config;
	OWN_FD int skel = -1;
	*ret_needed = false;
	for (size_t i = 0; i < c->n_mounts; i++) {
		OWN_FD int there = -1;
		if (is_covered(c, i) || tree_resolve(s->root_fd, c->mounts[i].target, &there) == 0)
			continue;
		int r = skel < 0 ? open_subdir(s, BUNDLE_SKEL, &skel, err) : 0;
		if (r < 0)
			return r;
		r = complete_one(s->root_fd, skel, &c->mounts[i]);
		if (r < 0)
			return err_set(err, -r, "make mount point %s", c->mounts[i].target);
		*ret_needed = true;
	}
	return 0;
}

static int clone_mapped(int dirfd, const char *name, int userns_fd, int *ret, struct err *err)
{
	OWN_FD int fd = -1;
	int r = tree_clone(dirfd, name, *name ? 0 : AT_EMPTY_PATH, &fd, err);
	if (r == 0 && userns_fd >= 0)
		r = tree_idmap(fd, userns_fd, err);
	if (r == 0)
		*ret = TAKE_FD(fd);
	return r;
}

static int attach_lower(
	struct shim *s, int from, const char *name, const char *at, int userns_fd, struct err *err)
{
	OWN_FD int tree = -1, target = -1;
	int r = clone_mapped(from, name, userns_fd, &tree, err);
	if (r == 0)
		r = open_subdir(s, at, &target, err);
	return r < 0 ? r : tree_attach(tree, target, at, err);
}

/* The overlay's inodes show the upper layer's owners as they are on disk, so its top gets the mapped owner.
 */
static int make_upper(struct shim *s, struct err *err)
{
	const struct shim_config *c = &s->config;
	OWN_FD int upper = -1, work = -1;
	struct stat st;
	int r = open_subdir(s, BUNDLE_UPPER, &upper, err);
	if (r == 0)
		r = open_subdir(s, BUNDLE_WORK, &work, err);
	if (r < 0)
		return r;
	if (fstat(s->root_fd, &st) < 0 ||
		fchown(upper, c->uid_map.outside + st.st_uid, c->gid_map.outside + st.st_gid) < 0 ||
		fchmod(upper, st.st_mode & 07777) < 0)
		return err_set(err, errno, "prepare writable layer");
	return 0;
}

/* In a mount namespace of its own: overlayfs takes layers only from mounts of the caller's namespace, and
 * this way none of them ever shows on the host. */
static int make_overlay(struct shim *s, bool skeleton, int userns_fd, int *ret, struct err *err)
{
	bool writable = !s->config.root_readonly;
	char lower[64];
	char *options[4] = { lower, NULL, NULL, NULL };
	int r = attach_lower(s, s->root_fd, "", BUNDLE_LOWER, userns_fd, err);
	if (r == 0 && skeleton)
		r = attach_lower(s, s->bundle_fd, BUNDLE_SKEL, BUNDLE_SKEL_AT, userns_fd, err);
	if (r == 0 && writable)
		r = make_upper(s, err);
	if (r < 0)
		return r;
	snprintf(lower, sizeof lower, "lowerdir=%s" BUNDLE_LOWER, skeleton ? BUNDLE_SKEL_AT ":" : "");
	char upper[] = "upperdir=" BUNDLE_UPPER, work[] = "workdir=" BUNDLE_WORK;
	if (writable) {
		options[1] = upper;
		options[2] = work;
	}
	uint64_t attributes = ROOT_ATTRIBUTES | (writable ? 0 : MOUNT_ATTR_RDONLY);
	return tree_new("overlay", options, attributes, ret, err);
}

static int prepare_overlay(struct shim *s, bool skeleton, int userns_fd, int *ret, struct err *err)
{
	OWN_FD int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (home < 0 || unshare(CLONE_NEWNS) < 0)
		return err_set(err, errno, "make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_set(err, errno, "make mounts private");
	/* Relative layer names need a working directory in the new namespace. */
	if (chdir(s->bundle_path) < 0)
		return err_set(err, errno, "enter %s", s->bundle_path);
	OWN_FD int bundle_fd = s->bundle_fd, root_fd = s->root_fd;
	s->bundle_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->root_fd = open(s->config.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = s->bundle_fd < 0 || s->root_fd < 0 ? err_set(err, errno, "open %s", s->config.root)
						   : make_overlay(s, skeleton, userns_fd, ret, err);
	own_close(&s->bundle_fd);
	own_close(&s->root_fd);
	s->bundle_fd = TAKE_FD(bundle_fd);
	s->root_fd = TAKE_FD(root_fd);
	if (setns(home, CLONE_NEWNS) < 0)
		return err_set(err, errno, "return to the mount namespace");
	return r;
}

int root_prepare(struct shim *s, int userns_fd, int *ret_mount, struct err *err)
{
	bool skeleton;
	OWN_FD int tree = -1;
	int r = complete_skeleton(s, &skeleton, err);
	if (r < 0)
		return r;
	if (skeleton || !s->config.root_readonly)
		return prepare_overlay(s, skeleton, userns_fd, ret_mount, err);
	r = clone_mapped(s->root_fd, "", userns_fd, &tree, err);
	if (r == 0)
		r = tree_set(tree, ROOT_ATTRIBUTES | MOUNT_ATTR_RDONLY, false, err);
	if (r == 0)
		*ret_mount = TAKE_FD(tree);
	return r;
}
