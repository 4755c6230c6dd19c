/* Images in directories and archives: OCI layouts, and what `docker save` writes. An archive is unpacked by
 * teal-unpack into a directory of its own first: it is as little trusted as a layer. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "config/reference.h"
#include "runtime/image/source.h"
#include "runtime/image/unpacker.h"

struct layout {
	struct image_source source;
	int dir;
	char **paths; /* docker-archive: of the layers */
};

static void layout_close(struct layout *l)
{
	own_close(&l->dir);
	strv_free(l->paths);
}

static struct layout *of_source(struct image_source *src)
{
	return CONTAINER_OF(src, struct layout, source);
}

/* Symlinks inside the layout are fine (older docker save makes some), out of it they lead nowhere. */
static int open_inside(int dir, const char *path, int *ret, struct err *err)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	struct stat st;
	OWN_FD int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open %.200s", path);
	if (!S_ISREG(st.st_mode))
		return err_say(err, EINVAL, "open %.200s: not a regular file", path);
	*ret = TAKE_FD(fd);
	return 0;
}

static int read_inside(int dir, const char *path, size_t max, struct buf *ret, struct err *err)
{
	OWN_FD int fd = -1;
	int r = open_inside(dir, path, &fd, err);
	while (r == 0) {
		char *to = buf_room(ret, 65536);
		ssize_t n = to ? read(fd, to, 65536) : -1;
		if (n < 0)
			return err_set(err, to ? errno : ENOMEM, "read %.200s", path);
		if (n == 0)
			break;
		ret->len += (size_t)n;
		ret->data[ret->len] = '\0';
		if (ret->len > max)
			return err_say(err, EFBIG, "read %.200s: larger than %zu bytes", path, max);
	}
	return r;
}

static void blob_path(const char *digest, char ret[96])
{
	snprintf(ret, 96, "blobs/sha256/%.64s", digest + DIGEST_HEX);
}

static int read_blob(struct image_source *src, const struct descriptor *d, size_t max,
	const struct image_job *job, struct buf *ret, struct err *err)
{
	char path[96];
	(void)job;
	blob_path(d->digest, path);
	int r = read_inside(of_source(src)->dir, path, max, ret, err);
	return r < 0 ? r : source_verify(d, ret, err);
}

static int open_blob(
	struct image_source *src, const struct manifest *m, size_t i, int *ret_fd, struct err *err)
{
	char path[96];
	blob_path(m->layers[i].digest, path);
	return open_inside(of_source(src)->dir, path, ret_fd, err);
}

static int read_json(int dir, const char *path, size_t max, struct buf *text, json_t **ret, struct err *err)
{
	int r = read_inside(dir, path, max, text, err);
	return r < 0 ? r : json_parse(text->data ? text->data : "", text->len, path, ret, err);
}

/* --- OCI --- */

static const char *ref_name(const json_t *descriptor)
{
	return json_str(json_object_get(descriptor, "annotations"), "org.opencontainers.image.ref.name", "");
}

static int ambiguous(const json_t *manifests, const char *name, struct err *err)
{
	OWN_BUF struct buf list = { .max = 300 };
	const json_t *m;
	size_t i;
	json_array_foreach (manifests, i, m)
		buf_addf(&list, "%s%.60s", i ? ", " : "", ref_name(m));
	if (name)
		return err_say(err, ENOENT, "it has no image named %.100s, only: %.300s", name,
			list.data ? list.data : "none");
	return err_say(err, EINVAL, "it has several images: add a colon and one of: %.300s",
		list.data ? list.data : "(no names)");
}

/* The one that is named, or the only one. */
static int choose_named(const json_t *index, const char *name, struct descriptor *ret, struct err *err)
{
	const json_t *manifests = json_object_get(index, "manifests"), *m, *found = NULL;
	size_t i;
	if (!json_is_array(manifests) || json_array_size(manifests) == 0)
		return err_say(err, ENOENT, "index.json names no image");
	json_array_foreach (manifests, i, m) {
		if (name && strcmp(ref_name(m), name) == 0)
			found = m;
	}
	if (!name && json_array_size(manifests) == 1)
		found = json_array_get(manifests, 0);
	return found ? descriptor_read(found, ret, err) : ambiguous(manifests, name, err);
}

/* From what index.json points to down to a manifest for this machine. */
static int oci_manifest(struct layout *l, struct descriptor *at, struct manifest *ret, struct err *err)
{
	for (int level = 0; level < 4; level++) {
		OWN_BUF struct buf text = { 0 };
		OWN_JSON json_t *doc = NULL;
		bool index;
		int r = read_blob(&l->source, at, MANIFEST_MAX_BYTES, NULL, &text, err);
		if (r == 0)
			r = json_parse(text.data, text.len, "manifest", &doc, err);
		if (r == 0)
			r = manifest_is_index(doc, at->media_type, &index, err);
		if (r < 0)
			return r;
		if (!index)
			return manifest_read(doc, ret, err);
		r = index_choose(doc, at, err);
		if (r < 0)
			return r;
	}
	return err_say(err, EINVAL, "indexes of indexes, too many of them");
}

