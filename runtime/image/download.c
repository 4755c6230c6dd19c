/* Layers from a registry into nameless files, some at a time: each counted and hashed while it comes,
 * continued where a connection broke, and never longer than it should be. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "runtime/image/registry_private.h"

#define PARALLEL      3u
#define REDIRECTS_MAX 5u

enum download_state { WAITING, RUNNING, COMPLETE };

struct download {
	struct transfer transfer;
	struct registry *registry;
	const struct descriptor *is;
	enum download_state state;
	int fd;
	struct digest *digest; /* of what is in the file */
	uint64_t got;
	unsigned tries, redirects;
	bool authorized; /* has answered a challenge */
	int64_t not_before_ms;
};

static void download_done(struct download *d)
{
	transfer_done(&d->transfer);
	digest_free(d->digest);
	own_close(&d->fd);
}

struct downloads {
	struct download *items;
	size_t n, running, complete;
};

static void downloads_done(struct downloads *ds)
{
	for (size_t i = 0; i < ds->n; i++)
		download_done(&ds->items[i]);
	free(ds->items);
}

static int begin_again(struct download *d, struct err *err)
{
	digest_free(d->digest);
	d->digest = digest_new();
	d->got = 0;
	if (!d->digest || ftruncate(d->fd, 0) < 0)
		return err_set(err, d->digest ? errno : ENOMEM, "begin a download");
	return 0;
}

/* The first bytes of an answer: does it continue what is there, or begin again? */
static int settle_offset(struct download *d, struct err *err)
{
	struct transfer *t = &d->transfer;
	if (t->status == 206 && t->has_range && t->range_from == d->got)
		return 0;
	if (t->status == 206)
		return err_say(err, EPROTO, "the registry sends another part than it was asked for");
	return d->got > 0 ? begin_again(d, err) : 0;
}

