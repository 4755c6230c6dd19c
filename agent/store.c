#include "agent/store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/store_private.h"
#include "agent/store_rows.h"
#include "base/own.h"

int store_sql_error(sqlite3 *db, struct err *err, const char *what)
{
	static const struct {
		int sql, code;
	} codes[] = { { SQLITE_FULL, ENOSPC }, { SQLITE_NOMEM, ENOMEM }, { SQLITE_READONLY, EROFS },
		{ SQLITE_CANTOPEN, EACCES }, { SQLITE_PERM, EACCES }, { SQLITE_IOERR, EIO },
		{ SQLITE_BUSY, EBUSY }, { SQLITE_LOCKED, EBUSY }, { SQLITE_PROTOCOL, EBUSY } };
	int code = EUCLEAN, sql = sqlite3_errcode(db);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].sql == sql)
			code = codes[i].code;
	if (sqlite3_extended_errcode(db) == SQLITE_READONLY)
		code = EUCLEAN; /* without a reason beside it: the file was opened for writing, only its
				   header says no */
	return err_say(err, code, "state database: %s: %s", what, sqlite3_errmsg(db));
}

int store_run(sqlite3 *db, const char *sql, const char *what, struct err *err)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_sql_error(db, err, what);
}

int store_query_int(sqlite3 *db, const char *sql, const char *what, int64_t *ret, struct err *err)
{
	OWN_STMT sqlite3_stmt *st = NULL;
	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
		return store_sql_error(db, err, what);
	*ret = sqlite3_column_int64(st, 0);
	return 0;
}

void store_begin(struct store *s)
{
	assert(!s->open); /* the inner commit would make half of the outer one durable */
	s->open = true;
	s->failed = (struct err){ 0 };
	store_run(s->db, "BEGIN IMMEDIATE", "begin", &s->failed);
}

int store_commit(struct store *s, struct err *err)
{
	assert(s->open);
	s->open = false;
	if (s->failed.code == 0 && store_run(s->db, "COMMIT", "commit", &s->failed) == 0)
		return 0;
	if (!sqlite3_get_autocommit(s->db))
		store_run(s->db, "ROLLBACK", "roll back", NULL);
	if (err)
		*err = s->failed;
	return -s->failed.code;
}

/* After the first failure nothing more is tried: SQLite may have rolled back by itself, and what follows
 * would land on its own. */
static bool may_change(const struct store *s)
{
	assert(s->open);
	return s->failed.code == 0;
}

static int put(struct store *s, const struct store_table *t, const void *row)
{
	if (!may_change(s))
		return -s->failed.code;
	OWN_FREE char *sql = store_insert_sql(t);
	OWN_STMT sqlite3_stmt *st = NULL;
	if (!sql)
		return err_set(&s->failed, ENOMEM, "state database: %s", t->name);
	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK ||
		store_bind_row(st, t, row) != SQLITE_OK || sqlite3_step(st) != SQLITE_DONE)
		return store_sql_error(s->db, &s->failed, t->name);
	return 0;
}

void store_put_service(struct store *s, const struct row_service *r)
{
	put(s, &store_service_table, r);
}

void store_put_generation(struct store *s, const struct row_generation *r)
{
	put(s, &store_generation_table, r);
}

void store_put_deployment(struct store *s, struct row_deployment *r)
{
	if (put(s, &store_deployment_table, r) == 0 && r->id == 0)
		r->id = sqlite3_last_insert_rowid(s->db);
}

void store_put_event(struct store *s, const struct row_event *r)
{
	put(s, &store_event_table, r);
}

/* Runs sql with a text and a number for ?1 and ?2; it may use fewer. */
static void change(struct store *s, const char *sql, const char *text, int64_t number)
{
	OWN_STMT sqlite3_stmt *st = NULL;
	if (!may_change(s))
		return;
	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) {
		store_sql_error(s->db, &s->failed, sql);
		return;
	}
	sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, number);
	if (sqlite3_step(st) != SQLITE_DONE)
		store_sql_error(s->db, &s->failed, sql);
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
	change(s,
		"DELETE FROM event WHERE ?1 IS NULL AND seq <= "
		"(SELECT seq FROM event ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
		NULL, keep);
	change(s,
		"DELETE FROM deployment WHERE ?1 IS NULL AND done AND id <= "
		"(SELECT id FROM deployment WHERE done ORDER BY id DESC LIMIT 1 OFFSET ?2)",
		NULL, keep);
}