static int oci_find(
	struct layout *l, const char *name, char digest[DIGEST_LEN], struct manifest *ret, struct err *err)
{
	OWN_BUF struct buf text = { 0 }, mark = { 0 };
	OWN_JSON json_t *layout = NULL, *index = NULL;
	struct descriptor at;
	int r = read_json(l->dir, "oci-layout", 4096, &mark, &layout, err);
	if (r == 0 && strncmp(json_str(layout, "imageLayoutVersion", ""), "1.", 2) != 0)
		r = err_say(err, ENOTSUP, "oci-layout: a version that is not 1");
	if (r == 0)
		r = read_json(l->dir, "index.json", MANIFEST_MAX_BYTES, &text, &index, err);
	if (r == 0)
		r = choose_named(index, name, &at, err);
	if (r == 0)
		r = oci_manifest(l, &at, ret, err);
	if (r < 0)
		return r;
	memcpy(digest, at.digest, DIGEST_LEN);
	l->source.read = read_blob;
	l->source.open_layer = open_blob;
	return 0;
}

/* --- docker save, before Docker 25 --- */

static int read_config(struct image_source *src, const struct descriptor *d, size_t max,
	const struct image_job *job, struct buf *ret, struct err *err)
{
	(void)job;
	struct layout *l = of_source(src);
	int r = read_inside(l->dir, l->paths[0], max, ret, err);
	return r < 0 ? r : source_verify(d, ret, err);
}

static int open_path(
	struct image_source *src, const struct manifest *m, size_t i, int *ret_fd, struct err *err)
{
	(void)m;
	struct layout *l = of_source(src);
	return open_inside(l->dir, l->paths[i + 1], ret_fd, err);
}

static bool has_tag(const json_t *image, const char *name)
{
	const json_t *tag;
	size_t i;
	json_array_foreach (json_object_get(image, "RepoTags"), i, tag) {
		if (json_is_string(tag) && strcmp(json_string_value(tag), name) == 0)
			return true;
	}
	return false;
}

/* manifest.json is an array: jansson's strict reader of objects gets it as one. */
static int read_docker_manifest(int dir, json_t **ret, struct err *err)
{
	OWN_BUF struct buf text = { 0 }, object = { 0 };
	int r = read_inside(dir, "manifest.json", MANIFEST_MAX_BYTES, &text, err);
	if (r < 0)
		return r;
	buf_adds(&object, "{\"images\":");
	buf_add(&object, text.data ? text.data : "", text.len);
	buf_adds(&object, "}");
	if (object.failed)
		return err_set(err, ENOMEM, "read manifest.json");
	return json_parse(object.data, object.len, "manifest.json", ret, err);
}

static const json_t *choose_tagged(const json_t *images, const char *name)
{
	const json_t *image;
	size_t i;
	if (!name)
		return json_array_size(images) == 1 ? json_array_get(images, 0) : NULL;
	json_array_foreach (images, i, image) {
		if (has_tag(image, name))
			return image;
	}
	return NULL;
}

static int take_paths(struct layout *l, const json_t *image, struct manifest *ret, struct err *err)
{
	const json_t *layers = json_object_get(image, "Layers"), *path;
	const char *config = json_str(image, "Config", NULL);
	size_t i;
	if (!config || !json_is_array(layers) || json_array_size(layers) > LAYERS_MAX)
		return err_say(err, EINVAL, "manifest.json: no Config, no Layers, or too many of them");
	int r = strv_add(&l->paths, config);
	json_array_foreach (layers, i, path) {
		if (!json_is_string(path))
			return err_say(err, EINVAL, "manifest.json: a layer that is no path");
		if (r == 0)
			r = strv_add(&l->paths, json_string_value(path));
	}
	ret->n_layers = json_array_size(layers);
	return r < 0 ? err_set(err, -r, "read manifest.json") : 0;
}

/* Its identity is its configuration's digest, Docker's "image ID": the layers are named by it. */
static int docker_find(
	struct layout *l, const char *name, char digest[DIGEST_LEN], struct manifest *ret, struct err *err)
{
	OWN_JSON json_t *doc = NULL;
	OWN_BUF struct buf config = { 0 };
	int r = read_docker_manifest(l->dir, &doc, err);
	if (r < 0)
		return r;
	const json_t *image = choose_tagged(json_object_get(doc, "images"), name);
	if (!image && name)
		return err_say(err, ENOENT, "it has no image tagged %.200s", name);
	if (!image)
		return err_say(err, EINVAL, "it has no image, or several: add a colon and the tag of one");
	r = take_paths(l, image, ret, err);
	if (r == 0)
		r = read_inside(l->dir, l->paths[0], CONFIG_MAX_BYTES, &config, err);
	if (r < 0)
		return r;
	digest_of(config.data ? config.data : "", config.len, ret->config.digest);
	ret->config.size = config.len;
	memcpy(digest, ret->config.digest, DIGEST_LEN);
	l->source.read = read_config;
	l->source.open_layer = open_path;
	return 0;
}

