#include "runtime/native/oci.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/own.h"
#include "config/capability.h"
#include "runtime/native/bundle.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const MASKED[] = { "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore",
	"/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware" };

static const char *const READONLY[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
	"/proc/sysrq-trigger" };

enum when { ALWAYS, OWN_NETNS, HOST_NETNS, CGROUP_V2 };

/* Sysfs shows the network namespace that it is mounted from, and only its owner may mount it: with the host's
 * network the host's is bound instead, cgroups hidden. */
static const struct {
	const char *target, *type, *source, *options;
	enum when when;
} MOUNTS[] = {
	{ "/proc", "proc", "proc", "nosuid,noexec,nodev", ALWAYS },
	{ "/dev", "tmpfs", "tmpfs", "nosuid,mode=755,size=65536k", ALWAYS },
	{ "/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5", ALWAYS },
	{ "/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k", ALWAYS },
	{ "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev", ALWAYS },
	{ "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro", OWN_NETNS },
	{ "/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro", HOST_NETNS },
	{ "/sys/fs/cgroup", "tmpfs", "tmpfs", "nosuid,noexec,nodev,ro,mode=755,size=4k", HOST_NETNS },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro", CGROUP_V2 },
	{ "/tmp", "tmpfs", "tmpfs", "nosuid,nodev,mode=1777", ALWAYS },
	{ "/run", "tmpfs", "tmpfs", "nosuid,nodev,mode=755", ALWAYS },
};

static json_t *text_array(const char *const *texts, size_t n)
{
	json_t *a = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(texts[i]));
	return a;
}

static json_t *split_options(const char *options)
{
	json_t *a = json_array();
	while (*options) {
		size_t len = strcspn(options, ",");
		json_array_append_new(a, json_stringn(options, len));
		options += len + (options[len] == ',');
	}
	return a;
}

static json_t *mount_json(const char *target, const char *type, const char *source, const char *options)
{
	return json_pack("{s:s, s:s, s:s, s:o}", "destination", target, "type", type, "source", source,
		"options", split_options(options));
}

static json_t *mounts_json(const struct launch_plan *p, const struct oci_host *h)
{
	static const char *const FILES[] = { "resolv.conf", "hosts" };
	bool host_network = p->network == SPEC_NETWORK_HOST;
	json_t *a = json_array();
	for (size_t i = 0; i < ARRAY_LEN(MOUNTS); i++) {
		enum when when = MOUNTS[i].when;
		if ((when == OWN_NETNS && host_network) || (when == HOST_NETNS && !host_network) ||
			(when == CGROUP_V2 && (host_network || !h->cgroup_v2)))
			continue;
		json_array_append_new(
			a, mount_json(MOUNTS[i].target, MOUNTS[i].type, MOUNTS[i].source, MOUNTS[i].options));
	}
	for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
		char target[32], source[4096];
		snprintf(target, sizeof target, "/etc/%s", FILES[i]);
		snprintf(source, sizeof source, "%s/%s", h->bundle, FILES[i]);
		json_array_append_new(a, mount_json(target, "bind", source, "bind,ro,nosuid,nodev,noexec"));
	}
	return a;
}

/* Values of the spec win over those of the image, and what we promise (TEAL_*, HOSTNAME, PORT*) over both. */
static void set_env(char ***env, const char *key, const char *value)
{
	size_t n = strlen(key);
	for (char **e = *env; e && *e; e++)
		if (strncmp(*e, key, n) == 0 && (*e)[n] == '=') {
			OWN_FREE char *old = *e;
			char **replaced = NULL;
			if (strv_addf(&replaced, "%s=%s", key, value) == 0)
				*e = TAKE_PTR(replaced[0]);
			else
				old = NULL;
			free(replaced);
			return;
		}
	strv_addf(env, "%s=%s", key, value);
}

static void set_env_entry(char ***env, const char *entry)
{
	const char *eq = strchr(entry, '=');
	OWN_FREE char *key = eq ? strndup(entry, (size_t)(eq - entry)) : NULL;
	if (key)
		set_env(env, key, eq + 1);
}

static void set_env_number(char ***env, const char *key, uint32_t value)
{
	char text[16];
	snprintf(text, sizeof text, "%u", value);
	set_env(env, key, text);
}

/* PORT is the first one; each has a name of its own too: PORT_METRICS. */
static void set_ports(char ***env, const struct launch_plan *p)
{
	for (size_t i = 0; i < p->n_ports; i++) {
		char key[64];
		snprintf(key, sizeof key, "PORT_%.50s", p->port_names[i] ? p->port_names[i] : "");
		for (char *c = key; *c; c++)
			*c = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
		set_env_number(env, key, p->ports[i]);
	}
	if (p->n_ports > 0)
		set_env_number(env, "PORT", p->ports[0]);
}

static void hostname_of(const struct launch_plan *p, char ret[64])
{
	snprintf(ret, 64, "%s", p->id);
	for (char *c = ret; *c; c++)
		if (*c == '.')
			*c = '-';
}

