#include "runtime/image/manifest.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/buf.h"
#include "base/line.h"
#include "base/own.h"

void image_info_done(struct image_info *i)
{
	json_decref(i->config);
	i->config = NULL;
}

static bool equals(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

int descriptor_read(const json_t *j, struct descriptor *ret, struct err *err)
{
	const char *type = json_str(j, "mediaType", ""), *digest = json_str(j, "digest", "");
	int64_t size = json_int(j, "size", -1);
	struct descriptor d = { 0 };
	if (!digest_valid(digest))
		return err_say(err, EINVAL, "a descriptor without a sha256 digest");
	if (size < 0)
		return err_say(err, EINVAL, "the descriptor of %s has no size", digest);
	if (strlen(type) >= sizeof d.media_type)
		return err_say(err, EINVAL, "the descriptor of %s has an overlong media type", digest);
	memcpy(d.digest, digest, strlen(digest) + 1);
	memcpy(d.media_type, type, strlen(type) + 1);
	d.size = (uint64_t)size;
	*ret = d;
	return 0;
}

enum doc_kind { DOC_MANIFEST, DOC_INDEX };

static const struct {
	const char *type;
	enum doc_kind kind;
} doc_types[] = {
	{ "application/vnd.oci.image.manifest.v1+json", DOC_MANIFEST },
	{ "application/vnd.docker.distribution.manifest.v2+json", DOC_MANIFEST },
	{ "application/vnd.oci.image.index.v1+json", DOC_INDEX },
	{ "application/vnd.docker.distribution.manifest.list.v2+json", DOC_INDEX },
};

static int kind_of(const char *type, enum doc_kind *ret, struct err *err)
{
	char shown[MEDIA_TYPE_MAX];
	for (size_t i = 0; i < ARRAY_LEN(doc_types); i++) {
		if (equals(doc_types[i].type, type)) {
			*ret = doc_types[i].kind;
			return 0;
		}
	}
	line_copy(shown, sizeof shown, type);
	return err_say(err, ENOTSUP, "%s: not a kind of manifest that can be used", shown);
}

/* The same bytes must not be a manifest for one reader and an index for another. */
int manifest_is_index(const json_t *doc, const char *media_type, bool *ret, struct err *err)
{
	const char *own = json_str(doc, "mediaType", "");
	bool layers = json_object_get(doc, "layers") || json_object_get(doc, "config");
	bool manifests = json_object_get(doc, "manifests") != NULL;
	enum doc_kind kind = manifests ? DOC_INDEX : DOC_MANIFEST;
	if (json_int(doc, "schemaVersion", 2) != 2)
		return err_say(err, ENOTSUP, "a manifest of schema version 1 can't be used");
	if (layers == manifests)
		return err_say(err, EINVAL,
			layers ? "a manifest that is an index too" : "neither a manifest nor an index");
	for (int i = 0; i < 2; i++) {
		const char *type = i == 0 ? own : media_type;
		enum doc_kind said = kind;
		int r = *type ? kind_of(type, &said, err) : 0;
		if (r < 0)
			return r;
		if (said != kind)
			return err_say(err, EINVAL, "%s: its content is something else", type);
	}
	if (*own && *media_type && !equals(own, media_type))
		return err_say(err, EINVAL, "%s is announced, %s is what it says", media_type, own);
	*ret = kind == DOC_INDEX;
	return 0;
}

static int check_layer_type(const struct descriptor *d, struct err *err)
{
	static const char *const types[] = { "", "application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd" };
	char shown[MEDIA_TYPE_MAX];
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (equals(types[i], d->media_type))
			return 0;
	line_copy(shown, sizeof shown, d->media_type);
	return err_say(err, ENOTSUP, "layer %.19s: %s can't be used", d->digest, shown);
}

int manifest_read(const json_t *doc, struct manifest *ret, struct err *err)
{
	const json_t *layers = json_object_get(doc, "layers"), *layer;
	size_t i;
	int r = descriptor_read(json_object_get(doc, "config"), &ret->config, err);
	if (r < 0)
		return err_wrap(err, "manifest");
	if (!json_is_array(layers) || json_array_size(layers) > LAYERS_MAX)
		return err_say(err, EINVAL, "manifest: it has %s layers",
			json_is_array(layers) ? "too many" : "no list of");
	json_array_foreach (layers, i, layer) {
		r = descriptor_read(layer, &ret->layers[i], err);
		if (r == 0)
			r = check_layer_type(&ret->layers[i], err);
		if (r < 0)
			return err_wrap(err, "manifest");
	}
	ret->n_layers = json_array_size(layers);
	return 0;
}

static const struct {
	const char *machine, *architecture, *variant;
} machines[] = {
	{ "x86_64", "amd64", "" },
	{ "aarch64", "arm64", "v8" },
	{ "armv7l", "arm", "v7" },
	{ "armv6l", "arm", "v6" },
	{ "riscv64", "riscv64", "" },
	{ "ppc64le", "ppc64le", "" },
	{ "s390x", "s390x", "" },
	{ "i686", "386", "" },
	{ "loongarch64", "loong64", "" },
};

static void own_platform(const char **ret_architecture, const char **ret_variant)
{
	struct utsname name;
	*ret_architecture = "amd64";
	*ret_variant = "";
	if (uname(&name) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
		if (equals(machines[i].machine, name.machine)) {
			*ret_architecture = machines[i].architecture;
			*ret_variant = machines[i].variant;
		}
	}
}

static bool fits(const json_t *platform, const char *architecture, const char *variant)
{
	const char *theirs = json_str(platform, "variant", "");
	return equals(json_str(platform, "os", ""), "linux") &&
	       equals(json_str(platform, "architecture", ""), architecture) &&
	       (!*theirs || equals(theirs, variant));
}

static int none_fits(const json_t *manifests, const char *architecture, struct err *err)
{
	OWN_BUF struct buf list = { .max = 300 };
	char shown[200];
	const json_t *m;
	size_t i;
	json_array_foreach (manifests, i, m) {
		const json_t *p = json_object_get(m, "platform");
		buf_addf(&list, "%s%.20s/%.20s", i ? ", " : "", json_str(p, "os", "?"),
			json_str(p, "architecture", "?"));
	}
	line_copy(shown, sizeof shown, list.data ? list.data : "nothing");
	return err_say(err, ENOENT, "it has no image for linux/%s, only for %s", architecture, shown);
}

/* Attestations and the like have no platform, or "unknown"; an index of one image needs none. */
int index_choose(const json_t *doc, struct descriptor *ret, struct err *err)
{
	const json_t *manifests = json_object_get(doc, "manifests"), *m;
	const char *architecture, *variant;
	size_t i;
	own_platform(&architecture, &variant);
	if (!json_is_array(manifests))
		return err_say(err, EINVAL, "index: it has no list of manifests");
	json_array_foreach (manifests, i, m) {
		if (fits(json_object_get(m, "platform"), architecture, variant))
			return descriptor_read(m, ret, err);
	}
	if (json_array_size(manifests) == 1 && !json_object_get(json_array_get(manifests, 0), "platform"))
		return descriptor_read(json_array_get(manifests, 0), ret, err);
	return none_fits(manifests, architecture, err);
}

static bool is_text_list(const json_t *j)
{
	size_t i;
	const json_t *v;
	if (!json_is_array(j))
		return false;
	json_array_foreach (j, i, v) {
		if (!json_is_string(v))
			return false;
	}
	return true;
}

/* What a container is started with, and what people like to see. Labels and history stay behind: they can be
 * huge, and nothing here believes them. */
static const struct {
	const char *key;
	json_type type; /* of an array: of strings */
} members[] = {
	{ "Entrypoint", JSON_ARRAY },
	{ "Cmd", JSON_ARRAY },
	{ "Env", JSON_ARRAY },
	{ "User", JSON_STRING },
	{ "WorkingDir", JSON_STRING },
	{ "StopSignal", JSON_STRING },
	{ "ExposedPorts", JSON_OBJECT },
	{ "Volumes", JSON_OBJECT },
	{ "Healthcheck", JSON_OBJECT },
};

static int read_members(const json_t *config, json_t **ret, struct err *err)
{
	OWN_JSON json_t *kept = json_object();
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_object_get(config, members[i].key);
		if (!v || json_is_null(v))
			continue;
		if (json_typeof(v) != members[i].type || (json_is_array(v) && !is_text_list(v)))
			return err_say(err, EINVAL, "configuration: %s is malformed", members[i].key);
		if (json_object_set(kept, members[i].key, v) < 0)
			return err_set(err, ENOMEM, "configuration");
	}
	*ret = TAKE_PTR(kept);
	return *ret ? 0 : err_set(err, ENOMEM, "configuration");
}

