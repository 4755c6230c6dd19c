#include "config/schema.h"

#include <errno.h>
#include <string.h>

static int encode_group(
	const struct schema *s, const struct schema_row *group, const void *base, json_t **ret);

/* Of a group whose members exclude each other: is none of them there? Then the group isn't, either. */
static bool is_unchosen(const struct schema *s, const struct schema_row *group, const void *base)
{
	for (const struct schema_row *row = NULL; (row = schema_next(s, group, row));)
		if (row->type == SCHEMA_CHOICE)
			return *(const int *)SCHEMA_FIELD(base, row->offset) == 0;
	return false;
}

static int encode_items(const struct schema *s, const struct schema_row *row, const void *base, json_t **ret)
{
	const char *items;
	size_t n;
	memcpy(&items, SCHEMA_FIELD(base, row->offset), sizeof items);
	memcpy(&n, SCHEMA_FIELD(base, row->second), sizeof n);
	OWN_JSON json_t *list = n ? json_array() : NULL;
	for (size_t i = 0; list && i < n; i++) {
		json_t *item = NULL;
		if (encode_group(s, row, items + i * row->size, &item) < 0 ||
			json_array_append_new(list, item) < 0)
			return -ENOMEM;
	}
	*ret = TAKE_PTR(list);
	return n && !*ret ? -ENOMEM : 0;
}

static int encode_row(const struct schema *s, const struct schema_row *row, const void *base, json_t **ret)
{
	if (row->type == SCHEMA_ITEMS)
		return encode_items(s, row, base, ret);
	if (row->type == SCHEMA_CHOICE && *(const int *)SCHEMA_FIELD(base, row->offset) != row->choice)
		return 0;
	if (row->type == SCHEMA_CHOICE || row->type == SCHEMA_GROUP)
		return is_unchosen(s, row, base) ? 0 : encode_group(s, row, base, ret);
	const struct schema_ops *ops = schema_ops_of(row->type);
	return ops && ops->encode ? ops->encode(row, base, ret) : 0;
}

/* An empty group is left out (a chosen one stays: that it is there says something). */
static int encode_group(
	const struct schema *s, const struct schema_row *group, const void *base, json_t **ret)
{
	OWN_JSON json_t *map = json_object();
	if (!map)
		return -ENOMEM;
	for (const struct schema_row *row = NULL; (row = schema_next(s, group, row));) {
		json_t *value = NULL;
		if (encode_row(s, row, base, &value) < 0)
			return -ENOMEM;
		if (value && json_object_set_new(map, schema_name(row), value) < 0)
			return -ENOMEM;
	}
	if (json_object_size(map) > 0 || (group && group->type == SCHEMA_CHOICE))
		*ret = TAKE_PTR(map);
	return 0;
}

json_t *schema_encode(const struct schema *s, const void *from)
{
	json_t *map = NULL;
	return encode_group(s, NULL, from, &map) < 0 ? NULL : map ? map : json_object();
}

static void clear_items(const struct schema *s, const struct schema_row *row, void *base);

static void clear_group(const struct schema *s, const struct schema_row *group, void *base)
{
	for (const struct schema_row *row = NULL; (row = schema_next(s, group, row));) {
		const struct schema_ops *ops = schema_ops_of(row->type);
		if (row->type == SCHEMA_ITEMS)
			clear_items(s, row, base);
		else if (row->type == SCHEMA_GROUP || row->type == SCHEMA_CHOICE)
			clear_group(s, row, base);
		else if (ops && ops->clear)
			ops->clear(row, base);
	}
}

static void clear_items(const struct schema *s, const struct schema_row *row, void *base)
{
	char **items = SCHEMA_FIELD(base, row->offset);
	size_t *n = SCHEMA_FIELD(base, row->second);
	for (size_t i = 0; i < *n; i++)
		clear_group(s, row, *items + i * row->size);
	free(*items);
	*items = NULL;
	*n = 0;
}

void schema_clear(const struct schema *s, void *value)
{
	clear_group(s, NULL, value);
}
