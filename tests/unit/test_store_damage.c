/* The durable store: every row comes back as it went in, transactions land whole or not at all, and no file,
 * however it was damaged, keeps the agent from starting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/store.h"
#include "base/buf.h"
#include "base/own.h"
#include "scratch.h"
#include "store_rig.h"

/* --- crashes --- */

/* A crash at every byte that is written while the store is made: what is there afterwards opens, as nothing
 * or whole. */
static void test_creation_interrupted(void **state)
{
	struct scratch *s = *state;
	unsigned failed = 0, worked = 0;
	for (rlim_t limit = 0; limit < 100000; limit += 1024) {
		char name[32];
		snprintf(name, sizeof name, "db%d", (int)limit);
		const char *path = scratch_name(s, name);
		pid_t pid = fork();
		if (pid == 0) { /* ended without closing: nothing is tidied up */
			struct rlimit tight = { .rlim_cur = limit, .rlim_max = RLIM_INFINITY };
			struct store *st;
			char *note = NULL;
			signal(SIGXFSZ, SIG_IGN);
			setrlimit(RLIMIT_FSIZE, &tight);
			_exit(store_open(path, &st, &note, NULL) == 0 ? 0 : note ? 2 : 1);
		}
		int status = 0;
		waitpid(pid, &status, 0);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
		failed += WEXITSTATUS(status) == 1;
		worked += WEXITSTATUS(status) == 0;
		struct store *st = store_rig_open(s, name, false);
		store_rig_fill(st);
		store_rig_expect(st, RIG_FILLED);
		store_close(st);
	}
	assert_true(failed > 10 && worked > 0);
}

/* As far as an upgrade that was interrupted after any statement could have come: SQLite undid it, so it
 * starts again. */
