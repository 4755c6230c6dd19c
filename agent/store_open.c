#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/store_private.h"
#include "agent/store_rows.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/own.h"

/* Schema versions: each entry takes the database from its index to the next one. Never edit one that was
 * released. */
static const char *const migrations[] = {
	"CREATE TABLE service (name TEXT PRIMARY KEY NOT NULL, next_generation INTEGER NOT NULL,"
	"  active INTEGER NOT NULL, standby INTEGER NOT NULL, standby_until_boot_ms INTEGER NOT NULL,"
	"  boot_id TEXT, held_digest TEXT, held_reason TEXT, held_generation INTEGER NOT NULL,"
	"  held_since_ms INTEGER NOT NULL) STRICT;"
	"CREATE TABLE generation (service TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL,"
	"  image TEXT, image_digest TEXT, slot TEXT NOT NULL, state TEXT NOT NULL, spec TEXT NOT NULL,"
	"  created_ms INTEGER NOT NULL, since_ms INTEGER NOT NULL, by TEXT, source TEXT, result TEXT,"
	"  reason TEXT, took_ms INTEGER NOT NULL, PRIMARY KEY (service, number)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE deployment (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL,"
	"  kind TEXT NOT NULL, state TEXT NOT NULL, from_generation INTEGER NOT NULL,"
	"  to_generation INTEGER NOT NULL, by TEXT, source TEXT, created_ms INTEGER NOT NULL,"
	"  since_ms INTEGER NOT NULL, deadline_boot_ms INTEGER NOT NULL, boot_id TEXT, reason TEXT,"
	"  steps TEXT, failure TEXT, diff TEXT, result TEXT, request TEXT, failing INTEGER NOT NULL,"
	"  done INTEGER NOT NULL) STRICT;"
	"CREATE INDEX deployment_service ON deployment (service, id);"
	"CREATE TABLE event (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, service TEXT,"
	"  type TEXT NOT NULL, text TEXT, data TEXT, generation INTEGER NOT NULL,"
	"  deployment INTEGER NOT NULL) STRICT;",
	"CREATE TABLE counter (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT;",
};
enum { SCHEMA = ARRAY_LEN(migrations) };

/* One step, with the version that it leads to, is one transaction: interrupted between any two statements, it
 * has not begun. */
static int migrate_one(sqlite3 *db, int to, struct err *err)
{
	char what[64], bump[64];
	snprintf(what, sizeof what, "migrate to schema %d", to);
	snprintf(bump, sizeof bump, "PRAGMA user_version=%d", to);
	int r = store_run(db, "BEGIN IMMEDIATE", what, err);
	if (r == 0)
		r = store_run(db, migrations[to - 1], what, err);
	if (r == 0)
		r = store_run(db, bump, what, err);
	if (r == 0)
		r = store_run(db, "COMMIT", what, err);
	if (r < 0 && !sqlite3_get_autocommit(db))
		store_run(db, "ROLLBACK", what, NULL);
	return r;
}

static int migrate(sqlite3 *db, struct err *err)
{
	int64_t version;
	int r = store_query_int(db, "PRAGMA user_version", "read the schema version", &version, err);
	if (r < 0)
		return r;
	if (version < 0)
		return err_say(err, EUCLEAN, "state database: damaged (schema %d)", (int)version);
	if (version > SCHEMA)
		return err_say(err, EPROTO,
			"state database: written by a newer teal (schema %d, this one knows %d)",
			(int)version, (int)SCHEMA);
	for (; r == 0 && version < SCHEMA; version++)
		r = migrate_one(db, (int)version + 1, err);
	return r;
}

/* A version that says so proves no table: the file may have lost one. */
static int check_tables(sqlite3 *db, struct err *err)
{
	static const struct store_table *const tables[] = { &store_service_table, &store_generation_table,
		&store_deployment_table, &store_event_table };
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		OWN_STMT sqlite3_stmt *st = NULL;
		OWN_FREE char *sql = store_select_sql(tables[i], "0");
		if (!sql)
			return err_set(err, ENOMEM, "state database");
		if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
			return store_sql_error(db, err, tables[i]->name);
	}
	int64_t counters;
	return store_query_int(db, "SELECT count(value) FROM counter", "counter", &counters, err);
}

static int check_pages(sqlite3 *db, struct err *err)
{
	int64_t ok = 0;
	int r = store_query_int(
		db, "SELECT quick_check = 'ok' FROM pragma_quick_check(1)", "check", &ok, err);
	return r == 0 && !ok ? err_say(err, EUCLEAN, "state database: damaged (quick_check)") : r;
}

static int prepare_database(sqlite3 *db, struct err *err)
{
	sqlite3_busy_timeout(db, 1000);
	int r = store_run(db,
		"PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA journal_mode=WAL;"
		"PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=200",
		"open", err);
	if (r == 0)
		r = check_pages(db, err);
	if (r == 0)
		r = migrate(db, err);
	if (r == 0)
		r = check_tables(db, err);

	return r;
}

/* Makes the file before SQLite does, so that it and its write-ahead files are ours alone from the first byte
 * on, and that a place where nothing can be written is told apart from a damaged file. */
static int make_file(const char *path, struct err *err)
{
	OWN_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return err_set(err, errno, "open %s", path);
	return 0;
}

static int open_database(const char *path, sqlite3 **ret, struct err *err)
{
	sqlite3 *db = NULL;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, r = make_file(path, err);
	if (r < 0)
		return r;
	r = sqlite3_open_v2(path, &db, flags, NULL) == SQLITE_OK ? prepare_database(db, err)
								 : store_sql_error(db, err, path);
	if (r < 0) {
		sqlite3_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

/* Renames the database and what SQLite keeps beside it out of the way; the name says when and why. */
static int set_aside(const char *path, const struct err *why, char **ret_note, struct err *err)
{
	static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
	const char *state = why->code == EPROTO ? "newer" : "damaged";
	char when[UTC_LEN];
	format_utc(clock_wall_ms(), when);
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		OWN_BUF struct buf from = { 0 }, to = { 0 };
		buf_addf(&from, "%s%s", path, suffixes[i]);
		buf_addf(&to, "%s.%s-%s%s", path, state, when, suffixes[i]);
		if (from.failed || to.failed)
			return err_set(err, ENOMEM, "set %s aside", path);
		if (rename(from.data, to.data) < 0 && errno != ENOENT)
			return err_set(err, errno, "set %s aside", path);
	}
	struct buf note = { 0 };
	buf_addf(&note, "%s; set aside as %s.%s-%s, begun afresh", why->msg, path, state, when);
	*ret_note = buf_take(&note);
	return *ret_note ? 0 : err_set(err, ENOMEM, "set %s aside", path);
}

int store_open(const char *path, struct store **ret, char **ret_note, struct err *err)
{
	OWN_FREE struct store *s = calloc(1, sizeof *s);
	OWN_FREE char *note = NULL;
	struct err why = { 0 };
	if (!s)
		return err_set(err, ENOMEM, "open %s", path);
	int r = open_database(path, &s->db, &why);
	if (r == -EUCLEAN || r == -EPROTO) {
		if ((r = set_aside(path, &why, &note, err)) < 0)
			return r;
		r = open_database(path, &s->db, &why);
	}
	if (r < 0) {
		if (err)
			*err = why;
		return r;
	}
	*ret_note = TAKE_PTR(note);
	*ret = TAKE_PTR(s);
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	sqlite3_close(s->db);
	free(s);
}