static int take_bytes(struct transfer *t, const void *bytes, size_t len, struct err *err)
{
	struct download *d = t->arg;
	const char *from = bytes;
	if (t->from != UINT64_MAX) {
		int r = settle_offset(d, err);
		if (r < 0)
			return r;
		t->from = UINT64_MAX; /* settled */
	}
	if (len > d->is->size - d->got)
		return err_say(err, EBADMSG, "it is longer than the %llu bytes of the manifest",
			(unsigned long long)d->is->size);
	digest_add(d->digest, bytes, len);
	while (len > 0) {
		ssize_t n = pwrite(d->fd, from, len, (off_t)d->got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "write to disk");
		from += n;
		d->got += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Nameless: whatever happens, nothing stays behind. */
static int open_nameless(const struct store_dir *dir, int *ret, struct err *err)
{
	char name[STORE_NAME_LEN];
	store_tmp_name(name);
	int fd = openat(dir->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "create a file in %s", dir->path);
	unlinkat(dir->fd, name, 0);
	*ret = fd;
	return 0;
}

static int ask_registry(struct download *d, struct err *err)
{
	OWN_BUF struct buf path = { 0 };
	buf_addf(&path, "%s/blobs/%s", d->registry->repository, d->is->digest);
	d->redirects = 0;
	return path.failed ? err_set(err, ENOMEM, "download")
			   : registry_ask(d->registry, &d->transfer, path.data, err);
}

static int download_open(
	struct registry *r, const struct descriptor *is, struct download *ret, struct err *err)
{
	*ret = (struct download){ .registry = r, .is = is, .fd = -1 };
	ret->transfer.sink = take_bytes;
	int e = open_nameless(&r->store->layers, &ret->fd, err);
	if (e == 0)
		e = begin_again(ret, err);
	return e < 0 ? e : ask_registry(ret, err);
}

static int launch(struct download *d, struct err *err)
{
	d->transfer.from = d->got;
	d->transfer.arg = d;
	d->state = RUNNING;
	return transfers_start(d->registry->transfers, &d->transfer, err);
}

static int complete(struct download *d, struct err *err)
{
	char digest[DIGEST_LEN];
	digest_end(TAKE_PTR(d->digest), digest);
	if (strcmp(digest, d->is->digest) != 0)
		return err_say(err, EBADMSG, "its content is %.19s…, not what the manifest says", digest);
	d->state = COMPLETE;
	return 0;
}

/* Whoever is not the registry gets no credentials of it, and must not be reached in the clear or on this
 * host. */
static int follow_redirect(struct download *d, struct err *err)
{
	struct transfer *t = &d->transfer;
	const struct registry *r = d->registry;
	struct url_host to;
	OWN_FREE char *url = t->location[0] ? url_join(t->url, t->location) : NULL;
	if (!url || url_host_read(url, &to) < 0)
		return err_say(err, EPROTO, "it redirects to nowhere");
	if (++d->redirects > REDIRECTS_MAX)
		return err_say(err, ELOOP, "it redirects again and again");
	bool same = url_host_equal(&to, &r->at);
	bool local = host_is_loopback(r->at.host);
	if (!to.https && !same && !(local && host_is_loopback(to.host)))
		return err_say(err, EACCES, "it redirects to %.200s without https", to.host);
	free(t->url);
	t->url = TAKE_PTR(url);
	t->local = local && (same || host_is_loopback(to.host));
	if (!same) {
		free(t->authorization);
		t->authorization = NULL;
	}
	return launch(d, err);
}

static int answer_challenge(struct download *d, struct err *err)
{
	struct registry *r = d->registry;
	if (d->authorized)
		return registry_refused(r, &d->transfer, "such layer", err);
	d->authorized = true;
	int e = 0;
	if (!r->credentials.user && !r->credentials.refresh_token)
		e = credentials_find(r->store->etc_dir, r->host, r->repository, &r->credentials, err);
	if (e == 0)
		e = registry_authorize(r, d->transfer.challenge, err);
	if (e == 0)
		e = ask_registry(d, err);
	return e < 0 ? e : launch(d, err);
}

/* From the registry's own address again: where it redirected to may be over by now. */
static int try_later(struct download *d, struct err *err)
{
	if (++d->tries == REGISTRY_TRIES)
		return registry_refused(d->registry, &d->transfer, "such layer", err);
	d->not_before_ms = clock_boot_ms() + registry_pause_ms(&d->transfer, d->tries);
	d->state = WAITING;
	return ask_registry(d, err);
}

static int judge(struct download *d, struct err *err)
{
	struct transfer *t = &d->transfer;
	bool good = t->result == 0 && (t->status == 200 || t->status == 206);
	if (good && d->got == d->is->size)
		return complete(d, err);
	if (good) { /* closed too early, and said so to nobody */
		t->result = -EPIPE;
		err_say(&t->why, EPIPE, "the connection ended after %llu of %llu bytes",
			(unsigned long long)d->got, (unsigned long long)d->is->size);
	}
	if (t->result == 0 && t->status >= 301 && t->status <= 308 && t->status != 304)
		return follow_redirect(d, err);
	if (t->result == 0 && t->status == 401 && t->challenge[0])
		return answer_challenge(d, err);
	if (t->result == 0 && t->status == 416) { /* it is not what we believed to continue */
		int r = begin_again(d, err);
		return r < 0 ? r : try_later(d, err);
	}
	return registry_may_help(t) ? try_later(d, err) : registry_refused(d->registry, t, "such layer", err);
}

static int start_some(struct downloads *ds, struct err *err)
{
	int64_t now_ms = clock_boot_ms();
	for (size_t i = 0; i < ds->n && ds->running < PARALLEL; i++) {
		struct download *d = &ds->items[i];
		if (d->state != WAITING || d->not_before_ms > now_ms)
			continue;
		int r = launch(d, err);
		if (r < 0)
			return r;
		ds->running++;
	}
	return 0;
}

static void tell_progress(struct registry *r, const struct downloads *ds)
{
	uint64_t got = 0, total = 0;
	if (!r->job || !r->job->progress)
		return;
	for (size_t i = 0; i < ds->n; i++) {
		got += ds->items[i].got;
		total += ds->items[i].is->size;
	}
	r->job->progress(r->job->arg, "download", got, total);
}

static int run_all(struct registry *r, struct downloads *ds, struct err *err)
{
	while (ds->complete < ds->n) {
		struct transfer *back = NULL;
		int e = start_some(ds, err);
		if (e == 0)
			e = transfers_wait(r->transfers, 100, &back, err);
		tell_progress(r, ds);
		if (e == 0 && back) {
			struct download *d = back->arg;
			e = judge(d, err);
			if (e < 0)
				return err_wrap(err, "%.19s…", d->is->digest);
			ds->running -= d->state != RUNNING;
			ds->complete += d->state == COMPLETE;
		}
		if (e < 0)
			return e;
	}
	return 0;
}

int registry_download(struct registry *r, const struct manifest *m, const bool *wanted, struct err *err)
{
	OWN(downloads_done) struct downloads ds = { .items = calloc(m->n_layers + 1, sizeof *ds.items) };
	int e = ds.items ? 0 : err_set(err, ENOMEM, "download");
	for (size_t i = 0; e == 0 && i < m->n_layers; i++)
		if (wanted[i])
			e = download_open(r, &m->layers[i], &ds.items[ds.n++], err);
	if (e == 0)
		e = run_all(r, &ds, err);
	for (size_t i = 0, at = 0; e == 0 && i < m->n_layers; i++) {
		if (!wanted[i])
			continue;
		r->files[i] = TAKE_FD(ds.items[at].fd);
		at++;
	}
	return e;
}
