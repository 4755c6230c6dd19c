/* Text as people see it: stepping through UTF-8, what may stand in a spec at all, and values quoted in
 * messages. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_BAD 0xFFFFFFFFu /* not a character: an invalid byte */

/* The character at *p (before end), and moves past it. An invalid byte is stepped over alone: TEXT_BAD. */
uint32_t text_next(const char **p, const char *end);
/* Terminal cells it takes: 0 (combining), 1 or 2. */
unsigned text_width(uint32_t c);

/* Characters that no value may hold: NUL, DEL, C1 controls, Unicode's own line breaks, byte-order marks,
 * TEXT_BAD. JSON and YAML read them differently, so they would not survive the way into canonical form and
 * back. */
bool text_refused(uint32_t c);
/* The first refused character of text, or NULL. */
const char *text_find_refused(const char *text, size_t len);

#define TEXT_SHOWN_MAX 100
/* Text for a message: control bytes made visible, long text clipped with "...". Returns ret. */
const char *text_show(const char *text, char ret[TEXT_SHOWN_MAX]);
/* One character made visible in at most 8 bytes, if it is one that a terminal must not get raw; else NULL.
 * `byte` is the raw byte, for TEXT_BAD. */
const char *text_escape(uint32_t c, unsigned char byte, char ret[16]);