static json_t *env_json(const struct launch_plan *p, const struct oci_host *h)
{
	OWN_STRV char **env = NULL;
	char hostname[64];
	size_t i;
	json_t *v;
	set_env(&env, "PATH", DEFAULT_PATH);
	json_array_foreach (json_object_get(h->image_config, "Env"), i, v)
		if (json_is_string(v))
			set_env_entry(&env, json_string_value(v));
	set_ports(&env, p);
	for (char **e = p->env; e && *e; e++)
		set_env_entry(&env, *e);
	hostname_of(p, hostname);
	set_env(&env, "HOSTNAME", hostname);
	set_env(&env, "TEAL_SERVICE", p->service);
	set_env(&env, "TEAL_SLOT", p->slot ? p->slot : "");
	set_env_number(&env, "TEAL_GENERATION", p->generation);
	set_env_number(&env, "TEAL_REPLICA", p->replica);
	if (p->network == SPEC_NETWORK_HOST)
		set_ports(&env, p); /* somebody else has the one that the spec names */
	return text_array((const char *const *)env, strv_len(env));
}

/* entrypoint and command as in Compose: an entrypoint of the spec drops the image's command too. */
static json_t *args_json(const struct launch_plan *p, const struct oci_host *h)
{
	json_t *a = json_array();
	const json_t *entrypoint = json_object_get(h->image_config, "Entrypoint");
	const json_t *command = json_object_get(h->image_config, "Cmd");
	OWN_JSON json_t *own_entrypoint =
		text_array((const char *const *)p->entrypoint, strv_len(p->entrypoint));
	OWN_JSON json_t *own_command = text_array((const char *const *)p->command, strv_len(p->command));
	if (p->entrypoint)
		json_array_extend(a, own_entrypoint);
	else if (entrypoint)
		json_array_extend(a, (json_t *)(uintptr_t)entrypoint);
	if (p->command)
		json_array_extend(a, own_command);
	else if (command && !p->entrypoint)
		json_array_extend(a, (json_t *)(uintptr_t)command);
	return a;
}

static json_t *rlimits_json(void)
{
	struct rlimit now;
	rlim_t hard = 524288;
	if (getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_max < hard)
		hard = now.rlim_max;
	return json_pack("[{s:s, s:I, s:I}]", "type", "RLIMIT_NOFILE", "soft",
		(json_int_t)(hard < 1024 ? hard : 1024), "hard", (json_int_t)hard);
}

static json_t *user_json(const struct passwd_ids *ids)
{
	json_t *groups = json_array();
	for (unsigned i = 0; i < ids->n_groups; i++)
		json_array_append_new(groups, json_integer(ids->groups[i]));
	return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)ids->uid, "gid", (json_int_t)ids->gid,
		"additionalGids", groups);
}

/* One set for bounding, permitted and effective; nothing is ever inheritable or ambient. */
static json_t *capabilities_json(uint64_t caps)
{
	json_t *names = json_array();
	for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
		if (caps >> i & 1)
			json_array_append_new(names, json_sprintf("CAP_%s", capability_names[i]));
	return json_pack("{s:O, s:O, s:o}", "bounding", names, "effective", names, "permitted", names);
}

static json_t *process_json(const struct launch_plan *p, const struct oci_host *h)
{
	const char *cwd = p->working_dir ? p->working_dir : json_str(h->image_config, "WorkingDir", "");
	return json_pack("{s:b, s:o, s:o, s:o, s:s, s:o, s:o, s:b}", "terminal", 0, "user",
		user_json(&h->ids), "args", args_json(p, h), "env", env_json(p, h), "cwd", *cwd ? cwd : "/",
		"capabilities", capabilities_json(p->caps), "rlimits", rlimits_json(), "noNewPrivileges", 1);
}

static json_t *resources_json(const struct spec_limits *l)
{
	json_t *r = json_object();
	if (l->memory_bytes)
		json_object_set_new(r, "memory", json_pack("{s:I}", "limit", (json_int_t)l->memory_bytes));
	if (l->cpu_milli)
		json_object_set_new(r, "cpu",
			json_pack("{s:I, s:I}", "quota", (json_int_t)l->cpu_milli * 100, "period",
				(json_int_t)100000));
	if (l->pids)
		json_object_set_new(r, "pids", json_pack("{s:I}", "limit", (json_int_t)l->pids));
	return r;
}

