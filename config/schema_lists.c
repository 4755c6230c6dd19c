#include "config/schema.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "config/pairs.h"

/* SCHEMA_LIST: one text, or a list of them. */

static char ***list_of(const struct schema_row *row, const void *base)
{
	return SCHEMA_FIELD(base, row->offset);
}

static bool is_listed(char **list, const char *text)
{
	for (; list && *list; list++)
		if (strcmp(*list, text) == 0)
			return true;
	return false;
}

static int add_item(const struct schema_row *row, const struct node *n, char ***list, struct diag_list *d)
{
	if (n->kind != NODE_SCALAR || node_is_null(n)) {
		node_fault(d, n, NULL, "`%s`: an item of the list must be text", row->key);
		return 0;
	}
	const char *why = row->check(n->text);
	if (!why && is_listed(*list, n->text))
		why = "is there twice";
	if (why)
		schema_refuse_value(row, n, why, NULL, d);
	return why ? 0 : strv_add(list, n->text);
}

static int list_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	OWN_STRV char **list = NULL;
	int r = 0;
	if (n->kind == NODE_MAP) {
		schema_refuse_kind(row, n, "a list", d);
		return 0;
	}
	if (n->kind == NODE_LIST && n->n > row->max) {
		node_fault(d, n, NULL, "`%s` is too long: at most %u", row->key, (unsigned)row->max);
		return 0;
	}
	if (n->kind == NODE_SCALAR)
		r = add_item(row, n, &list, d);
	for (size_t i = 0; r == 0 && n->kind == NODE_LIST && i < n->n; i++)
		r = n->items[i].value->faulty ? 0 : add_item(row, n->items[i].value, &list, d);
	strv_free(*list_of(row, base));
	*list_of(row, base) = TAKE_PTR(list);
	return r;
}

static int list_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	char **items = *list_of(row, base);
	OWN_JSON json_t *list = items ? json_array() : NULL;
	for (size_t i = 0; list && items[i]; i++)
		if (json_array_append_new(list, json_string(items[i])) < 0)
			return -ENOMEM;
	*ret = TAKE_PTR(list);
	return items && !*ret ? -ENOMEM : 0;
}

static void list_clear(const struct schema_row *row, void *base)
{
	strv_free(TAKE_PTR(*list_of(row, base)));
}

static json_t *list_describe(const struct schema_row *row)
{
	return json_pack("{s:[{s:s},{s:s,s:{s:s},s:I}]}", "anyOf", "type", "string", "type", "array", "items",
		"type", "string", "maxItems", (json_int_t)row->max);
}

/* SCHEMA_ULIMITS: as in Compose, one number for both or a map of soft and hard; and "soft:hard", the
 * canonical form of both. */

static const char *const ulimit_names[] = { "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue",
	"nice", "nofile", "nproc", "rtprio", "sigpending", "stack", NULL };

static bool scan_limit(const char *text, size_t len, int64_t *ret)
{
	char number[24];
	if (len >= sizeof number)
		return false;
	memcpy(number, text, len);
	number[len] = '\0';
	return parse_i64(number, -1, INT64_MAX, ret) == 0;
}

static bool scan_ulimit(const char *text, int64_t *ret_soft, int64_t *ret_hard)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	const char *hard = colon ? colon + 1 : text;
	return scan_limit(text, len, ret_soft) && scan_limit(hard, strlen(hard), ret_hard);
}

static const char *member_text(const struct node *n, const char *key)
{
	const struct node_entry *e = node_member(n, key);
	return e && e->value->kind == NODE_SCALAR ? e->value->text : NULL;
}

static bool read_ulimit(const struct node *n, int64_t *ret_soft, int64_t *ret_hard)
{
	if (n->kind == NODE_SCALAR)
		return scan_ulimit(n->text, ret_soft, ret_hard);
	const char *soft = member_text(n, "soft"), *hard = member_text(n, "hard");
	return soft && hard && n->n == 2 && scan_limit(soft, strlen(soft), ret_soft) &&
	       scan_limit(hard, strlen(hard), ret_hard);
}

