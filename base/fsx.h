/* Files: durable writes, bounded reads, removal of trees by descriptor. Paths are relative to dirfd (AT_FDCWD
 * works). Blocking; trees and big files belong on a worker thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Reads a regular file of at most max bytes; -EFBIG beyond. Follows no symlink in the last component. */
int fs_read_file(int dirfd, const char *path, size_t max, struct buf *ret, struct err *err);
/* The same for /proc, /sys and cgroup files: reads to the end, trims one trailing newline. */
int fs_read_kernel(int dirfd, const char *path, struct buf *ret, struct err *err);
/* Writes text in one write(2) to an existing kernel file. */
int fs_write_kernel(int dirfd, const char *path, const char *text, struct err *err);
/* tmp + write + fsync + rename + fsync(dir): after it returns 0 the new content survives a power cut;
 * before that, the old one does. One writer at a time for a path: PATH.tmp is its alone. */
int fs_write_durable(
	int dirfd, const char *path, const void *bytes, size_t len, mode_t mode, struct err *err);
/* Creates path and its missing parents with this mode. An existing directory is fine. */
int fs_mkdirs(const char *path, mode_t mode, struct err *err);
int fs_open_dir(int dirfd, const char *path, int *ret, struct err *err);
int fs_sync_dir(int dirfd, const char *path, struct err *err);
/* Removes name and all below it, however deep, never following a symlink in the tree or crossing into another
 * mount (-EBUSY), not even one of the same file system. Absent is success, so is somebody else removing the
 * same meanwhile. */
int fs_remove_tree(int dirfd, const char *name, struct err *err);
/* "a/b/c" joined from parts; NULL-terminated argument list; NULL when out of memory. Caller frees. */
char *fs_join(const char *first, ...) __attribute__((sentinel));
