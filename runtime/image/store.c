#include "runtime/image/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/image/store_private.h"

#define RECORD_MAX_BYTES (256u * 1024)
#define TMP_PREFIX	 "tmp-"
#define IMAGE_PREFIX	 "sha256-"

int image_dir_name(const char *digest, char ret[IMAGE_NAME_LEN], struct err *err)
{
	if (!digest || !digest_valid(digest))
		return err_say(err, EINVAL, "image %.80s: not a digest", digest ? digest : "(none)");
	snprintf(ret, IMAGE_NAME_LEN, IMAGE_PREFIX "%s", digest + DIGEST_HEX);
	return 0;
}

void image_tmp_name(char ret[IMAGE_NAME_LEN])
{
	uint64_t random = 0;
	while (getrandom(&random, sizeof random, 0) < 0 && errno == EINTR)
		;
	snprintf(ret, IMAGE_NAME_LEN, TMP_PREFIX "%016llx", (unsigned long long)random);
}

int image_tmp_create(struct image_store *s, char ret_name[IMAGE_NAME_LEN], int *ret_fd, struct err *err)
{
	char name[IMAGE_NAME_LEN];
	image_tmp_name(name);
	if (mkdirat(s->fd, name, 0700) < 0)
		return err_set(err, errno, "create %s/%s", s->path, name);
	int r = fs_open_dir(s->fd, name, ret_fd, err);
	if (r < 0) {
		unlinkat(s->fd, name, AT_REMOVEDIR);
		return r;
	}
	memcpy(ret_name, name, sizeof name);
	return 0;
}

/* image.json, if it is whole and says what the directory's name says. */
static int record_read(struct image_store *s, const char *digest, json_t **ret, struct err *err)
{
	char name[IMAGE_NAME_LEN];
	OWN_BUF struct buf text = { 0 };
	OWN_JSON json_t *record = NULL;
	int r = image_dir_name(digest, name, err);
	if (r < 0)
		return r;
	OWN_FD int dir = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 && errno == ENOENT)
		return err_say(err, ENOENT, "image %s is not here", digest);
	if (dir < 0)
		return err_set(err, errno, "open image %s", digest);
	r = fs_read_file(dir, "image.json", RECORD_MAX_BYTES, &text, err);
	if (r == 0)
		r = json_parse(text.data, text.len, "image.json", &record, err);
	if (r < 0)
		return err_wrap(err, "image %s is damaged", digest);
	struct stat st;
	if (strcmp(json_str(record, "digest", ""), digest) != 0 ||
		fstatat(dir, "rootfs", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return err_say(err, EBADMSG, "image %s is damaged: %s", digest,
			"no root directory or another's record");
	*ret = TAKE_PTR(record);
	return 0;
}

bool image_present(struct image_store *s, const char *digest)
{
	OWN_JSON json_t *record = NULL;
	return record_read(s, digest, &record, NULL) == 0;
}

int image_open_root(struct image_store *s, const char *digest, int *ret_fd, struct err *err)
{
	OWN_JSON json_t *record = NULL;
	char name[IMAGE_NAME_LEN];
	int r = record_read(s, digest, &record, err);
	if (r < 0)
		return r;
	r = image_dir_name(digest, name, err);
	OWN_FD int dir = r < 0 ? -1 : openat(s->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int fd = openat(dir, "rootfs", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open the root of image %s", digest);
	*ret_fd = fd;
	return 0;
}

char *image_root_path(struct image_store *s, const char *digest)
{
	char name[IMAGE_NAME_LEN];
	if (image_dir_name(digest, name, NULL) < 0)
		return NULL;
	return fs_join(s->path, name, "rootfs", (char *)NULL);
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

static DIR *list_dir(struct image_store *s)
{
	int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? NULL : fdopendir(fd);
}

/* Damaged ones are left out, as if they were not there. */
static int records_read(struct image_store *s, struct records *records)
{
	OWN_DIR DIR *dir = list_dir(s);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		char digest[DIGEST_LEN + 1];
		if (strncmp(e->d_name, IMAGE_PREFIX, sizeof IMAGE_PREFIX - 1) != 0)
			continue;
		snprintf(digest, sizeof digest, "sha256:%.65s", e->d_name + sizeof IMAGE_PREFIX - 1);
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

json_t *image_list(struct image_store *s)
{
	OWN(records_done) struct records records = { 0 };
	OWN_JSON json_t *list = json_array();
	if (!list || records_read(s, &records) < 0)
		return NULL;
	for (size_t i = 0; i < records.n; i++) {
		const json_t *r = records.items[i];
		json_t *row = json_pack("{s:s, s:s, s:I, s:I}", "digest", json_str(r, "digest", ""),
			"reference", json_str(r, "reference", ""), "size", (json_int_t)json_int(r, "size", 0),
			"created_ms", (json_int_t)json_int(r, "created_ms", 0));
		if (json_array_append_new(list, row) < 0)
			return NULL;
	}
	return TAKE_PTR(list);
}

int image_discard(struct image_store *s, const char *name, struct err *err)
{
	char tmp[IMAGE_NAME_LEN];
	image_tmp_name(tmp);
	if (renameat(s->fd, name, s->fd, tmp) < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "remove %s/%s", s->path, name);
	int r = fs_sync_dir(s->fd, ".", err);
	return r < 0 ? r : fs_remove_tree(s->fd, tmp, err);
}

int image_remove(struct image_store *s, const char *digest, struct err *err)
{
	char name[IMAGE_NAME_LEN];
	int r = image_dir_name(digest, name, err);
	return r < 0 ? r : image_discard(s, name, err);
}

static int sweep(struct image_store *s, struct err *err)
{
	OWN_DIR DIR *dir = list_dir(s);
	if (!dir)
		return err_set(err, errno, "list %s", s->path);
	for (struct dirent *e; (e = readdir(dir));) {
		if (strncmp(e->d_name, TMP_PREFIX, sizeof TMP_PREFIX - 1) != 0)
			continue;
		int r = fs_remove_tree(s->fd, e->d_name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int image_store_open(const char *state_dir, struct image_store **ret, struct err *err)
{
	struct image_store *s = calloc(1, sizeof *s);
	if (!s)
		return err_set(err, ENOMEM, "open image store");
	s->fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	s->path = fs_join(state_dir, "images", (char *)NULL);
	int r = s->path ? fs_mkdirs(s->path, 0700, err) : err_set(err, ENOMEM, "open image store");
	if (r == 0)
		r = fs_open_dir(AT_FDCWD, s->path, &s->fd, err);
	if (r == 0)
		r = sweep(s, err);
	if (r < 0) {
		image_store_close(s);
		return err_wrap(err, "image store");
	}
	*ret = s;
	return 0;
}

void image_store_close(struct image_store *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SEEN_MAX; i++)
		free(s->seen[i].ref);
	own_close(&s->fd);
	pthread_mutex_destroy(&s->lock);
	free(s->path);
	free(s);
}
