/* SCHEMA_SET: a list of names, each a bit; ALL is all of them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/own.h"
#include "base/parse.h"
#include "config/schema.h"

#define ALL "ALL"

static size_t count_names(const struct schema_row *row)
{
	size_t n = 0;
	while (row->names[n])
		n++;
	return n;
}

static uint64_t all_bits(const struct schema_row *row)
{
	return (UINT64_C(1) << count_names(row)) - 1;
}

static const char *without_prefix(const struct schema_row *row, const char *text)
{
	size_t n = row->prefix ? strlen(row->prefix) : 0;
	return strncasecmp(text, row->prefix ? row->prefix : "", n) == 0 ? text + n : text;
}

/* 0: there is no such name. */
static uint64_t bits_of(const struct schema_row *row, const char *text)
{
	const char *name = without_prefix(row, text);
	if (strcasecmp(name, ALL) == 0)
		return all_bits(row);
	for (size_t i = 0; row->names[i]; i++)
		if (strcasecmp(row->names[i], name) == 0)
			return UINT64_C(1) << i;
	return 0;
}

static void refuse_name(const struct schema_row *row, const struct node *item, struct diag_list *d)
{
	char upper[32] = "", hint[80];
	const char *name = without_prefix(row, item->text);
	for (size_t i = 0; name[i] && i < sizeof upper - 1; i++)
		upper[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
	const char *near = suggest(upper, row->names);
	snprintf(hint, sizeof hint, "did you mean `%s`?", near ? near : "");
	schema_refuse_value(row, item, "is not one of the names that there are", near ? hint : NULL, d);
}

static int set_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	uint64_t set = 0;
	if (n->kind != NODE_LIST) {
		schema_refuse_kind(row, n, "a list of names", d);
		return 0;
	}
	for (size_t i = 0; i < n->n; i++) {
		const struct node *item = n->items[i].value;
		if (!schema_want_text(row, item, "a name", d))
			continue;
		uint64_t bits = bits_of(row, item->text);
		if (!bits)
			refuse_name(row, item, d);
		set |= bits;
	}
	*(uint64_t *)SCHEMA_FIELD(base, row->offset) = set;
	return 0;
}

static int set_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	uint64_t set = *(const uint64_t *)SCHEMA_FIELD(base, row->offset);
	if (set == 0)
		return 0;
	OWN_JSON json_t *list = json_array();
	bool all = set == all_bits(row);
	int r = all && list ? json_array_append_new(list, json_string(ALL)) : 0;
	for (size_t i = 0; r == 0 && list && !all && row->names[i]; i++)
		if (set >> i & 1)
			r = json_array_append_new(list, json_string(row->names[i]));
	if (!list || r < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(list);
	return 0;
}

static json_t *set_describe(const struct schema_row *row)
{
	json_t *names = json_pack("[s]", ALL);
	for (size_t i = 0; row->names[i]; i++) {
		json_array_append_new(names, json_string(row->names[i]));
		if (row->prefix)
			json_array_append_new(names, json_sprintf("%s%s", row->prefix, row->names[i]));
	}
	return json_pack("{s:s, s:{s:o}}", "type", "array", "items", "enum", names);
}

static const struct schema_ops ops = { "list of names", set_parse, set_encode, NULL, set_describe };

const struct schema_ops *schema_set_ops(enum schema_type type)
{
	return type == SCHEMA_SET ? &ops : NULL;
}
