#include "config/schema.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "config/text.h"

struct decoder {
	const struct schema *s;
	struct diag_list *d;
};

/* A group as it stands in the file. */
struct given {
	const struct schema_row *group; /* NULL: the top */
	const struct node *value;	/* NULL: absent, defaults only */
	const struct node *at;		/* where to say what is missing in it */
};

static int decode_group(const struct decoder *dec, const struct given *given, void *base);

static const char *group_key(const struct schema_row *group)
{
	return group ? group->key : "";
}

/* The member that is nearest to what was typed, else a key elsewhere. */
static void hint_unknown(
	const struct decoder *dec, const struct schema_row *group, const char *typed, char *ret, size_t size)
{
	const char *names[64];
	size_t n = 0;
	for (const struct schema_row *row = NULL; (row = schema_next(dec->s, group, row));)
		if (n < ARRAY_LEN(names) - 1)
			names[n++] = schema_name(row);
	names[n] = NULL;
	const char *near = suggest(typed, names);
	if (near) {
		snprintf(ret, size, "did you mean `%s`?", near);
		return;
	}
	const struct schema_row *row = schema_nearest(dec->s, typed);
	const char *name = row ? schema_name(row) : "";
	if (row && strcmp(name, typed) != 0)
		snprintf(ret, size, "did you mean `%s`?", row->key);
	else if (row && name == row->key)
		snprintf(ret, size, "`%s` belongs at the top level", name);
	else if (row)
		snprintf(ret, size, "`%s` belongs under `%.*s`", name, (int)(name - row->key - 1), row->key);
}

static void refuse_unknown(const struct decoder *dec, const struct schema_row *group, const struct node *key)
{
	char hint[160] = "", shown[TEXT_SHOWN_MAX];
	if (!diag_full(dec->d))
		hint_unknown(dec, group, key->text, hint, sizeof hint);
	if (strcmp(key->text, "<<") == 0)
		node_fault(dec->d, key, "write the keys out here", "merge keys are not supported");
	else
		node_fault(dec->d, key, *hint ? hint : NULL, "unknown key `%s`%s%s%s",
			text_show(key->text, shown), group ? " in `" : "", group_key(group),
			group ? "`" : "");
}

static void check_keys(const struct decoder *dec, const struct given *given)
{
	for (size_t i = 0; i < given->value->n; i++) {
		const struct node *key = given->value->items[i].key;
		if (strncmp(key->text, "x-", 2) == 0)
			continue;
		const struct schema_row *row = schema_child(dec->s, given->group, key->text);
		if (!row)
			refuse_unknown(dec, given->group, key);
		else if (row->type == SCHEMA_LATER)
			node_fault(dec->d, key, row->help, "`%s` is not supported by this version of teal",
				row->key);
		else if (row->type == SCHEMA_FOREIGN)
			node_fault(dec->d, key, row->help, "`%s` is not a key of teal", row->key);
	}
}

static int default_value(const struct decoder *dec, const struct schema_row *row, void *base)
{
	if (!row->def)
		return 0;
	struct node n = {
		.kind = NODE_SCALAR, .plain = true, .length = 1, .text = (char *)(uintptr_t)row->def
	};
	return schema_ops_of(row->type)->parse(row, &n, base, dec->d);
}

static int decode_value(
	const struct decoder *dec, const struct schema_row *row, const struct node *n, void *base)
{
	size_t errors = dec->d->errors;
	int r = schema_ops_of(row->type)->parse(row, n, base, dec->d);
	/* rules that compare fields must not trip over one that is wrong by itself */
	return r == 0 && dec->d->errors > errors ? default_value(dec, row, base) : r;
}

static int decode_item(
	const struct decoder *dec, const struct schema_row *row, const struct node *n, void *item)
{
	struct given given = { row, n, n };
	if (n->kind == NODE_MAP)
		return decode_group(dec, &given, item);
	if (!row->read_short || n->kind != NODE_SCALAR || node_is_null(n)) {
		node_fault(dec->d, n, NULL, "an item of `%s` must be a map", row->key);
		return 0;
	}
	given.value = NULL;
	int r = decode_group(dec, &given, item);
	return r < 0 ? r : row->read_short(n, item, dec->d);
}

static int decode_items(
	const struct decoder *dec, const struct schema_row *row, const struct node *n, void *base)
{
	if (n->kind != NODE_LIST) {
		schema_refuse_kind(row, n, "a list", dec->d);
		return 0;
	}
	size_t count = n->n;
	if (count > row->max) {
		node_fault(dec->d, n, NULL, "`%s` has %zu items: at most %u", row->key, count,
			(unsigned)row->max);
		count = (size_t)row->max;
	}
	if (count == 0)
		return 0;
	char *items = calloc(count, row->size);
	if (!items)
		return -ENOMEM;
	memcpy(SCHEMA_FIELD(base, row->offset), &items, sizeof items);
	memcpy(SCHEMA_FIELD(base, row->second), &count, sizeof count);
	for (size_t i = 0; i < count; i++) {
		int r = decode_item(dec, row, n->items[i].value, items + i * row->size);
		if (r < 0)
			return r;
	}
	return 0;
}