static void test_migration_from_schema_1(void **state)
{
	struct scratch *s = *state;
	struct store *st = store_rig_open(s, "db", false);
	sqlite3 *db = NULL;
	int64_t n = 0;
	store_rig_fill(st);
	store_close(st);
	assert_int_equal(sqlite3_open(scratch_name(s, "db"), &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "DROP TABLE counter; PRAGMA user_version=1", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	OWN_BUF struct buf old = scratch_read(s, "db");
	unsigned interrupted = 0;
	for (rlim_t limit = 0; limit < 60000; limit += 512) {
		scratch_write(s, "old", old.data, old.len);
		const char *path = scratch_name(s, "old");
		pid_t pid = fork();
		if (pid == 0) {
			struct rlimit tight = { .rlim_cur = limit, .rlim_max = RLIM_INFINITY };
			char *note = NULL;
			signal(SIGXFSZ, SIG_IGN);
			setrlimit(RLIMIT_FSIZE, &tight);
			_exit(store_open(path, &st, &note, NULL) == 0 ? 0 : note ? 2 : 1);
		}
		int status = 0;
		waitpid(pid, &status, 0);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
		interrupted += WEXITSTATUS(status);
		st = store_rig_open(s, "old", false);
		store_rig_expect(st, RIG_FILLED);
		assert_int_equal(store_reserved_events(st, &n, NULL), 0);
		assert_int_equal(n, 2);
		store_close(st);
		unlinkat(s->fd, "old", 0);
	}
	assert_true(interrupted > 10);
}

/* Killed right after commit returned: it is there. */
static void test_killed_after_commit(void **state)
{
	struct scratch *s = *state;
	const char *path = scratch_name(s, "db");
	pid_t pid = fork();
	if (pid == 0) {
		struct store *st;
		char *note;
		if (store_open(path, &st, &note, NULL) < 0)
			_exit(1);
		store_rig_fill(st);
		struct row_service c = store_rig_service("gamma");
		store_begin(st);
		store_put_service(st, &c);
		raise(SIGKILL);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	struct store *st = store_rig_open(s, "db", false);
	store_rig_expect(st, RIG_FILLED);
	store_close(st);
}

/* --- damage --- */

static struct buf healthy(struct scratch *s)
{
	struct store *st = store_rig_open(s, "healthy", false);
	store_rig_fill(st);
	store_begin(st);
	for (int i = 10; i < 40; i++) {
		struct row_event e = store_rig_event(i, "alpha");
		e.text = (char *)"a text of some length, so that there are several pages of it in the file";
		store_put_event(st, &e);
	}
	store_rig_commit(st);
	store_close(st);
	return scratch_read(s, "healthy");
}

static void remove_all(struct scratch *s, const char *prefix)
{
	OWN_FD int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	OWN_DIR DIR *dir = fdopendir(TAKE_FD(fd));
	for (struct dirent *e; (e = readdir(dir));)
		if (strncmp(e->d_name, prefix, strlen(prefix)) == 0)
			unlinkat(s->fd, e->d_name, 0);
}

static void touch_row(struct store *st)
{
	struct row_service c = store_rig_service("fresh");
	struct row_deployment d = store_rig_deployment("fresh", true);
	store_begin(st);
	store_put_service(st, &c);
	store_put_deployment(st, &d);
	store_rig_commit(st);
}

/* Opens what is there, whatever it is. It was begun afresh with a note, or can be read; then it holds
 * `whole`, if given. */
static bool survives(struct scratch *s, const void *bytes, size_t len, const char *whole)
{
	struct store *st = NULL;
	char *note = NULL;
	struct err err = { 0 };
	scratch_write(s, "hurt", bytes, len);
	int r = store_open(scratch_name(s, "hurt"), &st, &note, &err);
	if (r < 0)
		fail_msg("%s", err.msg);
	OWN_FREE char *text = store_rig_contents(st);
	bool fresh = note != NULL;
	if (fresh) {
		assert_string_equal(text, RIG_EMPTY);
		assert_non_null(strstr(note, "set aside as "));
		assert_non_null(strstr(note, "hurt.damaged-2"));
		touch_row(st);
	} else if (whole) {
		assert_string_equal(text, whole);
	}
	store_close(st);
	free(note);
	remove_all(s, "hurt");
	return fresh;
}

static void test_truncated(void **state)
{
	struct scratch *s = *state;
	OWN_BUF struct buf file = healthy(s);
	struct store *st = store_rig_open(s, "healthy", false);
	OWN_FREE char *whole = store_rig_contents(st);
	store_close(st);
	unsigned kept = 0;
	for (size_t len = 2; len < file.len; len += len < 200 ? 13 : 1021) /* one byte is new to SQLite */
		kept += !survives(s, file.data, len, whole);
	assert_true(kept <= 4);			     /* within the last page, where nothing was in use */
	assert_false(survives(s, "", 0, RIG_EMPTY)); /* an empty file is a new one */
	assert_false(survives(s, file.data, file.len, whole));
}

static void test_garbage(void **state)
{
	struct scratch *s = *state;
	char noise[20000];
	uint32_t x = 1;
	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (char)((x = x * 1664525 + 1013904223) >> 24);
	assert_true(survives(s, noise, sizeof noise, NULL));
	memset(noise, 0, sizeof noise);
	assert_true(survives(s, noise, sizeof noise, NULL));
	assert_true(survives(s, "name: web\nimage: x\n", 19, NULL));
	/* A header that is right, and zeros where a power cut took the rest. */
	OWN_BUF struct buf file = healthy(s);
	memset(file.data + 4096, 0, file.len - 4096);
	assert_true(survives(s, file.data, file.len, NULL));
}

/* Each byte of the header, and a sample of the pages, with one bit and with all bits turned. */
static void test_turned_bits(void **state)
{
	struct scratch *s = *state;
	OWN_BUF struct buf file = healthy(s);
	unsigned fresh = 0;
	for (size_t at = 0; at < file.len; at += at < 100 ? 1 : at < 300 ? 7 : 331) {
		static const char masks[] = { 1, (char)0x80, (char)0xff };
		for (size_t m = 0; m < ARRAY_LEN(masks); m++) {
			file.data[at] ^= masks[m];
			/* 60 … 63 is the version: higher is newer, and named so. */
			if (at < 60 || at > 63)
				fresh += survives(s, file.data, file.len, NULL);
			file.data[at] ^= masks[m];
		}
	}
	assert_true(fresh > 50);
}

static void set_by_sql(struct scratch *s, const char *sql)
{
	sqlite3 *db = NULL;
	scratch_write(s, "hurt", "", 0);
	struct store *st = store_rig_open(s, "hurt", false);
	store_rig_fill(st);
	store_close(st);
	assert_int_equal(sqlite3_open(scratch_name(s, "hurt"), &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* Whole, but not what we left: begun afresh, and the old one lies beside. */
static void test_strange_databases(void **state)
{
	struct scratch *s = *state;
	static const struct {
		const char *sql, *name;
	} rows[] = {
		{ "PRAGMA user_version=3", "hurt.newer-" },
		{ "PRAGMA user_version=2000000000", "hurt.newer-" },
		{ "PRAGMA user_version=-1", "hurt.damaged-" },
		{ "PRAGMA user_version=1", "hurt.damaged-" },
		{ "PRAGMA user_version=0", "hurt.damaged-" },
		{ "DROP TABLE event", "hurt.damaged-" },
		{ "DROP TABLE counter", "hurt.damaged-" },
		{ "ALTER TABLE service RENAME COLUMN active TO actors", "hurt.damaged-" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct store *st = NULL;
		char *note = NULL;
		struct err err = { 0 };
		set_by_sql(s, rows[i].sql);
		if (store_open(scratch_name(s, "hurt"), &st, &note, &err) < 0)
			fail_msg("%s: %s", rows[i].sql, err.msg);
		if (!note || !strstr(note, rows[i].name))
			fail_msg("%s: %s", rows[i].sql, note ? note : "no note");
		store_rig_expect(st, RIG_EMPTY);
		store_close(st);
		OWN_FREE char *aside = note;
		char *path = strstr(aside, "set aside as ") + 13;
		*strstr(path, ", begun") = '\0';
		assert_int_equal(access(path, R_OK), 0);
		remove_all(s, "hurt");
	}
}

/* Journals of the damaged file must not be played into the fresh one. */
static void test_side_files_go_too(void **state)
{
	struct scratch *s = *state;
	static const char *const side[] = { "db-wal", "db-shm", "db-journal" };
	scratch_write(s, "db", "not a database, at all: it is a text of some length", 51);
	for (size_t i = 0; i < ARRAY_LEN(side); i++)
		scratch_write(s, side[i], "old", 3);
	struct store *st = store_rig_open(s, "db", true);
	store_rig_fill(st);
	store_rig_expect(st, RIG_FILLED);
	store_close(st);
	for (size_t i = 0; i < ARRAY_LEN(side); i++) /* SQLite threw them away, or we set them aside */
		assert_int_equal(faccessat(s->fd, side[i], F_OK, 0), -1);
}

/* Where nothing can be written is no reason to begin afresh. */
static void test_places_that_cannot_be(void **state)
{
	struct scratch *s = *state;
	struct store *st = NULL;
	char *note = NULL;
	struct err err = { 0 };
	assert_int_equal(store_open(scratch_name(s, "none/db"), &st, &note, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "none/db: No such file or directory"));
	mkdirat(s->fd, "dir", 0700);
	assert_int_equal(store_open(scratch_name(s, "dir"), &st, &note, &err), -EISDIR);
	assert_null(note);
	assert_null(st);
	assert_int_equal(scratch_count(s, "."), 1);
}

static void test_for_our_eyes_only(void **state)
{
	struct scratch *s = *state;
	mode_t was = umask(0);
	struct store *st = store_rig_open(s, "db", false);
	store_rig_fill(st);
	umask(was);
	static const char *const names[] = { "db", "db-wal", "db-shm" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct stat sb;
		assert_int_equal(fstatat(s->fd, names[i], &sb, 0), 0);
		assert_int_equal(sb.st_mode & 0777, 0600);
	}
	store_close(st);
}

static void test_no_descriptors_left(void **state)
{
	struct scratch *s = *state;
	unsigned fds = count_open_fds();
	struct store *st = store_rig_open(s, "db", false);
	store_rig_fill(st);
	store_close(st);
	scratch_write(s, "bad", "this is not a database by any means, is it", 42);
	store_close(store_rig_open(s, "bad", true));
	assert_int_equal(count_open_fds(), fds);
}

#define scratch_test(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_creation_interrupted),
		scratch_test(test_migration_from_schema_1),
		scratch_test(test_killed_after_commit),
		scratch_test(test_truncated),
		scratch_test(test_garbage),
		scratch_test(test_turned_bits),
		scratch_test(test_strange_databases),
		scratch_test(test_side_files_go_too),
		scratch_test(test_places_that_cannot_be),
		scratch_test(test_for_our_eyes_only),
		scratch_test(test_no_descriptors_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
