/* Names of entries, and the directories they are in. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/image/layer_marks.h"
#include "runtime/image/unpack/unpack.h"

#define LINKS_MAX 40u

static int add_part(char *to, size_t *len, const char *part, size_t part_len, struct err *err)
{
	if (part_len == 2 && memcmp(part, "..", 2) == 0)
		return err_say(err, EINVAL, "the name leads upwards");
	if (part_len > NAME_MAX)
		return err_say(err, ENAMETOOLONG, "a part of the name is longer than %d bytes", NAME_MAX);
	if (*len + part_len + 2 > UNPACK_MAX_PATH)
		return err_say(err, ENAMETOOLONG, "the name is longer than %u bytes", UNPACK_MAX_PATH);
	if (*len > 0)
		to[(*len)++] = '/';
	memcpy(to + *len, part, part_len);
	*len += part_len;
	return 0;
}

int path_normalise(const char *name, char to[UNPACK_MAX_PATH], struct err *err)
{
	size_t len = 0;
	unsigned depth = 0;
	while (*name) {
		size_t n = strcspn(name, "/");
		if (n > 0 && !(n == 1 && *name == '.')) {
			int r = add_part(to, &len, name, n, err);
			if (r < 0)
				return r;
			if (++depth > UNPACK_MAX_DEPTH)
				return err_say(
					err, ENAMETOOLONG, "more than %u directories deep", UNPACK_MAX_DEPTH);
		}
		name += n + (name[n] == '/');
	}
	to[len] = '\0';
	return 0;
}

static int open_plain(int root, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

/* A directory that the archive has not named (yet): a mark says that it has nothing to say about owner and
 * mode.
 */
static int make_implicit(struct unpack *u, int dir, const char *name, struct err *err)
{
	if (++u->entries > UNPACK_MAX_ENTRIES)
		return err_say(err, E2BIG, "more than %u entries", UNPACK_MAX_ENTRIES);
	if (mkdirat(dir, name, 0755) < 0)
		return err_set(err, errno, "create directory %.80s", name);
	OWN_FD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchmod(fd, 0755) < 0)
		return err_set(err, errno, "create directory %.80s", name);
	if (u->layer && fsetxattr(fd, MARK_IMPLICIT, "y", 1, 0) < 0)
		return err_set(err, errno, "mark directory %.80s", name);
	return 0;
}

/* A walk down from the root, part by part: `at` is where it is, always a path of real directories; `rest` is
 * what is left to walk, into which the targets of symlinks are put. */
struct walk {
	struct unpack *u;
	bool make;
	unsigned links, depth;
	char at[UNPACK_MAX_PATH];
	size_t at_len;
	char rest[2 * UNPACK_MAX_PATH];
	int fd; /* of `at` */
};

static void walk_done(struct walk *w)
{
	own_close(&w->fd);
}

static int walk_reopen(struct walk *w, struct err *err)
{
	own_close(&w->fd);
	w->fd = open_plain(w->u->root, w->at);
	return w->fd < 0 ? err_set(err, errno, "open directory %.80s", w->at) : 0;
}

/* Above the root there is the root. */
static int walk_up(struct walk *w, struct err *err)
{
	if (w->depth > 0)
		w->depth--;
	while (w->at_len > 0 && w->at[--w->at_len] != '/')
		;
	w->at[w->at_len] = '\0';
	return walk_reopen(w, err);
}

static int walk_link(struct walk *w, const char *name, struct err *err)
{
	char target[UNPACK_MAX_PATH];
	size_t left = strlen(w->rest);
	if (++w->links > LINKS_MAX)
		return err_say(err, ELOOP, "too many symlinks on the way");
	ssize_t n = readlinkat(w->fd, name, target, sizeof target - 1);
	if (n <= 0)
		return err_set(err, errno, "read link %.80s", name);
	if ((size_t)n + 1 + left >= sizeof w->rest)
		return err_say(err, ENAMETOOLONG, "symlinks on the way are too long");
	memmove(w->rest + n + 1, w->rest, left + 1);
	memcpy(w->rest, target, (size_t)n);
	w->rest[n] = '/';
	if (*target != '/')
		return 0;
	w->at_len = w->depth = 0;
	w->at[0] = '\0';
	return walk_reopen(w, err);
}

