/* What the files of the store share: store.c (what is there), import.c and assemble.c (how it gets there). */
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

/* A directory of things that are complete once they have their name, sha256-<hex>. */
struct store_dir {
	int fd;	    /* 0700: set-uid files of images are for containers only */
	char *path; /* its absolute name */
};

struct image_store {
	struct store_dir images; /* STATE/images */
	struct store_dir layers; /* STATE/layers: the same file in two images is one file on the disk */
	char *unpack_program, *etc_dir;
	pthread_rwlock_t layers_in_use; /* read: an import may have layers that no image names yet */
	pthread_mutex_t lock;		/* over seen, and while something is put in place */
	struct seen_tree seen[SEEN_MAX];
	unsigned next_seen; /* the row to be replaced next */
};

#define STORE_NAME_LEN 72 /* "sha256-<hex>", and its NUL */
/* The directory of what has this digest; -EINVAL unless it is one. */
int store_name(const char *digest, char ret[STORE_NAME_LEN], struct err *err);
/* A name for what is not complete yet or not any more: swept away when the store is opened. */
void store_tmp_name(char ret[STORE_NAME_LEN]);
/* Creates DIR/tmp-… and opens it. */
int store_tmp_create(const struct store_dir *d, char ret_name[STORE_NAME_LEN], int *ret_fd, struct err *err);
/* Gives what is complete its name, durably; a damaged one of that name makes room. */
int store_publish(struct image_store *s, const struct store_dir *d, const char *tmp_name, const char *digest,
	bool (*present)(struct image_store *s, const char *digest), struct err *err);
/* Takes it out of sight at once, then removes it. Absent is success. */
int store_discard(const struct store_dir *d, const char *name, struct err *err);
/* A JSON record of what has this digest, if it is whole, says so itself, and `tree` is a directory beside it.
 */
int store_record_read(const struct store_dir *d, const char *digest, const char *file, const char *tree,
	json_t **ret, struct err *err);

/* Removes layers that no image is made of, unless an import runs: the next removal finds them again. */
void layers_collect(struct image_store *s);

/* image.json of an image about to be published. */
struct image_record {
	const char *digest, *reference;
	uint64_t size, entries;
	const json_t *config; /* NULL: {} */
	const json_t *layers; /* array of diff ids; NULL: a tree of its own */
};
int image_record_write(int tmp, const struct image_record *r, struct err *err);
/* The message may quote names of files, which can be any bytes. */
int image_report(struct err *err, const char *ref);
/* What was known of this reference when it had this stamp. */
bool image_seen_find(struct image_store *s, const char *ref, const char *stamp, char ret[DIGEST_LEN]);
void image_seen_add(struct image_store *s, const char *ref, const char *stamp, const char *digest);
