/* Where containers are limited: one directory a container, named teal-<tag>/<id>, below the cgroup that the
 * agent runs in. One tree with cgroup v2; one in each hierarchy with v1. Thread-safe after cgroups_open. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/spec.h"

enum cgroup_controller { CG_PIDS, CG_CPU, CG_MEMORY, CG_FREEZER, CG_COUNT };

struct cgroups;

/* Looks at the host; creates nothing. Never fails for want of controllers: cgroups_check tells. */
int cgroups_open(const char *tag, struct cgroups **ret, struct err *err);
void cgroups_close(struct cgroups *g); /* removes the parent if it is empty; accepts NULL */
bool cgroups_have(const struct cgroups *g, enum cgroup_controller which);
const char *cgroup_controller_name(enum cgroup_controller which);
int cgroups_version(const struct cgroups *g); /* 2, 1, or 0: none writable */
/* -ENOTSUP naming the controller that a limit needs and this host lacks. */
int cgroups_check(const struct cgroups *g, const struct spec_limits *limits, struct err *err);
/* Makes the container's directories with its limits; their paths, colon separated, in *ret (the caller's to
 * free). */
int cgroups_create(
	struct cgroups *g, const char *id, const struct spec_limits *limits, char **ret, struct err *err);
/* Kills what is left in them and removes them. Absent is success. */
void cgroups_remove(struct cgroups *g, const char *id);
/* The ids that have a directory. */
int cgroups_list(struct cgroups *g, char ***ret);
