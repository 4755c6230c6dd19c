#include "agent/store_rows.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"

#define INT(row, f)                                                                                          \
	{                                                                                                    \
#f, COLUMN_INT, offsetof(struct row, f)                                                      \
	}
#define TEXT(row, f)                                                                                         \
	{                                                                                                    \
#f, COLUMN_TEXT, offsetof(struct row, f)                                                     \
	}

static const struct store_column service_columns[] = {
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
static const struct store_column generation_columns[] = {
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
static const struct store_column deployment_columns[] = {
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
static const struct store_column event_columns[] = {
	INT(row_event, seq),
	INT(row_event, at_ms),
	TEXT(row_event, service),
	TEXT(row_event, type),
	TEXT(row_event, text),
	TEXT(row_event, data),
	INT(row_event, generation),
	INT(row_event, deployment),
};

#define TABLE(name, columns)                                                                                 \
	{                                                                                                    \
		name, columns, ARRAY_LEN(columns)                                                            \
	}

const struct store_table store_service_table = TABLE("service", service_columns);
const struct store_table store_generation_table = TABLE("generation", generation_columns);
const struct store_table store_deployment_table = TABLE("deployment", deployment_columns);
const struct store_table store_event_table = TABLE("event", event_columns);

static int64_t *int_of(const struct store_column *c, const void *row)
{
	return (int64_t *)(uintptr_t)((const char *)row + c->offset);
}

static char **text_of(const struct store_column *c, const void *row)
{
	return (char **)(uintptr_t)((const char *)row + c->offset);
}

char *store_insert_sql(const struct store_table *t)
{
	struct buf sql = { 0 };
	buf_addf(&sql, "INSERT OR REPLACE INTO %s (", t->name);
	for (size_t i = 0; i < t->n; i++)
		buf_addf(&sql, "%s%s", i ? "," : "", t->columns[i].name);
	buf_adds(&sql, ") VALUES (");
	for (size_t i = 0; i < t->n; i++)
		buf_adds(&sql, i ? ",?" : "?");
	buf_adds(&sql, ")");
	return buf_take(&sql);
}

char *store_select_sql(const struct store_table *t, const char *where)
{
	struct buf sql = { 0 };
	for (size_t i = 0; i < t->n; i++)
		buf_addf(&sql, "%s%s", i ? "," : "SELECT ", t->columns[i].name);
	buf_addf(&sql, " FROM %s WHERE %s", t->name, where);
	return buf_take(&sql);
}

int store_bind_row(sqlite3_stmt *st, const struct store_table *t, const void *row)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct store_column *c = &t->columns[i];
		bool fresh_id = i == 0 && c->type == COLUMN_INT && *int_of(c, row) == 0;
		int r = SQLITE_OK;
		if (c->type == COLUMN_TEXT)
			r = sqlite3_bind_text(st, (int)i + 1, *text_of(c, row), -1, SQLITE_STATIC);
		else if (!fresh_id) /* left NULL: the database gives one */
			r = sqlite3_bind_int64(st, (int)i + 1, *int_of(c, row));
		if (r != SQLITE_OK)
			return r;
	}
	return SQLITE_OK;
}

int store_load_row(sqlite3_stmt *st, const struct store_table *t, void *row)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct store_column *c = &t->columns[i];
		if (c->type == COLUMN_INT) {
			*int_of(c, row) = sqlite3_column_int64(st, (int)i);
			continue;
		}
		if (sqlite3_column_type(st, (int)i) == SQLITE_NULL)
			continue;
		const unsigned char *text = sqlite3_column_text(st, (int)i);
		char *copy = text ? strdup((const char *)text) : NULL;
		if (!copy)
			return SQLITE_NOMEM;
		*text_of(c, row) = copy;
	}
	return SQLITE_OK;
}

void store_free_row(const struct store_table *t, void *row)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->columns[i].type != COLUMN_TEXT)
			continue;
		free(*text_of(&t->columns[i], row));
		*text_of(&t->columns[i], row) = NULL;
	}
}

void row_service_done(struct row_service *r)
{
	store_free_row(&store_service_table, r);
}

void row_generation_done(struct row_generation *r)
{
	store_free_row(&store_generation_table, r);
}

void row_deployment_done(struct row_deployment *r)
{
	store_free_row(&store_deployment_table, r);
}

void row_event_done(struct row_event *r)
{
	store_free_row(&store_event_table, r);
}
