#include <stdio.h>

#include "base/own.h"
#include "config/config.h"

/* Maps are entered, so are lists of named maps, by name; all else is compared whole. */
static int flatten(const char *prefix, json_t *value, json_t *into);

static int flatten_member(const char *prefix, const char *name, json_t *value, json_t *into)
{
	OWN_BUF struct buf key = { 0 };
	buf_addf(&key, "%s%s%s", prefix, *prefix ? "." : "", name);
	return key.failed ? -1 : flatten(key.data, value, into);
}

static bool is_named_list(const json_t *value)
{
	const json_t *first = json_is_array(value) ? json_array_get(value, 0) : NULL;
	return json_is_object(first) && json_object_get(first, "name");
}

static int flatten(const char *prefix, json_t *value, json_t *into)
{
	const char *name;
	json_t *member;
	size_t i;
	if (is_named_list(value)) {
		json_array_foreach (value, i, member)
			if (flatten_member(prefix, json_str(member, "name", ""), member, into) < 0)
				return -1;
		return 0;
	}
	if (!json_is_object(value) || json_object_size(value) == 0)
		return json_object_set(into, prefix, value);
	json_object_foreach (value, name, member)
		if (flatten_member(prefix, name, member, into) < 0)
			return -1;
	return 0;
}

static json_t *flat(json_t *tree)
{
	OWN_JSON json_t *map = json_object();
	if (!map || (json_object_size(tree) > 0 && flatten("", tree, map) < 0))
		return NULL;
	return TAKE_PTR(map);
}

static int add_change(json_t *diff, const char *key, json_t *old, json_t *new)
{
	return json_object_set_new(diff, key, json_pack("[O?O?]", old, new));
}

static int add_changes(json_t *diff, json_t *old, json_t *new)
{
	const char *key;
	json_t *value;
	json_object_foreach (old, key, value)
		if (!json_equal(value, json_object_get(new, key)) &&
			add_change(diff, key, value, json_object_get(new, key)) < 0)
			return -1;
	json_object_foreach (new, key, value)
		if (!json_object_get(old, key) && add_change(diff, key, NULL, value) < 0)
			return -1;
	return 0;
}

/* Specs that differ, and no key does: the ports stand in another order (the first one is the one to probe).
 */
static int add_order(json_t *diff, const json_t *a, const json_t *b)
{
	if (json_object_size(diff) > 0 || json_equal(a, b))
		return 0;
	return add_change(diff, "ports", json_object_get(a, "ports"), json_object_get(b, "ports"));
}

json_t *cfg_diff(const struct spec *a, const struct spec *b)
{
	OWN_JSON json_t *diff = json_object();
	OWN_JSON json_t *tree_a = a ? cfg_to_json(a) : json_object();
	OWN_JSON json_t *tree_b = cfg_to_json(b);
	if (!diff || !tree_a || !tree_b)
		return NULL;
	OWN_JSON json_t *old = flat(tree_a);
	OWN_JSON json_t *new = flat(tree_b);
	if (!old || !new || add_changes(diff, old, new) < 0 || add_order(diff, tree_a, tree_b) < 0)
		return NULL;
	return TAKE_PTR(diff);
}
