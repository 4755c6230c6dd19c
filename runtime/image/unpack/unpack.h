/* teal-unpack: one archive that nobody trusts becomes one directory tree, in a process that can do nothing
 * else. Descriptors: 0 the archive, 1 the report (one JSON object), 3 the empty directory. Everything is done
 * by descriptors below that directory; no symlink is ever followed out of it. */
#pragma once
#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"

#define UNPACK_BLOB_FD	 0
#define UNPACK_REPORT_FD 1
#define UNPACK_TREE_FD	 3

/* What an archive may cost. Real images stay far below. */
#define UNPACK_MAX_BYTES       ((uint64_t)20 << 30) /* decompressed, and of all files together */
#define UNPACK_MAX_RATIO       1000u		    /* decompressed to compressed, */
#define UNPACK_RATIO_FROM      ((uint64_t)16 << 20) /* once this much has come out */
#define UNPACK_MAX_ENTRIES     1000000u
#define UNPACK_MAX_PATH	       4096u
#define UNPACK_MAX_DEPTH       128u
#define UNPACK_MAX_XATTR_BYTES (64u * 1024) /* of one entry, names and values */
#define UNPACK_MAX_DIRS_BYTES  (16u << 20)  /* names of directories, kept to set their times at the end */
#define UNPACK_MAX_MEMORY      ((uint64_t)64 << 20)

/* stream.c: the archive, decompressed on a thread of its own; both sides are hashed as they pass. */
struct stream;
int stream_open(int fd, struct stream **ret, struct err *err);
/* The next bytes, valid until the next call; 0 at the end, or -errno. */
ssize_t stream_next(struct stream *s, const void **ret_bytes, struct err *err);
struct stream_sum {
	char digest[DIGEST_LEN];  /* of the archive as it came */
	char diff_id[DIGEST_LEN]; /* decompressed */
	uint64_t size;		  /* as it came */
};
/* Reads what is left of both, then tells. */
int stream_end(struct stream *s, struct stream_sum *ret, struct err *err);
void stream_close(struct stream *s); /* accepts NULL */

/* A directory whose times are set when nothing is put into it any more. */
struct unpack {
	int root;
	bool layer;		    /* whiteouts mean something, and the tree will be merged with others */
	bool flat;		    /* not root: everything belongs to whoever runs this */
	char path[UNPACK_MAX_PATH]; /* of the current entry, normalised: "etc/passwd", "" is the root */
	int parent;		    /* descriptor of the directory `parent_path`, or -1 */
	char parent_path[UNPACK_MAX_PATH];
	struct buf dirs; /* records of directories: times, then the name with its NUL */
	uint64_t bytes, entries, left_out;
};

/* path.c */
/* Normalises an entry's or a link's name into `to`; -EINVAL for what no archive of good will has. */
int path_normalise(const char *name, char to[UNPACK_MAX_PATH], struct err *err);
/* The directory of u->path, made if it is missing, and the last part of the name (in u->path). The descriptor
 * is u's. */
int path_parent(struct unpack *u, int *ret_dir, const char **ret_name, struct err *err);
/* Forget the descriptor: something that may have been above it is gone. */
void path_forget(struct unpack *u);
/* The directory of a normalised path, symlinks followed inside the root; missing ones are made if `make`. The
 * descriptor is the caller's. */
int path_open_dir(struct unpack *u, const char *path, bool make, int *ret, struct err *err);

/* place.c: one entry into the tree. */
int place_entry(struct unpack *u, struct archive *a, struct archive_entry *e, struct err *err);

/* whiteout.c */
bool whiteout_is(const char *name);
/* What hides something of the layers below, in overlayfs's form. */
int whiteout_place(struct unpack *u, int dir, const char *name, struct err *err);
bool whiteout_is_mark(const struct stat *st);
/* Hides what layers below have in this directory. */
int whiteout_make_opaque(int dir, const char *name, struct err *err);

/* meta.c: what an entry says of itself, onto what was made of it. */
int meta_on_file(struct unpack *u, int fd, struct archive_entry *e, struct err *err);
int meta_on_dir(struct unpack *u, int dir, const char *name, struct archive_entry *e, struct err *err);
/* Of symlinks and pipes: no attributes. */
int meta_on_name(struct unpack *u, int dir, const char *name, struct archive_entry *e, struct err *err);
/* The times of all directories, when nothing is put into them any more. */
int meta_finish_dirs(struct unpack *u, struct err *err);

/* sandbox.c */
/* Makes the directory the whole world: a user namespace of its own, its owners mapped to the image's, no
 * network, no other files, and no system calls but those of unpacking. Before the first byte is read. */
int sandbox_enter(int *tree_fd, bool *ret_flat, struct err *err);
