/* Regular files: read once for their digest and, if wanted, their copy; and the memory of those with several
 * names. */
#include <errno.h>
#include <linux/fs.h>
#include <search.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/image/tree_private.h"

static void own_digest(struct digest **d)
{
	digest_free(*d);
}

static bool is_zero(const char *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static int write_block(int to, const char *bytes, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(to, bytes, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Blocks of zeros stay holes in the copy. */
static int read_through(struct walk *w, int from, int to, struct digest *d, off_t *ret_size, struct err *err)
{
	off_t at = 0;
	for (;;) {
		ssize_t n = pread(from, w->block, WALK_BLOCK, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "read %s", walk_path(w));
		if (n == 0)
			break;
		digest_add(d, w->block, (size_t)n);
		int r = to < 0 || is_zero(w->block, (size_t)n) ? 0 : write_block(to, w->block, (size_t)n, at);
		if (r < 0)
			return err_set(err, -r, "write the copy of %s", walk_path(w));
		at += n;
	}
	if (to >= 0 && ftruncate(to, at) < 0)
		return err_set(err, errno, "write the copy of %s", walk_path(w));
	*ret_size = at;
	return 0;
}

int tree_file_content(
	struct walk *w, int from, int to, const struct stat *st, char ret[DIGEST_LEN], struct err *err)
{
	OWN(own_digest) struct digest *d = digest_new();
	off_t size = 0;
	if (!d)
		return err_set(err, ENOMEM, "read %s", walk_path(w));
	/* Where the file system can share blocks the copy costs nothing; its digest is then that of the
	 * clone. */
	bool cloned = to >= 0 && ioctl(to, FICLONE, from) == 0;
	int r = read_through(w, cloned ? to : from, cloned ? -1 : to, d, &size, err);
	if (r < 0)
		return r;
	if (size != st->st_size)
		return err_say(err, EAGAIN, "%s changed while it was read", walk_path(w));
	digest_end(TAKE_PTR(d), ret);
	return 0;
}

static int compare_links(const void *a, const void *b)
{
	const struct link *x = a, *y = b;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->dev < y->dev ? -1 : x->dev > y->dev;
}

const struct link *tree_link_find(const struct walk *w, const struct stat *st)
{
	struct link key = { .dev = st->st_dev, .ino = st->st_ino };
	struct link *const *found = st->st_nlink > 1 ? tfind(&key, &w->links, compare_links) : NULL;
	return found ? *found : NULL;
}

int tree_link_add(struct walk *w, const struct stat *st, const char content[DIGEST_LEN], struct err *err)
{
	OWN_FREE struct link *link = malloc(offsetof(struct link, path) + w->path.len + 1);
	if (link) {
		link->dev = st->st_dev;
		link->ino = st->st_ino;
		memcpy(link->content, content, sizeof link->content);
		memcpy(link->path, w->path.data, w->path.len + 1);
	}
	if (!link || !tsearch(link, &w->links, compare_links))
		return err_set(err, ENOMEM, "read %s", walk_path(w));
	TAKE_PTR(link);
	return 0;
}

void tree_links_free(struct walk *w)
{
	tdestroy(w->links, free);
	w->links = NULL;
}
