#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/parse.h"
#include "config/config.h"
#include "config/schema.h"
#include "config/text.h"

#define WIDTH 88

/* "number, 1 to 100", "private | host | none", "list of maps" */
static void add_kind(struct buf *out, const struct schema_row *row)
{
	char range[80];
	if (row->type == SCHEMA_GROUP || row->type == SCHEMA_CHOICE)
		buf_adds(out, "map");
	else if (row->type == SCHEMA_ITEMS)
		buf_adds(out, "list of maps");
	else if (row->type == SCHEMA_ENUM)
		for (size_t i = 0; row->names[i]; i++)
			buf_addf(out, "%s%s", i ? " | " : "", row->names[i]);
	else
		buf_adds(out, schema_ops_of(row->type)->name);
	if (schema_range(row, range, sizeof range))
		buf_addf(out, ", %s", range);
	if (row->required)
		buf_adds(out, ", required");
}

static size_t first_sentence(const char *help)
{
	const char *end = strstr(help, ". ");
	return end ? (size_t)(end - help) + 1 : strlen(help);
}

/* Text broken at blanks, each line behind `indent`. */
static void add_wrapped(struct buf *out, const char *indent, const char *text, size_t len)
{
	size_t width = WIDTH - strlen(indent);
	while (len > 0) {
		size_t n = len;
		if (n > width)
			for (n = width; n > 0 && text[n] != ' ';)
				n--;
		if (n == 0)
			n = len;
		buf_addf(out, "%s%.*s\n", indent, (int)n, text);
		n += n < len;
		text += n;
		len -= n;
	}
}

static void add_line(struct buf *out, const struct schema_row *row)
{
	OWN_BUF struct buf kind = { 0 };
	add_kind(&kind, row);
	buf_addf(out, "  %-34s %s", row->key, kind.data ? kind.data : "");
	if (row->def)
		buf_addf(out, " (%s)", row->def);
	buf_adds(out, "\n");
}

static void list_members(const struct schema *s, const struct schema_row *group, bool deep, struct buf *out)
{
	for (const struct schema_row *row = NULL; (row = schema_next(s, group, row));) {
		if (!schema_usable(row))
			continue;
		add_line(out, row);
		if (deep)
			list_members(s, row, deep, out);
	}
}

static bool has_members(const struct schema_row *row)
{
	return row->type == SCHEMA_GROUP || row->type == SCHEMA_CHOICE || row->type == SCHEMA_ITEMS;
}

static void explain_row(const struct schema *s, const struct schema_row *row, struct buf *out)
{
	buf_addf(out, "%s: ", row->key);
	add_kind(out, row);
	if (row->def)
		buf_addf(out, ", default %s", row->def);
	buf_adds(out, "\n\n");
	add_wrapped(out, "  ", row->help, strlen(row->help));
	if (row->example)
		buf_addf(out, "\n  %s: %s\n", schema_name(row), row->example);
	if (has_members(row)) {
		buf_adds(out, "\n");
		list_members(s, row, true, out);
	}
}

int cfg_explain(const char *key, struct buf *out, struct err *err)
{
	const struct schema *s = &spec_schema;
	const struct schema_row *row = schema_at(s, key);
	char shown[TEXT_SHOWN_MAX];
	text_show(key, shown);
	if (!*key) {
		buf_adds(out, "Keys of a spec, with their defaults. `teal explain KEY` says more.\n\n");
		list_members(s, NULL, true, out);
	} else if (row && schema_usable(row)) {
		explain_row(s, row, out);
	} else if (row && row->type == SCHEMA_LATER) {
		return err_say(err, ENOENT, "`%s` is not supported by this version of teal", row->key);
	} else if (row) {
		return err_say(err, ENOENT, "`%s` is not a key of teal: %s", row->key, row->help);
	} else {
		const struct schema_row *near = schema_nearest(s, key);
		return near ? err_say(err, ENOENT, "there is no key `%s`; did you mean `%s`?", shown,
				      near->key)
			    : err_say(err, ENOENT, "there is no key `%s`", shown);
	}
	return out->failed ? err_say(err, ENOMEM, "out of memory") : 0;
}

