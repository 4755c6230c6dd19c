#include "config_rig.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/own.h"
#include "base/parse.h"
#include "config/schema.h"

struct spec *rig_read(const char *text, char **ret_faults)
{
	struct diag_list d = { 0 };
	struct spec *s = NULL;
	struct buf out = { 0 };
	int r = cfg_read(text, strlen(text), "spec.yaml", "/srv", &s, &d);
	assert_int_equal(r < 0, s == NULL);
	assert_int_equal(r, d.errors ? -EINVAL : 0);
	diag_print(&d, false, &out);
	*ret_faults = buf_take(&out);
	diag_done(&d);
	return s;
}

struct spec *rig_read_good(const char *text)
{
	OWN_FREE char *faults = NULL;
	struct spec *s = rig_read(text, &faults);
	if (!s)
		fail_msg("%s\n%s", faults, text);
	return s;
}

char *rig_canonical(const struct spec *s)
{
	OWN_JSON json_t *j = cfg_to_json(s);
	assert_non_null(j);
	return json_canonical(j);
}

uint32_t rig_random(struct rig_random *r, uint32_t below)
{
	r->state = r->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(r->state >> 33) % below;
}

static bool chance(struct rig_random *r, uint32_t percent)
{
	return rig_random(r, 100) < percent;
}

static const char *pick(struct rig_random *r, const char *const *of)
{
	uint32_t n = 0;
	while (of[n])
		n++;
	return of[rig_random(r, n)];
}

/* A text in a quoting that gives it back. */
static void add_text(struct rig_random *r, struct buf *out, bool key)
{
	static const char *const plain[] = { "info", "1.10", "no", "0x1f", "a-b_c.d", "~x", "12:30",
		"null-ish", NULL };
	static const char *const quoted[] = { "\"\"", "''", "\"8080\"", "\"tab\\there\"", "\"line\\nline\"",
		"'it''s'", "\"\\u00e9\\U0001F600\"", "\"esc \\e[0m\"", "\"a: b # c\"", "'{}[],&*#?|-<>=!%@`'",
		"日本語", NULL };
	if (key)
		buf_addf(out, "K%u", rig_random(r, 100000));
	else
		buf_adds(out, pick(r, chance(r, 50) ? plain : quoted));
}

static uint64_t some_number(struct rig_random *r, const struct schema_row *row)
{
	uint64_t span = row->max - row->min;
	if (span > 5000)
		span = 5000;
	return row->min + rig_random(r, (uint32_t)span + 1);
}

static void add_number(struct rig_random *r, const struct schema_row *row, struct buf *out)
{
	uint64_t v = some_number(r, row);
	char text[FORMAT_MAX];
	if (row->type == SCHEMA_DURATION)
		buf_adds(out, format_duration_ms(v, text));
	else if (row->type == SCHEMA_SIZE)
		buf_adds(out, format_size_bytes(v, text));
	else if (row->type == SCHEMA_CPUS)
		buf_addf(out, "%" PRIu64 ".%03u", v / 1000, (unsigned)(v % 1000));
	else if (row->type == SCHEMA_PERCENT)
		buf_addf(out, "%" PRIu64 ".%03u%%", v / 1000, (unsigned)(v % 1000));
	else
		buf_addf(out, "%" PRIu64, v);
}

static void add_argv(struct rig_random *r, struct buf *out)
{
	static const char *const lines[] = { "/app/server --port 3000", "sh -c \"echo 'a b'\"",
		"a 'b c' d\\ e", NULL };
	if (chance(r, 30)) {
		buf_adds(out, pick(r, lines));
		return;
	}
	buf_adds(out, "[/app/server");
	for (uint32_t n = rig_random(r, 4); n > 0; n--) {
		buf_adds(out, ", ");
		add_text(r, out, false);
	}
	buf_adds(out, "]");
}

