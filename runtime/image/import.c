/* rootfs:DIR into the store. */
#include "runtime/image/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/line.h"
#include "base/own.h"
#include "runtime/image/store_private.h"
#include "runtime/image/tree.h"

/* A change within the clock's grain of the stamp would leave no trace in it; what is older than this is
 * settled. */
#define SETTLED_MS 2000

struct source {
	const char *ref;
	int fd;
	char stamp[DIGEST_LEN]; /* "": too fresh to be told from a later state */
};

static void source_close(struct source *source)
{
	own_close(&source->fd);
}

static int source_stamp(struct source *source, struct err *err)
{
	int64_t newest_ms, now_ms = clock_wall_ms();
	int r = tree_stamp(source->fd, source->stamp, &newest_ms, err);
	if (r == 0 && newest_ms >= now_ms - SETTLED_MS)
		source->stamp[0] = '\0';
	return r;
}

static int source_open(const char *ref, struct source *ret, struct err *err)
{
	const char *dir = ref + sizeof "rootfs:" - 1;
	if (*dir != '/')
		return err_say(err, EINVAL, "the path must be absolute");
	OWN(source_close) struct source source = { .ref = ref };
	source.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source.fd < 0)
		return err_set(err, errno, "open %.300s", dir);
	int r = source_stamp(&source, err);
	if (r < 0)
		return r;
	*ret = source;
	source.fd = -1;
	return 0;
}

static bool seen_before(struct image_store *s, const char *ref)
{
	bool found = false;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < SEEN_MAX && !found; i++)
		found = s->seen[i].ref && strcmp(s->seen[i].ref, ref) == 0;
	pthread_mutex_unlock(&s->lock);
	return found;
}

static int resolve(struct image_store *s, const struct source *source, char ret[DIGEST_LEN], struct err *err)
{
	struct tree_sum sum;
	if (image_seen_find(s, source->ref, source->stamp, ret))
		return 0;
	int r = tree_digest(source->fd, &sum, err);
	if (r < 0)
		return r;
	image_seen_add(s, source->ref, source->stamp, sum.digest);
	memcpy(ret, sum.digest, DIGEST_LEN);
	return 0;
}

int import_resolve(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err)
{
	OWN(source_close) struct source source = { .fd = -1 };
	int r = source_open(ref, &source, err);
	return r < 0 ? r : resolve(s, &source, ret, err);
}

static bool reference_known(struct image_store *s, const char *ref)
{
	if (seen_before(s, ref))
		return true;
	OWN_JSON json_t *list = image_list(s);
	size_t i;
	const json_t *row;
	json_array_foreach (list, i, row) {
		if (strcmp(json_str(row, "reference", ""), ref) == 0)
			return true;
	}
	return false;
}

/* The copy, and proof that it is one: what cannot be kept here (an attribute, an owner on a foreign file
 * system) shows as another digest. */
static int copy_verified(struct image_store *s, int source, int tmp, struct tree_sum *ret, struct err *err)
{
	OWN_FD int root = -1;
	struct stat own_dir;
	struct tree_sum copied, stored;
	if (fstat(s->images.fd, &own_dir) < 0 || mkdirat(tmp, "rootfs", 0700) < 0)
		return err_set(err, errno, "create rootfs");
	int r = fs_open_dir(tmp, "rootfs", &root, err);
	if (r == 0)
		r = tree_copy(source, root, &own_dir, &copied, err);
	if (r == 0)
		r = tree_digest(root, &stored, err);
	if (r < 0)
		return r;
	if (strcmp(copied.digest, stored.digest) != 0)
		return err_say(
			err, EIO, "the copy differs from the original: %s can't hold it", s->images.path);
	*ret = copied;
	return 0;
}

static int import_into(struct image_store *s, const struct source *source, const char *tmp_name, int tmp,
	char ret[DIGEST_LEN], struct err *err)
{
	struct tree_sum sum;
	int r = copy_verified(s, source->fd, tmp, &sum, err);
	if (r == 0 && syncfs(tmp) < 0)
		r = err_set(err, errno, "write to disk");
	const struct image_record record = {
		.digest = sum.digest, .reference = source->ref, .size = sum.bytes, .entries = sum.entries
	};
	if (r == 0)
		r = image_record_write(tmp, &record, err);
	if (r == 0)
		r = store_publish(s, &s->images, tmp_name, sum.digest, image_present, err);
	if (r < 0)
		return r;
	image_seen_add(s, source->ref, source->stamp, sum.digest);
	memcpy(ret, sum.digest, DIGEST_LEN);
	return 0;
}

static int import_copy(
	struct image_store *s, const struct source *source, char ret[DIGEST_LEN], struct err *err)
{
	OWN_FD int tmp = -1;
	char tmp_name[STORE_NAME_LEN];
	int r = store_tmp_create(&s->images, tmp_name, &tmp, err);
	if (r < 0)
		return r;
	r = import_into(s, source, tmp_name, tmp, ret, err);
	struct err ignored; /* what stays behind is swept at the next start, and no reason to fail */
	fs_remove_tree(s->images.fd, tmp_name, &ignored);
	return r;
}

/* A tree that was imported before is probably still the same: reading it is cheaper than copying it. */
static int import(struct image_store *s, const struct source *source, char ret[DIGEST_LEN], struct err *err)
{
	char digest[DIGEST_LEN];
	if (reference_known(s, source->ref)) {
		int r = resolve(s, source, digest, err);
		if (r < 0)
			return r;
		if (image_present(s, digest)) {
			memcpy(ret, digest, sizeof digest);
			return 0;
		}
	}
	return import_copy(s, source, ret, err);
}

int import_rootfs(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err)
{
	OWN(source_close) struct source source = { .fd = -1 };
	int r = source_open(ref, &source, err);
	return r < 0 ? r : import(s, &source, ret, err);
}
