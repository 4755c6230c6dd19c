#include "agent/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/own.h"

/* Schema versions: each entry takes the database from its index to the next one. Never edit one that was
 * released. */
static const char *const migrations[] = {
	"CREATE TABLE service (name TEXT PRIMARY KEY, next_generation INTEGER NOT NULL, active INTEGER NOT "
	"NULL,"
	"  standby INTEGER NOT NULL, standby_until_boot_ms INTEGER NOT NULL, boot_id TEXT, held_digest TEXT,"
	"  held_reason TEXT, held_generation INTEGER NOT NULL, held_since_ms INTEGER NOT NULL);"
	"CREATE TABLE generation (service TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, "
	"image TEXT,"
	"  image_digest TEXT, slot TEXT NOT NULL, state TEXT NOT NULL, spec TEXT NOT NULL, created_ms "
	"INTEGER NOT NULL,"
	"  since_ms INTEGER NOT NULL, by TEXT, source TEXT, result TEXT, reason TEXT, took_ms INTEGER NOT "
	"NULL,"
	"  PRIMARY KEY (service, number)) WITHOUT ROWID;"
	"CREATE TABLE deployment (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, kind TEXT NOT "
	"NULL,"
	"  state TEXT NOT NULL, from_generation INTEGER NOT NULL, to_generation INTEGER NOT NULL, by TEXT, "
	"source TEXT,"
	"  created_ms INTEGER NOT NULL, since_ms INTEGER NOT NULL, deadline_boot_ms INTEGER NOT NULL, "
	"boot_id TEXT,"
	"  reason TEXT, steps TEXT, failure TEXT, diff TEXT, result TEXT, request TEXT, failing INTEGER NOT "
	"NULL, done "
	"INTEGER NOT NULL);"
	"CREATE INDEX deployment_service ON deployment (service, id);"
	"CREATE TABLE event (seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, service TEXT, type TEXT NOT "
	"NULL,"
	"  text TEXT, data TEXT, generation INTEGER NOT NULL, deployment INTEGER NOT NULL);",
};

enum column_type { COL_INT, COL_TEXT };
struct column {
	const char *name;
	enum column_type type;
	size_t offset;
};
#define INT(row, f)                                                                                          \
	{                                                                                                    \
#f, COL_INT, offsetof(struct row, f)                                                         \
	}
#define TEXT(row, f)                                                                                         \
	{                                                                                                    \
#f, COL_TEXT, offsetof(struct row, f)                                                        \
	}

struct table {
	const char *name;
	const struct column *columns;
	size_t n;
};

static const struct column service_columns[] = {
	TEXT(row_service, name),
	INT(row_service, next_generation),
	INT(row_service, active),
	INT(row_service, standby),
	INT(row_service, standby_until_boot_ms),
	TEXT(row_service, boot_id),
	TEXT(row_service, held_digest),
	TEXT(row_service, held_reason),
	INT(row_service, held_generation),
	INT(row_service, held_since_ms),
};
static const struct column generation_columns[] = {
	TEXT(row_generation, service),
	INT(row_generation, number),
	TEXT(row_generation, digest),
	TEXT(row_generation, image),
	TEXT(row_generation, image_digest),
	TEXT(row_generation, slot),
	TEXT(row_generation, state),
	TEXT(row_generation, spec),
	INT(row_generation, created_ms),
	INT(row_generation, since_ms),
	TEXT(row_generation, by),
	TEXT(row_generation, source),
	TEXT(row_generation, result),
	TEXT(row_generation, reason),
	INT(row_generation, took_ms),
};
static const struct column deployment_columns[] = {
	INT(row_deployment, id),
	TEXT(row_deployment, service),
	TEXT(row_deployment, kind),
	TEXT(row_deployment, state),
	INT(row_deployment, from_generation),
	INT(row_deployment, to_generation),
	TEXT(row_deployment, by),
	TEXT(row_deployment, source),
	INT(row_deployment, created_ms),
	INT(row_deployment, since_ms),
	INT(row_deployment, deadline_boot_ms),
	TEXT(row_deployment, boot_id),
	TEXT(row_deployment, reason),
	TEXT(row_deployment, steps),
	TEXT(row_deployment, failure),
	TEXT(row_deployment, diff),
	TEXT(row_deployment, result),
	TEXT(row_deployment, request),
	INT(row_deployment, failing),
	INT(row_deployment, done),
};
static const struct column event_columns[] = {
	INT(row_event, seq),
	INT(row_event, at_ms),
	TEXT(row_event, service),
	TEXT(row_event, type),
	TEXT(row_event, text),
	TEXT(row_event, data),
	INT(row_event, generation),
	INT(row_event, deployment),
};

