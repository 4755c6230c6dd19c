#include "runtime/image/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/line.h"
#include "base/own.h"
#include "runtime/image/registry_private.h"

#define ACCEPT                                                                                               \
	"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "              \
	"application/vnd.docker.distribution.manifest.list.v2+json, "                                        \
	"application/vnd.docker.distribution.manifest.v2+json"

/* --- one conversation --- */

static int set_base(struct registry *r, const char *host, const char *scheme, struct err *err)
{
	OWN_BUF struct buf base = { 0 };
	buf_addf(&base, "%s://%s", scheme, strcmp(host, "docker.io") == 0 ? "registry-1.docker.io" : host);
	free(r->base);
	r->base = buf_take(&base);
	if (!r->base)
		return err_set(err, ENOMEM, "registry");
	return url_host_read(r->base, &r->at) < 0 ? err_say(err, EINVAL, "%s is not a registry", host) : 0;
}

/* A registry on this very host may do without TLS; whether it does is found out by trying. */
static int find_scheme(struct registry *r, struct err *err)
{
	OWN(transfer_done) struct transfer t = { .local = true, .ca_file = r->ca_file };
	if (!host_is_loopback(r->at.host))
		return 0;
	t.url = fs_join(r->base, "v2/", NULL);
	int e = t.url ? transfers_run(r->transfers, &t, err) : err_set(err, ENOMEM, "registry");
	if (e == 0 && t.result < 0 && t.tls_failed && !r->ca_file)
		e = set_base(r, r->host, "http", err);
	return e;
}

static void find_ca(struct registry *r)
{
	OWN_FREE char *path = fs_join(r->store->etc_dir, "certs.d", r->host, "ca.crt", NULL);
	if (path && access(path, R_OK) == 0)
		r->ca_file = TAKE_PTR(path);
}

int registry_open(struct image_store *s, const char *host, const char *repository,
	const struct image_job *job, struct registry *ret, struct err *err)
{
	struct registry *r = ret;
	*r = (struct registry){ .store = s, .job = job, .repository = repository };
	for (size_t i = 0; i < LAYERS_MAX; i++)
		r->files[i] = -1;
	r->host = strdup(host);
	int e = r->host ? transfers_open(job, &r->transfers, err) : err_set(err, ENOMEM, "registry");
	if (e == 0)
		e = set_base(r, host, "https", err);
	if (e < 0)
		return e;
	find_ca(r);
	return find_scheme(r, err);
}

void registry_close(struct registry *r)
{
	for (size_t i = 0; i < LAYERS_MAX; i++)
		own_close(&r->files[i]);
	transfers_close(r->transfers);
	credentials_done(&r->credentials);
	if (r->authorization)
		explicit_bzero(r->authorization, strlen(r->authorization));
	free(r->authorization);
	free(r->ca_file);
	free(r->base);
	free(r->host);
}

int registry_ask(struct registry *r, struct transfer *t, const char *path, struct err *err)
{
	OWN_BUF struct buf url = { 0 };
	buf_addf(&url, "%s/v2/%s", r->base, path);
	free(t->url);
	free(t->authorization);
	t->url = buf_take(&url);
	t->authorization = r->authorization ? strdup(r->authorization) : NULL;
	t->ca_file = r->ca_file;
	t->local = host_is_loopback(r->at.host);
	return t->url && (t->authorization || !r->authorization) ? 0 : err_set(err, ENOMEM, "registry");
}

bool registry_may_help(const struct transfer *t)
{
	if (t->result < 0)
		return t->why.code == EPIPE || t->why.code == ECONNREFUSED || t->why.code == ETIMEDOUT ||
		       t->why.code == EHOSTUNREACH;
	return t->status == 408 || t->status == 429 || t->status >= 500;
}

/* 200 ms, 400 … , or as long as the registry says, within reason. */
int64_t registry_pause_ms(const struct transfer *t, unsigned n)
{
	if (t->result == 0 && t->retry_after_s >= 0)
		return (t->retry_after_s < 30 ? t->retry_after_s : 30) * 1000;
	return 200LL << (n < 5 ? n : 5);
}

static int pause_for(struct registry *r, int64_t ms, struct err *err)
{
	int64_t end_ms = clock_boot_ms() + ms;
	struct transfer *none = NULL;
	int e = 0;
	for (int64_t left; e == 0 && (left = end_ms - clock_boot_ms()) > 0;)
		e = transfers_wait(r->transfers, left, &none, err);
	return e;
}

