/* Puts a bundle on disk. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/* dir must not exist yet. filter: the compiled linux.seccomp, empty without one. */
int bundle_write(const char *dir, const json_t *config, const struct buf *filter, bool private_network,
	struct err *err);