static const struct table service_table = { "service", service_columns, ARRAY_LEN(service_columns) };
static const struct table generation_table = { "generation", generation_columns,
	ARRAY_LEN(generation_columns) };
static const struct table deployment_table = { "deployment", deployment_columns,
	ARRAY_LEN(deployment_columns) };
static const struct table event_table = { "event", event_columns, ARRAY_LEN(event_columns) };

struct store {
	sqlite3 *db;
	bool open;	   /* between begin and commit */
	struct err failed; /* first failure since begin */
};

static int64_t *int_of(const struct column *c, const void *row)
{
	return (int64_t *)(uintptr_t)((const char *)row + c->offset);
}

static char **text_of(const struct column *c, const void *row)
{
	return (char **)(uintptr_t)((const char *)row + c->offset);
}

static void row_done(const struct table *t, void *row)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->columns[i].type != COL_TEXT)
			continue;
		free(*text_of(&t->columns[i], row));
		*text_of(&t->columns[i], row) = NULL;
	}
}

void row_service_done(struct row_service *r)
{
	row_done(&service_table, r);
}

void row_generation_done(struct row_generation *r)
{
	row_done(&generation_table, r);
}

void row_deployment_done(struct row_deployment *r)
{
	row_done(&deployment_table, r);
}

void row_event_done(struct row_event *r)
{
	row_done(&event_table, r);
}

static int sql_error(sqlite3 *db, struct err *err, const char *what)
{
	static const struct {
		int sql, code;
	} codes[] = { { SQLITE_FULL, ENOSPC }, { SQLITE_NOMEM, ENOMEM }, { SQLITE_READONLY, EROFS },
		{ SQLITE_CANTOPEN, EACCES }, { SQLITE_CORRUPT, EUCLEAN }, { SQLITE_NOTADB, EUCLEAN } };
	int code = EIO, sql = sqlite3_errcode(db);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].sql == sql)
			code = codes[i].code;
	return err_say(err, code, "state database: %s: %s", what, sqlite3_errmsg(db));
}

static int run(sqlite3 *db, const char *sql, struct err *err)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_error(db, err, sql);
}

static void finalize(sqlite3_stmt **st)
{
	sqlite3_finalize(*st);
}
#define OWN_STMT __attribute__((cleanup(finalize)))

static int query_int(sqlite3 *db, const char *sql, int64_t *ret, struct err *err)
{
	OWN_STMT sqlite3_stmt *st = NULL;
	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
		return sql_error(db, err, sql);
	*ret = sqlite3_column_int64(st, 0);
	return 0;
}

static int migrate(sqlite3 *db, struct err *err)
{
	int64_t version;
	int r = query_int(db, "PRAGMA user_version", &version, err);
	if (r < 0)
		return r;
	if (version > (int64_t)ARRAY_LEN(migrations))
		return err_say(err, EPROTO,
			"state database: written by a newer teal (schema %d, this one knows %d)",
			(int)version, (int)ARRAY_LEN(migrations));
	for (; version < (int64_t)ARRAY_LEN(migrations); version++) {
		char bump[64];
		snprintf(bump, sizeof bump, "PRAGMA user_version=%d", (int)version + 1);
		if ((r = run(db, "BEGIN IMMEDIATE", err)) < 0 ||
			(r = run(db, migrations[version], err)) < 0 || (r = run(db, bump, err)) < 0 ||
			(r = run(db, "COMMIT", err)) < 0)
			return r;
	}
	return 0;
}

