/* What a reference means, by its kind. */
#include <errno.h>
#include <string.h>

#include "base/line.h"
#include "base/own.h"
#include "config/reference.h"
#include "runtime/image/import.h"
#include "runtime/image/registry.h"
#include "runtime/image/source.h"

int image_report(struct err *err, const char *ref)
{
	int r = err_wrap(err, "image %.300s", ref);
	if (err) {
		char raw[sizeof err->msg];
		memcpy(raw, err->msg, sizeof raw);
		line_copy(err->msg, sizeof err->msg, raw);
	}
	return r;
}

static int resolve(struct image_store *s, const struct image_ref *parsed, const char *ref,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	switch (parsed->kind) {
	case IMAGE_ROOTFS: return import_resolve(s, ref, ret, err);
	case IMAGE_OCI_DIR:
	case IMAGE_OCI_ARCHIVE:
	case IMAGE_DOCKER_ARCHIVE: return layout_resolve(s, parsed, ref, job, ret, err);
	case IMAGE_REGISTRY: return registry_resolve(s, parsed, job, ret, err);
	case IMAGE_KINDS: break;
	}
	return err_say(err, EINVAL, "of no known kind");
}

static int import(struct image_store *s, const struct image_ref *parsed, const char *ref, const char *digest,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	switch (parsed->kind) {
	case IMAGE_ROOTFS: return import_rootfs(s, ref, ret, err);
	case IMAGE_OCI_DIR:
	case IMAGE_OCI_ARCHIVE:
	case IMAGE_DOCKER_ARCHIVE: return layout_import(s, parsed, ref, job, ret, err);
	case IMAGE_REGISTRY: return registry_import(s, parsed, ref, digest, job, ret, err);
	case IMAGE_KINDS: break;
	}
	return err_say(err, EINVAL, "of no known kind");
}

/* What another try may mend. Then the layers that are complete are worth keeping. */
static bool is_passing(int r)
{
	static const int codes[] = { ECANCELED, EPIPE, ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH, EAGAIN };
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (r == -codes[i])
			return true;
	return false;
}

int image_resolve(struct image_store *s, const char *ref, const struct image_job *job, char ret[DIGEST_LEN],
	struct err *err)
{
	OWN_IMAGE_REF struct image_ref parsed = { 0 };
	int r = image_ref_parse(ref, &parsed, err);
	pthread_rwlock_rdlock(&s->layers_in_use);
	if (r == 0)
		r = resolve(s, &parsed, ref, job, ret, err);
	pthread_rwlock_unlock(&s->layers_in_use);
	return r < 0 ? image_report(err, ref) : 0;
}

int image_import(struct image_store *s, const char *ref, const char *digest, const struct image_job *job,
	char ret[DIGEST_LEN], struct err *err)
{
	OWN_IMAGE_REF struct image_ref parsed = { 0 };
	char found[DIGEST_LEN];
	int r = image_ref_parse(ref, &parsed, err);
	pthread_rwlock_rdlock(&s->layers_in_use);
	if (r == 0)
		r = import(s, &parsed, ref, digest, job, found, err);
	pthread_rwlock_unlock(&s->layers_in_use);
	if (r < 0 && !is_passing(r))
		layers_collect(s);
	if (r == 0 && digest && strcmp(found, digest) != 0)
		r = err_say(
			err, ESTALE, "it is another one now than it was when it was resolved; apply again");
	if (r < 0)
		return image_report(err, ref);
	memcpy(ret, found, sizeof found);
	return 0;
}