static int *choice_of(const struct schema_row *row, void *base)
{
	return SCHEMA_FIELD(base, row->offset);
}

static int decode_choice(const struct decoder *dec, const struct given *given, void *base)
{
	int *choice = choice_of(given->group, base);
	if (*choice) {
		node_fault(dec->d, given->at, "keep one of them",
			"`%s` is one kind too many: there is another already", given->group->key);
		return 0;
	}
	*choice = given->group->choice;
	return decode_group(dec, given, base);
}

/* Nothing behind the key, or an explicit null: the same as absent where there is no default, a slip
 * elsewhere. */
static bool check_absent(const struct decoder *dec, const struct schema_row *row, const struct node_entry *e)
{
	if (!e || e->value->faulty)
		return true;
	if (!node_is_null(e->value))
		return false;
	if (node_is_empty(e->value) || row->def || row->required)
		node_fault(dec->d, e->key, "give it one, or remove the line", "`%s` has no value", row->key);
	return true;
}

static int decode_row(
	const struct decoder *dec, const struct schema_row *row, const struct node_entry *e, void *base)
{
	bool absent = check_absent(dec, row, e);
	struct given given = { row, absent ? NULL : e->value, absent ? NULL : e->key };
	if (row->type == SCHEMA_GROUP)
		return decode_group(dec, &given, base);
	if (row->type == SCHEMA_CHOICE)
		return given.value ? decode_choice(dec, &given, base) : 0;
	if (row->type == SCHEMA_ITEMS)
		return given.value ? decode_items(dec, row, given.value, base) : 0;
	return given.value ? decode_value(dec, row, given.value, base) : default_value(dec, row, base);
}

static void refuse_missing(const struct decoder *dec, const struct given *given, const struct schema_row *row)
{
	char hint[200] = "";
	if (row->example)
		snprintf(hint, sizeof hint, "%s: %s", schema_name(row), row->example);
	node_fault(dec->d, given->at, *hint ? hint : NULL, "`%s` is missing", row->key);
}

/* A group whose members exclude each other needs one of them. */
static void check_chosen(const struct decoder *dec, const struct given *given, void *base)
{
	char names[120] = "";
	size_t used = 0;
	for (const struct schema_row *row = NULL; (row = schema_next(dec->s, given->group, row));) {
		if (row->type != SCHEMA_CHOICE)
			continue;
		if (*choice_of(row, base))
			return;
		used += (size_t)snprintf(
			names + used, sizeof names - used, "%s`%s`", used ? ", " : "", schema_name(row));
		assert(used < sizeof names);
	}
	if (used)
		node_fault(dec->d, given->at, NULL, "`%s` needs one of %s", group_key(given->group), names);
}

static int decode_members(const struct decoder *dec, const struct given *given, void *base)
{
	const struct node *n = given->value;
	struct node_entry whole = { (struct node *)(uintptr_t)given->at, (struct node *)(uintptr_t)n };
	for (const struct schema_row *row = NULL; (row = schema_next(dec->s, given->group, row));) {
		if (!schema_usable(row))
			continue;
		const struct node_entry *e = node_member(n, schema_name(row));
		if (n && n->kind != NODE_MAP && strcmp(schema_name(row), given->group->shorthand) == 0)
			e = &whole;
		if (n && !e && row->required)
			refuse_missing(dec, given, row);
		int r = decode_row(dec, row, e, base);
		if (r < 0)
			return r;
	}
	return 0;
}

static int decode_group(const struct decoder *dec, const struct given *given, void *base)
{
	struct given g = *given;
	size_t errors = dec->d->errors;
	if (g.value && g.value->kind == NODE_MAP) {
		check_keys(dec, &g);
	} else if (g.value && !g.group->shorthand) {
		schema_refuse_kind(g.group, g.value, "a map", dec->d);
		g.value = NULL;
	}
	bool keys_known = dec->d->errors == errors;
	int r = decode_members(dec, &g, base);
	if (r == 0 && g.value && keys_known) /* else one of the others may be the one that is missing */
		check_chosen(dec, &g, base);
	return r;
}

int schema_decode(const struct schema *s, const struct node *root, void *ret, struct diag_list *d)
{
	struct decoder dec = { s, d };
	struct given given = { NULL, root, root };
	if (root->kind != NODE_MAP) {
		node_fault(d, root, "one `key: value` a line", "the file must be a map of keys");
		given.value = NULL;
	}
	return decode_group(&dec, &given, ret);
}