static int prepare_database(sqlite3 *db, struct err *err)
{
	sqlite3_busy_timeout(db, 2000);
	int r = run(
		db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=200", err);
	if (r == 0)
		r = migrate(db, err);
	int64_t ok = 0;
	if (r == 0)
		r = query_int(db, "SELECT quick_check = 'ok' FROM pragma_quick_check(1)", &ok, err);
	if (r == 0 && !ok)
		r = err_say(err, EUCLEAN, "state database: damaged (quick_check)");
	return r;
}

static int open_database(const char *path, sqlite3 **ret, struct err *err)
{
	sqlite3 *db = NULL;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	int r = sqlite3_open_v2(path, &db, flags, NULL) == SQLITE_OK ? prepare_database(db, err)
								     : sql_error(db, err, path);
	if (r < 0) {
		sqlite3_close(db);
		return r;
	}
	chmod(path, 0600);
	*ret = db;
	return 0;
}

/* Renames the database and its write-ahead files out of the way; the name says when. */
static int set_aside(const char *path, const struct err *why, char **ret_note, struct err *err)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char when[UTC_LEN];
	format_utc(clock_wall_ms(), when);
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		OWN_BUF struct buf from = { 0 }, to = { 0 };
		buf_addf(&from, "%s%s", path, suffixes[i]);
		buf_addf(&to, "%s.damaged-%s%s", path, when, suffixes[i]);
		if (from.failed || to.failed)
			return err_set(err, ENOMEM, "set %s aside", path);
		if (rename(from.data, to.data) < 0 && errno != ENOENT)
			return err_set(err, errno, "set %s aside", path);
	}
	struct buf note = { 0 };
	buf_addf(&note, "%s; set aside as %s.damaged-%s, begun afresh", why->msg, path, when);
	*ret_note = buf_take(&note);
	return 0;
}

int store_open(const char *path, struct store **ret, char **ret_note, struct err *err)
{
	OWN_FREE struct store *s = calloc(1, sizeof *s);
	OWN_FREE char *note = NULL;
	if (!s)
		return err_set(err, ENOMEM, "open %s", path);
	struct err why = { 0 };
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

void store_begin(struct store *s)
{
	if (!s->open && run(s->db, "BEGIN IMMEDIATE", &s->failed) == 0)
		s->failed = (struct err){ 0 };
	s->open = true;
}

int store_commit(struct store *s, struct err *err)
{
	s->open = false;
	if (s->failed.code == 0)
		run(s->db, "COMMIT", &s->failed);
	if (s->failed.code == 0)
		return 0;
	if (!sqlite3_get_autocommit(s->db))
		run(s->db, "ROLLBACK", NULL);
	int r = -s->failed.code;
	if (err)
		*err = s->failed;
	s->failed = (struct err){ 0 };
	return r;
}

static void note_failure(struct store *s, const struct err *why)
{
	if (why->code && !s->failed.code)
		s->failed = *why;
}

static void bind_row(sqlite3_stmt *st, const struct table *t, const void *row)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct column *c = &t->columns[i];
		bool fresh_id = i == 0 && c->type == COL_INT && *int_of(c, row) == 0;
		if (c->type == COL_TEXT)
			sqlite3_bind_text(st, (int)i + 1, *text_of(c, row), -1, SQLITE_STATIC);
		else if (!fresh_id)
			sqlite3_bind_int64(st, (int)i + 1, *int_of(c, row));
	}
}

static void put(struct store *s, const struct table *t, const void *row)
{
	OWN_BUF struct buf sql = { 0 }, marks = { 0 };
	OWN_STMT sqlite3_stmt *st = NULL;
	struct err why = { 0 };
	buf_addf(&sql, "INSERT OR REPLACE INTO %s (", t->name);
	for (size_t i = 0; i < t->n; i++) {
		buf_addf(&sql, "%s%s", i ? "," : "", t->columns[i].name);
		buf_adds(&marks, i ? ",?" : "?");
	}
	buf_addf(&sql, ") VALUES (%s)", marks.failed ? "" : marks.data);
	if (sql.failed || marks.failed) {
		err_set(&why, ENOMEM, "state database");
	} else if (sqlite3_prepare_v2(s->db, sql.data, -1, &st, NULL) != SQLITE_OK) {
		sql_error(s->db, &why, t->name);
	} else {
		bind_row(st, t, row);
		if (sqlite3_step(st) != SQLITE_DONE)
			sql_error(s->db, &why, t->name);
	}
	note_failure(s, &why);
}

