#include "runtime/native/logread.h"

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

#define CHUNK	  (128u * 1024)
#define FILES_MAX 1000

/* "2026-11-24T03:00:00.123456789Z stdout F text": everything before the text has a fixed place. */
enum { AT_STREAM = 31, AT_TAG = 38, AT_TEXT = 40 };

bool log_record_parse(const char *text, size_t len, struct log_record *ret)
{
	struct tm tm = { 0 };
	long nanoseconds = 0;
	char head[AT_STREAM + 1];
	if (len < AT_TEXT || text[AT_STREAM - 1] != ' ' || text[AT_TAG - 1] != ' ' || text[AT_TAG + 1] != ' ')
		return false;
	memcpy(head, text, AT_STREAM);
	head[AT_STREAM] = '\0';
	char *rest = strptime(head, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!rest || sscanf(rest, ".%9ldZ", &nanoseconds) != 1)
		return false;
	*ret = (struct log_record){ .at_ms = (int64_t)timegm(&tm) * 1000 + nanoseconds / 1000000,
		.stream = strncmp(text + AT_STREAM, "stderr", 6) == 0 ? "stderr" : "stdout",
		.partial = text[AT_TAG] == 'P',
		.text = text + AT_TEXT,
		.len = len - AT_TEXT };
	return true;
}

int log_cursor_open(const char *dir, const char *name, struct log_cursor *ret)
{
	struct log_cursor c = { .dir = strdup(dir), .name = strdup(name), .fd = -1 };
	if (!c.dir || !c.name) {
		log_cursor_done(&c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

void log_cursor_done(struct log_cursor *c)
{
	own_close(&c->fd);
	free(TAKE_PTR(c->dir));
	free(TAKE_PTR(c->name));
}

/* index 0 is the current file, higher ones are older. */
static int open_file(const struct log_cursor *c, int index)
{
	char path[PATH_MAX];
	int n = index ? snprintf(path, sizeof path, "%s/%s.%d", c->dir, c->name, index)
		      : snprintf(path, sizeof path, "%s/%s", c->dir, c->name);
	if (n >= (int)sizeof path)
		return -ENAMETOOLONG;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int oldest_index(const struct log_cursor *c)
{
	int index = 0;
	for (; index < FILES_MAX; index++) {
		OWN_FD int fd = open_file(c, index + 1);
		if (fd < 0)
			break;
	}
	return index;
}

/* The newline that ends the record before `end`, which is the start of one; -1 at the beginning of the file.
 */
static off_t newline_before(int fd, off_t end, char *block)
{
	off_t to = end;
	while (to > 0) {
		size_t len = to > 4096 ? 4096 : (size_t)to;
		ssize_t n = pread(fd, block, len, to - (off_t)len);
		if (n <= 0)
			return -1;
		const char *nl = memrchr(block, '\n', (size_t)n);
		if (nl)
			return to - (off_t)len + (nl - block);
		to -= (off_t)len;
	}
	return -1;
}

static bool ends_line(int fd, off_t record)
{
	char tag = 'F';
	return pread(fd, &tag, 1, record + AT_TAG) == 1 && tag != 'P';
}

/* Where the last *lines lines of the file begin; *lines is what is still wanted from older files. */
static off_t seek_back(int fd, uint32_t *lines)
{
	char block[4096];
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size == 0)
		return 0;
	off_t after = st.st_size; /* start of the record looked at before */
	while (after > 0) {
		off_t record = newline_before(fd, after - 1, block) + 1;
		if (ends_line(fd, record)) {
			if (*lines == 0)
				return after;
			--*lines;
		}
		after = record;
	}
	return 0;
}

static void use_file(struct log_cursor *c, int fd, off_t offset)
{
	own_close(&c->fd);
	c->fd = fd;
	c->offset = offset;
}

int log_cursor_seek_tail(struct log_cursor *c, uint32_t lines)
{
	bool all = lines == UINT32_MAX;
	int oldest = oldest_index(c), from = all ? oldest : 0;
	for (int index = from; index <= oldest; index++) {
		int fd = open_file(c, index);
		if (fd == -ENOENT)
			continue;
		if (fd < 0)
			return fd;
		off_t offset = all ? 0 : seek_back(fd, &lines);
		use_file(c, fd, offset);
		if (all || offset > 0)
			break;
	}
	return 0;
}

static bool same_file(int fd, int other)
{
	struct stat a, b;
	return fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* After the end of the file: the next younger one, if there is one. The file may have been rotated away
 * meanwhile. */
static bool next_file(struct log_cursor *c)
{
	int oldest = oldest_index(c), index = 0;
	for (; c->fd >= 0 && index <= oldest; index++) {
		OWN_FD int fd = open_file(c, index);
		if (fd >= 0 && same_file(fd, c->fd))
			break;
	}
	if (c->fd >= 0 && index == 0)
		return false;
	int next = c->fd < 0 || index > oldest ? oldest : index - 1;
	int fd = open_file(c, next);
	if (fd < 0)
		return false;
	use_file(c, fd, 0);
	return true;
}

static int read_chunk(struct log_cursor *c, struct buf *out)
{
	char *to = buf_room(out, CHUNK);
	ssize_t n = to ? pread(c->fd, to, CHUNK, c->offset) : -1;
	if (n < 0)
		return to ? -errno : -ENOMEM;
	const char *last = memrchr(to, '\n', (size_t)n);
	size_t whole = last	    ? (size_t)(last - to) + 1
		       : n == CHUNK ? CHUNK
				    : 0; /* no record is that long: skip it */
	out->len += whole;
	c->offset += (off_t)whole;
	return (int)whole;
}

int log_cursor_read(struct log_cursor *c, struct buf *out)
{
	out->len = 0;
	do {
		int r = c->fd >= 0 ? read_chunk(c, out) : 0;
		if (r != 0)
			return r < 0 ? r : 0;
	} while (next_file(c));
	return 0;
}
