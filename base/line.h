/* Text from strangers (a probe's answer, a file's name) that ends up in terminals, logs and JSON: one line,
 * no control characters, valid UTF-8. */
#pragma once
#include <stddef.h>

/* Copies text so, cut to fit size: blanks and controls become single spaces, what is no character becomes
 * "?". */
void line_copy(char *to, size_t size, const char *text);
