#include "runtime/image/layers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"

#define RECORD "layer.json"
#define TREE   "tree"

bool layer_present(struct image_store *s, const char *diff_id)
{
	OWN_JSON json_t *record = NULL;
	return store_record_read(&s->layers, diff_id, RECORD, TREE, &record, NULL) == 0;
}

int layer_open(
	struct image_store *s, const char *diff_id, int *ret_tree_fd, struct layer_size *ret, struct err *err)
{
	OWN_JSON json_t *record = NULL;
	char name[STORE_NAME_LEN], path[STORE_NAME_LEN + sizeof "/" TREE];
	int r = store_record_read(&s->layers, diff_id, RECORD, TREE, &record, err);
	if (r == 0)
		r = store_name(diff_id, name, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof path, "%s/" TREE, name);
	r = fs_open_dir(s->layers.fd, path, ret_tree_fd, err);
	if (r == 0)
		*ret = (struct layer_size){ .bytes = (uint64_t)json_int(record, "size", 0),
			.entries = (uint64_t)json_int(record, "entries", 0) };
	return r;
}

static int verify(
	const struct unpack_sum *sum, const struct descriptor *is, const char *diff_id, struct err *err)
{
	if (is->digest[0] && sum->size != is->size)
		return err_say(err, EBADMSG, "it has %llu bytes, not the %llu that the manifest says",
			(unsigned long long)sum->size, (unsigned long long)is->size);
	if (is->digest[0] && strcmp(sum->digest, is->digest) != 0)
		return err_say(
			err, EBADMSG, "its content is %.19s…, not what the manifest says", sum->digest);
	if (strcmp(sum->diff_id, diff_id) != 0)
		return err_say(err, EBADMSG, "decompressed it is %.19s…, not the %.19s… of the configuration",
			sum->diff_id, diff_id);
	return 0;
}

static int record_write(int tmp, const char *diff_id, const struct unpack_sum *sum, struct err *err)
{
	OWN_JSON json_t *j =
		json_pack("{s:s, s:I, s:I, s:I}", "digest", diff_id, "size", (json_int_t)sum->bytes,
			"entries", (json_int_t)sum->entries, "left_out", (json_int_t)sum->left_out);
	OWN_FREE char *text = j ? json_canonical(j) : NULL;
	if (!text)
		return err_set(err, ENOMEM, "record the layer");
	return fs_write_durable(tmp, RECORD, text, strlen(text), 0600, err);
}

static int unpack_into(struct image_store *s, int tmp, int archive_fd, const struct descriptor *is,
	const char *diff_id, const struct image_job *job, struct err *err)
{
	OWN_FD int tree = -1;
	struct unpack_sum sum;
	if (mkdirat(tmp, TREE, 0755) < 0)
		return err_set(err, errno, "create a directory");
	int r = fs_open_dir(tmp, TREE, &tree, err);
	if (r == 0)
		r = unpacker_run(s->unpack_program, archive_fd, tree, true, job, &sum, err);
	if (r == 0)
		r = verify(&sum, is, diff_id, err);
	/* What has its name must survive a power cut. */
	if (r == 0 && syncfs(tmp) < 0)
		r = err_set(err, errno, "write to disk");
	return r < 0 ? r : record_write(tmp, diff_id, &sum, err);
}

int layer_add(struct image_store *s, int archive_fd, const struct descriptor *is, const char *diff_id,
	const struct image_job *job, struct err *err)
{
	OWN_FD int tmp = -1;
	char tmp_name[STORE_NAME_LEN];
	int r = store_tmp_create(&s->layers, tmp_name, &tmp, err);
	if (r < 0)
		return r;
	r = unpack_into(s, tmp, archive_fd, is, diff_id, job, err);
	if (r == 0)
		r = store_publish(s, &s->layers, tmp_name, diff_id, layer_present, err);
	struct err ignored; /* what stays behind is swept at the next start, and no reason to fail */
	fs_remove_tree(s->layers.fd, tmp_name, &ignored);
	return r < 0 ? err_wrap(err, "layer %.19s…", is->digest[0] ? is->digest : diff_id) : 0;
}

/* The diff ids of all images, as the members of an object. */
static json_t *used_layers(struct image_store *s)
{
	OWN_JSON json_t *images = image_list(s), *used = json_object();
	size_t i, j;
	const json_t *row, *id;
	if (!images || !used)
		return NULL;
	json_array_foreach (images, i, row) {
		OWN_JSON json_t *record = NULL;
		if (image_inspect(s, json_str(row, "digest", ""), &record, NULL) < 0)
			return NULL; /* not now: it may name some */
		json_array_foreach (json_object_get(record, "layers"), j, id) {
			if (json_object_set_new(used, json_string_value(id), json_true()) < 0)
				return NULL;
		}
	}
	return TAKE_PTR(used);
}

static void collect(struct image_store *s)
{
	static const char prefix[] = "sha256-";
	OWN_JSON json_t *used = used_layers(s);
	OWN_DIR DIR *dir =
		used ? fdopendir(openat(s->layers.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : NULL;
	for (struct dirent *e; dir && (e = readdir(dir));) {
		char diff_id[DIGEST_LEN + 1];
		if (strncmp(e->d_name, prefix, sizeof prefix - 1) != 0)
			continue;
		snprintf(diff_id, sizeof diff_id, "sha256:%.65s", e->d_name + sizeof prefix - 1);
		if (!json_object_get(used, diff_id))
			store_discard(&s->layers, e->d_name, NULL); /* what stays, the next time finds */
	}
}

void layers_collect(struct image_store *s)
{
	if (pthread_rwlock_trywrlock(&s->layers_in_use) != 0)
		return;
	collect(s);
	pthread_rwlock_unlock(&s->layers_in_use);
}
