/* One entry of the archive into the tree. What has its name makes room; what is made is made by us alone. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/image/layer_marks.h"
#include "runtime/image/unpack/unpack.h"

static int count_bytes(struct unpack *u, uint64_t bytes, struct err *err)
{
	if (bytes > UNPACK_MAX_BYTES || u->bytes + bytes > UNPACK_MAX_BYTES)
		return err_say(err, EFBIG, "the files are larger than %llu bytes together",
			(unsigned long long)UNPACK_MAX_BYTES);
	u->bytes += bytes;
	return 0;
}

/* Makes room for an entry; a directory may stay for a directory. *ret_hides: what was there hid a name of the
 * layers below. */
static int make_room(
	int dir, const char *name, bool for_dir, bool *ret_there, bool *ret_hides, struct err *err)
{
	struct stat st;
	*ret_there = *ret_hides = false;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "look at it");
	if (S_ISDIR(st.st_mode) && for_dir) {
		*ret_there = true;
		return 0;
	}
	*ret_hides = whiteout_is_mark(&st);
	if (!S_ISDIR(st.st_mode))
		return unlinkat(dir, name, 0) < 0 ? err_set(err, errno, "replace it") : 0;
	return fs_remove_tree(dir, name, err);
}

static int write_block(int fd, const char *bytes, size_t len, off_t at, struct err *err)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, bytes, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "write");
		bytes += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int archive_failed(struct archive *a, struct err *err)
{
	const char *why = archive_error_string(a);
	int code = archive_errno(a);
	return err_say(err, code > 0 ? code : EINVAL, "%s", why ? why : "the archive is damaged");
}

static int write_content(struct archive *a, int fd, int64_t size, struct err *err)
{
	const void *bytes;
	size_t len;
	int64_t at;
	for (;;) {
		int r = archive_read_data_block(a, &bytes, &len, &at);
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK)
			return archive_failed(a, err);
		if (at < 0 || at > size || (int64_t)len > size - at)
			return err_say(err, EINVAL, "more content than its size says");
		r = write_block(fd, bytes, len, at, err);
		if (r < 0)
			return r;
	}
	/* Ends in a hole, perhaps. */
	return ftruncate(fd, size) < 0 ? err_set(err, errno, "write") : 0;
}

static int place_file(struct unpack *u, struct archive *a, struct archive_entry *e, int dir, const char *name,
	struct err *err)
{
	int64_t size = archive_entry_size(e);
	if (size < 0)
		return err_say(err, EINVAL, "its size is negative");
	int r = count_bytes(u, (uint64_t)size, err);
	if (r < 0)
		return r;
	OWN_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "create file");
	r = write_content(a, fd, size, err);
	return r < 0 ? r : meta_on_file(u, fd, e, err);
}

/* The file that it is another name of is in a layer below: noted, and linked when the layers are merged. */
static int place_note_of_link(int dir, const char *name, const char *target, struct err *err)
{
	OWN_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "create file");
	if (fsetxattr(fd, MARK_LINK, target, strlen(target), 0) < 0)
		return err_set(err, errno, "note the link to %.200s", target);
	return 0;
}

