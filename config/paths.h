/* Paths and files that people name. */
#pragma once
#include "base/buf.h"
#include "base/err.h"

/* path, made absolute against base (absolute; NULL: the working directory), without "." and doubled slashes;
 * ".." stays what it is, for only the kernel knows where it leads. NULL: out of memory, or no working
 * directory. Caller frees. */
char *path_absolute(const char *base, const char *path);
/* Reads whatever can be read: a file, also through a symlink, a pipe; "-" is standard input. -EFBIG beyond
 * max. */
int path_read(const char *path, size_t max, struct buf *ret, struct err *err);
