/* What is wrong with a file, and where: collected, so that one run reports every fault. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum diag_level { DIAG_ERROR, DIAG_WARNING };

struct diag {
	enum diag_level level;
	unsigned line, column; /* from 1; 0 = the file as a whole */
	unsigned length;       /* how many characters the caret underlines; at least 1 */
	char *text;	       /* "unknown key `prots`" */
	char *hint;	       /* "did you mean `ports`?"; or NULL */
};

struct diag_list {
	char *file;	    /* as shown; owned */
	char *source;	    /* the file's text, for the caret lines; owned; may be NULL */
	struct diag *items; /* in the order of the file */
	size_t n, cap;
	size_t errors;	/* how many DIAG_ERROR were added */
	size_t dropped; /* how many were added but not kept */
};

/* Records one at its place in the file; keeps the first 100 (then one closing line says how many more there
 * were). */
void diag_add(struct diag_list *d, enum diag_level level, unsigned line, unsigned column, unsigned length,
	const char *hint, const char *fmt, ...) __attribute__((format(printf, 7, 8)));
/* Is there an error at this place already? */
bool diag_has(const struct diag_list *d, unsigned line, unsigned column);
/* No room for a fault further down: not worth working out what to say about it. */
bool diag_full(const struct diag_list *d);
/* "file:line:column: error: text" + source line + caret + "hint: …", one after the other. */
void diag_print(const struct diag_list *d, bool color, struct buf *out);
void diag_done(struct diag_list *d);
