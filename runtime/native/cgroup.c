#include "runtime/native/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/limits.h"

static const char *const NAMES[CG_COUNT] = {
	[CG_PIDS] = "pids", [CG_CPU] = "cpu", [CG_MEMORY] = "memory", [CG_FREEZER] = "freezer"
};

struct cgroups {
	int version;
	char *parents[CG_COUNT]; /* "…/teal-<tag>"; v1: one a controller, NULL if there is none; v2: all in
				    [0] */
	bool have[CG_COUNT];
};

const char *cgroup_controller_name(enum cgroup_controller which)
{
	return NAMES[which];
}

bool cgroups_have(const struct cgroups *g, enum cgroup_controller which)
{
	return g->have[which];
}

int cgroups_version(const struct cgroups *g)
{
	return g->version;
}

/* Whole words of a comma or space separated list. */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = list; (at = strstr(at, word)); at += n)
		if ((at == list || strchr(", ", at[-1])) && (at[n] == '\0' || strchr(", \n", at[n])))
			return true;
	return false;
}

/* The agent's own path in a hierarchy, from /proc/self/cgroup: "4:memory:/a/b"; v2 is "0::/a". */
static char *own_path(const char *table, const char *controller)
{
	OWN_FREE char *copy = strdup(table);
	for (char *save, *line = copy ? strtok_r(copy, "\n", &save) : NULL; line;
		line = strtok_r(NULL, "\n", &save)) {
		char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
		if (!path)
			continue;
		*path = '\0';
		if (controller ? has_word(list + 1, controller) : strcmp(list, ":") == 0)
			return strdup(path + 1);
	}
	return NULL;
}

struct mounted {
	char *root, *point, *type, *super;
};

