#include "runtime/image/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/image/tree_private.h"

#define DEPTH_MAX 256u /* each level holds two descriptors */

struct names {
	char **items;
	size_t n, cap;
};

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->items[i]);
	free(names->items);
}

const char *walk_path(const struct walk *w)
{
	return w->path.len > 0 ? w->path.data : "/";
}

int walk_check_unchanged(const struct walk *w, int fd, const struct stat *before, struct err *err)
{
	struct stat now;
	if (fstat(fd, &now) < 0)
		return err_set(err, errno, "look at %s", walk_path(w));
	if (now.st_size != before->st_size || now.st_mode != before->st_mode ||
		now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
		now.st_mtim.tv_nsec != before->st_mtim.tv_nsec ||
		now.st_ctim.tv_sec != before->st_ctim.tv_sec ||
		now.st_ctim.tv_nsec != before->st_ctim.tv_nsec)
		return err_say(err, EAGAIN, "%s changed while it was read", walk_path(w));
	return 0;
}

void tree_add_string(struct buf *record, const char *bytes, size_t len)
{
	buf_addf(record, "%zu:", len);
	buf_add(record, bytes, len);
}

static void record_begin(struct walk *w, char type, const struct stat *st)
{
	w->entries++;
	w->record.len = 0;
	buf_addf(&w->record, "%c %o %u %u ", type, st->st_mode & 07777u, st->st_uid, st->st_gid);
	tree_add_string(&w->record, w->path.data ? w->path.data : "", w->path.len);
}

static int record_end(struct walk *w, struct err *err)
{
	buf_adds(&w->record, "\n");
	if (w->record.failed)
		return err_set(err, ENOMEM, "read %s", walk_path(w));
	digest_add(w->digest, w->record.data, w->record.len);
	return 0;
}

