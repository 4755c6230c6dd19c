/* Volumes on the host: where named ones are kept, what may be bound, and the mounts that come of it. */
#pragma once
#include "base/err.h"
#include "base/json.h"
#include "config/settings.h"
#include "runtime/native/passwd.h"
#include "runtime/native/plan.h"

/* Would these volumes be refused? -ENOTSUP with the reason. No side effects. */
int volume_check(const struct settings *settings, const struct spec_container *c, struct err *err);
/* Makes the named volumes that are not there yet, for the user that the container runs as, and says what is
 * to be mounted: an array of the runtime specification's mounts, outer ones before inner ones. image_fd: the
 * image's root. map: ids of the user namespace, for owners to be right; NULL without one. Blocking. */
int volume_prepare(const struct settings *settings, const struct launch_plan *p, int image_fd,
	const struct passwd_ids *ids, json_t *map, json_t **ret, struct err *err);
/* Forgets a named volume and all that is in it. Absent is success. Blocking. */
int volume_remove(const struct settings *settings, const char *name, struct err *err);
