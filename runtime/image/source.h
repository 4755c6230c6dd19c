/* Where the pieces of an image come from: a directory, an unpacked archive, a registry. */
#pragma once
#include "base/buf.h"
#include "runtime/image/manifest.h"
#include "runtime/image/store_private.h"

struct image_source {
	/* A small document, verified against its descriptor. */
	int (*read)(struct image_source *src, const struct descriptor *d, size_t max,
		const struct image_job *job, struct buf *ret, struct err *err);
	/* Announces the layers that will be opened; may be NULL. wanted: by index. */
	int (*prepare)(struct image_source *src, const struct manifest *m, const bool *wanted,
		const struct image_job *job, struct err *err);
	/* A layer's archive, to be read from its start. Not verified yet. */
	int (*open_layer)(
		struct image_source *src, const struct manifest *m, size_t i, int *ret_fd, struct err *err);
};

/* Is this text what its descriptor says? */
int source_verify(const struct descriptor *d, const struct buf *text, struct err *err);

/* An image into the store: its layers, its root, its record. `digest` is what it is known by from here on. */
int image_assemble(struct image_store *s, struct image_source *src, const struct manifest *m,
	const char *digest, const char *ref, const struct image_job *job, struct err *err);

/* layout.c: oci:DIR, oci-archive:FILE and docker-archive:FILE. */
struct image_ref;
int layout_import(struct image_store *s, const struct image_ref *ref, const char *text,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err);
/* Tells the digest: of a directory by reading its index, of an archive by importing it. */
int layout_resolve(struct image_store *s, const struct image_ref *ref, const char *text,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err);
