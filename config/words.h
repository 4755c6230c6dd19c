/* One string as the words that a shell would make of it: quotes and backslashes mean what they mean in sh;
 * nothing is expanded, no shell runs. */
#pragma once
#include <stddef.h>

/* 0 with the words (NULL for none), -EINVAL for an open quote or a backslash at the end, -E2BIG past `max`
 * words, -ENOMEM. Free with strv_free. */
int words_split(const char *text, size_t max, char ***ret);
