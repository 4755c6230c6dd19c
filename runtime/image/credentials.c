#include "runtime/image/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/fsx.h"
#include "base/json.h"
#include "base/own.h"
#include "runtime/image/helper.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define DOCKER_KEY     "https://index.docker.io/v1/"

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void credentials_done(struct credentials *c)
{
	wipe(c->user);
	wipe(c->password);
	wipe(c->refresh_token);
	*c = (struct credentials){ 0 };
}

static void wipe_buf(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_done(b);
}

char *credentials_basic(const char *user, const char *password)
{
	OWN(wipe_buf) struct buf pair = { 0 };
	if (buf_addf(&pair, "%s:%s", user, password) < 0)
		return NULL;
	char *text = malloc((pair.len + 2) / 3 * 4 + 1);
	if (text)
		EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)pair.data, (int)pair.len);
	return text;
}

static int decode_auth(const char *text, struct credentials *ret, struct err *err)
{
	size_t len = strlen(text);
	OWN(wipe_buf) struct buf pair = { 0 };
	char *to = len % 4 == 0 && len < 65536 ? buf_room(&pair, len / 4 * 3 + 1) : NULL;
	int n = to ? EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)text, (int)len) : -1;
	if (n < 0)
		return err_say(err, EINVAL, "`auth` is not base64");
	to[n] = '\0';
	char *colon = strchr(to, ':');
	if (!colon)
		return err_say(err, EINVAL, "`auth` is not USER:PASSWORD in base64");
	ret->user = strndup(to, (size_t)(colon - to));
	ret->password = strdup(colon + 1);
	return ret->user && ret->password ? 0 : err_set(err, ENOMEM, "read credentials");
}

/* "https://host/v1/" and "host" are the same key: older tools wrote URLs. */
static bool key_names(const char *key, const char *wanted)
{
	static const char *const schemes[] = { "https://", "http://" };
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (strncmp(key, schemes[i], strlen(schemes[i])) == 0)
			key += strlen(schemes[i]);
	size_t n = strlen(wanted);
	if (strncmp(key, wanted, n) != 0)
		return false;
	return !key[n] || strcmp(key + n, "/") == 0 || strcmp(key + n, "/v1/") == 0 ||
	       strcmp(key + n, "/v2/") == 0;
}

static const json_t *find_key(const json_t *auths, const char *wanted, const char **ret_key)
{
	const char *key;
	json_t *entry;
	json_object_foreach ((json_t *)(uintptr_t)auths, key, entry) {
		if (key_names(key, wanted)) {
			*ret_key = key;
			return entry;
		}
	}
	return NULL;
}

/* host/ns/repo, host/ns, host: the longest that has an entry. */
static const json_t *find_longest(
	const json_t *map, const char *host, const char *repository, const char **ret_key)
{
	OWN_FREE char *name = fs_join(host, repository, NULL);
	while (name) {
		const json_t *entry = find_key(map, name, ret_key);
		char *slash = strrchr(name, '/');
		if (entry || !slash)
			break;
		*slash = '\0';
	}
	const json_t *entry = name ? find_key(map, name, ret_key) : NULL;
	if (!entry && strcmp(host, "docker.io") == 0)
		entry = find_key(map, "index.docker.io", ret_key);
	return entry;
}

static int take_entry(const json_t *entry, struct credentials *ret, struct err *err)
{
	const char *auth = json_str(entry, "auth", NULL), *token = json_str(entry, "identitytoken", NULL);
	const char *user = json_str(entry, "username", NULL), *password = json_str(entry, "password", NULL);
	if (token && *token) {
		ret->refresh_token = strdup(token);
		return ret->refresh_token ? 0 : err_set(err, ENOMEM, "read credentials");
	}
	if (auth && *auth)
		return decode_auth(auth, ret, err);
	if (user && password) {
		ret->user = strdup(user);
		ret->password = strdup(password);
		return ret->user && ret->password ? 0 : err_set(err, ENOMEM, "read credentials");
	}
	return 0;
}

/* 1: this file has them. A helper for this very host comes first, then the one for all, then what is written.
 */
