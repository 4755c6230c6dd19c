/* Tables for people: the only file that knows libsmartcols. On a terminal the last resort against a narrow
 * window is cutting the columns marked so; in a pipe nothing is ever cut. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "agent/cli/term.h"
#include "base/buf.h"

struct table_column {
	const char *name;
	bool right; /* align to the right */
	bool cut;   /* may be shortened */
	bool wide;  /* left out on a terminal of fewer than 100 columns */
};

struct table;

/* NULL: out of memory (the other calls accept it). */
struct table *table_new(const struct table_column *columns, size_t n, const struct term *t);
void table_free(struct table *t);
static inline void own_table(struct table **t)
{
	table_free(*t);
}
#define OWN_TABLE __attribute__((cleanup(own_table)))

/* Begins a row; cells then go in from the left. NULL or "" shows "-". */
void table_row(struct table *t);
void table_cell(struct table *t, enum term_style style, const char *text);
void table_cellf(struct table *t, enum term_style style, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* 0 or -ENOMEM (also of an earlier call). */
int table_print(struct table *t, struct buf *out);
