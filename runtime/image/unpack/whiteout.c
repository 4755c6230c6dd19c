/* Whiteouts: files whose names say what of the layers below is not there any more. They count for layers
 * below only: what the same layer has under that name stays, whichever came first. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/image/layer_marks.h"
#include "runtime/image/unpack/unpack.h"

#define PREFIX	    ".wh."
#define META_PREFIX ".wh..wh."
#define OPAQUE	    ".wh..wh..opq"

bool whiteout_is(const char *name)
{
	return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

bool whiteout_is_mark(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int set_opaque(int fd, struct err *err)
{
	return fsetxattr(fd, MARK_OPAQUE, "y", 1, 0) < 0 ? err_set(err, errno, "make directory opaque") : 0;
}

int whiteout_make_opaque(int dir, const char *name, struct err *err)
{
	OWN_FD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_set(err, errno, "open directory %.80s", name) : set_opaque(fd, err);
}

int whiteout_place(struct unpack *u, int dir, const char *name, struct err *err)
{
	const char *hidden = name + sizeof PREFIX - 1;
	struct stat st;
	if (strcmp(name, OPAQUE) == 0)
		return set_opaque(dir, err);
	if (strncmp(name, META_PREFIX, sizeof META_PREFIX - 1) == 0) {
		u->left_out++; /* aufs's own files */
		return 0;
	}
	if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
		return err_say(err, EINVAL, "a whiteout of nothing");
	if (fstatat(dir, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) ? whiteout_make_opaque(dir, hidden, err) : 0;
	if (mknodat(dir, hidden, S_IFCHR, makedev(0, 0)) < 0)
		return err_set(err, errno, "write whiteout");
	return 0;
}
