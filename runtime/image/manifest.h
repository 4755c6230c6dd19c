/* The JSON documents of images, from strangers: manifests, indexes and configurations in OCI's and in
 * Docker's form. Everything is bounded and typed here; nothing in them is ever used as a path. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

#define MANIFEST_MAX_BYTES ((size_t)4 << 20)
#define CONFIG_MAX_BYTES   ((size_t)8 << 20)
#define LAYERS_MAX	   127u
#define MEDIA_TYPE_MAX	   128u

struct descriptor {
	char media_type[MEDIA_TYPE_MAX]; /* "" if it has none */
	char digest[DIGEST_LEN];
	uint64_t size;
};

struct manifest {
	struct descriptor config;
	struct descriptor layers[LAYERS_MAX];
	size_t n_layers;
};

/* What an image says of itself. */
struct image_info {
	char diff_ids[LAYERS_MAX][DIGEST_LEN];
	size_t n_diff_ids;
	json_t *config; /* members of "config" that a container is started with */
};
void image_info_done(struct image_info *i);
#define OWN_IMAGE_INFO __attribute__((cleanup(image_info_done)))

int descriptor_read(const json_t *j, struct descriptor *ret, struct err *err);
/* Is this document an index? -EINVAL if it is both, or not what media_type ("" : not known) says. */
int manifest_is_index(const json_t *doc, const char *media_type, bool *ret, struct err *err);
int manifest_read(const json_t *doc, struct manifest *ret, struct err *err);
/* Of an index the manifest for this machine; -ENOENT naming those that there are. */
int index_choose(const json_t *doc, struct descriptor *ret, struct err *err);
int config_read(const json_t *doc, struct image_info *ret, struct err *err);
