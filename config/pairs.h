/* Sorted key-value pairs: environment and labels. */
#pragma once
#include <stddef.h>

#include "config/spec.h"

struct pairs {
	struct spec_pair *items;
	size_t n, cap;
};

/* The value of a key, or NULL. */
const char *pairs_get(const struct pairs *p, const char *key, size_t key_len);
/* Sets or replaces; -ENOMEM. */
int pairs_set(struct pairs *p, const char *key, size_t key_len, const char *value);
void pairs_sort(struct pairs *p);
void pairs_done(struct pairs *p);
#define OWN_PAIRS __attribute__((cleanup(pairs_done)))

/* What is wrong with a variable's or label's name, or NULL. */
const char *pairs_check_key(const char *key);
