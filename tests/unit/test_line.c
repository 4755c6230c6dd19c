#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/line.h"
#include "base/own.h"

static void test_lines(void **state)
{
	static const struct {
		const char *from, *to;
	} rows[] = {
		{ "  a\r\n\tb\x01 c \n", "a b c" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
			"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "\xc0\xaf\xed\xa0\x80\xff\xc2\x9b", "????????" }, /* overlong, surrogate, never, C1 */
		{ "\xe2\x82", "??" },
		{ "", "" },
	};
	(void)state;
	char to[64];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		line_copy(to, sizeof to, rows[i].from);
		assert_string_equal(to, rows[i].to);
	}
	line_copy(to, 6,
		"abcd\xc3\xbc"
		"e"); /* a character that does not fit is left out, not cut */
	assert_string_equal(to, "abcd");
	line_copy(to, 1, "abc");
	assert_string_equal(to, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
