#include "runtime/native/oci.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/own.h"
#include "config/capability.h"
#include "runtime/native/bundle.h"
#include "runtime/native/limits.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const MASKED[] = { "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore",
	"/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware" };

static const char *const READONLY[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
	"/proc/sysrq-trigger" };

static json_t *text_array(const char *const *texts, size_t n)
{
	json_t *a = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(texts[i]));
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

void oci_hostname(const struct launch_plan *p, char ret[64])
{
	snprintf(ret, 64, "%s", p->container->hostname ? p->container->hostname : p->id);
	if (p->container->hostname)
		return;
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
	oci_hostname(p, hostname);
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
	return json_pack("{s:b, s:o, s:o, s:o, s:s, s:o, s:o, s:b, s:i}", "terminal", 0, "user",
		user_json(&h->ids), "args", args_json(p, h), "env", env_json(p, h), "cwd", *cwd ? cwd : "/",
		"capabilities", capabilities_json(p->caps), "rlimits", limits_rlimits(p->container),
		"noNewPrivileges", 1, "oomScoreAdj", p->container->oom_score_adj);
}

/* The container's own parameters: an unprivileged program may listen where it likes, unless the spec says
 * otherwise. */
static json_t *sysctls_json(const struct launch_plan *p)
{
	const struct spec_container *c = p->container;
	json_t *j = json_object();
	if (p->network != SPEC_NETWORK_HOST)
		json_put_str(j, "net.ipv4.ip_unprivileged_port_start", "0");
	for (size_t i = 0; i < c->n_sysctls; i++)
		json_put_str(j, c->sysctls[i].key, c->sysctls[i].value);
	return j;
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
	if (h->map) {
		json_array_append_new(namespaces, json_pack("{s:s}", "type", "user"));
		json_object_set(j, "uidMappings", h->map);
		json_object_set(j, "gidMappings", h->map);
	}
	snprintf(path, sizeof path, "/teal-%s/%s", h->tag, p->id);
	json_object_set_new(j, "namespaces", namespaces);
	json_object_set_new(j, "cgroupsPath", json_string(path));
	json_object_set_new(j, "resources", limits_resources(&p->limits));
	if (h->seccomp)
		json_object_set(j, "seccomp", h->seccomp);
	json_object_set_new(j, "maskedPaths", text_array(MASKED, ARRAY_LEN(MASKED)));
	json_object_set_new(j, "readonlyPaths", text_array(READONLY, ARRAY_LEN(READONLY)));
	json_object_set_new(j, "sysctl", sysctls_json(p));
	if (json_array_size(h->devices) > 0)
		json_object_set(j, "devices", h->devices);
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

/* Where the shim finds the values: the bundle has none of them. */
static void note_secrets(json_t *notes, const struct launch_plan *p)
{
	OWN_BUF struct buf text = { 0 };
	for (size_t i = 0; p->secrets_dir && i < p->container->n_secrets; i++) {
		const struct spec_secret *s = &p->container->secrets[i];
		buf_addf(&text, "%s%s=%s/%s", i ? "\n" : "", s->source, p->secrets_dir,
			s->digest + DIGEST_HEX);
	}
	if (text.len)
		json_put_str(notes, NOTE_SECRETS, text.data);
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
	note_secrets(n, p);
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
	oci_hostname(p, hostname);
	json_t *j = json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:o, s:o}", "ociVersion", "1.0.2",
		"process", process_json(p, h), "root", "path", h->root, "readonly", p->read_only, "hostname",
		hostname, "mounts", oci_mounts(p, h), "linux", linux_json(p, h), "annotations",
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

json_t *oci_id_map(uint32_t first_id)
{
	return json_pack("[{s:I, s:I, s:I}]", "containerID", (json_int_t)0, "hostID", (json_int_t)first_id,
		"size", (json_int_t)OCI_IDS);
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