/* --- both --- */

static int find(struct layout *l, const struct image_ref *ref, char digest[DIGEST_LEN], struct manifest *ret,
	struct err *err)
{
	/* docker save since Docker 25 writes an OCI layout too, which knows more. Its names are others. */
	bool oci = ref->kind != IMAGE_DOCKER_ARCHIVE ||
		   (!ref->name && faccessat(l->dir, "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	return oci ? oci_find(l, ref->name, digest, ret, err) : docker_find(l, ref->name, digest, ret, err);
}

static int import_from(struct image_store *s, struct layout *l, const struct image_ref *ref, const char *text,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	OWN_FREE struct manifest *m = calloc(1, sizeof *m);
	char digest[DIGEST_LEN];
	int r = m ? find(l, ref, digest, m, err) : err_set(err, ENOMEM, "import");
	if (r == 0)
		r = image_assemble(s, &l->source, m, digest, text, job, err);
	if (r == 0)
		memcpy(ret, digest, sizeof digest);
	return r;
}

static int unpack_archive(struct image_store *s, int archive, int tmp, const struct image_job *job,
	struct layout *l, struct err *err)
{
	struct unpack_sum sum;
	if (mkdirat(tmp, "layout", 0755) < 0)
		return err_set(err, errno, "create a directory");
	int r = fs_open_dir(tmp, "layout", &l->dir, err);
	return r < 0 ? r : unpacker_run(s->unpack_program, archive, l->dir, false, job, &sum, err);
}

static int import_archive(struct image_store *s, int archive, const struct image_ref *ref, const char *text,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	OWN_FD int tmp = -1;
	char tmp_name[STORE_NAME_LEN];
	OWN(layout_close) struct layout l = { .dir = -1 };
	int r = store_tmp_create(&s->layers, tmp_name, &tmp, err);
	if (r < 0)
		return r;
	r = unpack_archive(s, archive, tmp, job, &l, err);
	if (r == 0)
		r = import_from(s, &l, ref, text, job, ret, err);
	struct err ignored; /* what stays behind is swept at the next start */
	fs_remove_tree(s->layers.fd, tmp_name, &ignored);
	return r;
}

/* The same file: by what the file system says of it. */
static void stamp_of(const struct stat *st, char ret[DIGEST_LEN])
{
	char text[160];
	snprintf(text, sizeof text, "%llu %llu %lld %lld.%ld %lld.%ld", (unsigned long long)st->st_dev,
		(unsigned long long)st->st_ino, (long long)st->st_size, (long long)st->st_mtim.tv_sec,
		st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
	digest_of(text, strlen(text), ret);
}

static int import_file(struct image_store *s, const struct image_ref *ref, const char *text,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	char stamp[DIGEST_LEN], digest[DIGEST_LEN];
	struct stat st;
	OWN_FD int fd = open(ref->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open %.300s", ref->path);
	if (!S_ISREG(st.st_mode))
		return err_say(err, EINVAL, "open %.300s: not a regular file", ref->path);
	stamp_of(&st, stamp);
	if (image_seen_find(s, text, stamp, digest) && image_present(s, digest)) {
		memcpy(ret, digest, sizeof digest);
		return 0;
	}
	int r = import_archive(s, fd, ref, text, job, ret, err);
	if (r == 0)
		image_seen_add(s, text, stamp, ret);
	return r;
}

static int open_layout(const struct image_ref *ref, struct layout *ret, struct err *err)
{
	ret->dir = open(ref->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return ret->dir < 0 ? err_set(err, errno, "open %.300s", ref->path) : 0;
}

int layout_import(struct image_store *s, const struct image_ref *ref, const char *text,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	OWN(layout_close) struct layout l = { .dir = -1 };
	if (ref->kind != IMAGE_OCI_DIR)
		return import_file(s, ref, text, job, ret, err);
	int r = open_layout(ref, &l, err);
	return r < 0 ? r : import_from(s, &l, ref, text, job, ret, err);
}

int layout_resolve(struct image_store *s, const struct image_ref *ref, const char *text,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	OWN(layout_close) struct layout l = { .dir = -1 };
	if (ref->kind != IMAGE_OCI_DIR)
		return import_file(s, ref, text, job, ret, err);
	OWN_FREE struct manifest *m = calloc(1, sizeof *m);
	int r = m ? open_layout(ref, &l, err) : err_set(err, ENOMEM, "resolve");
	return r < 0 ? r : find(&l, ref, ret, m, err);
}
