/* The config.json of a bundle: what the runtime specification of the OCI has words for, and annotations for
 * the rest. */
#pragma once
#include "base/json.h"
#include "runtime/native/network.h"
#include "runtime/native/passwd.h"
#include "runtime/native/plan.h"

struct oci_host {	    /* what the host adds to a plan */
	const char *root;   /* the image's root directory */
	const char *bundle; /* the bundle's own directory */
	const char *tag, *cgroups, *log;
	const json_t *image_config; /* the image's defaults */
	const struct lease *lease;  /* network: private */
	json_t *seccomp;	    /* linux.seccomp; NULL: unconfined */
	json_t *volumes;	    /* mounts, see volume_prepare */
	json_t *devices;	    /* linux.devices */
	json_t *map;		    /* linux.uidMappings; NULL: no user namespace */
	struct passwd_ids ids;
	bool cgroup_v2, time_namespace; /* what the host has */
};
#define OCI_IDS 65536u

#define OCI_SECRETS "/run/secrets"

/* New reference. */
int oci_build(const struct launch_plan *plan, const struct oci_host *host, json_t **ret, struct err *err);
/* Its own or the spec's. */
void oci_hostname(const struct launch_plan *plan, char ret[64]);
/* oci_mounts.c; new reference. */
json_t *oci_mounts(const struct launch_plan *plan, const struct oci_host *host);
/* uidMappings of a range of host ids; new reference. */
json_t *oci_id_map(uint32_t first_id);
/* The range of host ids that a service's containers get. */
uint32_t oci_first_id(const char *tag, const char *service);
