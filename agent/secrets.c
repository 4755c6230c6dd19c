#include "agent/secrets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fsx.h"
#include "base/log.h"
#include "base/own.h"
#include "config/config.h"

static char *secrets_root(const struct agent *a)
{
	return fs_join(a->settings.state_dir, "secrets", NULL);
}

char *secrets_dir(const struct agent *a, const char *service)
{
	return fs_join(a->settings.state_dir, "secrets", service, NULL);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(const char *hex, struct buf *ret)
{
	size_t n = strlen(hex);
	if (n % 2)
		return -EINVAL;
	for (size_t i = 0; i < n; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
		if (high < 0 || low < 0)
			return -EINVAL;
		if (buf_add(ret, &(char){ (char)(high << 4 | low) }, 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void forget(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_done(b);
}

static int keep_one(int dir, const struct spec_secret *secret, const char *hex, struct err *err)
{
	OWN(forget) struct buf value = { 0 };
	char digest[DIGEST_LEN];
	const char *name = secret->digest + DIGEST_HEX;
	if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (!hex)
		return err_say(err, EINVAL, "secret %s: its value was not sent, and is not kept here",
			secret->source);
	int r = decode(hex, &value);
	if (r == 0 && cfg_secret_digest(value.data ? value.data : "", value.len, digest) < 0)
		r = -ENOMEM;
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "secret %s", secret->source);
	if (r < 0 || strcmp(digest, secret->digest) != 0)
		return err_say(
			err, EINVAL, "secret %s: what was sent does not have its digest", secret->source);
	return fs_write_durable(dir, name, value.data ? value.data : "", value.len, 0600, err);
}

int secrets_keep(struct agent *a, const struct spec *spec, const json_t *values, struct err *err)
{
	const struct spec_container *c = &spec->container;
	OWN_FREE char *path = secrets_dir(a, spec->name);
	OWN_FD int dir = -1;
	if (c->n_secrets == 0)
		return 0;
	int r = path ? fs_mkdirs(path, 0700, err) : err_set(err, ENOMEM, "keep secrets");
	if (r == 0)
		r = fs_open_dir(AT_FDCWD, path, &dir, err);
	for (size_t i = 0; r == 0 && i < c->n_secrets; i++)
		r = keep_one(dir, &c->secrets[i], json_str(values, c->secrets[i].digest, NULL), err);
	return r;
}

struct use {
	const char *name; /* hex digits */
	bool used;
};

static void look_in_record(void *arg, const struct row_generation *r)
{
	struct use *u = arg;
	u->used = u->used || (r->spec && strstr(r->spec, u->name));
}

static bool is_used(struct service *s, const char *name)
{
	struct use u = { .name = name };
	const struct spec_container *queued = s->queued ? &s->queued->spec->container : NULL;
	for (size_t i = 0; queued && i < queued->n_secrets; i++)
		if (strstr(queued->secrets[i].digest, name))
			return true;
	return store_generations(s->agent->store, s->name, look_in_record, &u, NULL) < 0 || u.used;
}

void secrets_collect(struct service *s)
{
	OWN_FREE char *path = secrets_dir(s->agent, s->name);
	OWN_DIR DIR *d = path ? opendir(path) : NULL;
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && !is_used(s, e->d_name))
			unlinkat(dirfd(d), e->d_name, 0);
}

void secrets_remove(struct agent *a, const char *service)
{
	OWN_FREE char *path = secrets_root(a);
	struct err why = { 0 };
	OWN_FD int root = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root >= 0 && fs_remove_tree(root, service, &why) < 0)
		log_warn("%s: remove secrets: %s", service, why.msg);
}
