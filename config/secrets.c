/* Secrets: their files are read where the spec's file is, by who may read them; from there on a spec knows
 * digests only, and values travel beside it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "config/config.h"
#include "config/paths.h"
#include "config/spec.h"
#include "config/steps.h"

#define VALUE_MAX (64u * 1024)
#define TOTAL_MAX                                                                                            \
	(256u * 1024) /* as hex text in a request, with all else of it, below what the API takes             \
		       */

static const struct node *secret_node(const struct node *root, size_t i, const char *key)
{
	char path[48];
	snprintf(path, sizeof path, "secrets[%zu].%s", i, key);
	return node_locate(root, path);
}

static int refuse_file(
	const struct node *at, const char *path, const char *why, const char *hint, struct diag_list *d)
{
	node_fault(d, at, hint, "`secrets`: %s %s", path, why);
	return 0;
}

static int read_value(int fd, struct buf *ret)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	while (ret->len <= VALUE_MAX) {
		char *to = buf_room(ret, VALUE_MAX + 1);
		ssize_t n = to ? read(fd, to, VALUE_MAX + 1) : -1;
		if (n < 0 && to && errno == EINTR)
			continue;
		if (n <= 0)
			return !to ? -ENOMEM : n < 0 ? -errno : 0;
		ret->len += (size_t)n;
	}
	return -EFBIG;
}

/* Who else could read or change it must be nobody; as ssh does with keys. */
static const char *judge_owner(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return "can't be looked at";
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return "belongs to somebody else";
	return st.st_mode & 077 ? "can be read by others" : NULL;
}

/* Of more than the value, so that a value that is in use elsewhere does not show. */
int cfg_secret_digest(const void *value, size_t len, char ret[DIGEST_LEN])
{
	static const char domain[] = "teal secret\n";
	struct digest *hash = digest_new();
	if (!hash)
		return -ENOMEM;
	digest_add(hash, domain, sizeof domain - 1);
	digest_add(hash, value, len);
	digest_end(hash, ret);
	return 0;
}

static int set_value(struct spec_secret *secret, struct buf *value)
{
	char digest[DIGEST_LEN];
	if (cfg_secret_digest(value->data ? value->data : "", value->len, digest) < 0)
		return -ENOMEM;
	free(secret->digest);
	secret->digest = strdup(digest);
	secret->value_len = value->len;
	secret->value = buf_take(value);
	return secret->digest && secret->value ? 0 : -ENOMEM;
}

static int load_one(
	struct spec_secret *secret, const struct node *at, const char *base_dir, struct diag_list *d)
{
	OWN_FREE char *path = path_absolute(base_dir, secret->file);
	OWN_BUF struct buf value = { 0 };
	if (!path)
		return -ENOMEM;
	OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return refuse_file(at, path, strerror(errno), "paths are relative to the spec's file", d);
	const char *why = judge_owner(fd);
	if (why)
		return refuse_file(at, path, why, "chmod 600, and owned by you or root", d);
	int r = read_value(fd, &value);
	if (r == -ENOMEM)
		return r;
	if (r == -EFBIG)
		return refuse_file(at, path, "has more than 64 KiB", NULL, d);
	if (r < 0)
		return refuse_file(at, path, r == -EINVAL ? "is not a file" : strerror(-r), NULL, d);
	free(TAKE_PTR(secret->file));
	return set_value(secret, &value);
}

static int resolve_one(
	struct spec_secret *secret, const struct node *at, const char *base_dir, struct diag_list *d)
{
	if (!secret->file) {
		if (!secret->digest)
			node_fault(d, at, "file: /etc/teal/secrets/db", "`secrets[].file` is missing");
		return 0;
	}
	if (base_dir)
		return load_one(secret, at, base_dir, d);
	node_fault(d, at, "its `digest` belongs here",
		"`secrets[].file` can't be read: a spec sent to an agent brings its values beside it");
	return 0;
}

int secrets_load(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d)
{
	size_t total = 0;
	for (size_t i = 0; i < s->container.n_secrets; i++) {
		int r = resolve_one(&s->container.secrets[i], secret_node(root, i, "file"), base_dir, d);
		if (r < 0)
			return r;
		total += s->container.secrets[i].value_len;
	}
	if (total > TOTAL_MAX)
		node_fault(d, node_locate(root, "secrets"), NULL, "`secrets`: together more than 256 KiB");
	return 0;
}

void secrets_check(const struct spec *s, const struct node *root, struct diag_list *d)
{
	const struct spec_container *c = &s->container;
	for (size_t j = 1; j < c->n_secrets; j++)
		for (size_t i = 0; i < j; i++)
			if (c->secrets[i].source && c->secrets[j].source &&
				strcmp(c->secrets[i].source, c->secrets[j].source) == 0)
				node_fault(d, secret_node(root, j, "source"), NULL,
					"`secrets`: items %zu and %zu have the same name", i + 1, j + 1);
}
