#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "config/config.h"
#include "config/schema.h"

/* All of these return a new reference, or NULL when out of memory; json_object_set_new and its like take NULL
 * as a failure, so that one check at the end of a chain is enough. */

static json_t *describe_group(const struct schema *s, const struct schema_row *group);

/* Either of two schemas; takes both. */
static json_t *either(json_t *a, json_t *b)
{
	return json_pack("{s:[oo]}", "anyOf", a, b);
}

static json_t *describe_items(const struct schema *s, const struct schema_row *row)
{
	json_t *item = describe_group(s, row);
	if (row->read_short)
		item = either(json_pack("{s:s}", "type", "string"), item);
	return json_pack("{s:s,s:o,s:I}", "type", "array", "items", item, "maxItems", (json_int_t)row->max);
}

static json_t *describe_value(const struct schema *s, const struct schema_row *row)
{
	if (row->type == SCHEMA_ITEMS)
		return describe_items(s, row);
	if (row->type != SCHEMA_GROUP && row->type != SCHEMA_CHOICE)
		return schema_ops_of(row->type)->describe(row);
	json_t *map = describe_group(s, row);
	if (!row->shorthand)
		return map;
	const struct schema_row *member = schema_child(s, row, row->shorthand);
	return either(map, schema_ops_of(member->type)->describe(member));
}

static json_t *default_of(const struct schema_row *row)
{
	if (row->type == SCHEMA_UINT || row->type == SCHEMA_PORT)
		return json_integer(atoll(row->def));
	if (row->type == SCHEMA_BOOL)
		return json_boolean(strcmp(row->def, "true") == 0);
	return json_string(row->def);
}

static json_t *describe_row(const struct schema *s, const struct schema_row *row)
{
	OWN_JSON json_t *j = describe_value(s, row);
	if (!j || json_object_set_new(j, "description", json_string(row->help)) < 0)
		return NULL;
	if (row->def && json_object_set_new(j, "default", default_of(row)) < 0)
		return NULL;
	return TAKE_PTR(j);
}

/* Adds a row to its group: as a property, to what is required, to what excludes each other. */
static int add_member(const struct schema *s, const struct schema_row *row, json_t *properties,
	json_t *required, json_t *choices)
{
	const char *name = schema_name(row);
	if (json_object_set_new(properties, name, describe_row(s, row)) < 0)
		return -1;
	if (row->required && json_array_append_new(required, json_string(name)) < 0)
		return -1;
	if (row->type == SCHEMA_CHOICE &&
		json_array_append_new(choices, json_pack("{s:[s]}", "required", name)) < 0)
		return -1;
	return 0;
}

static json_t *describe_group(const struct schema *s, const struct schema_row *group)
{
	OWN_JSON json_t *properties = json_object();
	OWN_JSON json_t *required = json_array();
	OWN_JSON json_t *choices = json_array();
	for (const struct schema_row *row = NULL; (row = schema_next(s, group, row));)
		if (schema_usable(row) && add_member(s, row, properties, required, choices) < 0)
			return NULL;
	OWN_JSON json_t *j = json_pack("{s:s,s:O,s:b,s:{s:{}}}", "type", "object", "properties", properties,
		"additionalProperties", 0, "patternProperties", "^x-");
	if (!j)
		return NULL;
	if (json_array_size(required) > 0 && json_object_set(j, "required", required) < 0)
		return NULL;
	if (json_array_size(choices) > 0 && json_object_set(j, "oneOf", choices) < 0)
		return NULL;
	return TAKE_PTR(j);
}

json_t *cfg_schema(void)
{
	OWN_JSON json_t *j = describe_group(&spec_schema, NULL);
	if (!j ||
		json_object_set_new(
			j, "$schema", json_string("https://json-schema.org/draft/2020-12/schema")) < 0 ||
		json_object_set_new(j, "title", json_string("teal service spec")) < 0)
		return NULL;
	return TAKE_PTR(j);
}
