/* Specs that are broken: no crash, every fault with its place, quickly; and specs that are good: whatever was
 * read comes back from its canonical form. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/own.h"
#include "config_rig.h"

#define BROKEN 1500
#define GOOD   300

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MS_ALLOWED 500
#else
#define MS_ALLOWED 50
#endif

static double cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static unsigned count_lines(const char *text, size_t len)
{
	unsigned n = 1;
	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n' || text[i] == '\r';
	return n;
}

static void check_places(const struct diag_list *d, const char *text, size_t len)
{
	unsigned lines = count_lines(text, len), before = 1;
	assert_true(d->n > 0);
	for (size_t i = 0; i < d->n; i++) {
		const struct diag *item = &d->items[i];
		assert_true(item->line >= 1 && item->line <= lines + 1);
		assert_true(item->column >= 1 && item->length >= 1);
		assert_true(item->line >= before);
		assert_non_null(item->text);
		before = item->line;
	}
}

static void check_printed(const struct diag_list *d)
{
	OWN_BUF struct buf out = { 0 };
	diag_print(d, true, &out);
	for (size_t i = 0; i < out.len; i++)
		assert_true(
			out.data[i] == '\n' || out.data[i] == '\033' || (unsigned char)out.data[i] >= ' ');
}

static void check_round_trip(const struct spec *s)
{
	OWN_FREE char *text = rig_canonical(s);
	OWN_SPEC struct spec *again = rig_read_good(text);
	OWN_FREE char *text_again = rig_canonical(again);
	assert_string_equal(text, text_again);
}

/* True if it was refused. */
static bool try_text(const char *text, size_t len)
{
	struct diag_list d = { 0 };
	OWN_SPEC struct spec *s = NULL;
	double start = cpu_ms();
	int r = cfg_read(text, len, "spec.yaml", "/srv", &s, &d);
	double took = cpu_ms() - start;
	if (took > MS_ALLOWED)
		fail_msg("%.1f ms for\n%.2000s", took, text);
	if (r < 0) {
		assert_int_equal(r, -EINVAL);
		check_places(&d, text, len);
		check_printed(&d);
	} else {
		check_round_trip(s);
	}
	diag_done(&d);
	return r < 0;
}

static void test_broken_specs(void **state)
{
	struct rig_random random = { 1 };
	unsigned refused = 0;
	(void)state;
	for (unsigned i = 0; refused < BROKEN; i++) {
		OWN_BUF struct buf text = { 0 };
		rig_make_spec(&random, &text);
		for (uint32_t n = rig_random(&random, 3) + 1; n > 0; n--) {
			OWN_BUF struct buf broken = { 0 };
			rig_break_spec(&random, text.data, &broken);
			if (broken.len == 0)
				break;
			buf_done(&text);
			text = broken;
			broken = (struct buf){ 0 };
		}
		refused += try_text(text.data, text.len);
		assert_true(i < 10 * BROKEN);
	}
}

static void test_good_specs_come_back(void **state)
{
	struct rig_random random = { 7 };
	(void)state;
	for (unsigned i = 0; i < GOOD; i++) {
		OWN_BUF struct buf text = { 0 };
		rig_make_spec(&random, &text);
		OWN_SPEC struct spec *s = rig_read_good(text.data);
		check_round_trip(s);
	}
}

static void test_random_bytes(void **state)
{
	struct rig_random random = { 3 };
	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		static const char letters[] = "ab: -[]{}\n\n  \"'#&*!|>%@?,\\\t\xff\xc3\xa9";
		char text[200];
		size_t len = rig_random(&random, sizeof text);
		for (size_t j = 0; j < len; j++)
			text[j] = letters[rig_random(&random, sizeof letters)];
		assert_true(try_text(text, len));
	}
}

struct monster {
	const char *name, *head, *part, *tail;
	unsigned times;
};

/* Made to cost time or memory. */
static void test_monsters(void **state)
{
	static const struct monster monsters[] = {
		{ "deep lists", "", "[", "", 100000 },
		{ "deep maps", "", "{a: ", "", 60000 },
		{ "deep block lists", "", "- ", "x", 100000 },
		{ "complex keys", "", "? ", "x", 100000 },
		{ "anchors", "", "&a ", "x", 80000 },
		{ "many keys", "", "k: 1\n", "", 50000 },
		{ "many items", "", "- x\n", "", 60000 },
		{ "many flow items", "[", "x,", "]", 120000 },
		{ "one long word", "name: ", "x", "\n", 260000 },
		{ "one long quoted word", "name: \"", "x", "\"\n", 260000 },
		{ "many blank lines in quotes", "name: \"", "\n", "\"\n", 260000 },
		{ "many lines of a block", "name: |\n", "  x\n", "\n", 60000 },
		{ "comments", "", "# x\n", "name: web\n", 60000 },
		{ "only blanks", "", " ", "", 262000 },
		{ "only line ends", "", "\n", "", 262000 },
		{ "documents", "", "---\n", "", 60000 },
		{ "too many bytes", "name: ", "x", "\n", 300000 },
		{ "one long argv", "command: ", "x ", "\n", 120000 },
		{ "escapes", "name: \"", "\\x41", "\"\n", 60000 },
		{ "directives", "", "%FOO bar\n", "--- x\n", 25000 },
		{ "quotes opened", "", "'", "", 260000 },
		{ "colons", "", ":", "", 260000 },
		{ "tags", "", "!", " x", 260000 },
		{ "block headers", "", "a: |\n", "", 50000 },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(monsters); i++) {
		OWN_BUF struct buf text = { 0 };
		buf_adds(&text, monsters[i].head);
		for (unsigned n = 0; n < monsters[i].times; n++)
			buf_adds(&text, monsters[i].part);
		buf_adds(&text, monsters[i].tail);
		if (!try_text(text.data, text.len))
			fail_msg("%s was taken", monsters[i].name);
	}
}

/* Distinct keys cannot share one fault: the list of faults is what must stay bounded. */
static void test_many_unknown_keys(void **state)
{
	OWN_BUF struct buf text = { 0 };
	(void)state;
	for (unsigned i = 0; i < 4900; i++)
		buf_addf(&text, "some_key_that_nobody_knows_%u: 1\n", i);
	assert_true(try_text(text.data, text.len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken_specs),
		cmocka_unit_test(test_good_specs_come_back),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_monsters),
		cmocka_unit_test(test_many_unknown_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
