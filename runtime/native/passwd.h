/* Who a container runs as: `user` of the spec against the passwd and group files of an image that nobody
 * trusts. */
#pragma once
#include <stdint.h>

#include "base/err.h"

#define PASSWD_GROUPS_MAX 64

struct passwd_ids {
	uint32_t uid, gid;
	uint32_t groups[PASSWD_GROUPS_MAX]; /* supplementary, from the image's group file */
	unsigned n_groups;
};

/* user: "uid", "name", each with ":gid" or ":group" behind it; NULL or "" is root. max: ids must be below it.
 */
int passwd_resolve(int root_fd, const char *user, uint32_t max, struct passwd_ids *ret, struct err *err);
