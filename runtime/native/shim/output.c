/* The container's output in the CRI log format: "2026-11-24T03:00:00.123456789Z stdout F text". "P" marks a
 * line that goes on in the next record. The file is rotated by size; the container is never made to wait for
 * the disk: what can't be written is dropped. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/native/shim/shim.h"

#define LINE_MAX_BYTES (16u * 1024)
#define HEAD_MAX       48

struct stream {
	char text[LINE_MAX_BYTES]; /* a line not yet ended */
	size_t len;
};

struct output {
	int dir_fd, fd;
	char name[NAME_MAX + 1];
	uint64_t size, max_size;
	uint32_t max_files;
	struct stream streams[2];
	char batch[2 * LINE_MAX_BYTES]; /* records on their way to the file */
	size_t batch_len;
};

static void reopen(struct output *o)
{
	struct stat st;
	own_close(&o->fd);
	o->fd = openat(o->dir_fd, o->name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	o->size = o->fd >= 0 && fstat(o->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* 1.log becomes 1.log.1, that becomes 1.log.2, and so on; the oldest goes. */
static void rotate(struct output *o)
{
	char from[NAME_MAX + 16], to[NAME_MAX + 16];
	for (uint32_t i = o->max_files - 1; i > 0; i--) {
		snprintf(to, sizeof to, "%s.%u", o->name, i);
		if (i == 1)
			snprintf(from, sizeof from, "%s", o->name);
		else
			snprintf(from, sizeof from, "%s.%u", o->name, i - 1);
		renameat(o->dir_fd, from, o->dir_fd, to);
	}
	if (o->max_files == 1)
		unlinkat(o->dir_fd, o->name, 0);
	reopen(o);
}

static void flush(struct output *o)
{
	size_t len = o->batch_len;
	o->batch_len = 0;
	if (len == 0)
		return;
	if (o->size > 0 && o->size + len > o->max_size)
		rotate(o);
	if (o->fd < 0)
		reopen(o);
	if (o->fd < 0)
		return;
	ssize_t n = write(o->fd, o->batch, len);
	if (n == (ssize_t)len)
		o->size += len;
	else if (ftruncate(o->fd, (off_t)o->size) < 0) /* no half records on a full disk */
		own_close(&o->fd);
}

static void add_record(struct output *o, bool is_stderr, char tag, const char *text, size_t len)
{
	struct timespec now;
	struct tm tm;
	/* Up to the file's end, so that files are full when they are rotated. */
	uint64_t left = o->size < o->max_size ? o->max_size - o->size : o->max_size;
	size_t room = left < sizeof o->batch ? (size_t)left : sizeof o->batch;
	if (o->batch_len + HEAD_MAX + len + 1 > room)
		flush(o);
	char *to = o->batch + o->batch_len;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(to, HEAD_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(
		to + n, HEAD_MAX - n, ".%09ldZ %s %c ", now.tv_nsec, is_stderr ? "stderr" : "stdout", tag);
	memcpy(to + n, text, len);
	to[n + len] = '\n';
	o->batch_len += n + len + 1;
}

/* Records every full line of the stream and keeps the rest. */
static void split_lines(struct output *o, bool is_stderr)
{
	struct stream *s = &o->streams[is_stderr];
	char *at = s->text, *end = s->text + s->len;
	for (char *nl; (nl = memchr(at, '\n', (size_t)(end - at))); at = nl + 1)
		add_record(o, is_stderr, 'F', at, (size_t)(nl - at));
	size_t rest = (size_t)(end - at);
	if (rest == sizeof s->text) {
		add_record(o, is_stderr, 'P', at, rest);
		rest = 0;
	}
	memmove(s->text, at, rest);
	s->len = rest;
}

int output_read(struct output *o, int fd, bool is_stderr)
{
	struct stream *s = &o->streams[is_stderr];
	ssize_t n = read(fd, s->text + s->len, sizeof s->text - s->len);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0 && s->len > 0) {
		add_record(o, is_stderr, 'F', s->text, s->len);
		s->len = 0;
	}
	s->len += (size_t)n;
	split_lines(o, is_stderr);
	flush(o);
	return n > 0;
}

int output_open(const struct shim_config *c, struct output **ret, struct err *err)
{
	const char *slash = strrchr(c->log, '/');
	struct output *o = calloc(1, sizeof *o);
	if (!o)
		return err_set(err, ENOMEM, "open log");
	*o = (struct output){
		.dir_fd = -1, .fd = -1, .max_size = c->log_max_size, .max_files = c->log_max_files
	};
	if (slash && slash != c->log && strlen(slash + 1) + 8 < sizeof o->name) {
		OWN_FREE char *dir = strndup(c->log, (size_t)(slash - c->log));
		o->dir_fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		snprintf(o->name, sizeof o->name, "%s", slash + 1);
		reopen(o);
	}
	if (o->fd < 0) {
		int code = errno;
		output_close(o);
		return err_set(err, code, "open log %s", c->log);
	}
	*ret = o;
	return 0;
}

void output_close(struct output *o)
{
	if (!o)
		return;
	own_close(&o->fd);
	own_close(&o->dir_fd);
	free(o);
}