int registry_refused(const struct registry *r, const struct transfer *t, const char *what, struct err *err)
{
	if (t->result < 0)
		return err_say(err, t->why.code, "registry %s: %s", r->host, t->why.msg);
	switch (t->status) {
	case 401:
	case 403:
		if (r->credentials.user || r->credentials.refresh_token)
			return err_say(err, EACCES,
				"registry %s: the credentials for it don't allow this: teal login %s",
				r->host, r->host);
		return err_say(
			err, EACCES, "registry %s: not without credentials: teal login %s", r->host, r->host);
	case 404: return err_say(err, ENOENT, "registry %s: it has no %s", r->host, what);
	default: return err_say(err, EPROTO, "registry %s: it answers %ld", r->host, t->status);
	}
}

static int answer_challenge(struct registry *r, struct transfer *t, struct err *err)
{
	int e = 0;
	if (!r->credentials.user && !r->credentials.refresh_token)
		e = credentials_find(
			r->store->etc_dir, r->host, r->repository ? r->repository : "", &r->credentials, err);
	if (e == 0)
		e = registry_authorize(r, t->challenge, err);
	if (e < 0)
		return err_wrap(err, "registry %s", r->host);
	free(t->authorization);
	t->authorization = strdup(r->authorization);
	return t->authorization ? 0 : err_set(err, ENOMEM, "registry");
}

int registry_get(struct registry *r, struct transfer *t, struct err *err)
{
	bool answered = false;
	for (unsigned n = 0;;) {
		int e = transfers_run(r->transfers, t, err);
		if (e < 0)
			return e;
		if (t->result == 0 && t->status == 401 && t->challenge[0] && !answered) {
			answered = true;
			e = answer_challenge(r, t, err);
			if (e < 0)
				return e;
			continue;
		}
		if (!registry_may_help(t) || ++n == REGISTRY_TRIES - 1)
			return t->result == 0 && t->status < 400 ? 0 : -EPROTO;
		e = pause_for(r, registry_pause_ms(t, n), err);
		if (e < 0)
			return e;
	}
}

/* --- documents --- */

static int get_document(
	struct registry *r, struct transfer *t, const char *path, const char *what, struct err *err)
{
	struct err why = { 0 };
	int e = registry_ask(r, t, path, err);
	if (e < 0)
		return e;
	e = registry_get(r, t, &why);
	if (e < 0 && why.code)
		return err_say(err, why.code, "%s", why.msg);
	if (e < 0 || t->status != 200)
		return registry_refused(r, t, what, err);
	return 0;
}

/* What has a digest must have this content, whoever sends it. */
static int check_digest(const struct transfer *t, const char *wanted, char ret[DIGEST_LEN], struct err *err)
{
	digest_of(t->body.data ? t->body.data : "", t->body.len, ret);
	if (wanted && strcmp(wanted, ret) != 0)
		return err_say(err, EBADMSG, "%.19s… has another content", wanted);
	if (t->digest[0] && strcmp(t->digest, ret) != 0)
		return err_say(err, EBADMSG, "the manifest is not the one that its own digest announces");
	return 0;
}

/* A manifest or an index. tag: by name; digest: that one and no other. */
static int get_manifest(struct registry *r, const char *tag, const char *digest, char ret_digest[DIGEST_LEN],
	json_t **ret, bool *ret_index, struct err *err)
{
	OWN(transfer_done) struct transfer t = { .accept = ACCEPT, .max_bytes = MANIFEST_MAX_BYTES };
	OWN_BUF struct buf path = { 0 }, what = { 0 };
	buf_addf(&path, "%s/manifests/%s", r->repository, digest ? digest : tag);
	buf_addf(&what, "%s%c%s", r->repository, digest ? '@' : ':', digest ? digest : tag);
	if (path.failed || what.failed)
		return err_set(err, ENOMEM, "registry");
	int e = get_document(r, &t, path.data, what.data, err);
	if (e == 0)
		e = check_digest(&t, digest, ret_digest, err);
	if (e == 0)
		e = json_parse(t.body.data ? t.body.data : "", t.body.len, "manifest", ret, err);
	/* Some serve it as plain JSON: then what it says of itself counts. */
	const char *type =
		strcmp(t.content_type, "application/json") == 0 || strcmp(t.content_type, "text/plain") == 0
			? ""
			: t.content_type;
	return e < 0 ? e : manifest_is_index(*ret, type, ret_index, err);
}

static int find_manifest(struct registry *r, const struct image_ref *ref, const char *digest,
	char ret_digest[DIGEST_LEN], json_t **ret_doc, struct err *err)
{
	char wanted[DIGEST_LEN];
	const char *at = digest ? digest : ref->digest[0] ? ref->digest : NULL;
	for (int level = 0; level < 4; level++) {
		OWN_JSON json_t *doc = NULL;
		struct descriptor next;
		bool index;
		int e = get_manifest(r, ref->tag, at, ret_digest, &doc, &index, err);
		if (e == 0 && index)
			e = index_choose(doc, &next, err);
		if (e < 0)
			return e;
		if (!index) {
			*ret_doc = TAKE_PTR(doc);
			return 0;
		}
		memcpy(wanted, next.digest, sizeof wanted);
		at = wanted;
	}
	return err_say(err, EINVAL, "indexes of indexes, too many of them");
}

