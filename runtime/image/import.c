/* rootfs:DIR into the store. */
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
	static const char scheme[] = "rootfs:";
	if (strncmp(ref, scheme, sizeof scheme - 1) != 0)
		return err_say(err, ENOTSUP, "only rootfs:/DIRECTORY can be used");
	const char *dir = ref + sizeof scheme - 1;
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

static bool seen_find(struct image_store *s, const struct source *source, char ret[DIGEST_LEN])
{
	bool found = false;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < SEEN_MAX && !found; i++) {
		const struct seen_tree *row = &s->seen[i];
		found = row->ref && strcmp(row->ref, source->ref) == 0 && row->stamp[0] &&
			strcmp(row->stamp, source->stamp) == 0;
		if (found)
			memcpy(ret, row->digest, DIGEST_LEN);
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* One row a reference, the oldest makes room. Without memory it is just not remembered. */
static void seen_add(struct image_store *s, const struct source *source, const char *digest)
{
	OWN_FREE char *ref = strdup(source->ref);
	if (!ref)
		return;
	pthread_mutex_lock(&s->lock);
	unsigned at = 0;
	while (at < SEEN_MAX && !(s->seen[at].ref && strcmp(s->seen[at].ref, ref) == 0))
		at++;
	if (at == SEEN_MAX)
		at = s->next_seen++ % SEEN_MAX;
	free(s->seen[at].ref);
	s->seen[at].ref = TAKE_PTR(ref);
	memcpy(s->seen[at].stamp, source->stamp, DIGEST_LEN);
	memcpy(s->seen[at].digest, digest, DIGEST_LEN);
	pthread_mutex_unlock(&s->lock);
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
	if (seen_find(s, source, ret))
		return 0;
	int r = tree_digest(source->fd, &sum, err);
	if (r < 0)
		return r;
	seen_add(s, source, sum.digest);
	memcpy(ret, sum.digest, DIGEST_LEN);
	return 0;
}

/* The message may quote names of files, which can be any bytes. */
static int report(struct err *err, const char *ref)
{
	int r = err_wrap(err, "image %.300s", ref);
	if (err) {
		char raw[sizeof err->msg];
		memcpy(raw, err->msg, sizeof raw);
		line_copy(err->msg, sizeof err->msg, raw);
	}
	return r;
}

int image_resolve(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err)
{
	OWN(source_close) struct source source = { .fd = -1 };
	int r = source_open(ref, &source, err);
	if (r == 0)
		r = resolve(s, &source, ret, err);
	return r < 0 ? report(err, ref) : 0;
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
	if (fstat(s->fd, &own_dir) < 0 || mkdirat(tmp, "rootfs", 0700) < 0)
		return err_set(err, errno, "create rootfs");
	int r = fs_open_dir(tmp, "rootfs", &root, err);
	if (r == 0)
		r = tree_copy(source, root, &own_dir, &copied, err);
	if (r == 0)
		r = tree_digest(root, &stored, err);
	if (r < 0)
		return r;
	if (strcmp(copied.digest, stored.digest) != 0)
		return err_say(err, EIO, "the copy differs from the original: %s can't hold it", s->path);
	*ret = copied;
	return 0;
}

static int record_write(int tmp, const char *ref, const struct tree_sum *sum, struct err *err)
{
	OWN_JSON json_t *record = json_pack("{s:s, s:s, s:I, s:I, s:I, s:{}}", "digest", sum->digest,
		"reference", ref, "size", (json_int_t)sum->bytes, "entries", (json_int_t)sum->entries,
		"created_ms", (json_int_t)clock_wall_ms(), "config");
	OWN_FREE char *text = record ? json_canonical(record) : NULL;
	if (!text)
		return err_say(err, EINVAL, "record the image: out of memory, or its name is not UTF-8");
	return fs_write_durable(tmp, "image.json", text, strlen(text), 0600, err);
}

static int put_in_place(struct image_store *s, const char *tmp_name, const char *digest, struct err *err)
{
	char name[IMAGE_NAME_LEN];
	int r = image_dir_name(digest, name, err);
	if (r < 0)
		return r;
	if (renameat2(s->fd, tmp_name, s->fd, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EEXIST)
		return err_set(err, errno, "put the image in place");
	if (image_present(s, digest))
		return 0;		 /* somebody else's copy of the same is as good as ours */
	r = image_discard(s, name, err); /* a damaged one makes room */
	if (r == 0 && renameat2(s->fd, tmp_name, s->fd, name, RENAME_NOREPLACE) < 0)
		r = err_set(err, errno, "put the image in place");
	return r;
}

/* From here on it is there. */
static int publish(struct image_store *s, const char *tmp_name, const char *digest, struct err *err)
{
	pthread_mutex_lock(&s->lock);
	int r = put_in_place(s, tmp_name, digest, err);
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? r : fs_sync_dir(s->fd, ".", err);
}

static int import_into(struct image_store *s, const struct source *source, const char *tmp_name, int tmp,
	char ret[DIGEST_LEN], struct err *err)
{
	struct tree_sum sum;
	int r = copy_verified(s, source->fd, tmp, &sum, err);
	if (r == 0 && syncfs(tmp) < 0)
		r = err_set(err, errno, "write to disk");
	if (r == 0)
		r = record_write(tmp, source->ref, &sum, err);
	if (r == 0)
		r = publish(s, tmp_name, sum.digest, err);
	if (r < 0)
		return r;
	seen_add(s, source, sum.digest);
	memcpy(ret, sum.digest, DIGEST_LEN);
	return 0;
}

static int import_copy(
	struct image_store *s, const struct source *source, char ret[DIGEST_LEN], struct err *err)
{
	OWN_FD int tmp = -1;
	char tmp_name[IMAGE_NAME_LEN];
	int r = image_tmp_create(s, tmp_name, &tmp, err);
	if (r < 0)
		return r;
	r = import_into(s, source, tmp_name, tmp, ret, err);
	struct err ignored; /* what stays behind is swept at the next start, and no reason to fail */
	fs_remove_tree(s->fd, tmp_name, &ignored);
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

int image_import(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err)
{
	OWN(source_close) struct source source = { .fd = -1 };
	int r = source_open(ref, &source, err);
	if (r == 0)
		r = import(s, &source, ret, err);
	return r < 0 ? report(err, ref) : 0;
}
