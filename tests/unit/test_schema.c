/* The table of keys, and what is made of it besides specs: help, reference, example, JSON Schema. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/own.h"
#include "config/schema.h"
#include "config_rig.h"

static bool is_map(const struct schema_row *row)
{
	return row->type == SCHEMA_GROUP || row->type == SCHEMA_CHOICE || row->type == SCHEMA_ITEMS;
}

static void check_row(const struct schema_row *row)
{
	if (!schema_usable(row))
		return;
	assert_non_null(row->help);
	assert_true(row->help[strlen(row->help) - 1] == '.');
	assert_true(row->type == SCHEMA_INT ? (int64_t)row->max >= (int64_t)row->min : row->max >= row->min);
	if (is_map(row))
		return;
	assert_non_null(schema_ops_of(row->type));
	if (!row->def && !row->example)
		fail_msg("%s has neither default nor example", row->key);
	if (row->required && row->def)
		fail_msg("%s is required and has a default", row->key);
}

/* Every row but the top ones stands below another one that takes members. */
static void check_parent(const struct schema *s, const struct schema_row *row)
{
	OWN_FREE char *parent = strdup(row->key);
	char *dot = strrchr(parent, '.');
	if (!dot)
		return;
	*dot = '\0';
	const struct schema_row *above = schema_at(s, parent);
	assert_non_null(above);
	assert_true(is_map(above) && above < row);
	assert_ptr_equal(schema_child(s, above, schema_name(row)), row);
}

static void check_rows(const struct schema *s)
{
	for (size_t i = 0; i < s->n; i++) {
		check_row(&s->rows[i]);
		check_parent(s, &s->rows[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(s->rows[i].key, s->rows[j].key);
	}
}

static void test_rows(void **state)
{
	(void)state;
	check_rows(&spec_schema);
	check_rows(&settings_schema);
}

static void test_example_loads(void **state)
{
	OWN_BUF struct buf example = { 0 };
	(void)state;
	cfg_example(&example);
	OWN_SPEC struct spec *s = rig_read_good(example.data);
	for (size_t i = 0; i < spec_schema.n; i++) {
		const struct schema_row *row = &spec_schema.rows[i];
		if (schema_usable(row) && !strstr(example.data, schema_name(row)))
			fail_msg("%s is missing in\n%s", row->key, example.data);
	}
	assert_string_equal(s->container.health.http_path, "/healthz");
	assert_int_equal(s->container.limits.memory_bytes, 256 << 20);
}

static void test_explain_knows_every_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < spec_schema.n; i++) {
		const struct schema_row *row = &spec_schema.rows[i];
		OWN_BUF struct buf out = { 0 };
		struct err err = { 0 };
		int r = cfg_explain(row->key, &out, &err);
		assert_int_equal(r, schema_usable(row) ? 0 : -ENOENT);
		assert_non_null(strstr(r == 0 ? out.data : err.msg, row->key));
	}
}

static void check_explained(const char *key, const char *wanted)
{
	OWN_BUF struct buf out = { 0 };
	struct err err = { 0 };
	int r = cfg_explain(key, &out, &err);
	assert_string_equal(r == 0 ? out.data : err.msg, wanted);
}

static void test_explain(void **state)
{
	(void)state;
	check_explained("healthcheck.retries",
		"healthcheck.retries: number, 1 to 1000, default 3\n\n"
		"  How many probes in a row must fail before a ready replica gets no new connections.\n");
	check_explained("ports.target",
		"ports[].target: port, required\n\n"
		"  The port that the program listens on. With `network: host` teal picks a free one\n"
		"  instead and says so in the variable PORT.\n"
		"\n  target: 3000\n");
	check_explained("deploy.resources.limits",
		"deploy.resources.limits: map\n\n"
		"  Hard limits of each replica. If this host can't enforce one, the spec is refused.\n"
		"\n"
		"  deploy.resources.limits.cpus       CPUs, 0.01 to 1024.0\n"
		"  deploy.resources.limits.memory     size, 1M to 16384G\n"
		"  deploy.resources.limits.pids       number, 1 to 4194304\n");
	check_explained("interval", "there is no key `interval`; did you mean `healthcheck.interval`?");
	check_explained(
		"healthchek.http", "there is no key `healthchek.http`; did you mean `healthcheck.http`?");
	check_explained("\033[2J", "there is no key `\\x1b[2J`");
	check_explained("containers", "`containers` is not supported by this version of teal");
	check_explained("build", "`build` is not a key of teal: teal runs images and builds none");
}

static void test_explain_all(void **state)
{
	OWN_BUF struct buf out = { 0 };
	(void)state;
	assert_int_equal(cfg_explain("", &out, NULL), 0);
	assert_non_null(strstr(out.data, "  healthcheck.interval               duration, 10ms to 1h (1s)\n"));
	assert_non_null(
		strstr(out.data, "  network                            private | host | none (private)\n"));
	assert_null(strstr(out.data, "\ncontainers"));
}

static void test_reference(void **state)
{
	OWN_BUF struct buf out = { 0 };
	(void)state;
	cfg_reference(&out);
	assert_false(out.failed);
	for (size_t i = 0; i < spec_schema.n; i++) {
		char heading[80];
		snprintf(heading, sizeof heading, "\n### `%s`\n", spec_schema.rows[i].key);
		assert_int_equal(strstr(out.data, heading) != NULL, schema_usable(&spec_schema.rows[i]));
	}
	assert_non_null(strstr(out.data, "\n### `network_pool`\n"));
}

/* Every usable key has its place in the JSON Schema, with its help. */
static void test_json_schema(void **state)
{
	OWN_JSON json_t *schema = cfg_schema();
	(void)state;
	assert_string_equal(json_str(schema, "$schema", ""), "https://json-schema.org/draft/2020-12/schema");
	assert_int_equal(json_array_size(json_object_get(schema, "required")), 2);
	OWN_FREE char *text = json_dumps(schema, JSON_COMPACT);
	for (size_t i = 0; i < spec_schema.n; i++) {
		const struct schema_row *row = &spec_schema.rows[i];
		OWN_JSON json_t *help = json_string(row->help ? row->help : "");
		OWN_FREE char *quoted = json_dumps(help, JSON_ENCODE_ANY);
		if (schema_usable(row))
			assert_non_null(strstr(text, quoted));
	}
	const json_t *health = json_object_get(json_object_get(schema, "properties"), "healthcheck");
	assert_int_equal(json_array_size(json_object_get(health, "oneOf")), 3);
	const json_t *interval = json_object_get(json_object_get(health, "properties"), "interval");
	assert_string_equal(json_str(interval, "default", ""), "1s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_example_loads),
		cmocka_unit_test(test_explain_knows_every_key),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_explain_all),
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_json_schema),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
