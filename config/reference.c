#include "config/reference.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/parse.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789"
#define ALNUM LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
enum { NAME_LEN_MAX = 255, TAG_LEN_MAX = 128 };

static const char *const prefixes[IMAGE_KINDS] = {
	[IMAGE_ROOTFS] = "rootfs:",
	[IMAGE_OCI_DIR] = "oci:",
	[IMAGE_OCI_ARCHIVE] = "oci-archive:",
	[IMAGE_DOCKER_ARCHIVE] = "docker-archive:",
	[IMAGE_REGISTRY] = "",
};

const char *image_kind_prefix(enum image_kind kind)
{
	return prefixes[kind];
}

static int set(char **to, const char *text, size_t len)
{
	*to = strndup(text, len);
	return *to ? 0 : -ENOMEM;
}

/* "[a-z0-9]+", with ".", "_", "__" or any number of "-" between. */
static bool is_component(const char *text, size_t len)
{
	size_t i = strspn(text, LOWER);
	if (i == 0 || len == 0)
		return false;
	while (i < len) {
		size_t dashes = strspn(text + i, "-"), underscores = strspn(text + i, "_");
		size_t separator = dashes ? dashes : underscores ? underscores : text[i] == '.';
		if (separator == 0 || underscores > 2)
			return false;
		i += separator;
		size_t more = strspn(text + i, LOWER);
		if (more == 0)
			return false;
		i += more;
	}
	return i == len;
}

static bool is_repository(const char *text)
{
	for (;;) {
		size_t n = strcspn(text, "/");
		if (!is_component(text, n))
			return false;
		if (!text[n])
			return true;
		text += n + 1;
	}
}

static bool is_port(const char *text)
{
	uint64_t port;
	return parse_u64(text, 1, 65535, &port) == 0;
}

/* Names and IPv4 addresses; "[::1]"; each with a port or without. */
static bool is_host(const char *host)
{
	size_t n = *host == '[' ? strspn(host + 1, "0123456789abcdefABCDEF:.") + 2 : strcspn(host, ":");
	if (n > strlen(host) || (*host == '[' && host[n - 1] != ']') || (host[n] && host[n] != ':') ||
		(host[n] && !is_port(host + n + 1)))
		return false;
	if (*host == '[')
		return n > 2;
	for (size_t i = 0; i < n;) {
		size_t label = strcspn(host + i, ".:");
		if (label == 0 || strspn(host + i, ALNUM "-") != label || host[i] == '-' ||
			host[i + label - 1] == '-')
			return false;
		i += label + (host[i + label] == '.');
		if (host[i - 1] == '.' && i == n)
			return false;
	}
	return n > 0;
}

/* The first part is a host if it can't be the name of a user of Docker's own registry. */
static bool begins_with_host(const char *text)
{
	size_t n = strcspn(text, "/");
	if (!text[n])
		return false;
	for (size_t i = 0; i < n; i++)
		if (strchr(".:ABCDEFGHIJKLMNOPQRSTUVWXYZ[", text[i]))
			return true;
	return n == strlen("localhost") && strncmp(text, "localhost", n) == 0;
}

static int split_host(const char *name, struct image_ref *r, struct err *err)
{
	static const char docker[] = "docker.io";
	const char *repository = name;
	int e;
	if (begins_with_host(name)) {
		size_t n = strcspn(name, "/");
		e = set(&r->host, name, n);
		if (e == 0 && !is_host(r->host))
			return err_say(err, EINVAL, "`%.80s` is not a registry", r->host);
		repository = name + n + 1;
		if (e == 0 && strcmp(r->host, "index.docker.io") == 0)
			memcpy(r->host, docker, sizeof docker);
	} else {
		e = set(&r->host, docker, sizeof docker - 1);
	}
	if (e < 0)
		return err_set(err, ENOMEM, "image");
	OWN_BUF struct buf whole = { 0 };
	bool official = strcmp(r->host, docker) == 0 && !strchr(repository, '/');
	buf_addf(&whole, "%s%s", official ? "library/" : "", repository);
	r->repository = buf_take(&whole);
	if (!r->repository)
		return err_set(err, ENOMEM, "image");
	if (!is_repository(repository))
		return err_say(err, EINVAL,
			"`%.120s` is not a name of an image (lower case letters, digits, and . _ - between)",
			repository);
	if (strlen(r->repository) + strlen(r->host) > NAME_LEN_MAX)
		return err_say(err, EINVAL, "the name is longer than %d characters", NAME_LEN_MAX);
	return 0;
}

