/* Private to the store: how the rows of store.h lie in the tables, and the statements that follow from it. */
#pragma once
#include <sqlite3.h>
#include <stddef.h>

#include "agent/store.h"

enum store_column_type { COLUMN_INT, COLUMN_TEXT };
struct store_column {
	const char *name;
	enum store_column_type type;
	size_t offset; /* in the row: int64_t, or an owned char * */
};
struct store_table {
	const char *name;
	const struct store_column *columns;
	size_t n;
};

extern const struct store_table store_service_table, store_generation_table, store_deployment_table,
	store_event_table;

/* Room for the largest row; callbacks see it as their own type. */
union store_row {
	struct row_service service;
	struct row_generation generation;
	struct row_deployment deployment;
	struct row_event event;
};

/* Statements over all columns in the table's order. NULL when out of memory; the caller frees. */
char *store_insert_sql(const struct store_table *t);
char *store_select_sql(const struct store_table *t, const char *where);

/* Both return an SQLite code. Texts are bound as they are: row must live until the statement is done. */
int store_bind_row(sqlite3_stmt *st, const struct store_table *t, const void *row);
/* Fills a zeroed row from the statement's current one; what it allocated is row's to free, on failure too. */
int store_load_row(sqlite3_stmt *st, const struct store_table *t, void *row);
void store_free_row(const struct store_table *t, void *row);
