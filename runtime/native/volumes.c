#include "runtime/native/volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fsx.h"
#include "base/own.h"

#define VOLUMES "volumes"

static bool holds(const char *outer, const char *inner)
{
	size_t n = strlen(outer);
	if (strcmp(outer, "/") == 0)
		return true;
	return strncmp(outer, inner, n) == 0 && (!inner[n] || inner[n] == '/');
}

/* Who has the agent's socket or state has the agent, and with it the host. */
static int refuse_own(const struct settings *settings, const char *source, const char *real, struct err *err)
{
	const char *const own[] = { settings->state_dir, settings->run_dir };
	char path[PATH_MAX];
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		if (!realpath(own[i], path))
			continue;
		if (holds(real, path) || holds(path, real))
			return err_say(err, ENOTSUP, "volumes: %s %s teald's own %s", source,
				holds(path, real) ? "is part of" : "holds", path);
	}
	return 0;
}

static int resolve_bind(
	const struct settings *settings, const struct spec_volume *v, char ret[PATH_MAX], struct err *err)
{
	static const char *const KERNEL[] = { "/proc", "/sys", "/dev" };
	if (!realpath(v->source, ret))
		return err_say(err, errno == ENOENT ? ENOTSUP : errno, "volumes: %s: %s", v->source,
			strerror(errno));
	for (size_t i = 0; i < ARRAY_LEN(KERNEL); i++)
		if (holds(KERNEL[i], ret))
			return err_say(err, ENOTSUP, "volumes: %s: the kernel's own files can't be bound",
				v->source);
	return refuse_own(settings, v->source, ret, err);
}

int volume_check(const struct settings *settings, const struct spec_container *c, struct err *err)
{
	char path[PATH_MAX];
	for (size_t i = 0; i < c->n_volumes; i++) {
		if (c->volumes[i].type != SPEC_VOLUME_BIND)
			continue;
		int r = resolve_bind(settings, &c->volumes[i], path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A new volume belongs to whom the image gives the place, else to the program's user. */
static void first_owner(int image_fd, const char *target, const struct passwd_ids *ids, struct stat *ret)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	OWN_FD int fd = (int)syscall(SYS_openat2, image_fd, target, &how, sizeof how);
	if (fd >= 0 && fstat(fd, ret) == 0)
		return;
	*ret = (struct stat){ .st_uid = ids->uid, .st_gid = ids->gid, .st_mode = 0755 };
}

/* Under its own name only when it is complete: a start that was cut off leaves no volume of the wrong owner.
 */
static int make_volume(int volumes, const char *name, const struct stat *owner, struct err *err)
{
	char half[NAME_MAX];
	snprintf(half, sizeof half, ".new-%s", name);
	if (mkdirat(volumes, half, 0700) < 0 && errno != EEXIST)
		return err_set(err, errno, "create volume %s", name);
	OWN_FD int fd = openat(volumes, half, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return faccessat(volumes, name, F_OK, 0) == 0 ? 0
							      : err_set(err, errno, "create volume %s", name);
	if (fchown(fd, owner->st_uid, owner->st_gid) < 0 || fchmod(fd, owner->st_mode & 07777) < 0)
		return err_set(err, errno, "create volume %s", name);
	/* Replicas start side by side: whoever comes second finds it made. */
	if (syscall(SYS_renameat2, volumes, half, volumes, name, 1 /* RENAME_NOREPLACE */) < 0 &&
		errno != EEXIST && errno != ENOENT)
		return err_set(err, errno, "create volume %s", name);
	unlinkat(volumes, half, AT_REMOVEDIR);
	return 0;
}

static int open_volumes(const struct settings *settings, int *ret, struct err *err)
{
	OWN_FREE char *dir = fs_join(settings->state_dir, VOLUMES, NULL);
	int r = dir ? fs_mkdirs(dir, 0700, err) : err_set(err, ENOMEM, "open volumes");
	return r < 0 ? r : fs_open_dir(AT_FDCWD, dir, ret, err);
}

static int prepare_named(const struct settings *settings, const struct spec_volume *v, int image_fd,
	const struct passwd_ids *ids, char ret[PATH_MAX], struct err *err)
{
	OWN_FD int volumes = -1;
	struct stat st, owner;
	int r = open_volumes(settings, &volumes, err);
	if (r == 0 && fstatat(volumes, v->source, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		first_owner(image_fd, v->target, ids, &owner);
		r = make_volume(volumes, v->source, &owner, err);
	}
	if (r == 0 &&
		snprintf(ret, PATH_MAX, "%s/" VOLUMES "/%s", settings->state_dir, v->source) >= PATH_MAX)
		r = err_set(err, ENAMETOOLONG, "volume %s", v->source);
	return r;
}

static json_t *tmpfs_json(const struct spec_volume *v)
{
	json_t *options = json_pack("[s, s, s]", "nosuid", "nodev", "mode=1777");
	if (v->size_bytes)
		json_array_append_new(options, json_sprintf("size=%llu", (unsigned long long)v->size_bytes));
	if (v->read_only)
		json_array_append_new(options, json_string("ro"));
	return json_pack("{s:s, s:s, s:s, s:o}", "destination", v->target, "type", "tmpfs", "source", "tmpfs",
		"options", options);
}

static json_t *bind_json(const struct spec_volume *v, const char *source, json_t *map)
{
	json_t *options = json_pack("[s, s, s]", "bind", "nosuid", "nodev");
	if (v->read_only)
		json_array_append_new(options, json_string("ro"));
	json_t *j = json_pack("{s:s, s:s, s:s, s:o}", "destination", v->target, "type", "bind", "source",
		source, "options", options);
	if (map) {
		json_object_set(j, "uidMappings", map);
		json_object_set(j, "gidMappings", map);
	}
	return j;
}

/* Outer ones come first, since a path is smaller than what is below it. */
static void insert(json_t *mounts, json_t *mount)
{
	size_t i = 0;
	while (i < json_array_size(mounts) && strcmp(json_str(json_array_get(mounts, i), "destination", ""),
						      json_str(mount, "destination", "")) < 0)
		i++;
	json_array_insert_new(mounts, i, mount);
}

int volume_prepare(const struct settings *settings, const struct launch_plan *p, int image_fd,
	const struct passwd_ids *ids, json_t *map, json_t **ret, struct err *err)
{
	OWN_JSON json_t *mounts = json_array();
	for (size_t i = 0; i < p->container->n_volumes; i++) {
		const struct spec_volume *v = &p->container->volumes[i];
		char source[PATH_MAX];
		int r = 0;
		if (v->type == SPEC_VOLUME_NAMED)
			r = prepare_named(settings, v, image_fd, ids, source, err);
		else if (v->type == SPEC_VOLUME_BIND)
			r = resolve_bind(settings, v, source, err);
		if (r < 0)
			return r;
		insert(mounts, v->type == SPEC_VOLUME_TMPFS ? tmpfs_json(v) : bind_json(v, source, map));
	}
	*ret = TAKE_PTR(mounts);
	return 0;
}

int volume_remove(const struct settings *settings, const char *name, struct err *err)
{
	OWN_FD int volumes = -1;
	int r = open_volumes(settings, &volumes, err);
	return r < 0 ? r : fs_remove_tree(volumes, name, err);
}
