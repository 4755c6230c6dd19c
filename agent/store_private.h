/* Private to the store: the handle, and SQLite's answers as ours. */
#pragma once
#include <sqlite3.h>

#include "agent/store.h"

struct store {
	sqlite3 *db;
	bool open;	   /* between begin and commit */
	struct err failed; /* first failure since begin */
};

static inline void own_stmt(sqlite3_stmt **st)
{
	sqlite3_finalize(*st);
}
#define OWN_STMT __attribute__((cleanup(own_stmt)))

/* The failure of the latest call on db; `what` names the attempt. -EUCLEAN for whatever only a database that
 * is not as we left it can answer. */
int store_sql_error(sqlite3 *db, struct err *err, const char *what);
int store_run(sqlite3 *db, const char *sql, const char *what, struct err *err);
/* The first column of the first row. */
int store_query_int(sqlite3 *db, const char *sql, const char *what, int64_t *ret, struct err *err);
