/* What this host can do, found out by trying, once. */
#pragma once
#include <stdbool.h>

#include "base/err.h"
#include "config/settings.h"
#include "config/spec.h"
#include "runtime/native/cgroup.h"

struct host_features {
	bool root;		 /* effective uid 0 */
	bool userns;		 /* user namespaces and idmapped mounts work for the state directory */
	struct err userns_error; /* why not */
	bool time_namespace;
};

void host_probe(const struct settings *settings, struct host_features *ret);
/* Will containers get a user namespace? -ENOTSUP if they can't and `userns` does not say preferred. */
int host_check(const struct settings *settings, const struct host_features *f, const struct cgroups *g,
	const struct spec_container *c, struct err *err);