/* "29 24 0:26 /root /sys/fs/cgroup/memory rw,… shared:9 - cgroup cgroup rw,memory" */
static bool split_mount(char *line, struct mounted *ret)
{
	char *dash = strstr(line, " - "), *save;
	if (!dash)
		return false;
	*dash = '\0';
	*ret = (struct mounted){ 0 };
	strtok_r(line, " ", &save);
	strtok_r(NULL, " ", &save);
	strtok_r(NULL, " ", &save);
	ret->root = strtok_r(NULL, " ", &save);
	ret->point = strtok_r(NULL, " ", &save);
	ret->type = strtok_r(dash + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	ret->super = strtok_r(NULL, " ", &save);
	return ret->root && ret->point && ret->type && ret->super;
}

/* Where the agent's own cgroup is seen in the file system; the mount may show only a part of the hierarchy.
 */
static char *own_directory(const struct mounted *m, const char *path)
{
	size_t n = strlen(m->root);
	const char *below = strcmp(m->root, "/") == 0 ? path : strncmp(path, m->root, n) == 0 ? path + n : "";
	while (*below == '/')
		below++;
	return *below ? fs_join(m->point, below, NULL) : strdup(m->point);
}

static bool is_writable(const char *dir)
{
	return access(dir, W_OK | X_OK) == 0;
}

static void use_v1(struct cgroups *g, enum cgroup_controller which, const char *dir, const char *tag)
{
	OWN_BUF struct buf b = { 0 };
	if (g->have[which] || !is_writable(dir))
		return;
	buf_addf(&b, "%s/teal-%s", dir, tag);
	g->parents[which] = buf_take(&b);
	g->have[which] = g->parents[which] != NULL;
}

static bool is_delegated(const char *dir)
{
	OWN_FREE char *procs = fs_join(dir, "cgroup.procs", NULL);
	return procs && access(procs, W_OK) == 0 && strcmp(dir, "/sys/fs/cgroup") != 0;
}

/* v2 allows no processes beside child groups that have controllers: the agent steps into a leaf of its own.
 * Done only in a group that is its own already (one process or more, all of them the service manager's
 * delegation). */
static int step_aside(const char *dir, struct err *err)
{
	OWN_FREE char *leaf = fs_join(dir, "teald", NULL), *procs = fs_join(dir, "teald/cgroup.procs", NULL);
	OWN_BUF struct buf members = { 0 };
	OWN_FREE char *all = fs_join(dir, "cgroup.procs", NULL);
	if (!leaf || !procs || !all)
		return err_set(err, ENOMEM, "cgroup %s", dir);
	if (mkdir(leaf, 0755) < 0 && errno != EEXIST)
		return err_set(err, errno, "create cgroup %s", leaf);
	int r = fs_read_kernel(AT_FDCWD, all, &members, err);
	for (char *save, *line = r == 0 && members.data ? strtok_r(members.data, "\n", &save) : NULL; line;
		line = strtok_r(NULL, "\n", &save))
		fs_write_kernel(AT_FDCWD, procs, line, NULL); /* gone meanwhile is fine */
	return r;
}

static int enable_controllers(const char *dir, const bool have[CG_COUNT], struct err *err)
{
	OWN_FREE char *control = fs_join(dir, "cgroup.subtree_control", NULL);
	if (!control)
		return err_set(err, ENOMEM, "cgroup %s", dir);
	for (int i = 0; i < CG_FREEZER; i++) {
		char text[32];
		snprintf(text, sizeof text, "+%s", NAMES[i]);
		int r = have[i] ? fs_write_kernel(AT_FDCWD, control, text, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* systemd marks a delegated unit with an extended attribute only in newer versions; what counts here is that
 * the agent sits in a group with a name that is its own. Elsewhere the top of the tree is used. */
static bool is_own_unit(const char *dir)
{
	const char *name = strrchr(dir, '/');
	return is_delegated(dir) && name &&
	       (strstr(name, "teal") ||
		       strcmp(name, "/teald") == 0); /* teald.service, or its leaf after a restart */
}

static void use_v2(struct cgroups *g, const struct mounted *m, const char *path, const char *tag)
{
	OWN_FREE char *dir = own_directory(m, path), *controllers = NULL;
	OWN_BUF struct buf list = { 0 }, b = { 0 };
	if (!dir)
		return;
	size_t n = strlen(dir);
	if (n > 6 && strcmp(dir + n - 6, "/teald") == 0)
		dir[n - 6] = '\0';
	bool own = is_own_unit(dir);
	const char *base = own ? dir : m->point;
	controllers = fs_join(base, "cgroup.controllers", NULL);
	if (!controllers || !is_writable(base) || fs_read_kernel(AT_FDCWD, controllers, &list, NULL) < 0 ||
		!list.data)
		return;
	bool have[CG_COUNT];
	for (int i = 0; i < CG_FREEZER; i++)
		have[i] = has_word(list.data, NAMES[i]);
	have[CG_FREEZER] = true; /* every v2 group has cgroup.freeze */
	if (!have[CG_MEMORY] && !have[CG_PIDS])
		return; /* a hybrid host: the controllers are in v1 */
	if ((own && step_aside(base, NULL) < 0) || enable_controllers(base, have, NULL) < 0)
		return;
	buf_addf(&b, "%s/teal-%s", base, tag);
	g->parents[0] = buf_take(&b);
	if (!g->parents[0])
		return;
	memcpy(g->have, have, sizeof have);
	g->version = 2;
}

static void look_at_mount(struct cgroups *g, const struct mounted *m, const char *table, const char *tag)
{
	if (strcmp(m->type, "cgroup2") == 0 && g->version == 0) {
		OWN_FREE char *path = own_path(table, NULL);
		if (path)
			use_v2(g, m, path, tag);
	}
	for (int i = 0; strcmp(m->type, "cgroup") == 0 && g->version != 2 && i < CG_COUNT; i++) {
		if (!has_word(m->super, NAMES[i]))
			continue;
		OWN_FREE char *path = own_path(table, NAMES[i]);
		OWN_FREE char *dir = path ? own_directory(m, path) : NULL;
		if (dir)
			use_v1(g, (enum cgroup_controller)i, dir, tag);
		g->version = g->have[i] ? 1 : g->version;
	}
}

int cgroups_open(const char *tag, struct cgroups **ret, struct err *err)
{
	OWN_BUF struct buf mounts = { 0 }, table = { 0 };
	int r = fs_read_kernel(AT_FDCWD, "/proc/self/mountinfo", &mounts, err);
	if (r == 0)
		r = fs_read_kernel(AT_FDCWD, "/proc/self/cgroup", &table, err);
	struct cgroups *g = r < 0 ? NULL : calloc(1, sizeof *g);
	if (!g)
		return r < 0 ? r : err_set(err, ENOMEM, "look for cgroups");
	for (char *save, *line = strtok_r(mounts.data, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		struct mounted m;
		if (split_mount(line, &m) && table.data)
			look_at_mount(g, &m, table.data, tag);
	}
	*ret = g;
	return 0;
}

void cgroups_close(struct cgroups *g)
{
	if (!g)
		return;
	for (int i = 0; i < CG_COUNT; i++) {
		if (g->parents[i])
			rmdir(g->parents[i]); /* stays while a container is in it */
		free(g->parents[i]);
	}
	free(g);
}

int cgroups_check(const struct cgroups *g, const struct spec_limits *l, struct err *err)
{
	const struct {
		bool wanted;
		enum cgroup_controller which;
		const char *key;
	} needs[] = {
		{ l->cpu_milli > 0, CG_CPU, "cpus" },
		{ l->memory_bytes > 0, CG_MEMORY, "memory" },
		{ l->pids > 0, CG_PIDS, "pids" },
		{ l->reserved_cpu_milli > 0, CG_CPU, "cpus (reserved)" },
		{ l->reserved_memory_bytes > 0, CG_MEMORY, "memory (reserved)" },
	};
	for (size_t i = 0; i < ARRAY_LEN(needs); i++)
		if (needs[i].wanted && !g->have[needs[i].which])
			return err_say(err, ENOTSUP,
				"deploy.resources.limits.%s: this host gives teald no %s cgroup controller; "
				"run teald as root, or under systemd with Delegate=yes",
				needs[i].key, NAMES[needs[i].which]);
	return 0;
}

static int write_limit(const char *dir, const char *file, const char *text, struct err *err)
{
	OWN_FREE char *path = fs_join(dir, file, NULL);
	return path ? fs_write_kernel(AT_FDCWD, path, text, err) : err_set(err, ENOMEM, "limit");
}

static int write_number(const char *dir, const char *file, uint64_t value, struct err *err)
{
	char text[32];
	snprintf(text, sizeof text, "%llu", (unsigned long long)value);
	return write_limit(dir, file, text, err);
}

/* What is the container's when others want it too. The weight of v2 counts from 1 to 10,000 what shares count
 * from 2 to 262,144; 100 and 1024 stand for one CPU's worth. */
static int reserve(enum cgroup_controller which, int version, const char *dir, const struct spec_limits *l,
	struct err *err)
{
	int r = 0;
	if (which == CG_CPU && l->reserved_cpu_milli) {
		uint64_t shares = limits_cpu_shares(l->reserved_cpu_milli), weight = shares * 100 / 1024;
		weight = weight < 1 ? 1 : weight > 10000 ? 10000 : weight;
		r = version == 2 ? write_number(dir, "cpu.weight", weight, err)
				 : write_number(dir, "cpu.shares", shares, err);
	}
	if (which == CG_MEMORY && l->reserved_memory_bytes)
		r = write_number(dir, version == 2 ? "memory.low" : "memory.soft_limit_in_bytes",
			l->reserved_memory_bytes, err);
	return r;
}

static int limit_v1(
	enum cgroup_controller which, const char *dir, const struct spec_limits *l, struct err *err)
{
	char text[32];
	int r = 0;
	if (which == CG_PIDS && l->pids) {
		snprintf(text, sizeof text, "%u", l->pids + 1); /* pid 1 is ours */
		r = write_limit(dir, "pids.max", text, err);
	} else if (which == CG_CPU && l->cpu_milli) {
		r = write_limit(dir, "cpu.cfs_period_us", "100000", err);
		snprintf(text, sizeof text, "%u", l->cpu_milli * 100);
		r = r < 0 ? r : write_limit(dir, "cpu.cfs_quota_us", text, err);
	} else if (which == CG_MEMORY && l->memory_bytes) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)l->memory_bytes);
		r = write_limit(dir, "memory.limit_in_bytes", text, err);
		if (r == 0) /* no swap beyond it; absent where swap is not accounted */
			write_limit(dir, "memory.memsw.limit_in_bytes", text, NULL);
	}
	return r < 0 ? r : reserve(which, 1, dir, l, err);
}

static int limit_v2(const char *dir, const struct spec_limits *l, struct err *err)
{
	char text[64];
	int r = 0;
	if (l->pids) {
		snprintf(text, sizeof text, "%u", l->pids + 1);
		r = write_limit(dir, "pids.max", text, err);
	}
	if (r == 0 && l->cpu_milli) {
		snprintf(text, sizeof text, "%u 100000", l->cpu_milli * 100);
		r = write_limit(dir, "cpu.max", text, err);
	}
	if (r == 0 && l->memory_bytes) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)l->memory_bytes);
		r = write_limit(dir, "memory.max", text, err);
		if (r == 0)
			write_limit(dir, "memory.swap.max", "0", NULL); /* absent without swap accounting */
	}
	if (r == 0)
		r = reserve(CG_CPU, 2, dir, l, err);
	return r < 0 ? r : reserve(CG_MEMORY, 2, dir, l, err);
}