int config_read(const json_t *doc, struct image_info *ret, struct err *err)
{
	const json_t *ids = json_object_get(json_object_get(doc, "rootfs"), "diff_ids"), *id;
	const char *architecture, *variant, *os = json_str(doc, "os", "linux");
	const char *theirs = json_str(doc, "architecture", "");
	char shown[MEDIA_TYPE_MAX];
	size_t i;
	own_platform(&architecture, &variant);
	if (!equals(os, "linux") || (*theirs && !equals(theirs, architecture))) {
		line_copy(shown, sizeof shown, theirs);
		return err_say(err, ENOTSUP, "it is an image for %.20s/%.60s, this is linux/%s",
			equals(os, "linux") ? os : "another system", shown, architecture);
	}
	if (!json_is_array(ids) || json_array_size(ids) > LAYERS_MAX)
		return err_say(err, EINVAL, "configuration: it has no list of layers, or too long a one");
	json_array_foreach (ids, i, id) {
		const char *text = json_is_string(id) ? json_string_value(id) : "";
		if (!digest_valid(text))
			return err_say(err, EINVAL,
				"configuration: diff_ids has something that is no sha256 digest");
		memcpy(ret->diff_ids[i], text, strlen(text) + 1);
	}
	ret->n_diff_ids = json_array_size(ids);
	return read_members(json_object_get(doc, "config"), &ret->config, err);
}
