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
	struct passwd_ids ids;
	bool cgroup_v2, time_namespace; /* what the host has */
	uint32_t first_id;		/* of the user namespace, outside; 0: no user namespace */
};
#define OCI_IDS 65536u

/* New reference. */
int oci_build(const struct launch_plan *plan, const struct oci_host *host, json_t **ret, struct err *err);
/* The range of host ids that a service's containers get. */
uint32_t oci_first_id(const char *tag, const char *service);
