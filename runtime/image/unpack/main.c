/* teal-unpack [--layer]: see unpack.h. Exit code 0, or 1 with the reason in the report. */
#include <errno.h>
#include <locale.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/json.h"
#include "base/line.h"
#include "base/own.h"
#include "runtime/image/layer_marks.h"
#include "runtime/image/unpack/unpack.h"

struct feed {
	struct stream *stream;
	struct err why;
};

static la_ssize_t feed_archive(struct archive *a, void *arg, const void **ret)
{
	struct feed *f = arg;
	ssize_t n = stream_next(f->stream, ret, &f->why);
	if (n < 0)
		archive_set_error(a, f->why.code, "%s", f->why.msg);
	return n;
}

static int tar_failed(struct archive *a, const struct feed *f, struct err *err)
{
	const char *why = archive_error_string(a);
	if (f->why.code)
		return err_say(err, f->why.code, "%s", f->why.msg);
	return err_say(err, EINVAL, "%s", why ? why : "the archive is damaged");
}

static int place_all(struct unpack *u, struct archive *a, struct feed *f, struct err *err)
{
	struct archive_entry *e;
	for (;;) {
		int r = archive_read_next_header(a, &e);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r != ARCHIVE_OK)
			return tar_failed(a, f, err);
		r = place_entry(u, a, e, err);
		if (r < 0)
			return f->why.code ? tar_failed(a, f, err) : r;
	}
}

static int read_tar(struct unpack *u, struct stream *stream, struct err *err)
{
	struct feed f = { .stream = stream };
	struct archive *a = archive_read_new();
	if (!a)
		return err_set(err, ENOMEM, "read the archive");
	int r;
	if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
		archive_read_open(a, &f, NULL, feed_archive, NULL) != ARCHIVE_OK)
		r = tar_failed(a, &f, err);
	else
		r = place_all(u, a, &f, err);
	archive_read_free(a);
	return r;
}

/* Until an entry says otherwise, the root is a directory that the layer only passes through. */
static int begin_root(struct unpack *u, struct err *err)
{
	if (fchmod(u->root, 0755) < 0 || (u->layer && fsetxattr(u->root, MARK_IMPLICIT, "y", 1, 0) < 0))
		return err_set(err, errno, "prepare the directory");
	return 0;
}

static int unpack(struct unpack *u, struct stream_sum *ret, struct err *err)
{
	struct stream *stream = NULL;
	int r = begin_root(u, err);
	if (r == 0)
		r = stream_open(UNPACK_BLOB_FD, &stream, err);
	if (r == 0)
		r = read_tar(u, stream, err);
	if (r == 0)
		r = meta_finish_dirs(u, err);
	if (r == 0)
		r = stream_end(stream, ret, err);
	stream_close(stream);
	return r;
}

static json_t *report_json(const struct unpack *u, const struct stream_sum *sum, const struct err *why)
{
	if (why->code) {
		char line[sizeof why->msg];
		line_copy(line, sizeof line, why->msg);
		return json_pack("{s:i, s:o}", "code", why->code, "error", json_text(line));
	}
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "digest", sum->digest, "diff_id", sum->diff_id,
		"size", (json_int_t)sum->size, "bytes", (json_int_t)u->bytes, "entries",
		(json_int_t)u->entries, "left_out", (json_int_t)u->left_out);
}

static void report(const struct unpack *u, const struct stream_sum *sum, const struct err *why)
{
	OWN_JSON json_t *j = report_json(u, sum, why);
	OWN_FREE char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	if (len > 0 && write(UNPACK_REPORT_FD, text, len) != (ssize_t)len)
		_exit(1);
}

int main(int argc, char **argv)
{
	static struct unpack u; /* larger than a page of stack should be */
	struct stream_sum sum = { 0 };
	struct err why = { 0 };
	u.root = UNPACK_TREE_FD;
	u.parent = -1;
	u.layer = argc > 1 && strcmp(argv[1], "--layer") == 0;
	u.dirs.max = UNPACK_MAX_DIRS_BYTES;
	/* Libraries read their files now: later there are only the archive's. */
	setlocale(LC_CTYPE, "C.UTF-8"); /* names in pax headers are UTF-8 */
	digest_free(digest_new());
	int r = sandbox_enter(&u.root, &u.flat, &why);
	if (r == 0)
		r = unpack(&u, &sum, &why);
	report(&u, &sum, &why);
	path_forget(&u);
	buf_done(&u.dirs);
	return r < 0;
}
