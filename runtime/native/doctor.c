#include <stdio.h>
#include <unistd.h>

#include "runtime/native/native.h"

static void add_row(
	json_t *rows, const char *name, bool good, const char *bad, const char *detail, const char *remedy)
{
	json_array_append_new(
		rows, json_pack("{s:s, s:s, s:s, s:s}", "name", name, "status", good ? "ok" : bad, "detail",
			      detail, "remedy", good ? "" : remedy));
}

static void add_cgroups(json_t *rows, struct rt_host *h)
{
	char name[32], detail[64];
	int version = cgroups_version(h->cgroups);
	for (int i = 0; i < CG_COUNT; i++) {
		bool have = cgroups_have(h->cgroups, (enum cgroup_controller)i);
		snprintf(name, sizeof name, "cgroup %s", cgroup_controller_name((enum cgroup_controller)i));
		snprintf(detail, sizeof detail, have ? "cgroup v%d" : "not available", version);
		add_row(rows, name, have, "warn", detail,
			"run teald as root, or under systemd with Delegate=yes");
	}
}

json_t *host_doctor(struct rt_host *h)
{
	const struct host_features *f = &h->features;
	bool shim = access(h->shim_path, X_OK) == 0;
	json_t *rows = json_array();
	add_row(rows, "runtime root", f->root, "fail",
		f->root ? "teald runs as root" : "teald does not run as root", "start teald as root");
	add_row(rows, "user namespaces", f->userns, h->settings->userns == USERNS_PREFERRED ? "warn" : "fail",
		f->userns ? "with idmapped mounts" : f->userns_error.msg,
		"sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone; or `userns: "
		"preferred` in teald.yaml");
	add_row(rows, "teal-shim", shim, "fail", h->shim_path,
		"install it beside teald, or set TEAL_LIBEXEC");
	add_row(rows, "sealed teal-shim", h->shim_fd >= 0, "warn",
		h->shim_fd >= 0 ? "run from a sealed copy in memory" : "run from its file",
		"sysctl vm.memfd_noexec=0");
	add_cgroups(rows, h);
	return rows;
}
