/* Images on this host: root file systems in a content-addressed store,
 * STATE/images/sha256-<hex>/{rootfs/,image.json} and, of images that come in layers,
 * STATE/layers/sha256-<hex of the DiffID>/{tree/,layer.json}. A directory that bears such a name is complete
 * and durable: it gets the name by rename, after everything in it was synced. An image's rootfs is made of
 * hard links to the files of its layers: what two images share is on the disk, and in memory, once.
 *
 * The digest of an image is that of its manifest for this platform; that of its configuration where it has no
 * manifest (docker-archive:), that of its tree where it has neither (rootfs:, copied, so that later changes
 * to DIR change nothing).
 *
 * Everything here blocks (worker thread) and may be called from several threads; the store itself never
 * changes after it was opened. */
#pragma once
#include <stdbool.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "runtime/image/job.h"

struct image_store;

struct image_places {		 /* all absolute */
	const char *state_dir;	 /* images and layers live here */
	const char *libexec_dir; /* where teal-unpack is */
	const char *etc_dir;	 /* auth.json, certs.d/HOST/ca.crt */
};
/* Creates its directories if need be and removes what a crash left half made. One open store per state
 * directory. */
int image_store_open(const struct image_places *places, struct image_store **ret, struct err *err);
void image_store_close(struct image_store *s); /* accepts NULL */

/* The digest that ref means now. A directory is read and not copied; an archive has to be unpacked to tell,
 * so that it is here afterwards. */
int image_resolve(struct image_store *s, const char *ref, const struct image_job *job, char ret[DIGEST_LEN],
	struct err *err);
/* Makes what ref means present and durable; with a digest: the image of that digest, -ESTALE if ref means
 * another one by now. A tree that changes meanwhile is an error (-EAGAIN: try again). The same image imported
 * twice at once is one image. A failed import leaves nothing but layers that are complete. */
int image_import(struct image_store *s, const char *ref, const char *digest, const struct image_job *job,
	char ret[DIGEST_LEN], struct err *err);
/* Complete and usable? Anything else, a malformed digest too, is false. */
bool image_present(struct image_store *s, const char *digest);
/* Its root directory, as an O_PATH descriptor; -ENOENT naming the digest. */
int image_open_root(struct image_store *s, const char *digest, int *ret_fd, struct err *err);
/* "STATE/images/sha256-<hex>/rootfs", present or not; NULL: out of memory or no digest. Caller frees. */
char *image_root_path(struct image_store *s, const char *digest);
/* The image's own defaults: the members of an OCI image configuration's "config" ("Entrypoint", "Cmd", "Env",
 * "WorkingDir", "User" …); {} for a rootfs import. New reference. */
int image_config(struct image_store *s, const char *digest, json_t **ret, struct err *err);
/* Everything that is recorded of it: what image_list says, and "config", "entries" and "layers". New
 * reference. */
int image_inspect(struct image_store *s, const char *digest, json_t **ret, struct err *err);
/* Somebody asked for it by hand: it stays, used or not, until it is removed by hand. */
int image_keep(struct image_store *s, const char *digest, struct err *err);
/* Array of {"digest","reference","size","created_ms","kept"}, by digest; new reference, NULL when out of
 * memory. */
json_t *image_list(struct image_store *s);
/* Layers that no other image has go with it, unless one is being imported. Absent is success. Mounts that
 * stand on its files live on until they go, the kernel keeps what they hold open. */
int image_remove(struct image_store *s, const char *digest, struct err *err);
