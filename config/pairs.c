#include "config/pairs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"

#define KEY_MAX 250 /* YAML takes no more than 1024 characters of JSON for a key */

static struct spec_pair *find(const struct pairs *p, const char *key, size_t key_len)
{
	for (size_t i = 0; i < p->n; i++)
		if (strncmp(p->items[i].key, key, key_len) == 0 && !p->items[i].key[key_len])
			return &p->items[i];
	return NULL;
}

const char *pairs_get(const struct pairs *p, const char *key, size_t key_len)
{
	const struct spec_pair *pair = find(p, key, key_len);
	return pair ? pair->value : NULL;
}

int pairs_set(struct pairs *p, const char *key, size_t key_len, const char *value)
{
	OWN_FREE char *name = strndup(key, key_len);
	OWN_FREE char *text = strdup(value);
	struct spec_pair *pair = find(p, key, key_len);
	if (!name || !text)
		return -ENOMEM;
	if (!pair) {
		if (vec_reserve(&p->items, &p->cap, p->n + 1, sizeof *p->items) < 0)
			return -ENOMEM;
		pair = &p->items[p->n++];
		pair->key = TAKE_PTR(name);
	}
	free(pair->value);
	pair->value = TAKE_PTR(text);
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct spec_pair *x = a, *y = b;
	return strcmp(x->key, y->key);
}

void pairs_sort(struct pairs *p)
{
	if (p->n > 1)
		qsort(p->items, p->n, sizeof *p->items, compare);
}

void pairs_done(struct pairs *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->items[i].key);
		free(p->items[i].value);
	}
	free(p->items);
	*p = (struct pairs){ 0 };
}

const char *pairs_check_key(const char *key)
{
	size_t n = strlen(key);
	if (n == 0)
		return "is empty";
	if (n > KEY_MAX)
		return "is too long: at most 250 bytes";
	for (const char *p = key; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == '=' || *p == 0x7F)
			return "has a blank, a control character or `=` in it";
	return NULL;
}