static int find_in(
	const json_t *doc, const char *host, const char *repository, struct credentials *ret, struct err *err)
{
	const char *key = NULL;
	const json_t *named = find_longest(json_object_get(doc, "credHelpers"), host, repository, &key);
	const char *server = strcmp(host, "docker.io") == 0 ? DOCKER_KEY : host;
	int r = json_is_string(named) ? helper_get(json_string_value(named), server, ret, err) : 0;
	if (r == 0 && !named && json_str(doc, "credsStore", NULL))
		r = helper_get(json_str(doc, "credsStore", ""), server, ret, err);
	const json_t *entry = find_longest(json_object_get(doc, "auths"), host, repository, &key);
	if (r == 0 && !ret->user && !ret->refresh_token && entry)
		r = take_entry(entry, ret, err);
	return r < 0 ? r : ret->user || ret->refresh_token;
}

static int read_doc(const char *path, json_t **ret, struct err *err)
{
	OWN(wipe_buf) struct buf text = { 0 };
	struct err why;
	int r = fs_read_file(AT_FDCWD, path, FILE_MAX_BYTES, &text, &why);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return err_say(err, -r, "%s", why.msg);
	return text.len == 0 ? 0 : json_parse(text.data, text.len, path, ret, err);
}

/* Where other tools keep them for the account that the agent runs in. */
static char *place(const char *etc_dir, unsigned i)
{
	const char *run = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");
	switch (i) {
	case 0: return fs_join(etc_dir, "auth.json", NULL);
	case 1: return run && *run ? fs_join(run, "containers/auth.json", NULL) : NULL;
	case 2: return home && *home ? fs_join(home, ".config/containers/auth.json", NULL) : NULL;
	default: return home && *home ? fs_join(home, ".docker/config.json", NULL) : NULL;
	}
}

int credentials_find(const char *etc_dir, const char *host, const char *repository, struct credentials *ret,
	struct err *err)
{
	OWN_CREDENTIALS struct credentials found = { 0 };
	for (unsigned i = 0; i < 4; i++) {
		OWN_FREE char *path = place(etc_dir, i);
		OWN_JSON json_t *doc = NULL;
		int r = path ? read_doc(path, &doc, err) : 0;
		if (r == 0 && doc)
			r = find_in(doc, host, repository, &found, err);
		if (r < 0)
			return err_wrap(err, "credentials in %s", path);
		if (r == 1)
			break;
	}
	*ret = found;
	found = (struct credentials){ 0 };
	return 0;
}

static int edit(json_t *doc, const char *host, const char *user, const char *password, struct err *err)
{
	json_t *auths = json_object_get(doc, "auths");
	if (!auths) {
		json_object_set_new(doc, "auths", json_object());
		auths = json_object_get(doc, "auths");
	}
	if (!user) {
		if (json_object_del(auths, host) < 0)
			return err_say(err, ENOENT, "there are no credentials for %s", host);
		return 0;
	}
	char *basic = credentials_basic(user, password);
	int r = basic ? json_object_set_new(auths, host, json_pack("{s:s}", "auth", basic)) : -1;
	wipe(basic);
	return r < 0 ? err_set(err, ENOMEM, "store credentials") : 0;
}

int credentials_store(
	const char *etc_dir, const char *host, const char *user, const char *password, struct err *err)
{
	OWN_JSON json_t *doc = NULL;
	OWN_FREE char *path = fs_join(etc_dir, "auth.json", NULL);
	int r = path ? read_doc(path, &doc, err) : err_set(err, ENOMEM, "store credentials");
	if (r == 0 && !doc)
		doc = json_object();
	if (r == 0)
		r = doc ? edit(doc, host, user, password, err) : err_set(err, ENOMEM, "store credentials");
	if (r == 0)
		r = fs_mkdirs(etc_dir, 0755, err);
	if (r < 0)
		return r;
	char *text = json_dumps(doc, JSON_INDENT(2));
	r = text ? fs_write_durable(AT_FDCWD, path, text, strlen(text), 0600, err)
		 : err_set(err, ENOMEM, "store credentials");
	wipe(text);
	return r;
}
