/* The archive, decompressed on a thread of its own, so that decompressing and writing files use two
 * processors. Blocks go through a ring of fixed size: memory does not depend on what the archive holds. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/image/unpack/unpack.h"

#define BLOCK_BYTES ((size_t)256 * 1024)
#define BLOCKS	    4u
#define STACK_BYTES ((size_t)512 * 1024)

struct block {
	char bytes[BLOCK_BYTES];
	size_t len;
};

struct stream {
	/* the thread's */
	int fd;
	struct archive *raw; /* NULL: not compressed */
	struct digest *in;
	char head[BLOCK_BYTES]; /* the last bytes read */
	size_t head_len, head_used;
	/* shared, under lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct block blocks[BLOCKS];
	unsigned first, filled; /* a ring: `filled` blocks from `first` on are ready */
	bool ended, stopped;	/* the thread has no more; nobody wants more */
	uint64_t in_bytes;
	struct err why; /* the thread failed */
	/* the reader's */
	pthread_t thread;
	bool running, holds; /* holds: the first block is being read */
	struct digest *out;
	uint64_t out_bytes;
};

static ssize_t read_in(struct stream *s, struct err *err)
{
	ssize_t n;
	do
		n = read(s->fd, s->head, sizeof s->head);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(err, errno, "read the archive");
	digest_add(s->in, s->head, (size_t)n);
	pthread_mutex_lock(&s->lock);
	s->in_bytes += (uint64_t)n;
	pthread_mutex_unlock(&s->lock);
	s->head_len = (size_t)n;
	s->head_used = 0;
	return n;
}

/* libarchive's source: what was read to tell the format comes first. */
static la_ssize_t feed(struct archive *a, void *arg, const void **ret)
{
	struct stream *s = arg;
	struct err why;
	if (s->head_used == s->head_len && read_in(s, &why) < 0) {
		archive_set_error(a, why.code, "%s", why.msg);
		return -1;
	}
	size_t n = s->head_len - s->head_used;
	*ret = s->head + s->head_used;
	s->head_used = s->head_len;
	return (la_ssize_t)n;
}

static int raw_failed(struct archive *a, struct err *err)
{
	const char *why = archive_error_string(a);
	return err_say(err, EINVAL, "decompress: %s", why ? why : "damaged");
}

static const struct {
	unsigned char magic[4];
	size_t len;
	int (*support)(struct archive *a);
} FORMATS[] = {
	{ { 0x1f, 0x8b }, 2, archive_read_support_filter_gzip },
	{ { 0x28, 0xb5, 0x2f, 0xfd }, 4, archive_read_support_filter_zstd },
};

static int open_raw(struct stream *s, int (*support)(struct archive *a), struct err *err)
{
	struct archive_entry *e;
	s->raw = archive_read_new();
	if (!s->raw)
		return err_set(err, ENOMEM, "decompress");
	if (support(s->raw) != ARCHIVE_OK || archive_read_support_format_raw(s->raw) != ARCHIVE_OK ||
		archive_read_open(s->raw, s, NULL, feed, NULL) != ARCHIVE_OK)
		return raw_failed(s->raw, err);
	int r = archive_read_next_header(s->raw, &e);
	if (r == ARCHIVE_EOF)
		return err_say(err, EINVAL, "the archive is empty");
	if (r != ARCHIVE_OK)
		return raw_failed(s->raw, err);
	/* One filter, and the one for "none" that every reader has: more is an archive compressed twice. */
	return archive_filter_count(s->raw) > 2 ? err_say(err, EINVAL, "compressed twice") : 0;
}

static int detect(struct stream *s, struct err *err)
{
	ssize_t n = read_in(s, err);
	if (n <= 0)
		return n < 0 ? (int)n : err_say(err, EINVAL, "the archive is empty");
	for (size_t i = 0; i < ARRAY_LEN(FORMATS); i++)
		if (s->head_len >= FORMATS[i].len && memcmp(s->head, FORMATS[i].magic, FORMATS[i].len) == 0)
			return open_raw(s, FORMATS[i].support, err);
	return 0;
}

/* Fills a block; 0: no more. */
static ssize_t fill(struct stream *s, struct block *b, struct err *err)
{
	if (s->raw) {
		la_ssize_t n = archive_read_data(s->raw, b->bytes, sizeof b->bytes);
		return n < 0 ? raw_failed(s->raw, err) : n;
	}
	if (s->head_used == s->head_len) {
		ssize_t n = read_in(s, err);
		if (n <= 0)
			return n;
	}
	size_t n = s->head_len - s->head_used;
	memcpy(b->bytes, s->head + s->head_used, n);
	s->head_used = s->head_len;
	return (ssize_t)n;
}

