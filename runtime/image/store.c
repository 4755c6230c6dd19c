#include "runtime/image/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/image/store_private.h"

#define RECORD_MAX_BYTES (256u * 1024)
#define TMP_PREFIX	 "tmp-"
#define PREFIX		 "sha256-"
#define KEEP		 "/keep" /* beside image.json: asked for by hand */

int store_name(const char *digest, char ret[STORE_NAME_LEN], struct err *err)
{
	if (!digest || !digest_valid(digest))
		return err_say(err, EINVAL, "image %.80s: not a digest", digest ? digest : "(none)");
	snprintf(ret, STORE_NAME_LEN, PREFIX "%s", digest + DIGEST_HEX);
	return 0;
}

void store_tmp_name(char ret[STORE_NAME_LEN])
{
	uint64_t random = 0;
	while (getrandom(&random, sizeof random, 0) < 0 && errno == EINTR)
		;
	snprintf(ret, STORE_NAME_LEN, TMP_PREFIX "%016llx", (unsigned long long)random);
}

int store_tmp_create(const struct store_dir *d, char ret_name[STORE_NAME_LEN], int *ret_fd, struct err *err)
{
	char name[STORE_NAME_LEN];
	store_tmp_name(name);
	if (mkdirat(d->fd, name, 0700) < 0)
		return err_set(err, errno, "create %s/%s", d->path, name);
	int r = fs_open_dir(d->fd, name, ret_fd, err);
	if (r < 0) {
		unlinkat(d->fd, name, AT_REMOVEDIR);
		return r;
	}
	memcpy(ret_name, name, sizeof name);
	return 0;
}

int store_record_read(const struct store_dir *d, const char *digest, const char *file, const char *tree,
	json_t **ret, struct err *err)
{
	char name[STORE_NAME_LEN];
	OWN_BUF struct buf text = { 0 };
	OWN_JSON json_t *record = NULL;
	int r = store_name(digest, name, err);
	if (r < 0)
		return r;
	OWN_FD int dir = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 && errno == ENOENT)
		return err_say(err, ENOENT, "image %s is not here", digest);
	if (dir < 0)
		return err_set(err, errno, "open image %s", digest);
	r = fs_read_file(dir, file, RECORD_MAX_BYTES, &text, err);
	if (r == 0)
		r = json_parse(text.data, text.len, file, &record, err);
	if (r < 0)
		return err_wrap(err, "image %s is damaged", digest);
	struct stat st;
	if (strcmp(json_str(record, "digest", ""), digest) != 0 ||
		fstatat(dir, tree, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return err_say(err, EBADMSG, "image %s is damaged: %s", digest,
			"no root directory or another's record");
	*ret = TAKE_PTR(record);
	return 0;
}

static int record_read(struct image_store *s, const char *digest, json_t **ret, struct err *err)
{
	return store_record_read(&s->images, digest, "image.json", "rootfs", ret, err);
}

bool image_present(struct image_store *s, const char *digest)
{
	OWN_JSON json_t *record = NULL;
	return record_read(s, digest, &record, NULL) == 0;
}

int image_open_root(struct image_store *s, const char *digest, int *ret_fd, struct err *err)
{
	OWN_JSON json_t *record = NULL;
	char name[STORE_NAME_LEN];
	int r = record_read(s, digest, &record, err);
	if (r < 0)
		return r;
	r = store_name(digest, name, err);
	OWN_FD int dir =
		r < 0 ? -1 : openat(s->images.fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int fd = openat(dir, "rootfs", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open the root of image %s", digest);
	*ret_fd = fd;
	return 0;
}

char *image_root_path(struct image_store *s, const char *digest)
{
	char name[STORE_NAME_LEN];
	if (store_name(digest, name, NULL) < 0)
		return NULL;
	return fs_join(s->images.path, name, "rootfs", (char *)NULL);
}

int image_config(struct image_store *s, const char *digest, json_t **ret, struct err *err)
{
	OWN_JSON json_t *record = NULL;
	int r = record_read(s, digest, &record, err);
	if (r < 0)
		return r;
	json_t *config = json_object_get(record, "config");
	*ret = json_is_object(config) ? json_incref(config) : json_object();
	return *ret ? 0 : err_set(err, ENOMEM, "image %s", digest);
}

static int compare_records(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	return strcmp(json_str(x, "digest", ""), json_str(y, "digest", ""));
}

struct records {
	json_t **items;
	size_t n, cap;
};

static void records_done(struct records *records)
{
	for (size_t i = 0; i < records->n; i++)
		json_decref(records->items[i]);
	free(records->items);
}

static DIR *list_dir(const struct store_dir *d)
{
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? NULL : fdopendir(fd);
}

/* Damaged ones are left out, as if they were not there. */
static int records_read(struct image_store *s, struct records *records)
{
	OWN_DIR DIR *dir = list_dir(&s->images);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		char digest[DIGEST_LEN + 1];
		if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1) != 0)
			continue;
		snprintf(digest, sizeof digest, "sha256:%.65s", e->d_name + sizeof PREFIX - 1);
		json_t *record;
		if (record_read(s, digest, &record, NULL) < 0)
			continue;
		if (vec_reserve(&records->items, &records->cap, records->n + 1, sizeof *records->items) < 0) {
			json_decref(record);
			return -ENOMEM;
		}
		records->items[records->n++] = record;
	}
	if (records->n > 1)
		qsort(records->items, records->n, sizeof *records->items, compare_records);
	return 0;
}

