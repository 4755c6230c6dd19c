#include "config/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/own.h"

static void add_parts(struct buf *out, const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		if (n > 0 && !(n == 1 && *p == '.')) {
			buf_adds(out, "/");
			buf_add(out, p, n);
		}
		p += n;
		p += *p == '/';
	}
}

char *path_absolute(const char *base, const char *path)
{
	OWN_BUF struct buf out = { 0 };
	if (*path != '/') {
		OWN_FREE char *cwd = base ? strdup(base) : getcwd(NULL, 0);
		if (!cwd)
			return NULL;
		add_parts(&out, cwd);
	}
	add_parts(&out, path);
	if (out.len == 0)
		buf_adds(&out, "/");
	return buf_take(&out);
}

static int read_to_end(int fd, size_t max, struct buf *out)
{
	for (;;) {
		char *to = buf_room(out, 8192);
		if (!to)
			return -ENOMEM;
		ssize_t n = read(fd, to, 8192);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		out->len += (size_t)n;
		out->data[out->len] = '\0';
		if (out->len > max)
			return -EFBIG;
	}
}

int path_read(const char *path, size_t max, struct buf *ret, struct err *err)
{
	bool input = strcmp(path, "-") == 0;
	OWN_FD int fd =
		input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_set(err, errno, "open %s", input ? "standard input" : path);
	OWN_BUF struct buf content = { 0 };
	int r = read_to_end(fd, max, &content);
	if (r == -EFBIG)
		return err_say(err, EFBIG, "read %s: more than %zu bytes", path, max);
	if (r < 0)
		return err_set(err, -r, "read %s", path);
	buf_done(ret);
	*ret = content;
	content = (struct buf){ 0 };
	return 0;
}