/* The parent goes with the last container in it, maybe at this moment: then it is made again. */
static int make_group(const struct cgroups *g, int which, const char *dir, struct err *err)
{
	for (int tries = 0; tries < 100; tries++) {
		if (mkdir(g->parents[which], 0755) < 0 && errno != EEXIST)
			return err_set(err, errno, "create cgroup %s", g->parents[which]);
		int r = g->version == 2 ? enable_controllers(g->parents[which], g->have, err) : 0;
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && (mkdir(dir, 0755) == 0 || errno == EEXIST))
			return 0;
		if (r == 0 && errno != ENOENT)
			break;
	}
	return err_set(err, errno, "create cgroup %s", dir);
}

static int create_one(struct cgroups *g, int which, const char *id, const struct spec_limits *l,
	struct buf *paths, struct err *err)
{
	OWN_FREE char *dir = fs_join(g->parents[which], id, NULL);
	if (!dir)
		return err_set(err, ENOMEM, "create cgroup");
	int r = make_group(g, which, dir, err);
	if (r < 0)
		return r;
	buf_addf(paths, "%s%s", paths->len ? ":" : "", dir);
	return g->version == 2 ? limit_v2(dir, l, err) : limit_v1((enum cgroup_controller)which, dir, l, err);
}

int cgroups_create(
	struct cgroups *g, const char *id, const struct spec_limits *limits, char **ret, struct err *err)
{
	OWN_BUF struct buf paths = { 0 };
	int r = 0;
	for (int i = 0; r == 0 && i < CG_COUNT; i++)
		if (g->parents[i])
			r = create_one(g, i, id, limits, &paths, err);
	if (r < 0)
		cgroups_remove(g, id);
	char *text = r < 0 ? NULL : buf_take(&paths);
	if (!text)
		return r < 0 ? r : err_set(err, ENOMEM, "create cgroup");
	*ret = text;
	return 0;
}