static bool is_ulimit(const struct schema_row *row, const struct node *key, struct diag_list *d)
{
	char hint[64];
	size_t i = 0;
	while (ulimit_names[i] && strcmp(ulimit_names[i], key->text) != 0)
		i++;
	if (ulimit_names[i])
		return true;
	const char *near = suggest(key->text, ulimit_names);
	snprintf(hint, sizeof hint, "did you mean `%s`?", near ? near : "");
	schema_refuse_value(row, key, "is not a limit that teal knows", near ? hint : NULL, d);
	return false;
}

static int add_ulimit(
	const struct schema_row *row, const struct node_entry *e, struct pairs *pairs, struct diag_list *d)
{
	int64_t soft, hard;
	char text[48];
	if (e->value->faulty || !is_ulimit(row, e->key, d))
		return 0;
	if (!read_ulimit(e->value, &soft, &hard)) {
		node_fault(d, e->value, "1024, or { soft: 1024, hard: 4096 }; -1 is no limit",
			"`%s`: `%s` is neither a number nor a pair of `soft` and `hard`", row->key,
			e->key->text);
		return 0;
	}
	if (hard != -1 && (soft == -1 || soft > hard)) {
		node_fault(d, e->value, NULL, "`%s`: the soft limit of `%s` is above the hard one", row->key,
			e->key->text);
		return 0;
	}
	snprintf(text, sizeof text, "%lld:%lld", (long long)soft, (long long)hard);
	return pairs_set(pairs, e->key->text, strlen(e->key->text), text);
}

static int ulimits_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	OWN_PAIRS struct pairs pairs = { 0 };
	if (n->kind != NODE_MAP) {
		schema_refuse_kind(row, n, "a map", d);
		return 0;
	}
	for (size_t i = 0; i < n->n; i++)
		if (add_ulimit(row, &n->items[i], &pairs, d) < 0)
			return -ENOMEM;
	pairs_sort(&pairs);
	*(struct spec_pair **)SCHEMA_FIELD(base, row->offset) = TAKE_PTR(pairs.items);
	*(size_t *)SCHEMA_FIELD(base, row->second) = pairs.n;
	pairs.n = 0;
	return 0;
}

static int ulimits_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	return schema_collection_ops(SCHEMA_PAIRS)->encode(row, base, ret);
}

static void ulimits_clear(const struct schema_row *row, void *base)
{
	schema_collection_ops(SCHEMA_PAIRS)->clear(row, base);
}

static json_t *ulimits_describe(const struct schema_row *row)
{
	json_t *names = json_array();
	(void)row;
	for (size_t i = 0; ulimit_names[i]; i++)
		json_array_append_new(names, json_string(ulimit_names[i]));
	return json_pack("{s:s,s:{s:o},s:{s:[{s:s},{s:s,s:s},{s:s,s:{s:{s:s},s:{s:s}},s:[ss],s:b}]}}", "type",
		"object", "propertyNames", "enum", names, "additionalProperties", "anyOf", "type", "integer",
		"type", "string", "pattern", "^-?[0-9]+(:-?[0-9]+)?$", "type", "object", "properties", "soft",
		"type", "integer", "hard", "type", "integer", "required", "soft", "hard",
		"additionalProperties", 0);
}

static const struct schema_ops ops[SCHEMA_TYPES] = {
	[SCHEMA_LIST] = { "text or list of texts", list_parse, list_encode, list_clear, list_describe },
	[SCHEMA_ULIMITS] = { "map", ulimits_parse, ulimits_encode, ulimits_clear, ulimits_describe },
};

const struct schema_ops *schema_list_ops(enum schema_type type)
{
	return ops[type].parse ? &ops[type] : NULL;
}