static int place_hardlink(
	struct unpack *u, struct archive_entry *e, int dir, const char *name, struct err *err)
{
	char target[UNPACK_MAX_PATH], parent[UNPACK_MAX_PATH];
	struct stat st;
	OWN_FD int target_dir = -1;
	if (archive_entry_size_is_set(e) && archive_entry_size(e) > 0)
		return err_say(err, EINVAL, "a hard link with content of its own");
	int r = path_normalise(archive_entry_hardlink(e), target, err);
	if (r < 0)
		return err_wrap(err, "hard link");
	if (strcmp(target, u->path) == 0 || !*target)
		return err_say(err, EINVAL, "a hard link to %s", *target ? "itself" : "the root");
	const char *slash = strrchr(target, '/');
	snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - target) : 0, target);
	const char *last = slash ? slash + 1 : target;
	r = path_open_dir(u, parent, false, &target_dir, NULL);
	if (r == 0 && fstatat(target_dir, last, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if ((r == -ENOENT || r == -ENOTDIR) && u->layer)
		return place_note_of_link(dir, name, target, err);
	if (r < 0)
		return err_set(err, -r, "hard link to %.300s", target);
	if (S_ISDIR(st.st_mode) || whiteout_is_mark(&st))
		return err_say(err, EINVAL, "a hard link to %.300s, which is no file", target);
	if (linkat(target_dir, last, dir, name, 0) < 0)
		return err_set(err, errno, "hard link to %.300s", target);
	return 0;
}

static int place_symlink(
	struct unpack *u, struct archive_entry *e, int dir, const char *name, struct err *err)
{
	const char *target = archive_entry_symlink(e);
	if (!target || !*target)
		return err_say(err, EINVAL, "a symlink to nothing");
	if (strlen(target) >= UNPACK_MAX_PATH)
		return err_say(err, ENAMETOOLONG, "its target is longer than %u bytes", UNPACK_MAX_PATH);
	if (symlinkat(target, dir, name) < 0)
		return err_set(err, errno, "create symlink");
	return meta_on_name(u, dir, name, e, err);
}

static int place_pipe(struct unpack *u, struct archive_entry *e, int dir, const char *name, struct err *err)
{
	if (mkfifoat(dir, name, 0600) < 0)
		return err_set(err, errno, "create pipe");
	return meta_on_name(u, dir, name, e, err);
}

static int place_dir(struct unpack *u, struct archive_entry *e, int dir, const char *name, bool there,
	bool hides, struct err *err)
{
	if (!there && mkdirat(dir, name, 0700) < 0)
		return err_set(err, errno, "create directory");
	if (hides) {
		int r = whiteout_make_opaque(dir, name, err);
		if (r < 0)
			return r;
	}
	return meta_on_dir(u, dir, name, e, err);
}

static int place_root(struct unpack *u, struct archive_entry *e, struct err *err)
{
	if (archive_entry_filetype(e) != AE_IFDIR || archive_entry_hardlink(e))
		return err_say(err, EINVAL, "something that is no directory has the name of the root");
	return meta_on_dir(u, u->root, ".", e, err);
}

static int place_by_type(struct unpack *u, struct archive *a, struct archive_entry *e, int dir,
	const char *name, struct err *err)
{
	bool there, hides;
	unsigned type = archive_entry_hardlink(e) ? 0 : archive_entry_filetype(e);
	if (type == AE_IFCHR || type == AE_IFBLK || type == AE_IFSOCK) {
		u->left_out++; /* a container has its own devices, and no image can give it others */
		return 0;
	}
	int r = make_room(dir, name, type == AE_IFDIR, &there, &hides, err);
	if (r < 0)
		return r;
	switch (type) {
	case 0: return place_hardlink(u, e, dir, name, err);
	case AE_IFREG: return place_file(u, a, e, dir, name, err);
	case AE_IFDIR: return place_dir(u, e, dir, name, there, hides, err);
	case AE_IFLNK: return place_symlink(u, e, dir, name, err);
	case AE_IFIFO: return place_pipe(u, e, dir, name, err);
	default: return err_say(err, EINVAL, "of an unknown type");
	}
}

static int place(struct unpack *u, struct archive *a, struct archive_entry *e, struct err *err)
{
	const char *raw = archive_entry_pathname(e), *name;
	int dir;
	if (!raw || !*raw)
		return err_say(err, EINVAL, "an entry without a name, or with one that is no UTF-8");
	int r = path_normalise(raw, u->path, err);
	if (r < 0)
		return r;
	if (++u->entries > UNPACK_MAX_ENTRIES)
		return err_say(err, E2BIG, "more than %u entries", UNPACK_MAX_ENTRIES);
	if (!*u->path)
		return place_root(u, e, err);
	r = path_parent(u, &dir, &name, err);
	if (r < 0)
		return r;
	if (u->layer && whiteout_is(name))
		return whiteout_place(u, dir, name, err);
	return place_by_type(u, a, e, dir, name, err);
}

int place_entry(struct unpack *u, struct archive *a, struct archive_entry *e, struct err *err)
{
	int r = place(u, a, e, err);
	if (r < 0) {
		const char *raw = archive_entry_pathname(e);
		err_wrap(err, "entry \"%.300s\"", raw ? raw : "");
	}
	return r;
}
