#include "config/schema.h"

#include <errno.h>
#include <string.h>

#include "config/pairs.h"
#include "config/text.h"
#include "config/words.h"

static void refuse_count(const struct schema_row *row, const struct node *n, struct diag_list *d)
{
	node_fault(d, n, NULL, "`%s` is too long: at most %u", row->key, (unsigned)row->max);
}

/* SCHEMA_ARGV: a list of arguments, or one string that is split as a shell would. */

static char ***argv_of(const struct schema_row *row, const void *base)
{
	return SCHEMA_FIELD(base, row->offset);
}

/* Nothing expands or connects commands here; whoever writes this expects a shell to. */
static void warn_of_shell(
	const struct schema_row *row, const struct node *n, char **words, struct diag_list *d)
{
	static const char *const operators[] = { "&&", "||", "|", ";", ">", ">>", "<", "&" };
	for (size_t i = 0; words && words[i]; i++)
		for (size_t j = 0; j < ARRAY_LEN(operators); j++)
			if (strcmp(words[i], operators[j]) == 0) {
				node_warn(d, n, "to run a shell: [\"/bin/sh\", \"-c\", \"...\"]",
					"`%s`: `%s` is passed to the program as it is", row->key,
					operators[j]);
				return;
			}
}

static int argv_from_text(
	const struct schema_row *row, const struct node *n, char ***ret, struct diag_list *d)
{
	int r = words_split(n->text, (size_t)row->max, ret);
	if (r == -EINVAL)
		schema_refuse_value(row, n, "ends within a quote", NULL, d);
	else if (r == -E2BIG)
		refuse_count(row, n, d);
	else if (r == 0)
		warn_of_shell(row, n, *ret, d);
	return r == -ENOMEM ? r : 0;
}