struct query {
	const struct store_table *table;
	const char *where; /* with ?1 (text), ?2, ?3 (numbers) */
	const char *text;
	int64_t a, b;
};

static int select_rows(struct store *s, const struct query *q, void (*each)(void *arg, void *row), void *arg,
	struct err *err)
{
	OWN_FREE char *sql = store_select_sql(q->table, q->where);
	OWN_STMT sqlite3_stmt *st = NULL;
	if (!sql)
		return err_set(err, ENOMEM, "state database: %s", q->table->name);
	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
		return store_sql_error(s->db, err, q->table->name);
	sqlite3_bind_text(st, 1, q->text, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, q->a);
	sqlite3_bind_int64(st, 3, q->b);
	int step;
	while ((step = sqlite3_step(st)) == SQLITE_ROW) {
		union store_row row;
		memset(&row, 0, sizeof row);
		bool loaded = store_load_row(st, q->table, &row) == SQLITE_OK;
		if (loaded)
			each(arg, &row);
		store_free_row(q->table, &row);
		if (!loaded)
			return err_set(err, ENOMEM, "state database: %s", q->table->name);
	}
	return step == SQLITE_DONE ? 0 : store_sql_error(s->db, err, q->table->name);
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
	return select_rows(s, &(struct query){ &store_service_table, "1 ORDER BY name", NULL, 0, 0 },
		typed_row, &t, err);
}

int store_generations(struct store *s, const char *service,
	void (*each)(void *arg, const struct row_generation *r), void *arg, struct err *err)
{
	struct typed t = { .arg = arg, .generation = each };
	struct query q = { &store_generation_table,
		"?1 IS NULL OR service = ?1 ORDER BY service, number DESC", service, 0, 0 };
	return select_rows(s, &q, typed_row, &t, err);
}

int store_deployments(struct store *s, const char *service, bool open_only,
	void (*each)(void *arg, const struct row_deployment *r), void *arg, struct err *err)
{
	struct typed t = { .arg = arg, .deployment = each };
	struct query q = { &store_deployment_table,
		"(?1 IS NULL OR service = ?1) AND (?2 = 0 OR done = 0) ORDER BY id DESC", service, open_only,
		0 };
	return select_rows(s, &q, typed_row, &t, err);
}

int store_events(struct store *s, const char *service, int64_t after, int64_t limit,
	void (*each)(void *arg, const struct row_event *r), void *arg, struct err *err)
{
	struct typed t = { .arg = arg, .event = each };
	struct query q = { &store_event_table,
		"(?1 IS NULL OR service = ?1) AND seq > ?2 ORDER BY seq LIMIT ?3", service, after, limit };
	return select_rows(s, &q, typed_row, &t, err);
}

struct taken {
	void *to;
	size_t size;
	bool found;
};

/* Keeps the first row: its texts move to the caller, so that store_free_row finds nothing left to free. */
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
	union store_row row;
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
	struct query q = { &store_generation_table, "service = ?1 AND number = ?2", service, number, 0 };
	int r = select_one(s, &q, ret, sizeof *ret, err);
	return r == -ENOENT ? err_say(err, ENOENT, "%s has no generation %" PRId64, service, number) : r;
}

int store_deployment(struct store *s, int64_t id, struct row_deployment *ret, struct err *err)
{
	struct query q = { &store_deployment_table, "id = ?2", NULL, id, 0 };
	int r = select_one(s, &q, ret, sizeof *ret, err);
	return r == -ENOENT ? err_say(err, ENOENT, "there is no deployment %" PRId64, id) : r;
}

int store_last_deployment(struct store *s, const char *service, struct row_deployment *ret, struct err *err)
{
	struct query q = { &store_deployment_table, "service = ?1 AND done = 1 ORDER BY id DESC LIMIT 1",
		service, 0, 0 };
	return select_one(s, &q, ret, sizeof *ret, err);
}

int store_reserved_events(struct store *s, int64_t *ret, struct err *err)
{
	/* What is stored counts too: an older schema had no counter. */
	return store_query_int(s->db,
		"SELECT max(coalesce((SELECT max(seq) FROM event), 0),"
		"  coalesce((SELECT value FROM counter WHERE name = 'event'), 0))",
		"reserved events", ret, err);
}

void store_reserve_events(struct store *s, int64_t upto)
{
	change(s, "INSERT OR REPLACE INTO counter (name, value) VALUES (?1, ?2)", "event", upto);
}