void store_put_service(struct store *s, const struct row_service *r)
{
	put(s, &service_table, r);
}

void store_put_generation(struct store *s, const struct row_generation *r)
{
	put(s, &generation_table, r);
}

void store_put_deployment(struct store *s, struct row_deployment *r)
{
	put(s, &deployment_table, r);
	if (r->id == 0)
		r->id = sqlite3_last_insert_rowid(s->db);
}

void store_put_event(struct store *s, const struct row_event *r)
{
	put(s, &event_table, r);
}

/* Runs sql with up to a text and a number bound to ?1 and ?2. */
static void change(struct store *s, const char *sql, const char *text, int64_t number)
{
	OWN_STMT sqlite3_stmt *st = NULL;
	struct err why = { 0 };
	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) {
		sql_error(s->db, &why, sql);
	} else {
		sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
		sqlite3_bind_int64(st, 2, number);
		if (sqlite3_step(st) != SQLITE_DONE)
			sql_error(s->db, &why, sql);
	}
	note_failure(s, &why);
}

void store_delete_service(struct store *s, const char *name)
{
	change(s, "DELETE FROM generation WHERE service = ?1", name, 0);
	change(s, "DELETE FROM service WHERE name = ?1", name, 0);
}

void store_delete_generation(struct store *s, const char *service, int64_t number)
{
	change(s, "DELETE FROM generation WHERE service = ?1 AND number = ?2", service, number);
}

void store_prune(struct store *s, int64_t keep)
{
	change(s, "DELETE FROM event WHERE ?1 IS NULL AND seq <= (SELECT max(seq) FROM event) - ?2", NULL,
		keep);
	change(s,
		"DELETE FROM deployment WHERE ?1 IS NULL AND done AND id <= (SELECT max(id) FROM deployment) "
		"- ?2",
		NULL, keep);
}

static void load_row(sqlite3_stmt *st, const struct table *t, void *row)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct column *c = &t->columns[i];
		if (c->type == COL_INT) {
			*int_of(c, row) = sqlite3_column_int64(st, (int)i);
			continue;
		}
		const unsigned char *text = sqlite3_column_text(st, (int)i);
		*text_of(c, row) = text ? strdup((const char *)text) : NULL;
	}
}

struct query {
	const struct table *table;
	const char *where; /* with ?1 (text), ?2, ?3 (numbers) */
	const char *text;
	int64_t a, b;
};

/* Room for the largest row; the callback sees it as its own type. */
union any_row {
	struct row_service service;
	struct row_generation generation;
	struct row_deployment deployment;
	struct row_event event;
};

static int select_rows(struct store *s, const struct query *q, void (*each)(void *arg, void *row), void *arg,
	struct err *err)
{
	OWN_BUF struct buf sql = { 0 };
	OWN_STMT sqlite3_stmt *st = NULL;
	for (size_t i = 0; i < q->table->n; i++)
		buf_addf(&sql, "%s%s", i ? "," : "SELECT ", q->table->columns[i].name);
	buf_addf(&sql, " FROM %s WHERE %s", q->table->name, q->where);
	if (sql.failed)
		return err_set(err, ENOMEM, "state database");
	if (sqlite3_prepare_v2(s->db, sql.data, -1, &st, NULL) != SQLITE_OK)
		return sql_error(s->db, err, sql.data);
	sqlite3_bind_text(st, 1, q->text, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, q->a);
	sqlite3_bind_int64(st, 3, q->b);
	int step;
	while ((step = sqlite3_step(st)) == SQLITE_ROW) {
		union any_row row;
		memset(&row, 0, sizeof row);
		load_row(st, q->table, &row);
		each(arg, &row);
		row_done(q->table, &row);
	}
	return step == SQLITE_DONE ? 0 : sql_error(s->db, err, q->table->name);
}

