/* rootfs:/DIRECTORY as an image. */
#pragma once
#include "runtime/image/store.h"

int import_resolve(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err);
int import_rootfs(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err);