static int check_tag(const char *tag, struct err *err)
{
	size_t n = strlen(tag);
	if (n == 0 || n > TAG_LEN_MAX || strspn(tag, ALNUM "_.-") != n || strchr(".-", *tag))
		return err_say(err, EINVAL, "`%.140s` is not a tag", tag);
	return 0;
}

/* "name[:tag][@digest]" */
static int parse_registry(const char *text, struct image_ref *r, struct err *err)
{
	OWN_FREE char *name = strdup(text);
	if (!name)
		return err_set(err, ENOMEM, "image");
	char *at = strchr(name, '@');
	if (at) {
		*at++ = '\0';
		if (!digest_valid(at))
			return err_say(
				err, EINVAL, "`%.80s` is not a digest (sha256: and 64 hex digits)", at);
		memcpy(r->digest, at, strlen(at) + 1);
	}
	char *slash = strrchr(name, '/'), *colon = strchr(slash ? slash : name, ':');
	const char *tag = "latest";
	if (colon) {
		*colon = '\0';
		tag = colon + 1;
	}
	if (strlen(name) == 64 && strspn(name, "0123456789abcdef") == 64)
		return err_say(err, EINVAL, "an image's id alone does not say where it is");
	int e = check_tag(tag, err);
	if (e == 0)
		e = split_host(name, r, err);
	if (e == 0 && set(&r->tag, tag, strlen(tag)) < 0)
		e = err_set(err, ENOMEM, "image");
	return e;
}

/* "PATH[:NAME]"; a directory of a root file system has no names in it. */
static int parse_path(const char *text, struct image_ref *r, struct err *err)
{
	size_t n = r->kind == IMAGE_ROOTFS ? strlen(text) : strcspn(text, ":");
	if (n == 0)
		return err_say(err, EINVAL, "the %s is missing",
			r->kind == IMAGE_ROOTFS || r->kind == IMAGE_OCI_DIR ? "directory" : "file");
	if (set(&r->path, text, n) < 0 || (text[n] && set(&r->name, text + n + 1, strlen(text + n + 1)) < 0))
		return err_set(err, ENOMEM, "image");
	if (r->name && !*r->name)
		return err_say(err, EINVAL, "nothing follows the colon");
	return 0;
}

int image_ref_parse(const char *text, struct image_ref *ret, struct err *err)
{
	OWN_IMAGE_REF struct image_ref r = { .kind = IMAGE_REGISTRY };
	for (int kind = 0; kind < IMAGE_REGISTRY; kind++)
		if (strncmp(text, prefixes[kind], strlen(prefixes[kind])) == 0)
			r.kind = (enum image_kind)kind;
	int e = r.kind == IMAGE_REGISTRY ? parse_registry(text, &r, err)
					 : parse_path(text + strlen(prefixes[r.kind]), &r, err);
	if (e < 0)
		return e;
	*ret = r;
	r = (struct image_ref){ 0 };
	return 0;
}

void image_ref_done(struct image_ref *r)
{
	free(r->path);
	free(r->name);
	free(r->host);
	free(r->repository);
	free(r->tag);
	*r = (struct image_ref){ 0 };
}

char *image_ref_format(const struct image_ref *r)
{
	OWN_BUF struct buf b = { 0 };
	if (r->kind != IMAGE_REGISTRY)
		buf_addf(&b, "%s%s%s%s", prefixes[r->kind], r->path, r->name ? ":" : "",
			r->name ? r->name : "");
	else if (r->digest[0])
		buf_addf(&b, "%s/%s@%s", r->host, r->repository, r->digest);
	else
		buf_addf(&b, "%s/%s:%s", r->host, r->repository, r->tag);
	return buf_take(&b);
}