/* Opens a file or directory of the tree: beneath, no symlink, no mount. */
static int open_entry(const struct walk *w, int dirfd, const char *name, int flags, int *ret, struct err *err)
{
	struct open_how how = {
		.flags = (uint64_t)(O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
	if (fd >= 0) {
		*ret = fd;
		return 0;
	}
	if (errno == EXDEV)
		return err_say(err, EXDEV, "%s: something is mounted there", walk_path(w));
	if (errno == ENOENT || errno == ELOOP || errno == ENOTDIR)
		return err_say(err, EAGAIN, "%s changed while it was read", walk_path(w));
	return err_set(err, errno, "open %s", walk_path(w));
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_names(const struct walk *w, int fd, struct names *names, struct err *err)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a read position of its own */
	OWN_DIR DIR *dir = again < 0 ? NULL : fdopendir(again);
	if (!dir)
		return err_set(err, errno, "list %s", walk_path(w));
	for (struct dirent *e; errno = 0, (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (vec_reserve(&names->items, &names->cap, names->n + 1, sizeof *names->items) < 0 ||
			!(names->items[names->n] = strdup(e->d_name)))
			return err_set(err, ENOMEM, "list %s", walk_path(w));
		names->n++;
	}
	if (errno != 0)
		return err_set(err, errno, "list %s", walk_path(w));
	if (names->n > 1)
		qsort(names->items, names->n, sizeof *names->items, compare_names);
	return 0;
}

/* What a container always gets anew. */
static bool is_left_out(const struct walk *w)
{
	static const char *const left_out[] = { "dev", "proc", "sys" };
	for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
		if (w->path.data && strcmp(w->path.data, left_out[i]) == 0)
			return true;
	return false;
}

static int walk_entry(struct walk *w, int from, int to, const char *name, struct err *err);

/* The directory's record and everything in it; then, on a copy, what the entries would have changed. */
static int walk_directory(struct walk *w, int from, int to, const struct stat *st, struct err *err)
{
	OWN(names_done) struct names names = { 0 };
	if (w->avoid && st->st_dev == w->avoid->st_dev && st->st_ino == w->avoid->st_ino)
		return err_say(
			err, EINVAL, "%s is where images are stored: it can't be part of one", walk_path(w));
	if (w->depth >= DEPTH_MAX)
		return err_say(
			err, ENAMETOOLONG, "%s: more than %u directories deep", walk_path(w), DEPTH_MAX);
	record_begin(w, 'd', st);
	int r = tree_xattrs_record(w, from, &w->record, err);
	if (r == 0)
		r = record_end(w, err);
	if (r == 0 && !is_left_out(w))
		r = list_names(w, from, &names, err);
	w->depth++;
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = walk_entry(w, from, to, names.items[i], err);
	w->depth--;
	if (r == 0)
		r = walk_check_unchanged(w, from, st, err);
	if (r == 0 && to >= 0)
		r = tree_meta_copy(w, from, to, st, err);
	return r;
}

static int walk_subdirectory(struct walk *w, int from, int to, const char *name, struct err *err)
{
	OWN_FD int fd = -1, copy = -1;
	struct stat st;
	int r = open_entry(w, from, name, O_DIRECTORY, &fd, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at %s", walk_path(w));
	if (to >= 0) {
		if (mkdirat(to, name, 0700) < 0)
			return err_set(err, errno, "create %s", walk_path(w));
		copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (copy < 0)
			return err_set(err, errno, "open the copy of %s", walk_path(w));
	}
	return walk_directory(w, fd, copy, &st, err);
}

/* A further name of a file that was copied already. */
static int copy_link(const struct walk *w, const struct link *link, int to, const char *name, struct err *err)
{
	if (linkat(w->root_to, link->path, to, name, 0) < 0)
		return err_set(err, errno, "link %s to %s", walk_path(w), link->path);
	return 0;
}

static int copy_or_read(struct walk *w, int fd, int to, const char *name, const struct stat *st,
	char content[DIGEST_LEN], struct err *err)
{
	OWN_FD int copy = -1;
	if (to >= 0) {
		copy = openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (copy < 0)
			return err_set(err, errno, "create %s", walk_path(w));
	}
	int r = tree_file_content(w, fd, copy, st, content, err);
	if (r == 0)
		r = walk_check_unchanged(w, fd, st, err);
	if (r == 0 && to >= 0)
		r = tree_meta_copy(w, fd, copy, st, err);
	if (r == 0 && st->st_nlink > 1)
		r = tree_link_add(w, st, content, err);
	return r;
}

static int walk_file(struct walk *w, int from, int to, const char *name, struct err *err)
{
	OWN_FD int fd = -1;
	struct stat st;
	char content[DIGEST_LEN];
	int r = open_entry(w, from, name, 0, &fd, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at %s", walk_path(w));
	if (!S_ISREG(st.st_mode))
		return err_say(err, EAGAIN, "%s changed while it was read", walk_path(w));
	const struct link *link = tree_link_find(w, &st);
	if (link)
		memcpy(content, link->content, sizeof content);
	r = !link     ? copy_or_read(w, fd, to, name, &st, content, err)
	    : to >= 0 ? copy_link(w, link, to, name, err)
		      : 0;
	if (r < 0)
		return r;
	w->bytes += (uint64_t)st.st_size;
	record_begin(w, 'f', &st);
	buf_addf(&w->record, "%lld %s ", (long long)st.st_size, content);
	r = tree_xattrs_record(w, fd, &w->record, err);
	return r < 0 ? r : record_end(w, err);
}

/* Names and targets only: neither symlinks nor pipes can bear the attributes that we keep. */
static int copy_owner_and_times(
	const struct walk *w, int to, const char *name, const struct stat *st, struct err *err)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };
	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(err, errno, "keep the owner of %s", walk_path(w));
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0) < 0)
		return err_set(err, errno, "keep the mode of %s", walk_path(w));
	if (utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(err, errno, "keep the times of %s", walk_path(w));
	return 0;
}

static int walk_symlink(
	struct walk *w, int from, int to, const char *name, const struct stat *st, struct err *err)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(from, name, target, sizeof target - 1);
	if (len < 0 && (errno == ENOENT || errno == EINVAL))
		return err_say(err, EAGAIN, "%s changed while it was read", walk_path(w));
	if (len < 0)
		return err_set(err, errno, "read link %s", walk_path(w));
	target[len] = '\0';
	record_begin(w, 'l', st);
	tree_add_string(&w->record, target, (size_t)len);
	if (to < 0)
		return record_end(w, err);
	if (symlinkat(target, to, name) < 0)
		return err_set(err, errno, "create link %s", walk_path(w));
	int r = copy_owner_and_times(w, to, name, st, err);
	return r < 0 ? r : record_end(w, err);
}

static int walk_fifo(struct walk *w, int to, const char *name, const struct stat *st, struct err *err)
{
	record_begin(w, 'p', st);
	if (to < 0)
		return record_end(w, err);
	if (mkfifoat(to, name, 0600) < 0)
		return err_set(err, errno, "create pipe %s", walk_path(w));
	int r = copy_owner_and_times(w, to, name, st, err);
	return r < 0 ? r : record_end(w, err);
}

static void note_newest(struct walk *w, const struct stat *st)
{
	if (st->st_ctim.tv_sec > w->newest.tv_sec ||
		(st->st_ctim.tv_sec == w->newest.tv_sec && st->st_ctim.tv_nsec > w->newest.tv_nsec))
		w->newest = st->st_ctim;
}

static int stamp_entry(struct walk *w, const struct stat *st, struct err *err)
{
	note_newest(w, st);
	record_begin(w, 's', st);
	buf_addf(&w->record, "%o %llu %llu %lld %lld.%ld %lld.%ld", st->st_mode,
		(unsigned long long)st->st_dev, (unsigned long long)st->st_ino, (long long)st->st_size,
		(long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec,
		st->st_ctim.tv_nsec);
	return record_end(w, err);
}

static int walk_by_type(struct walk *w, int from, int to, const char *name, struct err *err)
{
	struct stat st;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_say(err, EAGAIN, "%s changed while it was read", walk_path(w));
	if (w->mode == WALK_STAMP) {
		int r = stamp_entry(w, &st, err);
		if (r < 0 || !S_ISDIR(st.st_mode))
			return r;
	}
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR: return walk_subdirectory(w, from, to, name, err);
	case S_IFREG: return walk_file(w, from, to, name, err);
	case S_IFLNK: return walk_symlink(w, from, to, name, &st, err);
	case S_IFIFO: return walk_fifo(w, to, name, &st, err);
	case S_IFSOCK:
		return err_say(err, EINVAL, "%s is a socket: it can't be part of an image", walk_path(w));
	default: return err_say(err, EINVAL, "%s is a device node: only /dev may have some", walk_path(w));
	}
}

static int walk_entry(struct walk *w, int from, int to, const char *name, struct err *err)
{
	size_t mark = w->path.len;
	if (buf_addf(&w->path, "%s%s", mark > 0 ? "/" : "", name) < 0)
		return err_set(err, ENOMEM, "read %s", walk_path(w));
	int r = walk_by_type(w, from, to, name, err);
	w->path.len = mark;
	w->path.data[mark] = '\0';
	return r;
}

static void walk_done(struct walk *w)
{
	digest_free(w->digest);
	buf_done(&w->path);
	buf_done(&w->record);
	free(w->block);
	tree_links_free(w);
}

static int walk_root(struct walk *w, int from, int to, struct err *err)
{
	static const char version[] = "teal-tree-v1\n";
	struct stat st;
	w->digest = digest_new();
	w->block = malloc(WALK_BLOCK);
	if (!w->digest || !w->block)
		return err_set(err, ENOMEM, "read the tree");
	if (fstat(from, &st) < 0)
		return err_set(err, errno, "look at %s", walk_path(w));
	digest_add(w->digest, version, sizeof version - 1);
	w->root_to = to;
	int r = w->mode == WALK_STAMP ? stamp_entry(w, &st, err) : 0;
	return r < 0 ? r : walk_directory(w, from, to, &st, err);
}

static int sum_tree(enum walk_mode mode, int from, int to, const struct stat *avoid, struct tree_sum *ret,
	struct timespec *ret_newest, struct err *err)
{
	OWN(walk_done) struct walk w = { .mode = mode, .avoid = avoid };
	int r = walk_root(&w, from, to, err);
	if (r < 0)
		return r;
	*ret = (struct tree_sum){ .bytes = w.bytes, .entries = w.entries };
	digest_end(TAKE_PTR(w.digest), ret->digest);
	*ret_newest = w.newest;
	return 0;
}

int tree_digest(int fd, struct tree_sum *ret, struct err *err)
{
	struct timespec newest;
	return sum_tree(WALK_DIGEST, fd, -1, NULL, ret, &newest, err);
}

int tree_copy(int from, int to, const struct stat *avoid, struct tree_sum *ret, struct err *err)
{
	struct timespec newest;
	return sum_tree(WALK_COPY, from, to, avoid, ret, &newest, err);
}

int tree_stamp(int fd, char ret[DIGEST_LEN], int64_t *ret_newest_ms, struct err *err)
{
	struct tree_sum sum;
	struct timespec newest;
	int r = sum_tree(WALK_STAMP, fd, -1, NULL, &sum, &newest, err);
	if (r < 0)
		return r;
	memcpy(ret, sum.digest, DIGEST_LEN);
	*ret_newest_ms = newest.tv_sec * 1000 + newest.tv_nsec / 1000000;
	return 0;
}
