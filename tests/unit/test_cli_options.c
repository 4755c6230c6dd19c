/* The command line: parsing by the tables, and the tables themselves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/cli/verbs.h"
#include "base/own.h"

/* Parses the words up to NULL. */
static int parse(struct cli_line *line, struct err *err, ...)
{
	char *argv[16] = { (char *)"teal" };
	int argc = 1;
	va_list ap;
	va_start(ap, err);
	while ((argv[argc] = va_arg(ap, char *)) != NULL)
		argc++;
	va_end(ap);
	*line = (struct cli_line){ 0 };
	*err = (struct err){ 0 };
	return cli_parse(argc, argv, line, err);
}

static void options_stand_anywhere(void **state)
{
	(void)state;
	struct cli_line l;
	struct err err;
	assert_int_equal(parse(&l, &err, "-q", "--root=/r", "apply", "a.yaml", "--timeout", "1m30s", "b.yaml",
				 "-ojson", NULL),
		0);
	assert_string_equal(l.verb->name, "apply");
	assert_int_equal(l.n_args, 2);
	assert_string_equal(l.args[0], "a.yaml");
	assert_string_equal(l.args[1], "b.yaml");
	assert_string_equal(l.opts.root, "/r");
	assert_true(l.opts.quiet && l.opts.json && !l.opts.detach);
	assert_int_equal(l.opts.timeout_ms, 90000);
	assert_true(l.opts.given & OPTION_BIT(TIMEOUT));
	assert_false(l.opts.given & OPTION_BIT(TO));
	cli_line_done(&l);
}

static void letters_go_together(void **state)
{
	(void)state;
	struct cli_line l;
	struct err err;
	assert_int_equal(parse(&l, &err, "logs", "-ftn20", "web", NULL), 0);
	assert_true(l.opts.follow && l.opts.timestamps);
	assert_int_equal(l.opts.lines, 20);
	cli_line_done(&l);
	assert_int_equal(parse(&l, &err, "logs", "-fn", "20", "web", NULL), 0);
	assert_int_equal(l.opts.lines, 20);
	assert_string_equal(l.args[0], "web");
	cli_line_done(&l);
}

static void dashes_end_the_options(void **state)
{
	(void)state;
	struct cli_line l;
	struct err err;
	assert_int_equal(parse(&l, &err, "validate", "-", "--", "--odd.yaml", NULL), 0);
	assert_int_equal(l.n_args, 2);
	assert_string_equal(l.args[0], "-");
	assert_string_equal(l.args[1], "--odd.yaml");
	cli_line_done(&l);
}

static void verbs_of_two_words(void **state)
{
	(void)state;
	struct cli_line l;
	struct err err;
	assert_int_equal(parse(&l, &err, "image", "-q", "ls", NULL), 0);
	assert_string_equal(l.verb->name, "image ls");
	cli_line_done(&l);
	assert_int_equal(parse(&l, &err, "image", "sl", NULL), -EINVAL);
	assert_string_equal(err.msg, "no verb `image sl`; did you mean `image ls`?");
	cli_line_done(&l);
	assert_int_equal(parse(&l, &err, "image", NULL), -EINVAL);
	cli_line_done(&l);
}

static void faults_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *words[4], *message;
	} rows[] = {
		{ { "statsu" }, "no verb `statsu`; did you mean `status`?" },
		{ { "roll" }, "no verb `roll`; did you mean `rollback`?" },
		{ { "frobnicate" }, "no verb `frobnicate`" },
		{ { "apply", "x", "--wait" }, "apply has no option --wait" },
		{ { "apply", "x", "--force=yes" }, "--force takes no value" },
		{ { "apply", "x", "-z" }, "apply has no option -z" },
		{ { "status", "--image", "x" }, "status has no option --image" },
		{ { "rm" }, "rm needs SERVICE…" },
		{ { "schema", "x" }, "schema takes no arguments; `x` is too much" },
		{ { "rollback", "x", "--to" }, "--to needs a value: N" },
		{ { "apply", "--image=", "x" }, "--image : must be something" },
		{ { "logs", "x", "-n", "99999999999" }, "--lines 99999999999: must be a number from 0" },
		{ { "--watch", "status" }, "teal has no option --watch" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cli_line l;
		struct err err;
		const char *const *w = rows[i].words;
		assert_int_equal(parse(&l, &err, w[0], w[1], w[2], w[3], NULL), -EINVAL);
		assert_string_equal(err.msg, rows[i].message);
		cli_line_done(&l);
	}
}

static void help_excuses_missing_arguments(void **state)
{
	(void)state;
	struct cli_line l;
	struct err err;
	assert_int_equal(parse(&l, &err, "rollback", "-h", NULL), 0);
	assert_true(l.opts.help);
	cli_line_done(&l);
}

/* A name means one option; a letter too, among those that a verb takes. */
static void option_names_are_unique(void **state)
{
	(void)state;
	for (const struct cli_verb *v = cli_verbs; v->name; v++) {
		uint32_t all = v->options | OPTIONS_GLOBAL;
		for (int a = 0; a < OPTION_MAX; a++)
			for (int b = 0; b < a; b++) {
				const struct cli_option *x = &cli_option_table[a], *y = &cli_option_table[b];
				assert_string_not_equal(x->name, y->name);
				if (x->letter && (all >> a & 1) && (all >> b & 1))
					assert_int_not_equal(x->letter, y->letter);
			}
	}
}

static void verb_rows_are_whole(void **state)
{
	(void)state;
	for (const struct cli_verb *v = cli_verbs; v->name; v++) {
		assert_non_null(v->run);
		assert_non_null(v->help);
		assert_non_null(v->args);
		assert_true(v->min_args <= v->max_args);
		assert_int_equal(v->options & OPTIONS_GLOBAL, 0);
		assert_int_equal(*v->args == '\0', v->max_args == 0);
		assert_ptr_equal(cli_verb_find(v->name), v);
		for (size_t i = 0; i < 3 && v->examples[i].line; i++)
			assert_non_null(v->examples[i].text);
	}
}

static void the_graver_code_wins(void **state)
{
	(void)state;
	assert_int_equal(cli_worse(CLI_OK, CLI_CHANGES), CLI_CHANGES);
	assert_int_equal(cli_worse(CLI_FAILED, CLI_REFUSED), CLI_FAILED);
	assert_int_equal(cli_worse(CLI_TIMEOUT, CLI_FAILED), CLI_FAILED);
	assert_int_equal(cli_worse(CLI_ERROR, CLI_OK), CLI_ERROR);
	assert_int_equal(cli_worse(CLI_NO_AGENT, CLI_BAD_SPEC), CLI_NO_AGENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_anywhere),
		cmocka_unit_test(letters_go_together),
		cmocka_unit_test(dashes_end_the_options),
		cmocka_unit_test(verbs_of_two_words),
		cmocka_unit_test(faults_are_named),
		cmocka_unit_test(help_excuses_missing_arguments),
		cmocka_unit_test(option_names_are_unique),
		cmocka_unit_test(verb_rows_are_whole),
		cmocka_unit_test(the_graver_code_wins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