int image_inspect(struct image_store *s, const char *digest, json_t **ret, struct err *err)
{
	return record_read(s, digest, ret, err);
}

static int keep_path(const char *digest, char ret[STORE_NAME_LEN + sizeof KEEP], struct err *err)
{
	char name[STORE_NAME_LEN];
	int r = store_name(digest, name, err);
	if (r == 0)
		snprintf(ret, STORE_NAME_LEN + sizeof KEEP, "%s" KEEP, name);
	return r;
}

int image_keep(struct image_store *s, const char *digest, struct err *err)
{
	char path[STORE_NAME_LEN + sizeof KEEP];
	int r = keep_path(digest, path, err);
	return r < 0 ? r : fs_write_durable(s->images.fd, path, "", 0, 0600, err);
}

static bool is_kept(struct image_store *s, const char *digest)
{
	char path[STORE_NAME_LEN + sizeof KEEP];
	return keep_path(digest, path, NULL) == 0 &&
	       faccessat(s->images.fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

json_t *image_list(struct image_store *s)
{
	OWN(records_done) struct records records = { 0 };
	OWN_JSON json_t *list = json_array();
	if (!list || records_read(s, &records) < 0)
		return NULL;
	for (size_t i = 0; i < records.n; i++) {
		const json_t *r = records.items[i];
		json_t *row = json_pack("{s:s, s:s, s:I, s:I, s:b}", "digest", json_str(r, "digest", ""),
			"reference", json_str(r, "reference", ""), "size", (json_int_t)json_int(r, "size", 0),
			"created_ms", (json_int_t)json_int(r, "created_ms", 0), "kept",
			is_kept(s, json_str(r, "digest", "")));
		if (json_array_append_new(list, row) < 0)
			return NULL;
	}
	return TAKE_PTR(list);
}

int store_discard(const struct store_dir *d, const char *name, struct err *err)
{
	char tmp[STORE_NAME_LEN];
	store_tmp_name(tmp);
	if (renameat(d->fd, name, d->fd, tmp) < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "remove %s/%s", d->path, name);
	int r = fs_sync_dir(d->fd, ".", err);
	return r < 0 ? r : fs_remove_tree(d->fd, tmp, err);
}

static int put_in_place(struct image_store *s, const struct store_dir *d, const char *tmp_name,
	const char *digest, bool (*present)(struct image_store *s, const char *digest), struct err *err)
{
	char name[STORE_NAME_LEN];
	int r = store_name(digest, name, err);
	if (r < 0)
		return r;
	if (renameat2(d->fd, tmp_name, d->fd, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EEXIST)
		return err_set(err, errno, "put it in place");
	if (present(s, digest))
		return 0;		 /* somebody else's copy of the same is as good as ours */
	r = store_discard(d, name, err); /* a damaged one makes room */
	if (r == 0 && renameat2(d->fd, tmp_name, d->fd, name, RENAME_NOREPLACE) < 0)
		r = err_set(err, errno, "put it in place");
	return r;
}

int store_publish(struct image_store *s, const struct store_dir *d, const char *tmp_name, const char *digest,
	bool (*present)(struct image_store *s, const char *digest), struct err *err)
{
	pthread_mutex_lock(&s->lock);
	int r = put_in_place(s, d, tmp_name, digest, present, err);
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? r : fs_sync_dir(d->fd, ".", err);
}

int image_record_write(int tmp, const struct image_record *r, struct err *err)
{
	OWN_JSON json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:I}", "digest", r->digest, "reference",
		r->reference, "size", (json_int_t)r->size, "entries", (json_int_t)r->entries, "created_ms",
		(json_int_t)clock_wall_ms());
	if (j)
		json_object_set_new(j, "config", r->config ? json_deep_copy(r->config) : json_object());
	if (j && r->layers)
		json_object_set_new(j, "layers", json_deep_copy(r->layers));
	OWN_FREE char *text = j ? json_canonical(j) : NULL;
	if (!text)
		return err_say(err, EINVAL, "record the image: out of memory, or its name is not UTF-8");
	if (strlen(text) > RECORD_MAX_BYTES)
		return err_say(err, EFBIG, "record the image: its configuration is too large");
	return fs_write_durable(tmp, "image.json", text, strlen(text), 0600, err);
}

int image_remove(struct image_store *s, const char *digest, struct err *err)
{
	char name[STORE_NAME_LEN];
	int r = store_name(digest, name, err);
	if (r == 0)
		r = store_discard(&s->images, name, err);
	if (r == 0)
		layers_collect(s);
	return r;
}

static int sweep(const struct store_dir *d, struct err *err)
{
	OWN_DIR DIR *dir = list_dir(d);
	if (!dir)
		return err_set(err, errno, "list %s", d->path);
	for (struct dirent *e; (e = readdir(dir));) {
		if (strncmp(e->d_name, TMP_PREFIX, sizeof TMP_PREFIX - 1) != 0)
			continue;
		int r = fs_remove_tree(d->fd, e->d_name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int open_dir(const char *state_dir, const char *name, struct store_dir *ret, struct err *err)
{
	ret->path = fs_join(state_dir, name, (char *)NULL);
	int r = ret->path ? fs_mkdirs(ret->path, 0700, err) : err_set(err, ENOMEM, "open image store");
	if (r == 0)
		r = fs_open_dir(AT_FDCWD, ret->path, &ret->fd, err);
	return r < 0 ? r : sweep(ret, err);
}

int image_store_open(const struct image_places *places, struct image_store **ret, struct err *err)
{
	struct image_store *s = calloc(1, sizeof *s);
	if (!s)
		return err_set(err, ENOMEM, "open image store");
	s->images.fd = s->layers.fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_rwlock_init(&s->layers_in_use, NULL);
	s->unpack_program = fs_join(places->libexec_dir, "teal-unpack", (char *)NULL);
	s->etc_dir = strdup(places->etc_dir);
	int r = s->unpack_program && s->etc_dir ? 0 : err_set(err, ENOMEM, "open image store");
	if (r == 0)
		r = open_dir(places->state_dir, "images", &s->images, err);
	if (r == 0)
		r = open_dir(places->state_dir, "layers", &s->layers, err);
	if (r < 0) {
		image_store_close(s);
		return err_wrap(err, "image store");
	}
	*ret = s;
	return 0;
}

static void close_dir(struct store_dir *d)
{
	own_close(&d->fd);
	free(d->path);
}

void image_store_close(struct image_store *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SEEN_MAX; i++)
		free(s->seen[i].ref);
	close_dir(&s->images);
	close_dir(&s->layers);
	free(s->unpack_program);
	free(s->etc_dir);
	pthread_mutex_destroy(&s->lock);
	pthread_rwlock_destroy(&s->layers_in_use);
	free(s);
}
