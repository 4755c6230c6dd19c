/* The mounts of a bundle: what every container has, what the spec adds. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "runtime/native/oci.h"

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
	{ "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev", ALWAYS },
	{ "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro", OWN_NETNS },
	{ "/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro", HOST_NETNS },
	{ "/sys/fs/cgroup", "tmpfs", "tmpfs", "nosuid,noexec,nodev,ro,mode=755,size=4k", HOST_NETNS },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro", CGROUP_V2 },
	{ "/tmp", "tmpfs", "tmpfs", "nosuid,nodev,mode=1777", ALWAYS },
	{ "/run", "tmpfs", "tmpfs", "nosuid,nodev,mode=755", ALWAYS },
};

#define SHM_BYTES (64u << 20)

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

static bool is_wanted(enum when when, const struct launch_plan *p, const struct oci_host *h)
{
	bool host_network = p->network == SPEC_NETWORK_HOST;
	switch (when) {
	case OWN_NETNS: return !host_network;
	case HOST_NETNS: return host_network;
	case CGROUP_V2: return !host_network && h->cgroup_v2;
	case ALWAYS: break;
	}
	return true;
}

static bool is_target(const struct launch_plan *p, const char *target)
{
	for (size_t i = 0; i < p->container->n_volumes; i++)
		if (strcmp(p->container->volumes[i].target, target) == 0)
			return true;
	return false;
}

static void add_shm(json_t *mounts, const struct launch_plan *p)
{
	char options[96];
	uint64_t bytes = p->container->shm_bytes ? p->container->shm_bytes : SHM_BYTES;
	snprintf(options, sizeof options, "nosuid,noexec,nodev,mode=1777,size=%llu",
		(unsigned long long)bytes);
	json_array_append_new(mounts, mount_json("/dev/shm", "tmpfs", "shm", options));
}

static void add_etc(json_t *mounts, const struct oci_host *h)
{
	static const char *const FILES[] = { "resolv.conf", "hosts" };
	for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
		char target[32], source[4096];
		snprintf(target, sizeof target, "/etc/%s", FILES[i]);
		snprintf(source, sizeof source, "%s/%s", h->bundle, FILES[i]);
		json_array_append_new(
			mounts, mount_json(target, "bind", source, "bind,ro,nosuid,nodev,noexec"));
	}
}

json_t *oci_mounts(const struct launch_plan *p, const struct oci_host *h)
{
	json_t *a = json_array();
	for (size_t i = 0; i < ARRAY_LEN(MOUNTS); i++)
		if (is_wanted(MOUNTS[i].when, p, h) && !is_target(p, MOUNTS[i].target))
			json_array_append_new(a, mount_json(MOUNTS[i].target, MOUNTS[i].type,
							 MOUNTS[i].source, MOUNTS[i].options));
	add_shm(a, p);
	add_etc(a, h);
	json_array_extend(a, h->volumes);
	if (p->container->n_secrets > 0)
		json_array_append_new(
			a, mount_json(OCI_SECRETS, "tmpfs", "tmpfs", "nosuid,noexec,nodev,mode=755,size=4m"));
	return a;
}
