/* Clocks, digests, JSON and the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/own.h"

static void test_utc(void **state)
{
	(void)state;
	char text[UTC_LEN];
	assert_string_equal(format_utc(0, text), "1970-01-01T00:00:00.000Z");
	assert_string_equal(format_utc(1795489200123, text), "2026-11-24T03:00:00.123Z");
	assert_string_equal(format_utc(951782400005, text), "2000-02-29T00:00:00.005Z");
	assert_string_equal(format_utc(-1, text), "1969-12-31T23:59:59.999Z");
	assert_string_equal(format_utc(253402300799999, text), "9999-12-31T23:59:59.999Z");
	/* What a damaged record may hold must not overflow, nor read what was never written. */
	static const int64_t absurd[] = { INT64_MAX, INT64_MIN, 253402300800000, 100000000000000000 };
	for (size_t i = 0; i < ARRAY_LEN(absurd); i++)
		assert_memory_equal(format_utc(absurd[i], text), "0000-00-00T00:00:00", 19);
}

static void test_clocks_go_on(void **state)
{
	(void)state;
	int64_t ms = clock_boot_ms(), us = clock_boot_us();
	assert_true(us / 1000 >= ms && us > 0);
	assert_true(clock_boot_us() >= us);
	assert_true(clock_wall_ms() > 1600000000000);
	char a[BOOT_ID_LEN], b[BOOT_ID_LEN];
	clock_boot_id(a);
	clock_boot_id(b);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), BOOT_ID_LEN - 1);
}

/* FIPS 180-2 examples and two of NIST's CAVP byte vectors. */
static const struct {
	const char *message, *digest;
} vectors[] = {
	{ "", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		"sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
	  "mnopqrstnopqrstu",
		"sha256:cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
	{ "\xd3", "sha256:28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1" },
	{ "\x11\xaf", "sha256:5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98" },
};

static void test_digest_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		const char *m = vectors[i].message;
		char once[DIGEST_LEN], stream[DIGEST_LEN];
		digest_of(m, strlen(m), once);
		assert_string_equal(once, vectors[i].digest);
		struct digest *d = digest_new();
		assert_non_null(d);
		for (size_t at = 0; at < strlen(m); at += 3)
			digest_add(d, m + at, strlen(m) - at < 3 ? strlen(m) - at : 3);
		digest_end(d, stream);
		assert_string_equal(stream, vectors[i].digest);
		assert_true(digest_valid(stream));
	}
}

