#include "config/schema.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "config/text.h"

bool schema_want_text(
	const struct schema_row *row, const struct node *n, const char *wanted, struct diag_list *d)
{
	if (n->kind != NODE_SCALAR)
		schema_refuse_kind(row, n, wanted, d);
	return n->kind == NODE_SCALAR;
}

void schema_refuse_value(const struct schema_row *row, const struct node *n, const char *why,
	const char *hint, struct diag_list *d)
{
	char shown[TEXT_SHOWN_MAX];
	if (*n->text)
		node_fault(d, n, hint, "`%s`: `%s` %s", row->key, text_show(n->text, shown), why);
	else
		node_fault(d, n, hint, "`%s` is empty", row->key);
}

int schema_encode_text(const char *text, json_t **ret)
{
	*ret = json_string(text);
	return *ret ? 0 : -ENOMEM;
}

/* SCHEMA_TEXT, SCHEMA_NAME, SCHEMA_ADDRESS */

static char **text_of(const struct schema_row *row, const void *base)
{
	return SCHEMA_FIELD(base, row->offset);
}

static int store_text(const struct schema_row *row, void *base, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*text_of(row, base));
	*text_of(row, base) = copy;
	return 0;
}

static bool passes_check(const struct schema_row *row, const struct node *n, struct diag_list *d)
{
	const char *why = row->check ? row->check(n->text) : *n->text ? NULL : "is empty";
	if (why)
		schema_refuse_value(row, n, why, NULL, d);
	return !why;
}

static int text_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	if (!schema_want_text(row, n, "text", d) || !passes_check(row, n, d))
		return 0;
	return store_text(row, base, n->text);
}

static int text_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	const char *text = *text_of(row, base);
	return text ? schema_encode_text(text, ret) : 0;
}

static void text_clear(const struct schema_row *row, void *base)
{
	free(TAKE_PTR(*text_of(row, base)));
}

static json_t *text_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:[ss]}", "type", "string", "integer");
}

/* "My_App" as the name it could be: "my-app"; NULL if there is none. */
static const char *hint_name(const struct schema_row *row, const char *text, char *ret, size_t size)
{
	char name[64];
	size_t n = 0;
	for (; *text && n < sizeof name - 1; text++)
		name[n++] = strchr("-._ ", *text) ? '-' : (char)tolower((unsigned char)*text);
	while (n > 0 && name[n - 1] == '-')
		n--;
	name[n] = '\0';
	const char *start = name + strspn(name, "-");
	snprintf(ret, size, "did you mean `%s`?", start);
	return *text || row->check(start) ? NULL : ret;
}

static int name_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	char hint[100];
	if (!schema_want_text(row, n, "text", d))
		return 0;
	const char *why = row->check(n->text);
	if (why)
		schema_refuse_value(row, n, why, hint_name(row, n->text, hint, sizeof hint), d);
	else
		snprintf(SCHEMA_FIELD(base, row->offset), row->size, "%s", n->text);
	return 0;
}

static int name_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	const char *text = SCHEMA_FIELD(base, row->offset);
	return *text ? schema_encode_text(text, ret) : 0;
}

static int address_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	struct sockaddr_storage address;
	char text[ADDRESS_MAX];
	if (!schema_want_text(row, n, "an address", d))
		return 0;
	if (parse_address(n->text, &address, NULL) < 0) {
		schema_refuse_value(row, n, "is not an address with a port",
			"a numeric address: 8080, 127.0.0.1:8080 or \"[::1]:8080\"", d);
		return 0;
	}
	return store_text(row, base, format_address(&address, text));
}

static json_t *address_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:[ss]}", "type", "string", "integer");
}

/* Where a word is in a list of them, or where the list ends. */
static size_t name_index(const char *const *names, const char *text)
{
	size_t i = 0;
	while (names && names[i] && strcmp(names[i], text) != 0)
		i++;
	return i;
}

/* SCHEMA_BOOL */

static const char *hint_bool(const struct node *n)
{
	static const char *const yes[] = { "yes", "on", "y", NULL }, *const no[] = { "no", "off", "n", NULL };
	if (!n->plain)
		return "remove the quotes";
	return yes[name_index(yes, n->text)] ? "write `true`"
	       : no[name_index(no, n->text)] ? "write `false`"
					     : NULL;
}

