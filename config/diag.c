#include "config/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "config/text.h"

#define KEPT_MAX  100
#define TAB_CELLS 8
#define WINDOW	  100 /* cells of a source line that are shown */

static bool stands_before(const struct diag *d, unsigned line, unsigned column)
{
	return d->line < line || (d->line == line && d->column <= column);
}

static void item_done(struct diag *item)
{
	free(item->text);
	free(item->hint);
}

/* Where a fault at this place belongs: after all that stand before it, so that equal places keep their order.
 */
static size_t place_of(const struct diag_list *d, unsigned line, unsigned column)
{
	size_t at = d->n;
	while (at > 0 && !stands_before(&d->items[at - 1], line, column))
		at--;
	return at;
}

void diag_add(struct diag_list *d, enum diag_level level, unsigned line, unsigned column, unsigned length,
	const char *hint, const char *fmt, ...)
{
	if (level == DIAG_ERROR)
		d->errors++;
	size_t at = place_of(d, line, column);
	if (at == KEPT_MAX || vec_reserve(&d->items, &d->cap, d->n + 1, sizeof *d->items) < 0) {
		d->dropped++;
		return;
	}
	OWN_BUF struct buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	struct diag item = { level, line, column, length ? length : 1, buf_take(&text), NULL };
	if (!item.text) {
		d->dropped++;
		return;
	}
	item.hint = hint ? strdup(hint) : NULL;
	if (d->n == KEPT_MAX) {
		item_done(&d->items[--d->n]);
		d->dropped++;
	}
	memmove(&d->items[at + 1], &d->items[at], (d->n - at) * sizeof item);
	d->items[at] = item;
	d->n++;
}

bool diag_has(const struct diag_list *d, unsigned line, unsigned column)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->items[i].level == DIAG_ERROR && d->items[i].line == line &&
			d->items[i].column == column)
			return true;
	return false;
}

bool diag_full(const struct diag_list *d)
{
	return d->n == KEPT_MAX;
}

/* The bytes of a line, without its end. Lines end as libyaml counts them: LF, CR LF or CR. */
static const char *find_line(const char *source, unsigned line, size_t *ret_len)
{
	static const char bom[] = "\xEF\xBB\xBF";
	const char *p = source + (strncmp(source, bom, strlen(bom)) == 0 ? strlen(bom) : 0);
	for (unsigned at = 1; at < line; at++) {
		p += strcspn(p, "\r\n");
		if (!*p)
			return NULL;
		p += p[0] == '\r' && p[1] == '\n' ? 2 : 1;
	}
	*ret_len = strcspn(p, "\r\n");
	return p;
}

/* One character as it is printed: its bytes and the cells they take from `cell` on. */
struct glyph {
	char escaped[16];
	const char *bytes;
	size_t len;
	unsigned cells;
};

static struct glyph next_glyph(const char **p, const char *end, unsigned cell)
{
	static const char tab[] = "        ";
	struct glyph g = { .bytes = *p };
	unsigned char first = (unsigned char)**p;
	uint32_t c = text_next(p, end);
	if (c == '\t') {
		g.cells = TAB_CELLS - cell % TAB_CELLS;
		g.bytes = tab;
		g.len = g.cells;
	} else if (text_escape(c, first, g.escaped)) {
		g.bytes = NULL; /* in `escaped`, which moves with the struct */
		g.len = g.cells = (unsigned)strlen(g.escaped);
	} else {
		g.len = (size_t)(*p - g.bytes);
		g.cells = text_width(c);
	}
	return g;
}

/* The cell in which a column (from 1, in characters) starts. */
static unsigned cell_of(const char *line, size_t len, unsigned column)
{
	const char *p = line, *end = line + len;
	unsigned cell = 0, at = 1;
	for (; p < end && at < column; at++)
		cell += next_glyph(&p, end, cell).cells;
	return cell + (column - at); /* a column past the end: after a key without a value */
}

static void print_window(struct buf *out, const char *line, size_t len, unsigned first)
{
	unsigned cell = 0;
	for (const char *p = line, *end = line + len; p < end;) {
		struct glyph g = next_glyph(&p, end, cell);
		if (cell + g.cells > first + WINDOW) {
			buf_adds(out, "...");
			return;
		}
		if (cell >= first)
			buf_add(out, g.bytes ? g.bytes : g.escaped, g.len);
		cell += g.cells;
	}
}

static void print_caret(struct buf *out, unsigned before, unsigned length, bool color)
{
	buf_addf(out, "%*s%s^", (int)before, "", color ? "\033[1;32m" : "");
	for (unsigned i = 1; i < length; i++)
		buf_adds(out, "~");
	buf_adds(out, color ? "\033[0m\n" : "\n");
}

static void print_excerpt(const struct diag_list *d, const struct diag *item, bool color, struct buf *out)
{
	size_t len;
	const char *line = d->source && item->line ? find_line(d->source, item->line, &len) : NULL;
	if (!line)
		return;
	unsigned column = item->column ? item->column : 1;
	unsigned from = cell_of(line, len, column), to = cell_of(line, len, column + item->length);
	unsigned first = from > WINDOW * 3 / 4 ? from - WINDOW / 2 : 0;
	if (to > first + WINDOW)
		to = first + WINDOW;
	buf_addf(out, "%5u | %s", item->line, first ? "..." : "");
	print_window(out, line, len, first);
	buf_adds(out, "\n      | ");
	print_caret(out, from - first + (first ? 3 : 0), to > from ? to - from : 1, color);
}

/* Without what a terminal would take for a command. */
static void print_text(struct buf *out, const char *text)
{
	for (const char *p = text, *end = text + strlen(text), *at; (at = p) < end;) {
		char escaped[16];
		if (text_escape(text_next(&p, end), (unsigned char)*at, escaped))
			buf_adds(out, escaped);
		else
			buf_add(out, at, (size_t)(p - at));
	}
}

struct style {
	const char *bold, *error, *warning, *off;
};

static void print_item(
	const struct diag_list *d, const struct diag *item, const struct style *style, struct buf *out)
{
	bool error = item->level == DIAG_ERROR;
	buf_adds(out, style->bold);
	print_text(out, d->file ? d->file : "spec");
	if (item->line)
		buf_addf(out, ":%u:%u", item->line, item->column);
	buf_addf(out, ": %s%s:%s %s", error ? style->error : style->warning, error ? "error" : "warning",
		style->off, style->bold);
	print_text(out, item->text);
	buf_addf(out, "%s\n", style->off);
	print_excerpt(d, item, *style->off != '\0', out);
	if (item->hint) {
		buf_adds(out, "      = hint: ");
		print_text(out, item->hint);
		buf_adds(out, "\n");
	}
}

void diag_print(const struct diag_list *d, bool color, struct buf *out)
{
	static const struct style plain = { "", "", "", "" };
	static const struct style colored = { "\033[1m", "\033[1;31m", "\033[1;35m", "\033[0m" };
	for (size_t i = 0; i < d->n; i++)
		print_item(d, &d->items[i], color ? &colored : &plain, out);
	if (d->dropped)
		buf_addf(out, "%s: %zu more not shown\n", d->file ? d->file : "spec", d->dropped);
}

void diag_done(struct diag_list *d)
{
	for (size_t i = 0; i < d->n; i++)
		item_done(&d->items[i]);
	free(d->items);
	free(d->file);
	free(d->source);
	*d = (struct diag_list){ 0 };
}
