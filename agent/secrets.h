/* Values of secrets, kept as files of mode 0600 below STATE/secrets/SERVICE, named by their digests: whoever
 * has a generation's record finds its values, so that a rollback brings them back. Private to agent/. */
#pragma once
#include "agent/service.h"

/* Keeps what `values` ({digest: hex}) has of the spec's secrets. -EINVAL: one is neither there nor kept. */
int secrets_keep(struct agent *a, const struct spec *spec, const json_t *values, struct err *err);
/* Where a service's values are; NULL: out of memory. Caller frees. */
char *secrets_dir(const struct agent *a, const char *service);
/* Removes what no record of the service names any more. */
void secrets_collect(struct service *s);
/* Removes all of a service that is no more. */
void secrets_remove(struct agent *a, const char *service);
