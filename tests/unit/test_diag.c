/* How faults are printed: the place, the line, the caret under the right cells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/own.h"
#include "config/diag.h"

static void check(const char *source, unsigned line, unsigned column, unsigned length, const char *hint,
	const char *wanted)
{
	struct diag_list d = { .file = strdup("web.yaml"), .source = strdup(source) };
	OWN_BUF struct buf out = { 0 };
	diag_add(&d, DIAG_ERROR, line, column, length, hint, "wrong %d", 1);
	diag_print(&d, false, &out);
	assert_string_equal(out.data, wanted);
	diag_done(&d);
}

static void test_caret(void **state)
{
	(void)state;
	check("name: web\nprots: x\n", 2, 1, 5, "did you mean `ports`?",
		"web.yaml:2:1: error: wrong 1\n"
		"    2 | prots: x\n"
		"      | ^~~~~\n"
		"      = hint: did you mean `ports`?\n");
	check("a: b\r\nc: d\r\n", 2, 4, 1, NULL,
		"web.yaml:2:4: error: wrong 1\n    2 | c: d\n      |    ^\n");
	check("\xEF\xBB\xBFname: x\n", 1, 1, 4, NULL,
		"web.yaml:1:1: error: wrong 1\n    1 | name: x\n      | ^~~~\n");
}

static void test_caret_past_the_end(void **state)
{
	(void)state;
	check("a:", 1, 3, 9, NULL, "web.yaml:1:3: error: wrong 1\n    1 | a:\n      |   ^~~~~~~~~\n");
	check("a:\n", 2, 1, 1, NULL, "web.yaml:2:1: error: wrong 1\n    2 | \n      | ^\n");
	check("a:\n", 9, 1, 1, NULL, "web.yaml:9:1: error: wrong 1\n");
}

static void test_tabs_and_width(void **state)
{
	(void)state;
	check("\ta:\tbc\n", 1, 5, 2, NULL,
		"web.yaml:1:5: error: wrong 1\n    1 |         a:      bc\n      |                 ^~\n");
	check("日本: é\n", 1, 5, 1, NULL, "web.yaml:1:5: error: wrong 1\n    1 | 日本: é\n      |       ^\n");
	check("日本: é\n", 1, 1, 2, NULL, "web.yaml:1:1: error: wrong 1\n    1 | 日本: é\n      | ^~~~\n");
}

static void test_nothing_raw_reaches_the_terminal(void **state)
{
	(void)state;
	check("a\033[2J\xff: b\n", 1, 7, 1, NULL,
		"web.yaml:1:7: error: wrong 1\n    1 | a\\x1b[2J\\xff: b\n      |             ^\n");
}

static void test_long_lines(void **state)
{
	char source[400], wanted[1000];
	(void)state;
	memset(source, 'x', sizeof source - 1);
	source[sizeof source - 1] = '\0';
	source[300] = 'y';
	snprintf(wanted, sizeof wanted,
		"web.yaml:1:301: error: wrong 1\n    1 | ...%.50sy%.49s...\n      | %53s^~~~\n", source,
		source, "");
	check(source, 1, 301, 4, NULL, wanted);
	snprintf(wanted, sizeof wanted, "web.yaml:1:3: error: wrong 1\n    1 | %.100s...\n      |   ^",
		source);
	for (int i = 1; i < 98; i++)
		strcat(wanted, "~");
	strcat(wanted, "\n");
	check(source, 1, 3, 200, NULL, wanted);
}

static void test_no_place(void **state)
{
	(void)state;
	check("a: b\n", 0, 0, 1, NULL, "web.yaml: error: wrong 1\n");
}

static void test_order_and_levels(void **state)
{
	struct diag_list d = { 0 };
	OWN_BUF struct buf out = { 0 };
	(void)state;
	diag_add(&d, DIAG_ERROR, 3, 1, 1, NULL, "c");
	diag_add(&d, DIAG_WARNING, 1, 5, 1, NULL, "b");
	diag_add(&d, DIAG_ERROR, 1, 2, 1, NULL, "a");
	diag_add(&d, DIAG_ERROR, 3, 1, 1, NULL, "d");
	assert_int_equal(d.errors, 3);
	assert_true(diag_has(&d, 3, 1));
	assert_false(diag_has(&d, 1, 5));
	diag_print(&d, false, &out);
	assert_string_equal(out.data,
		"spec:1:2: error: a\nspec:1:5: warning: b\nspec:3:1: error: c\nspec:3:1: error: d\n");
	diag_done(&d);
}

static void test_color(void **state)
{
	struct diag_list d = { .source = strdup("ab\n") };
	OWN_BUF struct buf out = { 0 };
	(void)state;
	diag_add(&d, DIAG_WARNING, 1, 1, 2, NULL, "x");
	diag_print(&d, true, &out);
	assert_string_equal(out.data, "\033[1mspec:1:1: \033[1;35mwarning:\033[0m \033[1mx\033[0m\n"
				      "    1 | ab\n      | \033[1;32m^~\033[0m\n");
	diag_done(&d);
}

static void test_first_hundred(void **state)
{
	struct diag_list d = { 0 };
	OWN_BUF struct buf out = { 0 };
	(void)state;
	for (unsigned i = 150; i > 0; i--)
		diag_add(&d, DIAG_ERROR, i, 1, 1, "hint", "fault %u", i);
	assert_int_equal(d.errors, 150);
	assert_int_equal(d.n, 100);
	assert_true(diag_full(&d));
	assert_string_equal(d.items[0].text, "fault 1");
	assert_string_equal(d.items[99].text, "fault 100");
	diag_print(&d, false, &out);
	assert_non_null(strstr(out.data, "\nspec: 50 more not shown\n"));
	diag_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_caret),
		cmocka_unit_test(test_caret_past_the_end),
		cmocka_unit_test(test_tabs_and_width),
		cmocka_unit_test(test_nothing_raw_reaches_the_terminal),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_no_place),
		cmocka_unit_test(test_order_and_levels),
		cmocka_unit_test(test_color),
		cmocka_unit_test(test_first_hundred),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