static int argv_from_list(
	const struct schema_row *row, const struct node *n, char ***ret, struct diag_list *d)
{
	if (n->n > row->max) {
		refuse_count(row, n, d);
		return 0;
	}
	for (size_t i = 0; i < n->n; i++) {
		const struct node *item = n->items[i].value;
		if (item->kind != NODE_SCALAR || node_is_null(item))
			node_fault(
				d, item, "\"\" is the empty one", "`%s`: an argument must be text", row->key);
		else if (strv_add(ret, item->text) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int argv_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	OWN_STRV char **words = NULL;
	if (n->kind == NODE_MAP) {
		schema_refuse_kind(row, n, "a list of arguments or one line of text", d);
		return 0;
	}
	size_t errors = d->errors;
	int r = n->kind == NODE_LIST ? argv_from_list(row, n, &words, d) : argv_from_text(row, n, &words, d);
	if (r < 0)
		return r;
	if (d->errors == errors && row->required && (!words || !*words[0]))
		node_fault(d, n, NULL, "`%s` is empty", row->key);
	strv_free(*argv_of(row, base));
	*argv_of(row, base) = TAKE_PTR(words);
	return 0;
}

static int argv_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	char **words = *argv_of(row, base);
	if (!words)
		return 0;
	OWN_JSON json_t *list = json_array();
	for (size_t i = 0; list && words[i]; i++)
		if (json_array_append_new(list, json_string(words[i])) < 0)
			return -ENOMEM;
	*ret = TAKE_PTR(list);
	return *ret ? 0 : -ENOMEM;
}

static void argv_clear(const struct schema_row *row, void *base)
{
	strv_free(TAKE_PTR(*argv_of(row, base)));
}

static json_t *argv_describe(const struct schema_row *row)
{
	return json_pack("{s:[{s:s},{s:s,s:{s:[ssss]},s:I}]}", "anyOf", "type", "string", "type", "array",
		"items", "type", "string", "number", "boolean", "integer", "maxItems", (json_int_t)row->max);
}

/* SCHEMA_PAIRS: a map, or Compose's list of KEY=VALUE. */

static bool check_key(
	const struct schema_row *row, const struct node *at, const char *key, struct diag_list *d)
{
	char shown[TEXT_SHOWN_MAX];
	const char *why = pairs_check_key(key);
	if (why)
		node_fault(d, at, NULL, "`%s`: the name `%s` %s", row->key, text_show(key, shown), why);
	return !why;
}

/* Compose would fill these from what surrounds it; teal's agent has no such surroundings. */
static void warn_of_variable(
	const struct schema_row *row, const struct node *n, const char *value, struct diag_list *d)
{
	const char *at = strstr(value, "${");
	if (at && (at == value || at[-1] != '$'))
		node_warn(d, n, NULL, "`%s`: `${...}` is not replaced: it is passed on as it is", row->key);
}

static int pairs_from_map(
	const struct schema_row *row, const struct node *n, struct pairs *ret, struct diag_list *d)
{
	for (size_t i = 0; i < n->n; i++) {
		const struct node *key = n->items[i].key, *value = n->items[i].value;
		char shown[TEXT_SHOWN_MAX];
		text_show(key->text, shown);
		if (value->faulty || !check_key(row, key, key->text, d))
			continue;
		if (value->kind != NODE_SCALAR) {
			node_fault(d, value, NULL, "`%s`: the value of `%s` must be text", row->key, shown);
		} else if (node_is_null(value)) {
			node_fault(d, key, "nothing is taken from elsewhere; an empty value is \"\"",
				"`%s`: `%s` has no value", row->key, shown);
		} else {
			warn_of_variable(row, value, value->text, d);
			if (pairs_set(ret, key->text, strlen(key->text), value->text) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int pair_from_text(
	const struct schema_row *row, const struct node *n, struct pairs *ret, struct diag_list *d)
{
	char shown[TEXT_SHOWN_MAX];
	const char *equals = strchr(n->text, '=');
	if (!equals) {
		schema_refuse_value(
			row, n, "has no value", "nothing is taken from elsewhere; write KEY=VALUE", d);
		return 0;
	}
	size_t len = (size_t)(equals - n->text);
	OWN_FREE char *key = strndup(n->text, len);
	if (!key)
		return -ENOMEM;
	if (!check_key(row, n, key, d))
		return 0;
	if (pairs_get(ret, key, len)) {
		node_fault(d, n, NULL, "`%s`: `%s` is there twice", row->key, text_show(key, shown));
		return 0;
	}
	warn_of_variable(row, n, equals + 1, d);
	return pairs_set(ret, key, len, equals + 1);
}

static int pairs_from_list(
	const struct schema_row *row, const struct node *n, struct pairs *ret, struct diag_list *d)
{
	for (size_t i = 0; i < n->n; i++) {
		const struct node *item = n->items[i].value;
		if (item->kind != NODE_SCALAR)
			node_fault(d, item, NULL, "`%s`: an item of the list must be KEY=VALUE", row->key);
		else if (pair_from_text(row, item, ret, d) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int pairs_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	OWN_PAIRS struct pairs pairs = { 0 };
	if (n->kind == NODE_SCALAR) {
		schema_refuse_kind(row, n, "a map, or a list of KEY=VALUE", d);
		return 0;
	}
	if (n->n > row->max) {
		refuse_count(row, n, d);
		return 0;
	}
	int r = n->kind == NODE_MAP ? pairs_from_map(row, n, &pairs, d) : pairs_from_list(row, n, &pairs, d);
	if (r < 0)
		return r;
	pairs_sort(&pairs);
	*(struct spec_pair **)SCHEMA_FIELD(base, row->offset) = TAKE_PTR(pairs.items);
	*(size_t *)SCHEMA_FIELD(base, row->second) = pairs.n;
	pairs.n = 0;
	return 0;
}

static int pairs_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	const struct spec_pair *items = *(struct spec_pair *const *)SCHEMA_FIELD(base, row->offset);
	size_t n = *(const size_t *)SCHEMA_FIELD(base, row->second);
	if (n == 0)
		return 0;
	OWN_JSON json_t *map = json_object();
	for (size_t i = 0; map && i < n; i++)
		if (json_object_set_new(map, items[i].key, json_string(items[i].value)) < 0)
			return -ENOMEM;
	*ret = TAKE_PTR(map);
	return *ret ? 0 : -ENOMEM;
}

static void pairs_clear(const struct schema_row *row, void *base)
{
	struct pairs pairs = { .items = TAKE_PTR(*(struct spec_pair **)SCHEMA_FIELD(base, row->offset)) };
	pairs.n = *(size_t *)SCHEMA_FIELD(base, row->second);
	*(size_t *)SCHEMA_FIELD(base, row->second) = 0;
	pairs_done(&pairs);
}

static json_t *pairs_describe(const struct schema_row *row)
{
	return json_pack("{s:[{s:s,s:{s:[ssss]},s:I},{s:s,s:{s:s,s:s},s:I}]}", "anyOf", "type", "object",
		"additionalProperties", "type", "string", "number", "boolean", "integer", "maxProperties",
		(json_int_t)row->max, "type", "array", "items", "type", "string", "pattern",
		"^[^=]+=", "maxItems", (json_int_t)row->max);
}

/* SCHEMA_FILES: one path or a list of them. */

static int files_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	(void)base;
	if (n->kind == NODE_MAP)
		schema_refuse_kind(row, n, "a path or a list of paths", d);
	if (n->kind == NODE_LIST && n->n > row->max)
		refuse_count(row, n, d);
	for (size_t i = 0; n->kind == NODE_LIST && i < n->n; i++) {
		const struct node *item = n->items[i].value;
		if (item->kind != NODE_SCALAR || node_is_null(item) || !*item->text)
			node_fault(d, item, NULL, "`%s`: an item of the list must be a path", row->key);
	}
	if (n->kind == NODE_SCALAR && !*n->text)
		node_fault(d, n, NULL, "`%s` is empty", row->key);
	return 0;
}

static json_t *files_describe(const struct schema_row *row)
{
	return json_pack("{s:[{s:s},{s:s,s:{s:s},s:I}]}", "anyOf", "type", "string", "type", "array", "items",
		"type", "string", "maxItems", (json_int_t)row->max);
}

static const struct schema_ops ops[SCHEMA_TYPES] = {
	[SCHEMA_ARGV] = { "command", argv_parse, argv_encode, argv_clear, argv_describe },
	[SCHEMA_PAIRS] = { "map", pairs_parse, pairs_encode, pairs_clear, pairs_describe },
	[SCHEMA_FILES] = { "path or list of paths", files_parse, NULL, NULL, files_describe },
};

const struct schema_ops *schema_collection_ops(enum schema_type type)
{
	return ops[type].parse ? &ops[type] : NULL;
}
