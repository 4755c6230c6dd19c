/* What a terminal can show: colours, symbols, width, repainting. Decided once from isatty and the environment
 * (NO_COLOR, CLICOLOR_FORCE, TERM, CI, the locale); the rest of the CLI asks here and never looks itself. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

struct term {
	bool tty;
	bool live; /* repaint in place; else one line per step */
	bool color;
	bool utf8;
	unsigned width, height; /* 0: not a terminal, no limit */
};

enum term_style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_BUSY, STYLE_BAD };
enum term_sign { SIGN_OK, SIGN_FAIL, SIGN_BAR, SIGN_ARROW, SIGN_MICRO, SIGN_TIMES, SIGN_MAX };

/* setlocale must have run. */
void term_probe(FILE *f, struct term *ret);
/* The window may have been resized. */
void term_measure(FILE *f, struct term *t);
/* ✔ or "ok", … as the terminal can. */
const char *term_sign(const struct term *t, enum term_sign sign);
/* One frame of the turning wheel. */
const char *term_spinner(const struct term *t, unsigned frame);
/* Text in a style; the reset follows it. */
void term_add(struct buf *out, const struct term *t, enum term_style style, const char *text);
void term_addf(struct buf *out, const struct term *t, enum term_style style, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Columns that text takes; escape sequences take none. */
unsigned term_columns(const char *text);
/* Adds text cut to `width` columns (0: whole), keeping escape sequences. */
void term_clip(struct buf *out, const char *text, unsigned width);
/* Adds text from somebody else's program: control characters (escape sequences, line breaks) become "?", a
 * tab one space, so that it can't move the cursor. */
void term_add_foreign(struct buf *out, const char *text);