/* A block to fill, or NULL when nobody wants more. */
static struct block *await_room(struct stream *s)
{
	struct block *b = NULL;
	pthread_mutex_lock(&s->lock);
	while (s->filled == BLOCKS && !s->stopped)
		pthread_cond_wait(&s->changed, &s->lock);
	if (!s->stopped)
		b = &s->blocks[(s->first + s->filled) % BLOCKS];
	pthread_mutex_unlock(&s->lock);
	return b;
}

static void hand_over(struct stream *s, struct block *b, ssize_t n, const struct err *why)
{
	pthread_mutex_lock(&s->lock);
	if (n > 0) {
		b->len = (size_t)n;
		s->filled++;
	} else {
		s->ended = true;
		if (n < 0)
			s->why = *why;
	}
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void *decompress(void *arg)
{
	struct stream *s = arg;
	struct err why = { 0 };
	ssize_t n = detect(s, &why);
	if (n < 0) {
		hand_over(s, NULL, n, &why);
		return NULL;
	}
	for (struct block *b; (b = await_room(s));) {
		n = fill(s, b, &why);
		while (n == 0 && read_in(s, &why) > 0)
			; /* what follows the compressed data is part of the digest too */
		if (n == 0 && why.code)
			n = -why.code;
		hand_over(s, b, n, &why);
		if (n <= 0)
			break;
	}
	return NULL;
}

int stream_open(int fd, struct stream **ret, struct err *err)
{
	struct stream *s = calloc(1, sizeof *s);
	if (!s)
		return err_set(err, ENOMEM, "open the archive");
	s->fd = fd;
	s->in = digest_new();
	s->out = digest_new();
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	int r = s->in && s->out ? pthread_create(&s->thread, &attr, decompress, s) : ENOMEM;
	pthread_attr_destroy(&attr);
	s->running = r == 0;
	if (r != 0) {
		stream_close(s);
		return err_set(err, r, "open the archive");
	}
	*ret = s;
	return 0;
}

static int count(struct stream *s, size_t n, uint64_t in_bytes, struct err *err)
{
	s->out_bytes += n;
	if (s->out_bytes > UNPACK_MAX_BYTES)
		return err_say(err, EFBIG, "larger than %llu bytes", (unsigned long long)UNPACK_MAX_BYTES);
	if (s->out_bytes > UNPACK_RATIO_FROM && s->out_bytes / UNPACK_MAX_RATIO > in_bytes)
		return err_say(
			err, EFBIG, "it grows more than %u times when it is decompressed", UNPACK_MAX_RATIO);
	return 0;
}

ssize_t stream_next(struct stream *s, const void **ret_bytes, struct err *err)
{
	struct block *b = NULL;
	int r = 0;
	pthread_mutex_lock(&s->lock);
	if (s->holds) {
		s->first = (s->first + 1) % BLOCKS;
		s->filled--;
		s->holds = false;
		pthread_cond_broadcast(&s->changed);
	}
	while (s->filled == 0 && !s->ended)
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->filled > 0)
		b = &s->blocks[s->first];
	else if (s->why.code)
		r = err_say(err, s->why.code, "%s", s->why.msg);
	s->holds = b != NULL;
	uint64_t in_bytes = s->in_bytes;
	pthread_mutex_unlock(&s->lock);
	if (!b)
		return r;
	r = count(s, b->len, in_bytes, err);
	if (r < 0)
		return r;
	digest_add(s->out, b->bytes, b->len);
	*ret_bytes = b->bytes;
	return (ssize_t)b->len;
}

int stream_end(struct stream *s, struct stream_sum *ret, struct err *err)
{
	const void *bytes;
	ssize_t n;
	while ((n = stream_next(s, &bytes, err)) > 0)
		;
	if (n < 0)
		return (int)n;
	pthread_join(s->thread, NULL);
	s->running = false;
	ret->size = s->in_bytes;
	digest_end(TAKE_PTR(s->in), ret->digest);
	digest_end(TAKE_PTR(s->out), ret->diff_id);
	return 0;
}

void stream_close(struct stream *s)
{
	if (!s)
		return;
	if (s->running) {
		pthread_mutex_lock(&s->lock);
		s->stopped = true;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	if (s->raw)
		archive_read_free(s->raw);
	digest_free(s->in);
	digest_free(s->out);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}
