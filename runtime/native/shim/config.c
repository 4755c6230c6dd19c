#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/json.h"
#include "base/own.h"
#include "base/parse.h"
#include "runtime/native/shim/shim.h"

#define CONFIG_MAX_BYTES (4u << 20)

static const char *const NS_NAMES[NS_COUNT] = {
	[NS_USER] = "user",
	[NS_MOUNT] = "mount",
	[NS_PID] = "pid",
	[NS_IPC] = "ipc",
	[NS_UTS] = "uts",
	[NS_NET] = "network",
	[NS_CGROUP] = "cgroup",
	[NS_TIME] = "time",
};

static const struct {
	const char *name;
	int resource;
} RLIMITS[] = {
	{ "RLIMIT_AS", RLIMIT_AS },
	{ "RLIMIT_CORE", RLIMIT_CORE },
	{ "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
	{ "RLIMIT_NPROC", RLIMIT_NPROC },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
};

static int refuse(struct err *err, const char *what, const char *value)
{
	return err_say(err, EINVAL, BUNDLE_CONFIG ": %s \"%s\" is not supported", what, value);
}

static int copy_text(const json_t *obj, const char *key, char **ret)
{
	const char *text = json_str(obj, key, NULL);
	if (!text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int copy_strings(const json_t *array, char ***ret)
{
	size_t i;
	json_t *v;
	json_array_foreach (array, i, v) {
		int r = json_is_string(v) ? strv_add(ret, json_string_value(v)) : -EINVAL;
		if (r < 0)
			return r;
	}
	return 0;
}

/* JSON's integers end before the number that stands for none. */
static rlim_t limit_of(const json_t *j, const char *key)
{
	json_int_t value = json_int(j, key, 0);
	return value == INT64_MAX ? RLIM_INFINITY : (rlim_t)value;
}

static int read_rlimit(const json_t *j, struct rlimit_spec *ret, struct err *err)
{
	const char *type = json_str(j, "type", "");
	for (size_t i = 0; i < ARRAY_LEN(RLIMITS); i++) {
		if (strcmp(RLIMITS[i].name, type) != 0)
			continue;
		ret->resource = RLIMITS[i].resource;
		ret->limit.rlim_cur = limit_of(j, "soft");
		ret->limit.rlim_max = limit_of(j, "hard");
		return 0;
	}
	return refuse(err, "rlimit", type);
}

static int read_rlimits(const json_t *array, struct shim_config *c, struct err *err)
{
	size_t i, cap = 0;
	json_t *v;
	if (vec_reserve(&c->rlimits, &cap, json_array_size(array) + 1, sizeof *c->rlimits) < 0)
		return err_set(err, ENOMEM, BUNDLE_CONFIG);
	json_array_foreach (array, i, v) {
		int r = read_rlimit(v, &c->rlimits[i], err);
		if (r < 0)
			return r;
		c->n_rlimits++;
	}
	return 0;
}

/* One set for bounding, permitted and effective; nothing is ever inheritable or ambient. */
static int read_caps(const json_t *capabilities, uint64_t *ret, struct err *err)
{
	size_t i;
	json_t *v;
	uint64_t set = 0;
	json_array_foreach (json_object_get(capabilities, "bounding"), i, v) {
		cap_value_t cap;
		const char *name = json_is_string(v) ? json_string_value(v) : "";
		if (cap_from_name(name, &cap) < 0 || cap > 63)
			return refuse(err, "capability", name);
		set |= UINT64_C(1) << cap;
	}
	*ret = set;
	return 0;
}

/* A number that does not wrap: -1 means "no change" to the kernel, and what is bigger would be cut. */
static int read_id(const json_t *v, const char *what, uint32_t def, uint32_t *ret, struct err *err)
{
	int64_t id = v ? json_is_integer(v) ? json_integer_value(v) : -1 : def;
	if (id < 0 || id >= UINT32_MAX)
		return err_say(err, ERANGE, BUNDLE_CONFIG ": %s: not an id", what);
	*ret = (uint32_t)id;
	return 0;
}

static int read_user(const json_t *user, struct shim_config *c, struct err *err)
{
	const json_t *groups = json_object_get(user, "additionalGids");
	size_t i, cap = 0;
	json_t *v;
	int r = read_id(json_object_get(user, "uid"), "uid", 0, &c->uid, err);
	if (r == 0)
		r = read_id(json_object_get(user, "gid"), "gid", 0, &c->gid, err);
	if (r < 0)
		return r;
	c->umask = (uint32_t)json_int(user, "umask", 022);
	if (vec_reserve(&c->groups, &cap, json_array_size(groups) + 1, sizeof *c->groups) < 0)
		return err_set(err, ENOMEM, BUNDLE_CONFIG);
	json_array_foreach (groups, i, v) {
		r = read_id(v, "additionalGids", 0, &c->groups[c->n_groups++], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_process(const json_t *process, struct shim_config *c, struct err *err)
{
	if (copy_strings(json_object_get(process, "args"), &c->argv) < 0 || !c->argv)
		return err_say(err, EINVAL, BUNDLE_CONFIG ": process.args: no command");
	if (copy_strings(json_object_get(process, "env"), &c->env) < 0 ||
		copy_text(process, "cwd", &c->cwd) < 0)
		return err_say(err, EINVAL, BUNDLE_CONFIG ": process: malformed");
	c->no_new_privs = json_flag(process, "noNewPrivileges", false);
	c->oom_score_adj = (int)json_int(process, "oomScoreAdj", 0);
	int r = read_user(json_object_get(process, "user"), c, err);
	if (r == 0)
		r = read_caps(json_object_get(process, "capabilities"), &c->caps, err);
	return r < 0 ? r : read_rlimits(json_object_get(process, "rlimits"), c, err);
}

static int read_mounts(const json_t *array, struct shim_config *c, struct err *err)
{
	size_t i, cap = 0;
	json_t *v;
	if (vec_reserve(&c->mounts, &cap, json_array_size(array) + 1, sizeof *c->mounts) < 0)
		return err_set(err, ENOMEM, BUNDLE_CONFIG);
	json_array_foreach (array, i, v) {
		struct mount_spec *m = &c->mounts[c->n_mounts++];
		if (copy_text(v, "destination", &m->target) < 0 || copy_text(v, "type", &m->type) < 0 ||
			copy_text(v, "source", &m->source) < 0 ||
			copy_strings(json_object_get(v, "options"), &m->options) < 0)
			return err_set(err, ENOMEM, BUNDLE_CONFIG);
		m->mapped = json_array_size(json_object_get(v, "uidMappings")) > 0;
		if (!m->target || m->target[0] != '/')
			return err_say(err, EINVAL, BUNDLE_CONFIG ": mounts[%zu]: no destination", i);
	}
	return 0;
}

static int read_devices(const json_t *array, struct shim_config *c, struct err *err)
{
	size_t i, cap = 0;
	json_t *v;
	if (vec_reserve(&c->devices, &cap, json_array_size(array) + 1, sizeof *c->devices) < 0)
		return err_set(err, ENOMEM, BUNDLE_CONFIG);
	json_array_foreach (array, i, v) {
		struct device_spec *d = &c->devices[c->n_devices++];
		if (copy_text(v, "path", &d->path) < 0)
			return err_set(err, ENOMEM, BUNDLE_CONFIG);
		if (!d->path || strncmp(d->path, "/dev/", 5) != 0)
			return err_say(err, EINVAL, BUNDLE_CONFIG ": devices[%zu]: not below /dev", i);
		d->block = strcmp(json_str(v, "type", "c"), "b") == 0;
		d->major = (unsigned)json_int(v, "major", 0);
		d->minor = (unsigned)json_int(v, "minor", 0);
	}
	return 0;
}

static int read_namespaces(const json_t *array, struct shim_config *c, struct err *err)
{
	size_t i;
	json_t *v;
	json_array_foreach (array, i, v) {
		const char *type = json_str(v, "type", "");
		int n = 0;
		while (n < NS_COUNT && strcmp(NS_NAMES[n], type) != 0)
			n++;
		if (n == NS_COUNT || json_object_get(v, "path"))
			return refuse(err, "namespace", type);
		c->ns[n] = true;
	}
	if (!c->ns[NS_MOUNT] || !c->ns[NS_PID])
		return err_say(err, EINVAL, BUNDLE_CONFIG ": mount and pid namespaces are needed");
	return 0;
}

static int read_map(const json_t *array, struct id_map *ret, struct err *err)
{
	const json_t *m = json_array_get(array, 0);
	int r = read_id(json_object_get(m, "containerID"), "containerID", 0, &ret->inside, err);
	if (r == 0)
		r = read_id(json_object_get(m, "hostID"), "hostID", 0, &ret->outside, err);
	return r < 0 ? r : read_id(json_object_get(m, "size"), "size", 0, &ret->size, err);
}

static bool is_of_ipc(const char *key)
{
	static const char *const NAMES[] = { "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced" };
	for (size_t i = 0; i < ARRAY_LEN(NAMES); i++)
		if (strcmp(NAMES[i], key) == 0)
			return true;
	return strncmp(key, "fs.mqueue.", 10) == 0;
}

/* Only what belongs to the network or ipc namespace: everything else is the host's. */
static int read_sysctls(json_t *object, struct shim_config *c, struct err *err)
{
	const char *key;
	json_t *v;
	json_object_foreach (object, key, v) {
		bool net = strncmp(key, "net.", 4) == 0 && c->ns[NS_NET];
		bool ipc = is_of_ipc(key) && c->ns[NS_IPC];
		if ((!net && !ipc) || strchr(key, '/') || !json_is_string(v))
			return refuse(err, "sysctl", key);
		if (strv_addf(&c->sysctls, "%s=%s", key, json_string_value(v)) < 0)
			return err_set(err, ENOMEM, BUNDLE_CONFIG);
		for (char *p = c->sysctls[strv_len(c->sysctls) - 1]; *p && *p != '='; p++)
			if (*p == '.')
				*p = '/';
	}
	return 0;
}

static int read_linux(const json_t *j, struct shim_config *c, struct err *err)
{
	int r = read_namespaces(json_object_get(j, "namespaces"), c, err);
	if (r < 0)
		return r;
	r = read_map(json_object_get(j, "uidMappings"), &c->uid_map, err);
	if (r == 0)
		r = read_map(json_object_get(j, "gidMappings"), &c->gid_map, err);
	if (r < 0)
		return r;
	if (c->ns[NS_USER] && (c->uid_map.size == 0 || c->gid_map.size == 0))
		return err_say(err, EINVAL, BUNDLE_CONFIG ": a user namespace needs uid and gid mappings");
	if (copy_strings(json_object_get(j, "maskedPaths"), &c->masked) < 0 ||
		copy_strings(json_object_get(j, "readonlyPaths"), &c->readonly) < 0)
		return err_say(err, EINVAL, BUNDLE_CONFIG ": linux: malformed");
	c->has_seccomp = json_object_get(j, "seccomp") != NULL;
	r = read_devices(json_object_get(j, "devices"), c, err);
	return r < 0 ? r : read_sysctls(json_object_get(j, "sysctl"), c, err);
}

static int split_groups(const char *text, char ***ret)
{
	while (text && *text) {
		size_t len = strcspn(text, ":");
		int r = strv_addf(ret, "%.*s", (int)len, text);
		if (r < 0)
			return r;
		text += len + (text[len] == ':');
	}
	return 0;
}

static int read_notes(const json_t *notes, struct shim_config *c, struct err *err)
{
	uint64_t files = 3;
	const struct {
		const char *key;
		char **to;
	} texts[] = {
		{ NOTE_ID, &c->id },
		{ NOTE_ADDRESS, &c->address },
		{ NOTE_GATEWAY, &c->gateway },
		{ NOTE_BRIDGE, &c->bridge },
		{ NOTE_VETH, &c->veth },
		{ NOTE_LOG, &c->log },
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (copy_text(notes, texts[i].key, texts[i].to) < 0)
			return err_set(err, ENOMEM, BUNDLE_CONFIG);
	if (secrets_parse(json_str(notes, NOTE_SECRETS, ""), c, err) < 0)
		return -err->code;
	if (split_groups(json_str(notes, NOTE_CGROUPS, NULL), &c->cgroups) < 0)
		return err_set(err, ENOMEM, BUNDLE_CONFIG);
	c->ns[NS_TIME] |= strcmp(json_str(notes, NOTE_TIME, ""), "yes") == 0;
	c->log_max_size = 10u << 20;
	if (parse_u64(json_str(notes, NOTE_LOG_MAX_SIZE, "10485760"), 1, UINT64_MAX, &c->log_max_size) < 0 ||
		parse_u64(json_str(notes, NOTE_LOG_MAX_FILES, "3"), 1, 1000, &files) < 0)
		return err_say(err, EINVAL, BUNDLE_CONFIG ": log limits: malformed");
	c->log_max_files = (uint32_t)files;
	if (c->address && (!c->bridge || !c->veth || !c->gateway || !c->ns[NS_NET]))
		return err_say(
			err, EINVAL, BUNDLE_CONFIG ": an address needs a network namespace and a bridge");
	return 0;
}

static int read_all(const json_t *j, struct shim_config *c, struct err *err)
{
	const json_t *root = json_object_get(j, "root");
	if (copy_text(root, "path", &c->root) < 0 || copy_text(j, "hostname", &c->hostname) < 0)
		return err_set(err, ENOMEM, BUNDLE_CONFIG);
	if (!c->root)
		return err_say(err, EINVAL, BUNDLE_CONFIG ": root.path is missing");
	c->root_readonly = json_flag(root, "readonly", false);
	int r = read_process(json_object_get(j, "process"), c, err);
	if (r == 0)
		r = read_mounts(json_object_get(j, "mounts"), c, err);
	if (r == 0)
		r = read_linux(json_object_get(j, "linux"), c, err);
	return r < 0 ? r : read_notes(json_object_get(j, "annotations"), c, err);
}

int shim_config_read(int bundle_fd, struct shim_config *ret, struct err *err)
{
	OWN_BUF struct buf text = { 0 };
	OWN_JSON json_t *j = NULL;
	struct shim_config c = { 0 };
	int r = fs_read_file(bundle_fd, BUNDLE_CONFIG, CONFIG_MAX_BYTES, &text, err);
	if (r == 0)
		r = json_parse(text.data, text.len, BUNDLE_CONFIG, &j, err);
	if (r == 0)
		r = read_all(j, &c, err);
	if (r < 0) {
		shim_config_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void shim_config_done(struct shim_config *c)
{
	char *texts[] = { c->id, c->root, c->hostname, c->cwd, c->address, c->gateway, c->bridge, c->veth,
		c->log };
	char **lists[] = { c->argv, c->env, c->sysctls, c->masked, c->readonly, c->cgroups };
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(texts[i]);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		strv_free(lists[i]);
	for (size_t i = 0; i < c->n_mounts; i++) {
		free(c->mounts[i].target);
		free(c->mounts[i].type);
		free(c->mounts[i].source);
		strv_free(c->mounts[i].options);
	}
	for (size_t i = 0; i < c->n_devices; i++)
		free(c->devices[i].path);
	for (size_t i = 0; i < c->n_secrets; i++) {
		free(c->secrets[i].name);
		free(c->secrets[i].file);
		buf_done(&c->secrets[i].value);
	}
	free(c->devices);
	free(c->secrets);
	free(c->mounts);
	free(c->rlimits);
	free(c->groups);
	*c = (struct shim_config){ 0 };
}