static void reference_of(const struct schema *s, const struct schema_row *group, struct buf *out)
{
	for (const struct schema_row *row = NULL; (row = schema_next(s, group, row));) {
		if (!schema_usable(row))
			continue;
		buf_addf(out, "\n### `%s`\n\n*", row->key);
		add_kind(out, row);
		buf_adds(out, "*");
		if (row->def)
			buf_addf(out, ", default `%s`", row->def);
		buf_adds(out, "\n\n");
		add_wrapped(out, "", row->help, strlen(row->help));
		if (row->example)
			buf_addf(out, "\n```yaml\n%s: %s\n```\n", schema_name(row), row->example);
		if (has_members(row))
			reference_of(s, row, out);
	}
}

void cfg_reference(struct buf *out)
{
	buf_adds(out,
		"# Spec reference\n\n"
		"One file describes one service. Durations are numbers with their units (`500ms`, `2s`, "
		"`1m30s`);\n"
		"sizes are bytes, or numbers with `k`, `m` or `g` (powers of 1024). Unknown keys are errors; "
		"keys\n"
		"that start with `x-` are ignored. Anchors, aliases, tags and duplicate keys are refused.\n\n"
		"Every key at once:\n\n```yaml\n");
	cfg_example(out);
	buf_adds(out, "```\n\n## Keys\n");
	reference_of(&spec_schema, NULL, out);
	buf_adds(out, "\n## Settings of the agent: teald.yaml\n\n"
		      "In `/etc/teal/teald.yaml`, or `DIR/etc/teald.yaml` of an agent with `--root DIR`. It "
		      "may be absent.\n");
	reference_of(&settings_schema, NULL, out);
}

/* The example: a walk that writes YAML. `first` is what stands before the first key: a list's dash. */
static void example_group(const struct schema_row *group, unsigned depth, const char *first, struct buf *out);

static void example_row(const struct schema_row *row, unsigned depth, const char *dash, struct buf *out)
{
	const char *value = row->example ? row->example : row->def;
	char indent[32];
	snprintf(indent, sizeof indent, "%*s", (int)(2 * depth), "");
	if (dash)
		snprintf(indent, sizeof indent, "%*s%s", (int)(2 * depth - strlen(dash)), "", dash);
	if (row->type == SCHEMA_FILES || row->apart)
		buf_addf(out, "%s# %s: %s\n", indent, schema_name(row), value);
	else if (!has_members(row))
		buf_addf(out, "%s%s: %s\n", indent, schema_name(row), value);
	else
		buf_addf(out, "%s%s:\n", indent, schema_name(row));
	if (row->type == SCHEMA_ITEMS)
		example_group(row, depth + 2, "- ", out);
	else if (has_members(row))
		example_group(row, depth + 1, NULL, out);
}

static void example_group(const struct schema_row *group, unsigned depth, const char *first, struct buf *out)
{
	bool chosen = false;
	for (const struct schema_row *row = NULL; (row = schema_next(&spec_schema, group, row));) {
		if (!schema_usable(row))
			continue;
		if (row->type == SCHEMA_CHOICE && chosen) {
			buf_addf(out, "%*s# or %s: %s\n", (int)(2 * depth), "", schema_name(row),
				row->example);
			continue;
		}
		chosen = chosen || row->type == SCHEMA_CHOICE;
		if (!first) {
			char indent[32];
			snprintf(indent, sizeof indent, "%*s# ", (int)(2 * depth), "");
			add_wrapped(out, indent, row->help, first_sentence(row->help));
		}
		example_row(row, depth, first, out);
		first = NULL;
	}
}

void cfg_example(struct buf *out)
{
	example_group(NULL, 0, NULL, out);
}