/* Nothing but leftovers can be in there: whoever calls this knows that the container's init is gone. */
static void kill_members(const char *dir)
{
	OWN_FREE char *procs = fs_join(dir, "cgroup.procs", NULL);
	OWN_BUF struct buf members = { 0 };
	if (!procs || fs_read_kernel(AT_FDCWD, procs, &members, NULL) < 0 || !members.data)
		return;
	for (char *save, *line = strtok_r(members.data, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save))
		kill((pid_t)strtol(line, NULL, 10), SIGKILL);
}

static bool is_subdir(int fd, const struct dirent *e)
{
	struct stat st;
	return e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(st.st_mode);
}

static void remove_group(const char *dir, int depth)
{
	OWN_DIR DIR *d = opendir(dir);
	if (!d || depth > 8)
		return;
	for (struct dirent *e; (e = readdir(d));) {
		OWN_FREE char *sub = is_subdir(dirfd(d), e) ? fs_join(dir, e->d_name, NULL) : NULL;
		if (sub)
			remove_group(sub, depth + 1);
	}
	for (int i = 0; i < 100 && rmdir(dir) < 0 && errno == EBUSY; i++) {
		kill_members(dir);
		poll(NULL, 0, 5);
	}
}

void cgroups_remove(struct cgroups *g, const char *id)
{
	for (int i = 0; i < CG_COUNT; i++) {
		OWN_FREE char *dir = g->parents[i] ? fs_join(g->parents[i], id, NULL) : NULL;
		if (dir)
			remove_group(dir, 0);
		if (dir)
			rmdir(g->parents[i]); /* after the last one; before that it is busy */
	}
}

int cgroups_list(struct cgroups *g, char ***ret)
{
	for (int i = 0; i < CG_COUNT; i++) {
		OWN_DIR DIR *d = g->parents[i] ? opendir(g->parents[i]) : NULL;
		for (struct dirent *e; d && (e = readdir(d));)
			if (is_subdir(dirfd(d), e) && strv_add(ret, e->d_name) < 0)
				return -ENOMEM;
	}
	return 0;
}