static void add_pairs(struct rig_random *r, struct buf *out)
{
	bool list = chance(r, 30);
	uint32_t first = rig_random(r, 1000);
	buf_adds(out, list ? "[" : "{ ");
	for (uint32_t n = rig_random(r, 4), i = 0; i < n; i++) {
		buf_addf(out, i ? ", " : "");
		if (list) {
			buf_addf(out, "\"K%u=v%u\"", first + i, rig_random(r, 10));
		} else {
			buf_addf(out, "K%u: ", first + i);
			add_text(r, out, false);
		}
	}
	buf_adds(out, list ? "]" : " }");
}

static void add_set(struct rig_random *r, const struct schema_row *row, struct buf *out)
{
	buf_adds(out, "[");
	for (uint32_t n = rig_random(r, 4), i = 0; i < n; i++)
		buf_addf(out, "%s%s%s", i ? ", " : "", chance(r, 50) ? row->prefix : "",
			chance(r, 10) ? "ALL" : pick(r, row->names));
	buf_adds(out, "]");
}

static void add_value(struct rig_random *r, const struct schema_row *row, struct buf *out)
{
	static const char *const statuses[] = { "200", "200-299", "204-204", "\"100-599\"", NULL };
	static const char *const signals[] = { "SIGTERM", "QUIT", "10", "SIGRTMIN", NULL };
	static const char *const flags[] = { "true", "false", NULL };
	if (row->type == SCHEMA_BOOL)
		buf_adds(out, pick(r, flags));
	else if (row->type == SCHEMA_ENUM)
		buf_adds(out, pick(r, row->names));
	else if (row->type == SCHEMA_SET)
		add_set(r, row, out);
	else if (row->type == SCHEMA_STATUS)
		buf_adds(out, pick(r, statuses));
	else if (row->type == SCHEMA_SIGNAL)
		buf_adds(out, chance(r, 10) ? "37" : signals[rig_random(r, 3)]);
	else if (row->type == SCHEMA_ARGV)
		add_argv(r, out);
	else if (row->type == SCHEMA_PAIRS)
		add_pairs(r, out);
	else if (row->type == SCHEMA_ADDRESS)
		buf_addf(out, "127.0.0.1:%u", 1 + rig_random(r, 65000));
	else if (row->type == SCHEMA_TEXT || row->type == SCHEMA_NAME || row->type == SCHEMA_LIST ||
		 row->type == SCHEMA_ULIMITS || row->type == SCHEMA_ITEMS)
		buf_adds(out, row->example ? row->example : row->def);
	else if (row->type == SCHEMA_INT)
		buf_addf(out, "%d", (int)(int64_t)row->min + (int)rig_random(r, 1000));
	else
		add_number(r, row, out);
}

static void make_ports(struct rig_random *r, struct buf *out)
{
	uint32_t n = rig_random(r, 4);
	buf_addf(out, "ports:%s\n", n ? "" : " []");
	for (uint32_t i = 0; i < n; i++) {
		uint32_t published = 1000 * (i + 1) + rig_random(r, 900), target = 3000 + i % 2;
		if (chance(r, 40))
			buf_addf(out, "  - \"%s%u:%u\"\n", chance(r, 50) ? "[::1]:" : "", published, target);
		else
			buf_addf(out, "  - { %starget: %u, published: \"%s%u\" }\n",
				chance(r, 50) ? "protocol: tcp, " : "", target,
				chance(r, 50) ? "127.0.0.1:" : "", published);
	}
}

static void make_group(struct rig_random *r, const struct schema_row *group, unsigned depth, struct buf *out);

static void make_row(struct rig_random *r, const struct schema_row *row, unsigned depth, struct buf *out)
{
	bool map = row->type == SCHEMA_GROUP || row->type == SCHEMA_CHOICE;
	buf_addf(out, "%*s%s:%s", (int)(2 * depth), "", schema_name(row), map ? "\n" : " ");
	if (map) {
		buf_addf(out, "%*sx-note: [anything, {at: all}]\n", (int)(2 * depth + 2), "");
		make_group(r, row, depth + 1, out);
	} else {
		add_value(r, row, out);
		buf_adds(out, "\n");
	}
}

