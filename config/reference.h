/* What `image` of a spec may say: rootfs:DIR, oci:DIR[:NAME], oci-archive:FILE[:NAME],
 * docker-archive:FILE[:NAME], or an image of a registry in Docker's grammar, with its defaults: "nginx" is
 * docker.io/library/nginx:latest. */
#pragma once
#include "base/digest.h"
#include "base/err.h"

enum image_kind {
	IMAGE_ROOTFS,
	IMAGE_OCI_DIR,
	IMAGE_OCI_ARCHIVE,
	IMAGE_DOCKER_ARCHIVE,
	IMAGE_REGISTRY,
	IMAGE_KINDS,
};

struct image_ref {
	enum image_kind kind;
	char *path;		 /* all but registry: as written */
	char *name;		 /* of one image among several in an archive; NULL: the only one */
	char *host;		 /* registry: "docker.io", "registry.example.com:5000" */
	char *repository;	 /* registry: "library/nginx" */
	char *tag;		 /* registry: never NULL, "latest" if none was written */
	char digest[DIGEST_LEN]; /* registry: "" if none was written; wins over the tag */
};

/* -EINVAL with what is wrong with it, in words that follow "`image`: ". */
int image_ref_parse(const char *text, struct image_ref *ret, struct err *err);
void image_ref_done(struct image_ref *r);
#define OWN_IMAGE_REF __attribute__((cleanup(image_ref_done)))
/* "oci:", "" for a registry's. */
const char *image_kind_prefix(enum image_kind kind);
/* "host/repository:tag" or "host/repository@digest", or prefix, path and name; caller frees, NULL: out of
 * memory. */
char *image_ref_format(const struct image_ref *r);
