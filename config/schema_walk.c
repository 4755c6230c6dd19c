#include "config/schema.h"

#include <string.h>

#include "base/parse.h"

/* What of a row's key comes after its parent's; NULL if it is not directly below it. */
static const char *below(const struct schema_row *parent, const struct schema_row *row)
{
	const char *rest = row->key;
	if (parent) {
		size_t n = strlen(parent->key);
		if (strncmp(rest, parent->key, n) != 0)
			return NULL;
		rest += n;
		if (parent->type == SCHEMA_ITEMS && strncmp(rest, "[]", 2) == 0)
			rest += 2;
		if (*rest++ != '.')
			return NULL;
	}
	return strchr(rest, '.') ? NULL : rest;
}

const struct schema_row *schema_next(
	const struct schema *s, const struct schema_row *parent, const struct schema_row *after)
{
	for (const struct schema_row *row = after ? after + 1 : s->rows; row < s->rows + s->n; row++)
		if (below(parent, row))
			return row;
	return NULL;
}

const struct schema_row *schema_child(
	const struct schema *s, const struct schema_row *parent, const char *name)
{
	for (const struct schema_row *row = NULL; (row = schema_next(s, parent, row));)
		if (strcmp(schema_name(row), name) == 0)
			return row;
	return NULL;
}

/* Equal but for the "[]" of lists, which people leave out. */
static bool same_key(const char *key, const char *typed)
{
	for (; *key; key++, typed++) {
		if (strncmp(key, "[]", 2) == 0 && *typed != '[')
			key += 2;
		if (*key != *typed)
			return false;
	}
	return *typed == '\0' || strcmp(typed, "[]") == 0;
}

const struct schema_row *schema_at(const struct schema *s, const char *key)
{
	for (size_t i = 0; i < s->n; i++)
		if (same_key(s->rows[i].key, key))
			return &s->rows[i];
	return NULL;
}

const struct schema_row *schema_nearest(const struct schema *s, const char *typed)
{
	const struct schema_row *rows[128];
	const char *keys[128], *names[128];
	size_t n = 0;
	for (size_t i = 0; i < s->n && n < ARRAY_LEN(rows) - 1; i++) {
		if (!schema_usable(&s->rows[i]))
			continue;
		rows[n] = &s->rows[i];
		keys[n] = s->rows[i].key;
		names[n] = schema_name(&s->rows[i]);
		if (strcmp(names[n++], typed) == 0)
			return rows[n - 1];
	}
	keys[n] = names[n] = NULL;
	const char *key = suggest(typed, keys), *name = key ? NULL : suggest(typed, names);
	for (size_t i = 0; i < n; i++)
		if (keys[i] == key || names[i] == name)
			return rows[i];
	return NULL;
}

const char *schema_name(const struct schema_row *row)
{
	const char *dot = strrchr(row->key, '.');
	return dot ? dot + 1 : row->key;
}

bool schema_usable(const struct schema_row *row)
{
	return row->type != SCHEMA_LATER && row->type != SCHEMA_FOREIGN;
}

void schema_refuse_kind(
	const struct schema_row *row, const struct node *n, const char *wanted, struct diag_list *d)
{
	static const char *const kinds[] = {
		[NODE_SCALAR] = "text", [NODE_LIST] = "a list", [NODE_MAP] = "a map"
	};
	char hint[200] = "";
	if (row->example)
		snprintf(hint, sizeof hint, "%s: %s", schema_name(row), row->example);
	node_fault(d, n, *hint ? hint : NULL, "`%s` must be %s, not %s", row->key, wanted, kinds[n->kind]);
}