static int bool_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	if (!schema_want_text(row, n, "true or false", d))
		return 0;
	bool yes = strcmp(n->text, "true") == 0;
	if (!n->plain || (!yes && strcmp(n->text, "false") != 0))
		schema_refuse_value(row, n, "is neither true nor false", hint_bool(n), d);
	else
		*(bool *)SCHEMA_FIELD(base, row->offset) = yes;
	return 0;
}

static int bool_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	*ret = json_boolean(*(const bool *)SCHEMA_FIELD(base, row->offset));
	return 0;
}

static json_t *bool_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:s}", "type", "boolean");
}

/* SCHEMA_ENUM */

static void refuse_enum(const struct schema_row *row, const struct node *n, struct diag_list *d)
{
	for (const struct schema_word *word = row->refused; word && word->word; word++) {
		if (strcmp(word->word, n->text) != 0)
			continue;
		schema_refuse_value(row, n, word->why, word->hint, d);
		return;
	}
	char all[200] = "is not one of ", hint[80];
	size_t used = strlen(all);
	for (size_t i = 0; row->names[i]; i++)
		used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", row->names[i]);
	const char *near = suggest(n->text, row->names);
	for (size_t i = 0; !near && row->names[i]; i++)
		near = strcasecmp(n->text, row->names[i]) == 0 ? row->names[i] : NULL;
	snprintf(hint, sizeof hint, "did you mean `%s`?", near ? near : "");
	schema_refuse_value(row, n, all, near ? hint : NULL, d);
}

static int enum_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	if (!schema_want_text(row, n, "a word", d))
		return 0;
	size_t i = name_index(row->names, n->text);
	if (row->names[i])
		*(int *)SCHEMA_FIELD(base, row->offset) = (int)i;
	else
		refuse_enum(row, n, d);
	return 0;
}

static int enum_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	return schema_encode_text(row->names[*(const int *)SCHEMA_FIELD(base, row->offset)], ret);
}

static json_t *enum_describe(const struct schema_row *row)
{
	json_t *names = json_array();
	for (size_t i = 0; row->names[i]; i++)
		json_array_append_new(names, json_string(row->names[i]));
	return json_pack("{s:o}", "enum", names);
}

/* SCHEMA_SIGNAL */

static int signal_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	if (schema_want_text(row, n, "a signal", d) &&
		parse_signal(n->text, SCHEMA_FIELD(base, row->offset)) < 0)
		schema_refuse_value(row, n, "is not a signal", "a name or a number: SIGTERM, SIGQUIT, 10", d);
	return 0;
}

static int signal_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	int sig = *(const int *)SCHEMA_FIELD(base, row->offset), back;
	char number[16];
	snprintf(number, sizeof number, "%d", sig);
	bool named = parse_signal(signal_name(sig), &back) == 0;
	return schema_encode_text(named ? signal_name(sig) : number, ret);
}

static json_t *signal_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:[ss]}", "type", "string", "integer");
}

static const struct schema_ops types[SCHEMA_TYPES] = {
	[SCHEMA_TEXT] = { "text", text_parse, text_encode, text_clear, text_describe },
	[SCHEMA_NAME] = { "text", name_parse, name_encode, NULL, text_describe },
	[SCHEMA_ADDRESS] = { "address", address_parse, text_encode, text_clear, address_describe },
	[SCHEMA_BOOL] = { "true or false", bool_parse, bool_encode, NULL, bool_describe },
	[SCHEMA_ENUM] = { "word", enum_parse, enum_encode, NULL, enum_describe },
	[SCHEMA_SIGNAL] = { "signal", signal_parse, signal_encode, NULL, signal_describe },
};

const struct schema_ops *schema_ops_of(enum schema_type type)
{
	if (types[type].parse)
		return &types[type];
	const struct schema_ops *ops = schema_number_ops(type);
	ops = ops ? ops : schema_set_ops(type);
	ops = ops ? ops : schema_collection_ops(type);
	return ops ? ops : schema_list_ops(type);
}
