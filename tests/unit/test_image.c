/* The image store over real directories; what only root can make (devices, mounts, other owners) is skipped
 * otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/image/store_private.h"
#include "runtime/image/tree.h"

struct world {
	char dir[64];	/* holds state/ and src/ */
	char state[80]; /* DIR/state */
	char src[80];	/* DIR/src, the tree to import */
	char ref[96];
	int src_fd, images_fd;
	struct image_store *store;
};

static void make_dir(int at, const char *name)
{
	assert_int_equal(mkdirat(at, name, 0755), 0);
	assert_int_equal(fchmodat(at, name, 0755, 0), 0);
}

static void make_file(int at, const char *name, const char *text, mode_t mode)
{
	OWN_FD int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
}

static int open_store(struct world *w, struct err *err)
{
	const struct image_places places = {
		.state_dir = w->state, .libexec_dir = "/nowhere", .etc_dir = "/nowhere"
	};
	return image_store_open(&places, &w->store, err);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct err err;
	/* In memory where there is such a place: imports sync their file system, and that one may be busy. */
	snprintf(w->dir, sizeof w->dir, "%s/teal-image-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->state, sizeof w->state, "%s/state", w->dir);
	snprintf(w->src, sizeof w->src, "%s/src", w->dir);
	snprintf(w->ref, sizeof w->ref, "rootfs:%s", w->src);
	make_dir(AT_FDCWD, w->src);
	w->src_fd = open(w->src, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(open_store(w, &err), 0);
	w->images_fd = dup(w->store->images.fd);
	alarm(60);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct err err;
	image_store_close(w->store);
	close(w->src_fd);
	close(w->images_fd);
	if (fs_remove_tree(AT_FDCWD, w->dir, &err) < 0)
		fail_msg("%s", err.msg);
	free(w);
	return 0;
}

static void import(struct world *w, char digest[DIGEST_LEN])
{
	struct err err;
	if (image_import(w->store, w->ref, NULL, NULL, digest, &err) < 0)
		fail_msg("%s", err.msg);
}

static void digest_now(struct world *w, char digest[DIGEST_LEN])
{
	struct err err;
	if (image_resolve(w->store, w->ref, NULL, digest, &err) < 0)
		fail_msg("%s", err.msg);
}

static void refuse(struct world *w, const char *ref, int code, const char *part)
{
	struct err err;
	char digest[DIGEST_LEN] = "untouched";
	assert_int_equal(image_import(w->store, ref, NULL, NULL, digest, &err), -code);
	if (!strstr(err.msg, part))
		fail_msg("wanted \"%s\" in \"%s\"", part, err.msg);
	assert_string_equal(digest, "untouched");
}

/* How many entries of STATE/images begin with this. */
static unsigned count(struct world *w, const char *prefix)
{
	unsigned n = 0;
	OWN_DIR DIR *dir = fdopendir(openat(w->images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	for (struct dirent *e; (e = readdir(dir));)
		n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	return n;
}

static int open_root(struct world *w, const char *digest)
{
	struct err err;
	int fd = -1;
	if (image_open_root(w->store, digest, &fd, &err) < 0)
		fail_msg("%s", err.msg);
	return fd;
}

static void assert_same_stat(int a, int b, const char *name)
{
	struct stat x, y;
	assert_int_equal(fstatat(a, name, &x, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fstatat(b, name, &y, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(x.st_mode, y.st_mode);
	assert_int_equal(x.st_uid, y.st_uid);
	assert_int_equal(x.st_gid, y.st_gid);
	assert_int_equal(x.st_mtim.tv_sec, y.st_mtim.tv_sec);
	assert_int_equal(x.st_mtim.tv_nsec, y.st_mtim.tv_nsec);
	if (!S_ISDIR(x.st_mode)) {
		assert_int_equal(x.st_size, y.st_size);
		assert_int_equal(x.st_nlink, y.st_nlink);
	}
}

static void assert_content(int at, const char *name, const char *text)
{
	OWN_BUF struct buf b = { 0 };
	struct err err;
	if (fs_read_file(at, name, 1 << 20, &b, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(b.data ? b.data : "", text);
}

/* One of each kind. */
static void make_tree(struct world *w)
{
	const struct timespec old[] = { { 1000000000, 1 }, { 1000000000, 123456789 } };
	make_dir(w->src_fd, "bin");
	make_dir(w->src_fd, "empty");
	make_dir(w->src_fd, "dev");
	make_dir(w->src_fd, "fixed");
	make_file(w->src_fd, "fixed/file", "f", 0444);
	assert_int_equal(fchmodat(w->src_fd, "fixed", 0555, 0), 0);
	make_file(w->src_fd, "dev/log", "never seen", 0644);
	make_file(w->src_fd, "bin/app", "#!/bin/sh\n", 0755);
	make_file(w->src_fd, "bin/su", "set-uid", 04755);
	make_file(w->src_fd, "bin/secret", "", geteuid() == 0 ? 0 : 0400); /* root may read even that */
	make_file(w->src_fd, "na\xffme \n", "odd name", 0644);
	assert_int_equal(linkat(w->src_fd, "bin/app", w->src_fd, "bin/app2", 0), 0);
	assert_int_equal(linkat(w->src_fd, "bin/app", w->src_fd, "zz", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", w->src_fd, "escape"), 0);
	assert_int_equal(symlinkat("../../nowhere", w->src_fd, "bin/dangling"), 0);
	assert_int_equal(mkfifoat(w->src_fd, "pipe", 0622), 0);
	assert_int_equal(utimensat(w->src_fd, "bin/app", old, 0), 0);
	assert_int_equal(utimensat(w->src_fd, "escape", old, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fchmodat(w->src_fd, "empty", 01777, 0), 0);
	assert_int_equal(utimensat(w->src_fd, "empty", old, 0), 0);
	if (geteuid() == 0) {
		assert_int_equal(fchownat(w->src_fd, "bin/app", 1234, 567, 0), 0);
		assert_int_equal(fchownat(w->src_fd, "escape", 1234, 567, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(mknodat(w->src_fd, "dev/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	}
}

static void test_every_type(void **state)
{
	struct world *w = *state;
	static const char *const names[] = { "", "bin", "empty", "dev", "bin/app", "bin/app2", "bin/su",
		"bin/secret", "na\xffme \n", "zz", "escape", "bin/dangling", "pipe", "fixed", "fixed/file" };
	char digest[DIGEST_LEN], resolved[DIGEST_LEN];
	struct stat a, b;
	make_tree(w);
	digest_now(w, resolved);
	import(w, digest);
	assert_string_equal(digest, resolved);
	OWN_FD int root = open_root(w, digest);
	for (size_t i = 1; i < ARRAY_LEN(names); i++)
		assert_same_stat(w->src_fd, root, names[i]);
	assert_int_equal(fstat(root, &a), 0);
	assert_int_equal(fstat(w->src_fd, &b), 0);
	assert_int_equal(a.st_mode, b.st_mode);
	assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
	assert_content(root, "bin/app", "#!/bin/sh\n");
	assert_content(root, "bin/su", "set-uid");
	char target[64] = { 0 };
	assert_int_equal(readlinkat(root, "escape", target, sizeof target), 11);
	assert_string_equal(target, "/etc/passwd");
	assert_int_equal(fstatat(root, "bin/app2", &a, 0), 0);
	assert_int_equal(fstatat(root, "zz", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(faccessat(root, "dev/log", F_OK, 0), -1);
}

static void test_later_changes(void **state)
{
	struct world *w = *state;
	char digest[DIGEST_LEN], again[DIGEST_LEN];
	struct err err;
	make_file(w->src_fd, "version", "1", 0644);
	make_file(w->src_fd, "keep", "k", 0644);
	import(w, digest);
	import(w, again); /* nothing to do */
	assert_string_equal(digest, again);
	make_file(w->src_fd, "version", "2", 0644);
	unlinkat(w->src_fd, "keep", 0);
	OWN_FD int root = open_root(w, digest);
	assert_content(root, "version", "1");
	assert_content(root, "keep", "k");
	import(w, again);
	assert_string_not_equal(digest, again);
	assert_int_equal(count(w, "sha256-"), 2);
	assert_int_equal(fs_remove_tree(AT_FDCWD, w->src, &err), 0);
	assert_true(image_present(w->store, digest));
	refuse(w, w->ref, ENOENT, "No such file");
}

static void append(struct world *w)
{
	make_file(w->src_fd, "file", "other", 0644);
}
static void chmod_file(struct world *w)
{
	assert_int_equal(fchmodat(w->src_fd, "file", 0640, 0), 0);
}
static void chmod_root(struct world *w)
{
	assert_int_equal(fchmod(w->src_fd, 0711), 0);
}
static void rename_file(struct world *w)
{
	assert_int_equal(renameat(w->src_fd, "file", w->src_fd, "file2"), 0);
}
static void retarget(struct world *w)
{
	assert_int_equal(unlinkat(w->src_fd, "link", 0), 0);
	assert_int_equal(symlinkat("b", w->src_fd, "link"), 0);
}
static void add_empty(struct world *w)
{
	make_file(w->src_fd, "empty", "", 0644);
}
static void retype(struct world *w)
{
	assert_int_equal(unlinkat(w->src_fd, "dir", AT_REMOVEDIR), 0);
	make_file(w->src_fd, "dir", "", 0755);
}
static void touch(struct world *w)
{
	const struct timespec times[] = { { 1, 0 }, { 2, 0 } };
	assert_int_equal(utimensat(w->src_fd, "file", times, 0), 0);
}
static void relink(struct world *w)
{
	assert_int_equal(unlinkat(w->src_fd, "same2", 0), 0);
	assert_int_equal(linkat(w->src_fd, "same1", w->src_fd, "same2", 0), 0);
}
static void fill_dev(struct world *w)
{
	make_dir(w->src_fd, "dev/pts");
}
static void chown_file(struct world *w)
{
	assert_int_equal(fchownat(w->src_fd, "file", 1, 0, 0), 0);
}

static void test_identity(void **state)
{
	static const struct {
		const char *what;
		void (*change)(struct world *w);
		bool same, root;
	} rows[] = {
		{ "content", append, false, false },
		{ "mode", chmod_file, false, false },
		{ "the root's mode", chmod_root, false, false },
		{ "target", retarget, false, false },
		{ "one more", add_empty, false, false },
		{ "type", retype, false, false },
		{ "owner", chown_file, false, true },
		{ "time", touch, true, false },
		{ "links", relink, true, false },
		{ "in /dev", fill_dev, true, false },
		{ "name", rename_file, false, false },
	};
	struct world *w = *state;
	char before[DIGEST_LEN], after[DIGEST_LEN];
	make_file(w->src_fd, "file", "text", 0644);
	make_file(w->src_fd, "same1", "s", 0644);
	make_file(w->src_fd, "same2", "s", 0644);
	make_dir(w->src_fd, "dir");
	make_dir(w->src_fd, "dev");
	assert_int_equal(symlinkat("a", w->src_fd, "link"), 0);
	digest_now(w, before);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].root && geteuid() != 0)
			continue;
		rows[i].change(w);
		digest_now(w, after);
		if ((strcmp(before, after) == 0) != rows[i].same)
			fail_msg("%s: %s", rows[i].what, rows[i].same ? "another digest" : "the same digest");
		memcpy(before, after, sizeof before);
	}
}

/* The digest is written down for ever: this constant may only change together with "teal-tree-v1". */
static void test_stable_format(void **state)
{
	struct world *w = *state;
	char digest[DIGEST_LEN];
	if (geteuid() != 0)
		skip();
	make_dir(w->src_fd, "bin");
	make_file(w->src_fd, "bin/app", "hello", 0755);
	assert_int_equal(symlinkat("app", w->src_fd, "bin/sh"), 0);
	assert_int_equal(mkfifoat(w->src_fd, "pipe", 0600), 0);
	assert_int_equal(fchmodat(w->src_fd, "pipe", 0600, 0), 0);
	digest_now(w, digest);
	char want[DIGEST_LEN], hello[DIGEST_LEN];
	OWN_BUF struct buf text = { 0 };
	digest_of("hello", 5, hello);
	buf_addf(&text,
		"teal-tree-v1\nd 755 0 0 0:\nd 755 0 0 3:bin\nf 755 0 0 7:bin/app5 %s \nl 777 0 0 "
		"6:bin/sh3:app\n"
		"p 600 0 0 4:pipe\n",
		hello);
	digest_of(text.data, text.len, want);
	assert_string_equal(digest, want);
}

static void test_attributes(void **state)
{
	struct world *w = *state;
	char before[DIGEST_LEN], after[DIGEST_LEN];
	char value[64];
	make_file(w->src_fd, "ping", "p", 0755);
	digest_now(w, before);
	OWN_FD int fd = openat(w->src_fd, "ping", O_RDONLY | O_CLOEXEC);
	if (fsetxattr(fd, "user.b", "2", 1, 0) < 0 || fsetxattr(fd, "user.a", "\0\n", 2, 0) < 0)
		skip(); /* a file system without */
	if (geteuid() == 0) {
		static const unsigned char cap_net_raw[20] = { 0x01, 0, 0, 0x02, 0, 0x20 };
		assert_int_equal(fsetxattr(fd, "security.capability", cap_net_raw, sizeof cap_net_raw, 0), 0);
	}
	assert_int_equal(fsetxattr(w->src_fd, "user.dir", "d", 1, 0), 0);
	digest_now(w, after);
	assert_string_not_equal(before, after);
	assert_int_equal(fsetxattr(w->src_fd, "user.overlay.opaque", "y", 1, 0), 0);
	import(w, before);
	assert_string_equal(before, after);
	OWN_FREE char *path = image_root_path(w->store, after);
	OWN_FREE char *ping = fs_join(path, "ping", (char *)NULL);
	assert_int_equal(getxattr(ping, "user.a", value, sizeof value), 2);
	assert_memory_equal(value, "\0\n", 2);
	assert_int_equal(
		getxattr(ping, "security.capability", value, sizeof value), geteuid() == 0 ? 20 : -1);
	assert_int_equal(getxattr(path, "user.dir", value, sizeof value), 1);
	assert_int_equal(getxattr(path, "user.overlay.opaque", value, sizeof value), -1);
}

/* Holes stay holes, what is between them stays what it is. */
static void test_large_files(void **state)
{
	struct world *w = *state;
	char digest[DIGEST_LEN];
	struct stat st;
	const off_t size = 64 << 20, at = (32 << 20) + 12345;
	OWN_FD int fd = openat(w->src_fd, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, "here", 4, at), 4);
	import(w, digest);
	OWN_FD int root = open_root(w, digest);
	OWN_FD int copy = openat(root, "sparse", O_RDONLY | O_CLOEXEC);
	char text[5] = { 0 };
	assert_int_equal(pread(copy, text, 4, at), 4);
	assert_string_equal(text, "here");
	assert_int_equal(fstat(copy, &st), 0);
	assert_int_equal(st.st_size, size);
	assert_true(st.st_blocks * 512 < size / 8);
}

static void test_refused(void **state)
{
	struct world *w = *state;
	char ref[128];
	refuse(w, "registry.example.com/Web", EINVAL, "registry.example.com/Web");
	refuse(w, "rootfs:relative", EINVAL, "absolute");
	refuse(w, "rootfs:/no/such/dir", ENOENT, "/no/such/dir");
	snprintf(ref, sizeof ref, "rootfs:%s", w->dir);
	refuse(w, ref, EINVAL, "where images are stored");
	make_file(w->src_fd, "file", "x", 0644);
	snprintf(ref, sizeof ref, "rootfs:%s/file", w->src);
	refuse(w, ref, ENOTDIR, "file");

	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s/so\nck\xff", w->src);
	OWN_FD int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(sock, (struct sockaddr *)&a, sizeof a), 0);
	refuse(w, w->ref, EINVAL, "so ck? is a socket");
	unlinkat(w->src_fd, "so\nck\xff", 0);
	make_dir(w->src_fd, "lib");
	if (geteuid() == 0) {
		assert_int_equal(mknodat(w->src_fd, "lib/null", S_IFCHR | 0666, makedev(1, 3)), 0);
		refuse(w, w->ref, EINVAL, "lib/null is a device node");
		unlinkat(w->src_fd, "lib/null", 0);
	}
	assert_int_equal(count(w, "tmp-") + count(w, "sha256-"), 0);
}

static void test_too_deep(void **state)
{
	struct world *w = *state;
	OWN_FD int fd = dup(w->src_fd);
	for (unsigned i = 0; i < 300; i++) {
		make_dir(fd, "d");
		int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	refuse(w, w->ref, ENAMETOOLONG, "directories deep");
}

static void *import_in_thread(void *arg)
{
	struct world *w = arg;
	struct err err;
	char *digest = calloc(1, DIGEST_LEN);
	if (image_import(w->store, w->ref, NULL, NULL, digest, &err) < 0)
		snprintf(digest, DIGEST_LEN, "%.70s", err.msg);
	return digest;
}

static void test_concurrent(void **state)
{
	struct world *w = *state;
	pthread_t threads[6];
	char digest[DIGEST_LEN];
	make_tree(w);
	digest_now(w, digest);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, import_in_thread, w), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		void *got;
		pthread_join(threads[i], &got);
		assert_string_equal(got, digest);
		free(got);
	}
	assert_int_equal(count(w, "sha256-"), 1);
	assert_int_equal(count(w, "tmp-"), 0);
}

struct writer {
	int fd;
	atomic_bool started, stop;
};

static void *keep_writing(void *arg)
{
	struct writer *writer = arg;
	while (!atomic_load(&writer->stop)) {
		if (pwrite(writer->fd, "x", 1, 0) < 0 || ftruncate(writer->fd, 32 << 20) < 0)
			break;
		atomic_store(&writer->started, true);
	}
	return NULL;
}

static void test_changing_source(void **state)
{
	struct world *w = *state;
	struct writer writer = { .fd = openat(w->src_fd, "busy", O_RDWR | O_CREAT | O_CLOEXEC, 0644) };
	pthread_t thread;
	assert_int_equal(ftruncate(writer.fd, 32 << 20), 0);
	assert_int_equal(pthread_create(&thread, NULL, keep_writing, &writer), 0);
	while (!atomic_load(&writer.started))
		sched_yield();
	refuse(w, w->ref, EAGAIN, "busy changed while it was read");
	atomic_store(&writer.stop, true);
	pthread_join(thread, NULL);
	close(writer.fd);
	assert_int_equal(count(w, "tmp-") + count(w, "sha256-"), 0);
}

static void test_damaged(void **state)
{
	struct world *w = *state;
	char digest[DIGEST_LEN], again[DIGEST_LEN], name[STORE_NAME_LEN], path[128];
	struct err err;
	int fd;
	make_file(w->src_fd, "file", "x", 0644);
	import(w, digest);
	assert_int_equal(store_name(digest, name, &err), 0);
	snprintf(path, sizeof path, "%s/image.json", name);
	static const char *const records[] = { NULL, "", "{", "{\"digest\":\"sha256:other\"}" };
	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		if (records[i])
			make_file(w->images_fd, path, records[i], 0600);
		else
			assert_int_equal(unlinkat(w->images_fd, path, 0), 0);
		assert_false(image_present(w->store, digest));
		assert_true(image_open_root(w->store, digest, &fd, &err) < 0);
		OWN_JSON json_t *list = image_list(w->store);
		assert_int_equal(json_array_size(list), 0);
		import(w, again); /* puts it right */
		assert_string_equal(digest, again);
		assert_true(image_present(w->store, digest));
	}
	assert_int_equal(count(w, "tmp-"), 0);
	assert_false(image_present(w->store, "sha256:"));
	assert_false(image_present(w->store, "../../etc"));
}

static void test_leftovers(void **state)
{
	struct world *w = *state;
	char name[STORE_NAME_LEN];
	struct err err;
	int fd;
	assert_int_equal(store_tmp_create(&w->store->images, name, &fd, &err), 0);
	make_dir(fd, "rootfs");
	make_file(fd, "rootfs/half", "x", 0644);
	close(fd);
	assert_int_equal(count(w, "tmp-"), 1);
	image_store_close(w->store);
	assert_int_equal(open_store(w, &err), 0);
	assert_int_equal(count(w, "tmp-"), 0);
	image_store_close(NULL);
}

static void test_list_and_remove(void **state)
{
	struct world *w = *state;
	char digests[2][DIGEST_LEN];
	struct err err;
	json_t *config;
	make_file(w->src_fd, "file", "12345", 0644);
	import(w, digests[0]);
	make_file(w->src_fd, "file", "123456", 0644);
	import(w, digests[1]);
	OWN_JSON json_t *list = image_list(w->store);
	assert_int_equal(json_array_size(list), 2);
	const json_t *a = json_array_get(list, 0), *b = json_array_get(list, 1);
	assert_true(strcmp(json_str(a, "digest", ""), json_str(b, "digest", "")) < 0);
	assert_string_equal(json_str(a, "reference", ""), w->ref);
	assert_int_equal(json_int(a, "size", 0) + json_int(b, "size", 0), 11);
	assert_true(json_int(a, "created_ms", 0) > 0);
	assert_int_equal(image_config(w->store, digests[0], &config, &err), 0);
	assert_int_equal(json_object_size(config), 0);
	json_decref(config);

	assert_int_equal(image_remove(w->store, digests[0], &err), 0);
	assert_int_equal(image_remove(w->store, digests[0], &err), 0);
	assert_int_equal(image_remove(w->store, "sha256:../..", &err), -EINVAL);
	assert_false(image_present(w->store, digests[0]));
	assert_true(image_present(w->store, digests[1]));
	assert_int_equal(image_config(w->store, digests[0], &config, &err), -ENOENT);
	assert_non_null(strstr(err.msg, digests[0]));
	assert_int_equal(count(w, "tmp-"), 0);
}

/* A tree that has been still for a while is recognised without being read again. */
static void test_recognised(void **state)
{
	struct world *w = *state;
	char first[DIGEST_LEN], second[DIGEST_LEN], third[DIGEST_LEN];
	struct err err;
	static const char ref[] = "rootfs:/usr/share/common-licenses";
	if (access(ref + strlen("rootfs:"), R_OK) < 0)
		skip();
	assert_int_equal(image_resolve(w->store, ref, NULL, first, &err), 0);
	assert_true(digest_valid(w->store->seen[0].stamp));
	assert_int_equal(image_resolve(w->store, ref, NULL, second, &err), 0);
	assert_string_equal(first, second);
	memcpy(w->store->seen[0].digest, "sha256:known", 13); /* shows that it was the memory that answered */
	assert_int_equal(image_resolve(w->store, ref, NULL, third, &err), 0);
	assert_string_equal(third, "sha256:known");
	make_file(w->src_fd, "file", "x", 0644);
	digest_now(w, first);
	assert_string_equal(w->store->seen[1].stamp, ""); /* too fresh */
}

/* In a mount namespace of its own, so that nothing of it is seen outside. */
static bool mounts_possible(void)
{
	return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void test_full_disk(void **state)
{
	struct world *w = *state;
	struct err err;
	if (!mounts_possible())
		skip();
	image_store_close(w->store);
	assert_int_equal(mount("tmpfs", w->state, "tmpfs", 0, "size=512k"), 0);
	assert_int_equal(open_store(w, &err), 0);
	close(w->images_fd);
	w->images_fd = dup(w->store->images.fd);
	OWN_BUF struct buf text = { 0 };
	while (text.len < 300000)
		buf_adds(&text, "not nothing ");
	make_file(w->src_fd, "a", text.data, 0644);
	make_file(w->src_fd, "b", text.data, 0644);
	refuse(w, w->ref, ENOSPC, "b: No space left on device");
	assert_int_equal(count(w, "tmp-") + count(w, "sha256-"), 0);
	unlinkat(w->src_fd, "b", 0);
	char digest[DIGEST_LEN];
	import(w, digest);
	image_store_close(TAKE_PTR(w->store));
	close(w->images_fd);
	w->images_fd = -1;
	assert_int_equal(umount2(w->state, MNT_DETACH), 0);
}

static void test_mount_inside(void **state)
{
	struct world *w = *state;
	char path[128];
	if (!mounts_possible())
		skip();
	make_dir(w->src_fd, "data");
	snprintf(path, sizeof path, "%s/data", w->src);
	assert_int_equal(mount("tmpfs", path, "tmpfs", 0, NULL), 0);
	refuse(w, w->ref, EXDEV, "data: something is mounted there");
	assert_int_equal(umount2(path, 0), 0);
	assert_int_equal(mount(w->src, path, NULL, MS_BIND, NULL), 0); /* the same file system, and endless */
	refuse(w, w->ref, EXDEV, "data: something is mounted there");
	assert_int_equal(umount2(path, 0), 0);
}

static void test_many_files(void **state)
{
	struct world *w = *state;
	struct tree_sum sum;
	struct err err;
	char digest[DIGEST_LEN], name[32];
	for (unsigned d = 0; d < 20; d++) {
		snprintf(name, sizeof name, "d%u", d);
		make_dir(w->src_fd, name);
		OWN_FD int dir = openat(w->src_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		for (unsigned i = 0; i < 1000; i++) {
			snprintf(name, sizeof name, "f%u", i);
			OWN_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
			assert_int_equal(write(fd, name, 2), 2);
		}
	}
	import(w, digest);
	OWN_FREE char *path = image_root_path(w->store, digest);
	OWN_FD int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(tree_digest(root, &sum, &err), 0);
	assert_int_equal(sum.entries, 20021);
	assert_int_equal(sum.bytes, 40000);
	assert_string_equal(sum.digest, digest);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_type),
		TEST(test_later_changes),
		TEST(test_identity),
		TEST(test_stable_format),
		TEST(test_attributes),
		TEST(test_large_files),
		TEST(test_refused),
		TEST(test_too_deep),
		TEST(test_concurrent),
		TEST(test_changing_source),
		TEST(test_damaged),
		TEST(test_leftovers),
		TEST(test_list_and_remove),
		TEST(test_recognised),
		TEST(test_full_disk),
		TEST(test_mount_inside),
		TEST(test_many_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
