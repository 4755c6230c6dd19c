/* Layers: the files of each, once, and what they are together. */
#pragma once
#include "runtime/image/manifest.h"
#include "runtime/image/store_private.h"
#include "runtime/image/unpacker.h"

bool layer_present(struct image_store *s, const char *diff_id);
/* Unpacks an archive as the layer of this DiffID; durable afterwards. It must be what `is` says (an empty
 * digest says nothing), and come to the DiffID: -EBADMSG. */
int layer_add(struct image_store *s, int archive_fd, const struct descriptor *is, const char *diff_id,
	const struct image_job *job, struct err *err);
struct layer_size {
	uint64_t bytes, entries;
};
int layer_open(struct image_store *s, const char *diff_id, int *ret_tree_fd, struct layer_size *ret,
	struct err *err);

/* merge.c: lays one layer on what is in the directory `root`: files become hard links to the layer's,
 * whiteouts take away. Nothing of the layer is ever written to. */
int layer_merge(int root, int layer_tree, struct err *err);