/* The public iterators differ only in the row type of their callback. */
struct typed {
	void *arg;
	void (*service)(void *arg, const struct row_service *r);
	void (*generation)(void *arg, const struct row_generation *r);
	void (*deployment)(void *arg, const struct row_deployment *r);
	void (*event)(void *arg, const struct row_event *r);
};

static void typed_row(void *arg, void *row)
{
	const struct typed *t = arg;
	if (t->service)
		t->service(t->arg, row);
	else if (t->generation)
		t->generation(t->arg, row);
	else if (t->deployment)
		t->deployment(t->arg, row);
	else
		t->event(t->arg, row);
}

int store_services(
	struct store *s, void (*each)(void *arg, const struct row_service *r), void *arg, struct err *err)
{
	struct typed t = { .arg = arg, .service = each };
	return select_rows(
		s, &(struct query){ &service_table, "1 ORDER BY name", NULL, 0, 0 }, typed_row, &t, err);
}

int store_generations(struct store *s, const char *service,
	void (*each)(void *arg, const struct row_generation *r), void *arg, struct err *err)
{
	struct typed t = { .arg = arg, .generation = each };
	struct query q = { &generation_table, "?1 IS NULL OR service = ?1 ORDER BY service, number DESC",
		service, 0, 0 };
	return select_rows(s, &q, typed_row, &t, err);
}

int store_deployments(struct store *s, const char *service, bool open_only,
	void (*each)(void *arg, const struct row_deployment *r), void *arg, struct err *err)
{
	struct typed t = { .arg = arg, .deployment = each };
	struct query q = { &deployment_table,
		"(?1 IS NULL OR service = ?1) AND (?2 = 0 OR done = 0) ORDER BY id DESC", service, open_only,
		0 };
	return select_rows(s, &q, typed_row, &t, err);
}

int store_events(struct store *s, const char *service, int64_t after, int64_t limit,
	void (*each)(void *arg, const struct row_event *r), void *arg, struct err *err)
{
	struct typed t = { .arg = arg, .event = each };
	struct query q = { &event_table, "(?1 IS NULL OR service = ?1) AND seq > ?2 ORDER BY seq LIMIT ?3",
		service, after, limit };
	return select_rows(s, &q, typed_row, &t, err);
}

struct taken {
	void *to;
	size_t size;
	bool found;
};

/* Keeps the first row: its texts move to the caller, so that row_done finds nothing left to free. */
static void take_first(void *arg, void *row)
{
	struct taken *t = arg;
	if (t->found)
		return;
	memcpy(t->to, row, t->size);
	memset(row, 0, t->size);
	t->found = true;
}

static int select_one(struct store *s, const struct query *q, void *ret, size_t size, struct err *err)
{
	union any_row row;
	struct taken t = { &row, size, false };
	int r = select_rows(s, q, take_first, &t, err);
	if (r < 0)
		return r;
	if (!t.found)
		return -ENOENT;
	memcpy(ret, &row, size);
	return 0;
}

int store_generation(
	struct store *s, const char *service, int64_t number, struct row_generation *ret, struct err *err)
{
	struct query q = { &generation_table, "service = ?1 AND number = ?2", service, number, 0 };
	int r = select_one(s, &q, ret, sizeof *ret, err);
	return r == -ENOENT ? err_say(err, ENOENT, "%s has no generation %d", service, (int)number) : r;
}

int store_deployment(struct store *s, int64_t id, struct row_deployment *ret, struct err *err)
{
	struct query q = { &deployment_table, "id = ?2", NULL, id, 0 };
	int r = select_one(s, &q, ret, sizeof *ret, err);
	return r == -ENOENT ? err_say(err, ENOENT, "there is no deployment %d", (int)id) : r;
}

int store_last_deployment(struct store *s, const char *service, struct row_deployment *ret, struct err *err)
{
	struct query q = { &deployment_table, "service = ?1 AND done = 1 ORDER BY id DESC LIMIT 1", service,
		0, 0 };
	return select_one(s, &q, ret, sizeof *ret, err);
}

int64_t store_last_event(struct store *s)
{
	int64_t seq = 0;
	query_int(s->db, "SELECT coalesce(max(seq), 0) FROM event", &seq, NULL);
	return seq;
}