static int walk_into(struct walk *w, const char *name, struct err *err)
{
	size_t n = strlen(name);
	if (++w->depth > UNPACK_MAX_DEPTH)
		return err_say(err, ENAMETOOLONG, "more than %u directories deep", UNPACK_MAX_DEPTH);
	int fd = openat(w->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open directory %.80s", name);
	close(w->fd);
	w->fd = fd;
	if (w->at_len + n + 2 > sizeof w->at)
		return err_say(err, ENAMETOOLONG, "the name is longer than %u bytes", UNPACK_MAX_PATH);
	if (w->at_len > 0)
		w->at[w->at_len++] = '/';
	memcpy(w->at + w->at_len, name, n + 1);
	w->at_len += n;
	return 0;
}

/* A layer may put files below what is no directory in it: that makes room, as it would when one layer is put
 * on another. */
static int walk_part(struct walk *w, const char *name, struct err *err)
{
	struct stat st;
	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0)
		return walk_up(w, err);
	bool there = fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (there && S_ISLNK(st.st_mode))
		return walk_link(w, name, err);
	if (there && S_ISDIR(st.st_mode))
		return walk_into(w, name, err);
	if (!w->make)
		return err_set(err, there ? ENOTDIR : ENOENT, "open directory %.80s", name);
	if (there && unlinkat(w->fd, name, 0) < 0)
		return err_set(err, errno, "replace %.80s", name);
	int r = make_implicit(w->u, w->fd, name, err);
	if (r == 0 && there && whiteout_is_mark(&st))
		r = whiteout_make_opaque(w->fd, name, err);
	return r < 0 ? r : walk_into(w, name, err);
}

static int walk_all(struct walk *w, struct err *err)
{
	char part[NAME_MAX + 1];
	int r = walk_reopen(w, err);
	while (r == 0 && w->rest[0]) {
		size_t n = strcspn(w->rest, "/");
		size_t skip = n + (w->rest[n] == '/');
		if (n > NAME_MAX)
			return err_set(err, ENAMETOOLONG, "open directory %.80s", w->rest);
		memcpy(part, w->rest, n);
		part[n] = '\0';
		memmove(w->rest, w->rest + skip, strlen(w->rest + skip) + 1);
		if (n > 0)
			r = walk_part(w, part, err);
	}
	return r;
}

int path_open_dir(struct unpack *u, const char *path, bool make, int *ret, struct err *err)
{
	int plain = open_plain(u->root, path);
	if (plain >= 0) {
		*ret = plain;
		return 0;
	}
	OWN(walk_done) struct walk w = { .u = u, .make = make, .fd = -1 };
	snprintf(w.rest, sizeof w.rest, "%s", path);
	int r = walk_all(&w, err);
	if (r == 0)
		*ret = TAKE_FD(w.fd);
	return r;
}

void path_forget(struct unpack *u)
{
	own_close(&u->parent);
}

int path_parent(struct unpack *u, int *ret_dir, const char **ret_name, struct err *err)
{
	const char *slash = strrchr(u->path, '/');
	size_t n = slash ? (size_t)(slash - u->path) : 0;
	*ret_name = slash ? slash + 1 : u->path;
	if (u->parent < 0 || strncmp(u->parent_path, u->path, n) != 0 || u->parent_path[n] != '\0') {
		path_forget(u);
		memcpy(u->parent_path, u->path, n);
		u->parent_path[n] = '\0';
		int r = path_open_dir(u, u->parent_path, true, &u->parent, err);
		if (r < 0)
			return r;
	}
	*ret_dir = u->parent;
	return 0;
}
