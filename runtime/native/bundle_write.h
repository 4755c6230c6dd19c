/* Puts a bundle on disk. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "runtime/native/etc.h"

/* dir must not exist yet. filter: the compiled linux.seccomp, empty without one. */
int bundle_write(const char *dir, const json_t *config, const struct buf *filter, const struct etc_files *etc,
	struct err *err);
