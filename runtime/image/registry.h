/* Images of a registry, by the OCI distribution protocol (and Docker's before it). */
#pragma once
#include "config/reference.h"
#include "runtime/image/source.h"

/* What the reference means now: the digest of the manifest for this machine. */
int registry_resolve(struct image_store *s, const struct image_ref *ref, const struct image_job *job,
	char ret[DIGEST_LEN], struct err *err);
/* Brings it here; with a digest: that manifest, whatever the tag means by now. */
int registry_import(struct image_store *s, const struct image_ref *ref, const char *text, const char *digest,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err);
/* Do these credentials open the registry? Stores nothing. -EACCES if not. */
int registry_login(
	struct image_store *s, const char *host, const char *user, const char *password, struct err *err);