static json_t *linux_json(const struct launch_plan *p, const struct oci_host *h)
{
	static const char *const NAMESPACES[] = { "mount", "pid", "ipc", "uts", "cgroup" };
	json_t *namespaces = json_array(), *j = json_object();
	char path[128];
	for (size_t i = 0; i < ARRAY_LEN(NAMESPACES); i++)
		json_array_append_new(namespaces, json_pack("{s:s}", "type", NAMESPACES[i]));
	if (p->network != SPEC_NETWORK_HOST)
		json_array_append_new(namespaces, json_pack("{s:s}", "type", "network"));
	if (h->first_id) {
		json_t *map = json_pack("[{s:I, s:I, s:I}]", "containerID", (json_int_t)0, "hostID",
			(json_int_t)h->first_id, "size", (json_int_t)OCI_IDS);
		json_array_append_new(namespaces, json_pack("{s:s}", "type", "user"));
		json_object_set_new(j, "uidMappings", map);
		json_object_set(j, "gidMappings", map);
	}
	snprintf(path, sizeof path, "/teal-%s/%s", h->tag, p->id);
	json_object_set_new(j, "namespaces", namespaces);
	json_object_set_new(j, "cgroupsPath", json_string(path));
	json_object_set_new(j, "resources", resources_json(&p->limits));
	if (h->seccomp)
		json_object_set(j, "seccomp", h->seccomp);
	json_object_set_new(j, "maskedPaths", text_array(MASKED, ARRAY_LEN(MASKED)));
	json_object_set_new(j, "readonlyPaths", text_array(READONLY, ARRAY_LEN(READONLY)));
	if (p->network != SPEC_NETWORK_HOST)
		json_object_set_new(
			j, "sysctl", json_pack("{s:s}", "net.ipv4.ip_unprivileged_port_start", "0"));
	return j;
}

static void note_number(json_t *notes, const char *key, uint64_t value)
{
	char text[24];
	snprintf(text, sizeof text, "%llu", (unsigned long long)value);
	json_put_str(notes, key, text);
}

static void note_ports(json_t *notes, const struct launch_plan *p)
{
	OWN_BUF struct buf text = { 0 };
	for (size_t i = 0; i < p->n_ports; i++)
		buf_addf(&text, "%s%u", i ? "," : "", p->ports[i]);
	if (text.len)
		json_put_str(notes, NOTE_PORTS, text.data);
}

static json_t *notes_json(const struct launch_plan *p, const struct oci_host *h)
{
	static const char *const NETWORKS[] = {
		[SPEC_NETWORK_PRIVATE] = "private", [SPEC_NETWORK_HOST] = "host", [SPEC_NETWORK_NONE] = "none"
	};
	json_t *n = json_object();
	json_put_str(n, NOTE_ID, p->id);
	json_put_str(n, NOTE_TAG, h->tag);
	json_put_str(n, NOTE_SERVICE, p->service);
	note_number(n, NOTE_GENERATION, p->generation);
	note_number(n, NOTE_REPLICA, p->replica);
	json_put_str(n, NOTE_SLOT, p->slot);
	json_put_str(n, NOTE_IMAGE_DIGEST, p->image_digest);
	json_put_str(n, NOTE_SPEC_DIGEST, p->spec_digest);
	json_put_str(n, NOTE_NETWORK, NETWORKS[p->network]);
	json_put_str(n, NOTE_CGROUPS, h->cgroups && *h->cgroups ? h->cgroups : NULL);
	json_put_str(n, NOTE_LOG, h->log);
	json_put_str(n, NOTE_TIME, h->time_namespace ? "yes" : NULL);
	if (p->logging.max_size_bytes)
		note_number(n, NOTE_LOG_MAX_SIZE, p->logging.max_size_bytes);
	if (p->logging.max_files)
		note_number(n, NOTE_LOG_MAX_FILES, p->logging.max_files);
	note_ports(n, p);
	if (h->lease) {
		json_put_str(n, NOTE_ADDRESS, h->lease->address);
		json_put_str(n, NOTE_GATEWAY, h->lease->gateway);
		json_put_str(n, NOTE_BRIDGE, h->lease->bridge);
		json_put_str(n, NOTE_VETH, h->lease->veth);
	}
	return n;
}

int oci_build(const struct launch_plan *p, const struct oci_host *h, json_t **ret, struct err *err)
{
	char hostname[64];
	hostname_of(p, hostname);
	json_t *j = json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:o, s:o}", "ociVersion", "1.0.2",
		"process", process_json(p, h), "root", "path", h->root, "readonly", p->read_only, "hostname",
		hostname, "mounts", mounts_json(p, h), "linux", linux_json(p, h), "annotations",
		notes_json(p, h));
	if (!j)
		return err_set(err, ENOMEM, "build config.json");
	if (json_array_size(json_object_get(json_object_get(j, "process"), "args")) == 0) {
		json_decref(j);
		return err_say(err, EINVAL, "no command: neither the spec nor the image names one");
	}
	*ret = j;
	return 0;
}

uint32_t oci_first_id(const char *tag, const char *service)
{
	OWN_BUF struct buf text = { 0 };
	char digest[DIGEST_LEN];
	unsigned hash = 0;
	buf_addf(&text, "%s/%s", tag, service);
	digest_of(text.data ? text.data : "", text.len, digest);
	sscanf(digest + DIGEST_HEX, "%8x", &hash);
	return 524288u + OCI_IDS * (hash % 20000u);
}