static void test_digest_of_a_million(void **state)
{
	(void)state;
	char thousand[1000], out[DIGEST_LEN];
	struct digest *d = digest_new();
	memset(thousand, 'a', sizeof thousand);
	for (int i = 0; i < 1000; i++)
		digest_add(d, thousand, sizeof thousand);
	digest_end(d, out);
	assert_string_equal(out, "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	digest_free(digest_new());
	digest_free(NULL);
}

static void test_digest_form(void **state)
{
	(void)state;
	char text[DIGEST_LEN + 1];
	digest_of("", 0, text);
	assert_true(digest_valid(text));
	text[10] = 'A';
	assert_false(digest_valid(text));
	text[10] = 'g';
	assert_false(digest_valid(text));
	digest_of("", 0, text);
	text[DIGEST_LEN - 2] = '\0';
	assert_false(digest_valid(text));
	digest_of("", 0, text);
	memcpy(text + DIGEST_LEN - 1, "0", 2);
	assert_false(digest_valid(text));
	assert_false(digest_valid(""));
	assert_false(digest_valid("sha256:"));
	assert_false(digest_valid("sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
}

static int parse(const char *text, json_t **ret, struct err *err)
{
	return json_parse(text, strlen(text), "answer", ret, err);
}

static void test_json_parse(void **state)
{
	(void)state;
	OWN_JSON json_t *j = NULL;
	struct err err = { 0 };
	assert_int_equal(parse("{\"a\":1,\"b\":\"x\",\"c\":true,\"d\":null}", &j, &err), 0);
	assert_int_equal(json_int(j, "a", 9), 1);
	assert_string_equal(json_str(j, "b", "def"), "x");
	assert_true(json_flag(j, "c", false));
	/* Absent or of another type: the default. */
	assert_int_equal(json_int(j, "b", 9), 9);
	assert_int_equal(json_int(j, "z", 9), 9);
	assert_string_equal(json_str(j, "a", "def"), "def");
	assert_null(json_str(j, "d", NULL));
	assert_true(json_flag(j, "a", true));
	assert_int_equal(json_int(NULL, "a", 9), 9);
}

static void test_json_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "{", "[]", "1", "null", "{\"a\":1,\"a\":2}", "{\"a\":1}x",
		"{\"a\":\"\xff\"}", "{\"a\":\"\\u0000\"}", "{a:1}", "{\"a\":1e999}", "{\"a\":NaN}",
		"{\"a\":99999999999999999999}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		json_t *j = (json_t *)&bad;
		struct err err = { 0 };
		if (parse(bad[i], &j, &err) != -EINVAL)
			fail_msg("%s", bad[i]);
		assert_ptr_equal(j, &bad);
		assert_memory_equal(err.msg, "answer:", 7);
	}
	/* Nested until the stack would end. */
	OWN_BUF struct buf deep = { 0 };
	buf_adds(&deep, "{\"a\":");
	for (int i = 0; i < 200000; i++)
		buf_adds(&deep, "[");
	json_t *j;
	assert_int_equal(json_parse(deep.data, deep.len, "deep", &j, NULL), -EINVAL);
}

static void test_json_canonical(void **state)
{
	(void)state;
	OWN_JSON json_t *a = NULL, *b = NULL;
	assert_int_equal(parse("{\"b\": {\"y\":2, \"x\":1}, \"a\":[3, \"\xc3\xa9\"]}", &a, NULL), 0);
	assert_int_equal(parse("{\"a\":[3,\"\\u00e9\"],\"b\":{\"x\":1,\"y\":2}}", &b, NULL), 0);
	OWN_FREE char *x = json_canonical(a), *y = json_canonical(b);
	assert_string_equal(x, y);
	assert_string_equal(x, "{\"a\":[3,\"\xc3\xa9\"],\"b\":{\"x\":1,\"y\":2}}");
	OWN_JSON json_t *scalar = json_integer(3);
	OWN_FREE char *three = json_canonical(scalar);
	assert_string_equal(three, "3");
}

#define BAD "\xef\xbf\xbd"

static void test_json_text(void **state)
{
	(void)state;
	static const struct {
		const char *text, *becomes;
	} rows[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa2", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa2" },
		{ "caf\xe9 au lait", "caf" BAD " au lait" },
		{ "\xff", BAD },
		{ "cut \xf0\x9f\x90", "cut " BAD BAD BAD },
		{ "\xc3", BAD },
		{ "\xc0\xaf", BAD BAD },		 /* overlong "/" */
		{ "\xe0\x80\xaf", BAD BAD BAD },	 /* the same in three */
		{ "\xed\xa0\x80", BAD BAD BAD },	 /* half of a surrogate pair */
		{ "\xf4\x90\x80\x80", BAD BAD BAD BAD }, /* beyond Unicode */
		{ "\x80 \xe2\x82 \xc3\xa9", BAD " " BAD BAD " \xc3\xa9" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN_JSON json_t *j = json_text(rows[i].text);
		assert_non_null(j);
		assert_string_equal(json_string_value(j), rows[i].becomes);
	}
	OWN_JSON json_t *obj = json_object();
	json_put_str(obj, "none", NULL);
	json_put_str(obj, "line", "a\xff");
	assert_int_equal(json_object_size(obj), 1);
	assert_string_equal(json_str(obj, "line", ""), "a" BAD);
}

/* Runs say() with stderr in a pipe and returns what it wrote. */
static char *captured(void (*say)(void))
{
	int p[2], saved = dup(STDERR_FILENO);
	char text[8192];
	assert_int_equal(pipe(p), 0);
	dup2(p[1], STDERR_FILENO);
	close(p[1]);
	say();
	dup2(saved, STDERR_FILENO);
	close(saved);
	ssize_t n = read(p[0], text, sizeof text - 1);
	close(p[0]);
	text[n > 0 ? n : 0] = '\0';
	return strdup(text);
}

static void say_levels(void)
{
	log_open("tester", LOG_WARN_);
	log_error("first %d", 1);
	log_warn("second");
	log_info("third");
	log_debug("fourth");
}

static void say_forged(void)
{
	log_open("tester", LOG_INFO_);
	log_info("a\nb\r\x1b[31m\x7f%s", "\tc");
}

static void say_much(void)
{
	char text[5000];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	log_info("%s", text);
}

static void say_to_journal(void)
{
	char stream[64];
	struct stat st;
	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("tester", LOG_INFO_);
	log_warn("low water");
}

static void say_beside_journal(void)
{
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_open("tester", LOG_INFO_);
	log_warn("low water");
}

static void test_log(void **state)
{
	(void)state;
	OWN_FREE char *levels = captured(say_levels);
	assert_non_null(strstr(levels, "Z tester: error: first 1\n"));
	assert_non_null(strstr(levels, "Z tester: warning: second\n"));
	assert_null(strstr(levels, "third"));
	assert_null(strstr(levels, "fourth"));
	OWN_FREE char *forged = captured(say_forged);
	assert_non_null(strstr(forged, "a b  [31m  c\n"));
	assert_ptr_equal(strchr(forged, '\n'), forged + strlen(forged) - 1);
	OWN_FREE char *much = captured(say_much);
	assert_true(strlen(much) > 2000 && strlen(much) < 3000);
	assert_int_equal(much[strlen(much) - 1], '\n');
}

static void test_log_of_the_journal(void **state)
{
	(void)state;
	OWN_FREE char *to = captured(say_to_journal);
	assert_string_equal(to, "<4>warning: low water\n");
	OWN_FREE char *beside = captured(say_beside_journal);
	assert_non_null(strstr(beside, "Z tester: warning: low water\n"));
	unsetenv("JOURNAL_STREAM");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utc),
		cmocka_unit_test(test_clocks_go_on),
		cmocka_unit_test(test_digest_vectors),
		cmocka_unit_test(test_digest_of_a_million),
		cmocka_unit_test(test_digest_form),
		cmocka_unit_test(test_json_parse),
		cmocka_unit_test(test_json_refuses),
		cmocka_unit_test(test_json_canonical),
		cmocka_unit_test(test_json_text),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_of_the_journal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
