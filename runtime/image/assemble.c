/* From a manifest to an image in the store. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/image/layers.h"
#include "runtime/image/source.h"

int source_verify(const struct descriptor *d, const struct buf *text, struct err *err)
{
	char digest[DIGEST_LEN];
	if (text->len != d->size)
		return err_say(err, EBADMSG, "%.19s… has %zu bytes, not the %llu that it should", d->digest,
			text->len, (unsigned long long)d->size);
	digest_of(text->data ? text->data : "", text->len, digest);
	if (strcmp(digest, d->digest) != 0)
		return err_say(err, EBADMSG, "%.19s… has another content", d->digest);
	return 0;
}

static int read_info(struct image_source *src, const struct manifest *m, const struct image_job *job,
	struct image_info *ret, struct err *err)
{
	OWN_BUF struct buf text = { 0 };
	OWN_JSON json_t *doc = NULL;
	int r = src->read(src, &m->config, CONFIG_MAX_BYTES, job, &text, err);
	if (r == 0)
		r = json_parse(text.data, text.len, "configuration", &doc, err);
	if (r == 0)
		r = config_read(doc, ret, err);
	if (r < 0)
		return r;
	if (ret->n_diff_ids != m->n_layers)
		return err_say(err, EINVAL, "the manifest has %zu layers, the configuration %zu", m->n_layers,
			ret->n_diff_ids);
	return 0;
}

static int add_layers(struct image_store *s, struct image_source *src, const struct manifest *m,
	const struct image_info *info, const struct image_job *job, struct err *err)
{
	bool wanted[LAYERS_MAX] = { false };
	for (size_t i = 0; i < m->n_layers; i++)
		wanted[i] = !layer_present(s, info->diff_ids[i]);
	int r = src->prepare ? src->prepare(src, m, wanted, job, err) : 0;
	for (size_t i = 0; r == 0 && i < m->n_layers; i++) {
		OWN_FD int fd = -1;
		if (!wanted[i] || layer_present(s, info->diff_ids[i])) /* the same layer twice */
			continue;
		r = src->open_layer(src, m, i, &fd, err);
		if (r == 0)
			r = layer_add(s, fd, &m->layers[i], info->diff_ids[i], job, err);
	}
	return r;
}

static int merge_all(struct image_store *s, int root, const struct image_info *info,
	const struct image_job *job, struct layer_size *ret, struct err *err)
{
	for (size_t i = 0; i < info->n_diff_ids; i++) {
		OWN_FD int tree = -1;
		struct layer_size size;
		int r = image_job_check(job, err);
		if (r == 0)
			r = layer_open(s, info->diff_ids[i], &tree, &size, err);
		if (r == 0)
			r = layer_merge(root, tree, err);
		if (r < 0)
			return err_wrap(err, "layer %.19s…", info->diff_ids[i]);
		ret->bytes += size.bytes;
		ret->entries += size.entries;
	}
	return 0;
}

static json_t *layer_list(const struct image_info *info)
{
	json_t *list = json_array();
	for (size_t i = 0; i < info->n_diff_ids; i++)
		json_array_append_new(list, json_string(info->diff_ids[i]));
	return list;
}

static int build(struct image_store *s, int tmp, const struct image_info *info, struct image_record *record,
	const struct image_job *job, struct err *err)
{
	OWN_FD int root = -1;
	OWN_JSON json_t *layers = layer_list(info);
	struct layer_size size = { 0 };
	if (mkdirat(tmp, "rootfs", 0755) < 0 || fchmodat(tmp, "rootfs", 0755, 0) < 0)
		return err_set(err, errno, "create rootfs");
	int r = fs_open_dir(tmp, "rootfs", &root, err);
	if (r == 0)
		r = merge_all(s, root, info, job, &size, err);
	if (r == 0 && syncfs(tmp) < 0)
		r = err_set(err, errno, "write to disk");
	if (r < 0)
		return r;
	record->size = size.bytes;
	record->entries = size.entries;
	record->config = info->config;
	record->layers = layers;
	return image_record_write(tmp, record, err);
}

static int put_together(struct image_store *s, const struct image_info *info, struct image_record *record,
	const struct image_job *job, struct err *err)
{
	OWN_FD int tmp = -1;
	char tmp_name[STORE_NAME_LEN];
	int r = store_tmp_create(&s->images, tmp_name, &tmp, err);
	if (r < 0)
		return r;
	r = build(s, tmp, info, record, job, err);
	if (r == 0)
		r = store_publish(s, &s->images, tmp_name, record->digest, image_present, err);
	struct err ignored; /* what stays behind is swept at the next start, and no reason to fail */
	fs_remove_tree(s->images.fd, tmp_name, &ignored);
	return r;
}

int image_assemble(struct image_store *s, struct image_source *src, const struct manifest *m,
	const char *digest, const char *ref, const struct image_job *job, struct err *err)
{
	OWN_IMAGE_INFO struct image_info info = { 0 };
	struct image_record record = { .digest = digest, .reference = ref };
	if (image_present(s, digest))
		return 0;
	int r = read_info(src, m, job, &info, err);
	if (r == 0)
		r = add_layers(s, src, m, &info, job, err);
	return r < 0 ? r : put_together(s, &info, &record, job, err);
}
