/* Images on this host: root file systems in a content-addressed store,
 * STATE/images/sha256-<hex>/{rootfs/,image.json}. A directory that bears such a name is complete and durable:
 * it gets the name by rename, after everything in it was synced. References today: "rootfs:/abs/dir",
 * imported by copy, so that later changes to DIR change nothing.
 *
 * Everything here blocks (worker thread) and may be called from several threads; the store itself never
 * changes after it was opened. */
#pragma once
#include <stdbool.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

struct image_store;

/* Creates STATE/images if need be and removes what a crash left half made. One open store per state
 * directory. */
int image_store_open(const char *state_dir, struct image_store **ret, struct err *err);
void image_store_close(struct image_store *s); /* accepts NULL */

/* The digest that ref means now; copies nothing, reads all of it. */
int image_resolve(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err);
/* Makes what ref means now present and durable. A tree that changes meanwhile is an error (-EAGAIN: try
 * again). The same image imported twice at once is one image. A failed import leaves nothing. */
int image_import(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err);
/* Complete and usable? Anything else, a malformed digest too, is false. */
bool image_present(struct image_store *s, const char *digest);
/* Its root directory, as an O_PATH descriptor; -ENOENT naming the digest. */
int image_open_root(struct image_store *s, const char *digest, int *ret_fd, struct err *err);
/* "STATE/images/sha256-<hex>/rootfs", present or not; NULL: out of memory or no digest. Caller frees. */
char *image_root_path(struct image_store *s, const char *digest);
/* The image's own defaults: the members of an OCI image configuration's "config" ("Entrypoint", "Cmd", "Env",
 * "WorkingDir", "User" …); {} for a rootfs import. New reference. */
int image_config(struct image_store *s, const char *digest, json_t **ret, struct err *err);
/* Array of {"digest","reference","size","created_ms"}, by digest; new reference, NULL when out of memory. */
json_t *image_list(struct image_store *s);
/* Absent is success. Mounts that stand on its files live on until they go, the kernel keeps what they hold
 * open. */
int image_remove(struct image_store *s, const char *digest, struct err *err);