static struct registry *of_source(struct image_source *src)
{
	return CONTAINER_OF(src, struct registry, source);
}

static int read_document(struct image_source *src, const struct descriptor *d, size_t max,
	const struct image_job *job, struct buf *ret, struct err *err)
{
	(void)job;
	struct registry *r = of_source(src);
	OWN_BUF struct buf path = { 0 };
	if (d->size > max)
		return err_say(err, EFBIG, "the configuration is larger than %zu bytes", max);
	bool wanted[LAYERS_MAX] = { true };
	OWN_FREE struct manifest *one = calloc(1, sizeof *one);
	if (!one)
		return err_set(err, ENOMEM, "registry");
	one->n_layers = 1;
	one->layers[0] = *d;
	int e = registry_download(r, one, wanted, err);
	OWN_FD int fd = TAKE_FD(r->files[0]);
	char *to = e == 0 ? buf_room(ret, d->size) : NULL;
	if (e == 0 && (!to || pread(fd, to, d->size, 0) != (ssize_t)d->size))
		e = err_set(err, to ? EIO : ENOMEM, "read the configuration");
	if (e == 0) {
		ret->len += d->size;
		ret->data[ret->len] = '\0';
		e = source_verify(d, ret, err);
	}
	return e;
}

static int prepare(struct image_source *src, const struct manifest *m, const bool *wanted,
	const struct image_job *job, struct err *err)
{
	(void)job;
	return registry_download(of_source(src), m, wanted, err);
}

static int open_layer(
	struct image_source *src, const struct manifest *m, size_t i, int *ret_fd, struct err *err)
{
	(void)m;
	struct registry *r = of_source(src);
	if (r->files[i] < 0)
		return err_say(err, ENOENT, "layer %zu was not downloaded", i);
	if (lseek(r->files[i], 0, SEEK_SET) < 0)
		return err_set(err, errno, "read layer %zu", i);
	*ret_fd = TAKE_FD(r->files[i]);
	return 0;
}

int registry_resolve(struct image_store *s, const struct image_ref *ref, const struct image_job *job,
	char ret[DIGEST_LEN], struct err *err)
{
	OWN_REGISTRY struct registry r;
	OWN_JSON json_t *doc = NULL;
	char digest[DIGEST_LEN];
	/* A digest that is here already says it all, also when the registry is away. */
	if (ref->digest[0] && image_present(s, ref->digest)) {
		memcpy(ret, ref->digest, DIGEST_LEN);
		return 0;
	}
	int e = registry_open(s, ref->host, ref->repository, job, &r, err);
	if (e == 0)
		e = find_manifest(&r, ref, NULL, digest, &doc, err);
	if (e == 0)
		memcpy(ret, digest, sizeof digest);
	return e;
}

static int import_doc(
	struct registry *r, const json_t *doc, const char *digest, const char *text, struct err *err)
{
	OWN_FREE struct manifest *m = calloc(1, sizeof *m);
	int e = m ? manifest_read(doc, m, err) : err_set(err, ENOMEM, "registry");
	r->source =
		(struct image_source){ .read = read_document, .prepare = prepare, .open_layer = open_layer };
	return e < 0 ? e : image_assemble(r->store, &r->source, m, digest, text, r->job, err);
}

int registry_import(struct image_store *s, const struct image_ref *ref, const char *text, const char *wanted,
	const struct image_job *job, char ret[DIGEST_LEN], struct err *err)
{
	OWN_REGISTRY struct registry r;
	OWN_JSON json_t *doc = NULL;
	char digest[DIGEST_LEN];
	int e = registry_open(s, ref->host, ref->repository, job, &r, err);
	if (e == 0)
		e = find_manifest(&r, ref, wanted, digest, &doc, err);
	if (e == 0)
		e = import_doc(&r, doc, digest, text, err);
	if (e == 0)
		memcpy(ret, digest, sizeof digest);
	return e;
}

int registry_login(
	struct image_store *s, const char *host, const char *user, const char *password, struct err *err)
{
	OWN_REGISTRY struct registry r;
	OWN(transfer_done) struct transfer t = { 0 };
	int e = registry_open(s, host, NULL, NULL, &r, err);
	if (e == 0) {
		r.credentials.user = strdup(user);
		r.credentials.password = strdup(password);
		if (!r.credentials.user || !r.credentials.password)
			e = err_set(err, ENOMEM, "log in");
	}
	return e < 0 ? e : get_document(&r, &t, "", "distribution API", err);
}
