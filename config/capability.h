/* The capabilities of Linux by name, without CAP_; bit n of a set is capability n. */
#pragma once
#include <stdint.h>

#define CAPABILITY_COUNT 41
#define CAPABILITY_ALL	 ((UINT64_C(1) << CAPABILITY_COUNT) - 1)

extern const char *const capability_names[CAPABILITY_COUNT + 1]; /* ends with NULL */
