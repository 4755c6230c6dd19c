#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/paths.h"
#include "config/schema.h"
#include "config/steps.h"

static int read_steps(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d)
{
	int r = schema_decode(&spec_schema, root, s, d);
	if (r == 0)
		r = env_merge(s, root, base_dir, d);
	if (r == 0)
		r = image_locate(s, root, base_dir, d);
	if (r == 0)
		r = seccomp_read(s, root, base_dir, d);
	if (r == 0)
		r = volumes_locate(s, root, base_dir, d);
	if (r == 0)
		r = secrets_load(s, root, base_dir, d);
	if (r == 0)
		r = derive_defaults(s);
	if (r == 0)
		validate_spec(s, root, d);
	if (r == 0)
		validate_container(s, root, d);
	return r;
}

/* What is accepted here must be accepted again in canonical form, by an agent or from the store. */
static int check_canonical_size(const struct spec *s, struct diag_list *d)
{
	OWN_JSON json_t *j = cfg_to_json(s);
	OWN_FREE char *text = j ? json_canonical(j) : NULL;
	if (!text)
		return -ENOMEM;
	size_t len = strlen(text);
	if (len > CFG_MAX_BYTES)
		diag_add(d, DIAG_ERROR, 1, 1, 1, NULL,
			"with its environment files the spec has %zu bytes: at most %u", len, CFG_MAX_BYTES);
	return 0;
}

static int read_tree(const struct node *root, const char *base_dir, struct spec **ret, struct diag_list *d)
{
	size_t errors = d->errors;
	OWN_SPEC struct spec *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->refs = 1;
	int r = read_steps(s, root, base_dir, d);
	if (r == 0 && d->errors == errors)
		r = check_canonical_size(s, d);
	if (r == 0 && d->errors == errors)
		*ret = TAKE_PTR(s);
	return r;
}

/* Takes over the name, and the text for its excerpts; -ENOMEM. */
static int set_source(struct diag_list *d, const char *file, const char *text, size_t len)
{
	free(d->file);
	free(d->source);
	d->file = strdup(file);
	d->source = strndup(text, len);
	return d->file && d->source ? 0 : -ENOMEM;
}

static int refuse_size(struct diag_list *d, const char *file)
{
	if (set_source(d, file, "", 0) < 0)
		return -ENOMEM;
	diag_add(d, DIAG_ERROR, 1, 1, 1, NULL, "the file is too big: at most %u bytes", CFG_MAX_BYTES);
	return -EINVAL;
}

int cfg_read(const char *text, size_t len, const char *file, const char *base_dir, struct spec **ret,
	struct diag_list *d)
{
	OWN_NODE struct node *root = NULL;
	OWN_SPEC struct spec *s = NULL;
	size_t errors = d->errors;
	if (len > CFG_MAX_BYTES)
		return refuse_size(d, file);
	if (set_source(d, file, text, len) < 0)
		return -ENOMEM;
	int r = node_read(text, len, &root, d);
	if (r == 0 && root)
		r = read_tree(root, base_dir, &s, d);
	if (r < 0)
		return r;
	if (!root && d->errors == errors)
		diag_add(d, DIAG_ERROR, 1, 1, 1, NULL, "the file is empty");
	if (d->errors > errors)
		return -EINVAL;
	*ret = TAKE_PTR(s);
	return 0;
}

/* The directory that relative paths in a file are relative to; the working directory for standard input. */
static char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	OWN_FREE char *dir =
		strcmp(path, "-") == 0 || !slash ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
	return dir ? path_absolute(NULL, dir) : NULL;
}

int cfg_load_file(const char *path, struct spec **ret, struct diag_list *d, struct err *err)
{
	OWN_BUF struct buf text = { 0 };
	const char *shown = strcmp(path, "-") == 0 ? "<stdin>" : path;
	int r = path_read(path, CFG_MAX_BYTES, &text, err);
	if (r == -EFBIG)
		return refuse_size(d, shown);
	if (r < 0)
		return r;
	OWN_FREE char *base = base_of(path);
	if (!base)
		return err_set(err, errno, "find the directory of %s", path);
	r = cfg_read(text.data ? text.data : "", text.len, shown, base, ret, d);
	return r == -ENOMEM ? err_set(err, ENOMEM, "read %s", path) : r;
}

json_t *cfg_to_json(const struct spec *s)
{
	return schema_encode(&spec_schema, s);
}

int cfg_digest(const struct spec *s, const char *image_digest, char ret[DIGEST_LEN])
{
	OWN_JSON json_t *j = cfg_to_json(s);
	if (!j || json_object_set_new(j, "image", json_string(image_digest)) < 0)
		return -ENOMEM;
	OWN_FREE char *text = json_canonical(j);
	if (!text)
		return -ENOMEM;
	digest_of(text, strlen(text), ret);
	return 0;
}
