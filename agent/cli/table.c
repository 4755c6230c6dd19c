#include "agent/cli/table.h"

#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"

#define WIDE_COLUMNS 100

struct table {
	struct libscols_table *scols;
	struct libscols_line *line; /* the row being filled; borrowed */
	size_t next;
	bool failed;
};

struct table *table_new(const struct table_column *columns, size_t n, const struct term *t)
{
	OWN(own_table) struct table *table = calloc(1, sizeof *table);
	if (!table || !(table->scols = scols_new_table()))
		return NULL;
	scols_table_enable_colors(table->scols, t->color);
	scols_table_enable_ascii(table->scols, !t->utf8);
	scols_table_set_column_separator(table->scols, "  ");
	scols_table_set_termforce(table->scols, t->width ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER);
	if (t->width)
		scols_table_set_termwidth(table->scols, t->width);
	for (size_t i = 0; i < n; i++) {
		bool hidden = columns[i].wide && t->width > 0 && t->width < WIDE_COLUMNS;
		int flags = (columns[i].right ? SCOLS_FL_RIGHT : 0) | (columns[i].cut ? SCOLS_FL_TRUNC : 0) |
			    (hidden ? SCOLS_FL_HIDDEN : 0);
		if (!scols_table_new_column(table->scols, columns[i].name, 0, flags))
			return NULL;
	}
	return TAKE_PTR(table);
}

void table_free(struct table *t)
{
	if (!t)
		return;
	scols_unref_table(t->scols);
	free(t);
}

void table_row(struct table *t)
{
	if (!t)
		return;
	t->line = scols_table_new_line(t->scols, NULL);
	t->next = 0;
	t->failed = t->failed || !t->line;
}

void table_cell(struct table *t, enum term_style style, const char *text)
{
	static const char *const colors[] = {
		[STYLE_PLAIN] = NULL,
		[STYLE_BOLD] = "bold",
		[STYLE_DIM] = "darkgray",
		[STYLE_GOOD] = "green",
		[STYLE_BUSY] = "yellow",
		[STYLE_BAD] = "red",
	};
	if (!t || !t->line)
		return;
	if (scols_line_set_data(t->line, t->next, text && *text ? text : "-") < 0)
		t->failed = true;
	else if (colors[style])
		scols_cell_set_color(scols_line_get_cell(t->line, t->next), colors[style]);
	t->next++;
}

void table_cellf(struct table *t, enum term_style style, const char *fmt, ...)
{
	OWN_BUF struct buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	table_cell(t, style, text.data);
}

int table_print(struct table *t, struct buf *out)
{
	OWN_FREE char *text = NULL;
	if (!t || t->failed || scols_print_table_to_string(t->scols, &text) < 0)
		return -ENOMEM;
	size_t len = text ? strlen(text) : 0;
	if (len == 0)
		return 0;
	buf_adds(out, text);
	return text[len - 1] == '\n' ? 0 : buf_adds(out, "\n");
}
