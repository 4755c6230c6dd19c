/* What the files behind tree.h share. */
#pragma once
#include "base/buf.h"
#include "runtime/image/tree.h"

enum walk_mode { WALK_DIGEST, WALK_COPY, WALK_STAMP };

struct walk {
	enum walk_mode mode;
	struct digest *digest;
	struct buf path;   /* of the current entry, relative to the root; for messages and records */
	struct buf record; /* the current one */
	char *block;	   /* of WALK_BLOCK bytes */
	unsigned depth;
	int root_to;		  /* WALK_COPY: the copy's root */
	const struct stat *avoid; /* WALK_COPY */
	void *links;		  /* tsearch tree of struct link: files with several names */
	uint64_t bytes, entries;
	struct timespec newest;
};
#define WALK_BLOCK ((size_t)256 * 1024)

/* The current entry, as people know it. */
const char *walk_path(const struct walk *w);
/* -EAGAIN for a source that is not what `before` says any more. */
int walk_check_unchanged(const struct walk *w, int fd, const struct stat *before, struct err *err);

/* tree_file.c: the content of a regular file. to is -1 unless it is to be copied. */
int tree_file_content(
	struct walk *w, int from, int to, const struct stat *st, char ret[DIGEST_LEN], struct err *err);
/* A name of an inode that was seen before; NULL: none. */
struct link {
	dev_t dev;
	ino_t ino;
	char content[DIGEST_LEN];
	char path[];
};
const struct link *tree_link_find(const struct walk *w, const struct stat *st);
int tree_link_add(struct walk *w, const struct stat *st, const char content[DIGEST_LEN], struct err *err);
void tree_links_free(struct walk *w);

/* tree_meta.c: attributes, and everything but the content onto a copy. */
int tree_xattrs_record(const struct walk *w, int fd, struct buf *record, struct err *err);
int tree_meta_copy(const struct walk *w, int from, int to, const struct stat *st, struct err *err);

/* "5:bytes" */
void tree_add_string(struct buf *record, const char *bytes, size_t len);
