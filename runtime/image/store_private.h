/* What store.c (what is there) and import.c (how it gets there) share. */
#pragma once
#include <pthread.h>
#include <stdint.h>

#include "runtime/image/store.h"

/* A reference's tree was seen with this stamp and had this digest: saves reading it all again for each plan
 * and apply. */
struct seen_tree {
	char *ref;
	char stamp[DIGEST_LEN]; /* "": none that could be recognised */
	char digest[DIGEST_LEN];
};
#define SEEN_MAX 64u

struct image_store {
	int fd;		      /* STATE/images, 0700: set-uid files of images are for containers only */
	char *path;	      /* its absolute name */
	pthread_mutex_t lock; /* over seen, and while an image is put in place */
	struct seen_tree seen[SEEN_MAX];
	unsigned next_seen; /* the row to be replaced next */
};

#define IMAGE_NAME_LEN 72 /* "sha256-<hex>", and its NUL */
/* The directory of an image; -EINVAL unless it is a digest. */
int image_dir_name(const char *digest, char ret[IMAGE_NAME_LEN], struct err *err);
/* A name for what is not complete yet or not any more: swept away when the store is opened. */
void image_tmp_name(char ret[IMAGE_NAME_LEN]);
/* Creates STATE/images/tmp-… and opens it. */
int image_tmp_create(struct image_store *s, char ret_name[IMAGE_NAME_LEN], int *ret_fd, struct err *err);
/* Takes an image out of sight at once, then removes it. Absent is success. */
int image_discard(struct image_store *s, const char *name, struct err *err);