/* Rows whose values must fit others are made elsewhere or left at their defaults. */
static bool is_special(const struct schema_row *row)
{
	static const char *const special[] = { "name", "image", "command", "env_file", "ports", "network",
		"extra_hosts", "sysctls", "secrets", "seccomp", "deploy.resources.reservations",
		"deploy.min_healthy_time", "deploy.healthy_deadline", NULL };
	for (size_t i = 0; special[i]; i++)
		if (strcmp(special[i], row->key) == 0)
			return true;
	return !schema_usable(row);
}

static void make_group(struct rig_random *r, const struct schema_row *group, unsigned depth, struct buf *out)
{
	uint32_t choices = 0, chosen = 0;
	for (const struct schema_row *row = NULL; (row = schema_next(&spec_schema, group, row));)
		choices += row->type == SCHEMA_CHOICE;
	if (choices)
		chosen = rig_random(r, choices) + 1;
	for (const struct schema_row *row = NULL; (row = schema_next(&spec_schema, group, row));) {
		bool wanted = row->required || chance(r, 50) || strcmp(schema_name(row), "port") == 0;
		if (row->type == SCHEMA_CHOICE)
			wanted = --choices + 1 == chosen;
		if (wanted && !is_special(row))
			make_row(r, row, depth, out);
	}
}

void rig_make_spec(struct rig_random *r, struct buf *out)
{
	buf_addf(out, "name: web-%u\nimage: rootfs:%simages/%u\ncommand: ", rig_random(r, 100),
		chance(r, 50) ? "/srv/" : "", rig_random(r, 10));
	add_argv(r, out);
	buf_adds(out, "\n");
	make_ports(r, out);
	make_group(r, NULL, 0, out);
}

/* Where a random line of the text starts, and how long it is with its end. */
static size_t some_line(struct rig_random *r, const char *text, size_t len, size_t *ret_len)
{
	size_t at = rig_random(r, (uint32_t)len);
	while (at > 0 && text[at - 1] != '\n')
		at--;
	*ret_len = strcspn(text + at, "\n") + 1;
	if (at + *ret_len > len)
		*ret_len = len - at;
	return at;
}

void rig_break_spec(struct rig_random *r, const char *text, struct buf *out)
{
	static const char *const strange[] = { "\t", "\"", "'", "[", "]", "{", "}", ": ", "- ", "&a ", "*a",
		"!!int ", "#", "|\n", ">", "%", "@", "`", "\x01", "\xff", "\xc3", "\xe2\x80\xa8",
		"\xef\xbb\xbf", "\\", "<<: ", "---\n", "...\n", "? ", "\r", "x: y\n", "null", "~",
		"99999999999999999999", "-1", "1e9", "", NULL };
	size_t len = strlen(text), line_len, line = some_line(r, text, len, &line_len);
	size_t at = rig_random(r, (uint32_t)len), cut = rig_random(r, 12);
	if (cut > len - at)
		cut = len - at;
	switch (rig_random(r, 8)) {
	case 0: /* bytes lost */
		buf_add(out, text, at);
		buf_add(out, text + at + cut, len - at - cut);
		break;
	case 1: /* a line twice */
		buf_add(out, text, line + line_len);
		buf_adds(out, text + line);
		break;
	case 2: /* a line lost */
		buf_add(out, text, line);
		buf_adds(out, text + line + line_len);
		break;
	case 3: /* indented otherwise */
		buf_add(out, text, line);
		buf_addf(out, "%*s%s", (int)rig_random(r, 4) + 1, "", text + line);
		break;
	case 4: /* the rest lost */ buf_add(out, text, at); break;
	case 5: /* a letter changed */
		buf_add(out, text, at);
		buf_addf(out, "%c%s", 'a' + (char)rig_random(r, 26), text + at + 1);
		break;
	default: /* something strange put in */
		buf_add(out, text, at);
		buf_addf(out, "%s%s", pick(r, strange), text + at);
		break;
	}
}
