/* A directory tree as an image: what identifies it, and a faithful copy. Works by descriptor, follows no
 * symlink, enters no mount, and notices when the tree changes under its hands (-EAGAIN).
 *
 * The digest is sha256 over "teal-tree-v1\n" and one record an entry, the root first with path "", then each
 * directory's entries in byte order, a directory before what is in it:
 *   type ("d" "f" "l" "p"), mode in octal, uid, gid, path,
 *   f: size and sha256 of the content, l: target, and the attributes in byte order
 * where every string has its length in front. Attributes are security.capability, user.* and POSIX ACLs;
 * overlayfs's own are left out, since they would mean something to the mount. Times and which names are hard
 * links of each other are copied, but are no part of the identity. The contents of /dev, /proc and /sys are
 * left out of both: every container gets its own. Device nodes elsewhere and sockets are refused by name. */
#pragma once
#include <stdint.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/err.h"

struct tree_sum {
	char digest[DIGEST_LEN];
	uint64_t bytes;	  /* in regular files, each name counted */
	uint64_t entries; /* the root included */
};

int tree_digest(int fd, struct tree_sum *ret, struct err *err);
/* Into the empty directory `to`; nothing is synced. A tree that contains the directory `avoid` is refused: it
 * would be copied into itself. */
int tree_copy(int from, int to, const struct stat *avoid, struct tree_sum *ret, struct err *err);
/* A digest of what stat tells, times and inode numbers included: much cheaper, and as long as it stays the
 * same, so does the real one. ret_newest_ms: the latest change of status in the tree, wall clock. */
int tree_stamp(int fd, char ret[DIGEST_LEN], int64_t *ret_newest_ms, struct err *err);
