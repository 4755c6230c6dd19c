#include "runtime/native/passwd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"
#include "base/parse.h"

#define FILE_MAX_BYTES (1u << 20)

/* Never outside of the root, no devices or pipes, never more than we want to hold. */
static int read_inside(int root_fd, const char *name, struct buf *ret)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	OWN_FD int etc = (int)syscall(SYS_openat2, root_fd, "etc", &how, sizeof how);
	if (etc < 0)
		return -errno;
	return fs_read_file(etc, name, FILE_MAX_BYTES, ret, NULL);
}

/* Field n of a line of colon separated ones, copied; false if there are fewer or it is too long. */
static bool get_field(const char *line, size_t len, unsigned n, char *ret, size_t size)
{
	const char *end = line + len;
	for (; n > 0; n--) {
		line = memchr(line, ':', (size_t)(end - line));
		if (!line)
			return false;
		line++;
	}
	const char *colon = memchr(line, ':', (size_t)(end - line));
	size_t field = (size_t)((colon ? colon : end) - line);
	if (field >= size)
		return false;
	memcpy(ret, line, field);
	ret[field] = '\0';
	return true;
}

typedef bool (*line_fn)(void *arg, const char *line, size_t len);

static bool each_line(const struct buf *text, line_fn fn, void *arg)
{
	for (const char *at = text->data; at && *at;) {
		size_t len = strcspn(at, "\n");
		if (fn(arg, at, len))
			return true;
		at += len + (at[len] == '\n');
	}
	return false;
}

static bool get_id(const char *line, size_t len, unsigned n, uint32_t *ret)
{
	char text[16];
	uint64_t id;
	if (!get_field(line, len, n, text, sizeof text) || parse_u64(text, 0, UINT32_MAX - 1, &id) < 0)
		return false;
	*ret = (uint32_t)id;
	return true;
}

struct wanted {
	const char *name; /* NULL: by id */
	uint32_t id, gid;
	char found[64];
};

/* passwd: name:x:uid:gid:…  group: name:x:gid:members. Both begin alike. */
static bool match_entry(void *arg, const char *line, size_t len)
{
	struct wanted *w = arg;
	char name[64];
	uint32_t id, gid = 0;
	if (!get_field(line, len, 0, name, sizeof name) || !get_id(line, len, 2, &id))
		return false;
	if (w->name ? strcmp(name, w->name) != 0 : id != w->id)
		return false;
	get_id(line, len, 3, &gid);
	w->id = id;
	w->gid = gid;
	snprintf(w->found, sizeof w->found, "%s", name);
	return true;
}

struct membership {
	const char *user;
	struct passwd_ids *ids;
	uint32_t max;
};

static bool collect_group(void *arg, const char *line, size_t len)
{
	struct membership *m = arg;
	char members[4096];
	uint32_t gid;
	if (!get_id(line, len, 2, &gid) || gid >= m->max || gid == m->ids->gid ||
		!get_field(line, len, 3, members, sizeof members))
		return false;
	for (char *save, *name = strtok_r(members, ",", &save); name; name = strtok_r(NULL, ",", &save))
		if (strcmp(name, m->user) == 0 && m->ids->n_groups < PASSWD_GROUPS_MAX)
			m->ids->groups[m->ids->n_groups++] = gid;
	return m->ids->n_groups == PASSWD_GROUPS_MAX;
}

static int look_up(
	const struct buf *file, const char *text, const char *what, struct wanted *w, struct err *err)
{
	uint64_t id;
	if (parse_u64(text, 0, UINT32_MAX - 1, &id) == 0) {
		w->id = (uint32_t)id;
		each_line(file, match_entry, w); /* an id that the image does not name is fine */
		return 0;
	}
	w->name = text;
	if (!each_line(file, match_entry, w))
		return err_say(err, ENOENT, "user: the image has no %s \"%s\"", what, text);
	return 0;
}

int passwd_resolve(int root_fd, const char *user, uint32_t max, struct passwd_ids *ret, struct err *err)
{
	OWN_BUF struct buf passwd = { 0 }, group = { 0 };
	struct passwd_ids ids = { 0 };
	struct wanted u = { 0 }, g = { 0 };
	char copy[128];
	if (!user || !*user)
		user = "0";
	if (snprintf(copy, sizeof copy, "%s", user) >= (int)sizeof copy)
		return err_say(err, EINVAL, "user: too long");
	char *colon = strchr(copy, ':');
	if (colon)
		*colon = '\0';
	read_inside(root_fd, "passwd", &passwd); /* absent: numbers only */
	read_inside(root_fd, "group", &group);
	int r = look_up(&passwd, copy, "user", &u, err);
	if (r == 0 && colon)
		r = look_up(&group, colon + 1, "group", &g, err);
	if (r < 0)
		return r;
	ids.uid = u.id;
	ids.gid = colon ? g.id : u.gid;
	if (ids.uid >= max || ids.gid >= max)
		return err_say(err, ERANGE, "user: %u:%u is outside of the container's ids (0 to %u)",
			ids.uid, ids.gid, max - 1);
	struct membership m = { .user = u.found, .ids = &ids, .max = max };
	if (u.found[0])
		each_line(&group, collect_group, &m);
	*ret = ids;
	return 0;
}
