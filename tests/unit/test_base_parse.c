/* Scalars as people type them: what is accepted, what is refused, and that what is written reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/un.h>

#include "base/own.h"
#include "base/parse.h"

enum { UNTOUCHED = 424242 };

static void test_integers(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t min, max;
		int r;
		uint64_t v;
	} rows[] = {
		{ "0", 0, 10, 0, 0 },
		{ "10", 0, 10, 0, 10 },
		{ "007", 0, 10, 0, 7 },
		{ "18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX },
		{ "18446744073709551616", 0, UINT64_MAX, -ERANGE, 0 },
		{ "99999999999999999999999", 0, UINT64_MAX, -ERANGE, 0 },
		{ "11", 0, 10, -ERANGE, 0 },
		{ "4", 5, 10, -ERANGE, 0 },
		{ "", 0, 10, -EINVAL, 0 },
		{ " 1", 0, 10, -EINVAL, 0 },
		{ "1 ", 0, 10, -EINVAL, 0 },
		{ "+1", 0, 10, -EINVAL, 0 },
		{ "-1", 0, 10, -EINVAL, 0 },
		{ "1x", 0, 10, -EINVAL, 0 },
		{ "0x1", 0, 10, -EINVAL, 0 },
		{ "1.0", 0, 10, -EINVAL, 0 },
		{ "1\n", 0, 10, -EINVAL, 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t v = UNTOUCHED;
		if (parse_u64(rows[i].text, rows[i].min, rows[i].max, &v) != rows[i].r)
			fail_msg("\"%s\"", rows[i].text);
		assert_int_equal(v, rows[i].r == 0 ? rows[i].v : UNTOUCHED);
	}
}

static void test_signed_integers(void **state)
{
	(void)state;
	int64_t v = UNTOUCHED;
	assert_int_equal(parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &v), 0);
	assert_true(v == INT64_MIN);
	assert_int_equal(parse_i64("9223372036854775807", INT64_MIN, INT64_MAX, &v), 0);
	assert_true(v == INT64_MAX);
	assert_int_equal(parse_i64("-0", -1, 1, &v), 0);
	assert_int_equal(v, 0);
	v = UNTOUCHED;
	assert_int_equal(parse_i64("9223372036854775808", INT64_MIN, INT64_MAX, &v), -ERANGE);
	assert_int_equal(parse_i64("-9223372036854775809", INT64_MIN, INT64_MAX, &v), -ERANGE);
	assert_int_equal(parse_i64("-2", -1, 1, &v), -ERANGE);
	assert_int_equal(parse_i64("--1", -9, 9, &v), -EINVAL);
	assert_int_equal(parse_i64("-", -9, 9, &v), -EINVAL);
	assert_int_equal(parse_i64("", -9, 9, &v), -EINVAL);
	assert_int_equal(v, UNTOUCHED);
}

struct scalar_row {
	const char *text;
	int r;
	uint64_t v;
};

static void check_scalars(
	const struct scalar_row *rows, size_t n, int (*parse)(const char *text, uint64_t *ret))
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = UNTOUCHED;
		int r = parse(rows[i].text, &v);
		if (r != rows[i].r || v != (r == 0 ? rows[i].v : UNTOUCHED))
			fail_msg("\"%s\": %d, %" PRIu64, rows[i].text, r, v);
	}
}

static void test_durations(void **state)
{
	(void)state;
	static const struct scalar_row rows[] = {
		{ "0", 0, 0 },
		{ "0s", 0, 0 },
		{ "90s", 0, 90000 },
		{ "1m30s", 0, 90000 },
		{ "1h", 0, 3600000 },
		{ "500ms", 0, 500 },
		{ "1h5m30s20ms", 0, 3930020 },
		{ "2.5s", 0, 2500 },
		{ "0.001s", 0, 1 },
		{ "1.5h", 0, 5400000 },
		{ "1.0ms", 0, 1 },
		{ "1.25m1s", 0, 76000 },
		{ "18446744073709551615ms", 0, UINT64_MAX },
		{ "18446744073709551615ms1ms", -ERANGE, 0 },
		{ "18446744073709551616ms", -ERANGE, 0 },
		{ "18446744073709551615s", -ERANGE, 0 },
		{ "18446744073709551.616s", -ERANGE, 0 },
		{ "5124095576031h", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "1", -EINVAL, 0 },
		{ "00", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "1 s", -EINVAL, 0 },
		{ "-1s", -EINVAL, 0 },
		{ "1s ", -EINVAL, 0 },
		{ "1S", -EINVAL, 0 },
		{ "10us", -EINVAL, 0 },
		{ "10ns", -EINVAL, 0 },
		{ "1d", -EINVAL, 0 },
		{ "1s5", -EINVAL, 0 },
		{ "1.s", -EINVAL, 0 },
		{ ".5s", -EINVAL, 0 },
		{ "1.5.5s", -EINVAL, 0 },
		{ "0.5ms", -EINVAL, 0 },
		{ "0.0001s", -EINVAL, 0 },
		{ "0.3333333333333333333s", -EINVAL, 0 },
	};
	check_scalars(rows, ARRAY_LEN(rows), parse_duration_ms);
}

static void test_sizes(void **state)
{
	(void)state;
	static const struct scalar_row rows[] = {
		{ "0", 0, 0 },
		{ "1000", 0, 1000 },
		{ "2b", 0, 2 },
		{ "1024kb", 0, 1048576 },
		{ "2048K", 0, 2097152 },
		{ "300m", 0, 314572800 },
		{ "256M", 0, 268435456 },
		{ "1GB", 0, 1073741824 },
		{ "17179869183g", 0, 17179869183u * (uint64_t)1073741824 },
		{ "17179869184g", -ERANGE, 0 },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "m", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "1.5g", -EINVAL, 0 },
		{ "1 m", -EINVAL, 0 },
		{ "1mib", -EINVAL, 0 },
		{ "1t", -EINVAL, 0 },
		{ "1mm", -EINVAL, 0 },
	};
	check_scalars(rows, ARRAY_LEN(rows), parse_size_bytes);
}

static void test_cpus(void **state)
{
	(void)state;
	static const struct scalar_row rows[] = {
		{ "1", 0, 1000 },
		{ "1.5", 0, 1500 },
		{ "0.001", 0, 1 },
		{ "0.25", 0, 250 },
		{ "2.000", 0, 2000 },
		{ "4294967", 0, 4294967000 },
		{ "4294968", -ERANGE, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "1.5000", -EINVAL, 0 },
		{ "0.0001", -EINVAL, 0 },
		{ "1.", -EINVAL, 0 },
		{ ".5", -EINVAL, 0 },
		{ "1.x", -EINVAL, 0 },
		{ "1.5x", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "1,5", -EINVAL, 0 },
	};
	check_scalars(rows, ARRAY_LEN(rows), parse_milli);
}

/* A fixed sequence that visits small, large and odd values. */
static uint64_t scramble(uint64_t i)
{
	uint64_t x = i * 0x9e3779b97f4a7c15u;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	return (x ^ (x >> 32)) >> (i % 64);
}

static void test_written_reads_back(void **state)
{
	(void)state;
	char text[FORMAT_MAX];
	static const uint64_t edges[] = { 0, 1, 999, 1000, 1023, 1024, 59999, 60000, 61001, 3600000, 3661001,
		1 << 20, 1 << 30, 5368709120, UINT64_MAX - 1, UINT64_MAX };
	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t v = i < ARRAY_LEN(edges) ? edges[i] : scramble(i), back = 0;
		assert_int_equal(parse_duration_ms(format_duration_ms(v, text), &back), 0);
		assert_true(back == v);
		assert_int_equal(parse_size_bytes(format_size_bytes(v, text), &back), 0);
		assert_true(back == v);
	}
	assert_string_equal(format_duration_ms(90000, text), "1m30s");
	assert_string_equal(format_duration_ms(250, text), "250ms");
	assert_string_equal(format_duration_ms(0, text), "0s");
	assert_string_equal(format_duration_ms(3600001, text), "1h1ms");
	assert_string_equal(format_size_bytes(268435456, text), "256M");
	assert_string_equal(format_size_bytes(1 << 30, text), "1G");
	assert_string_equal(format_size_bytes(1000, text), "1000");
	assert_string_equal(format_size_bytes(0, text), "0");
}

static void test_signals(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int sig; /* 0: refused */
	} rows[] = {
		{ "SIGTERM", SIGTERM },
		{ "TERM", SIGTERM },
		{ "term", SIGTERM },
		{ "sigquit", SIGQUIT },
		{ "9", SIGKILL },
		{ "64", 64 },
		{ "SIGRTMIN", 34 },
		{ "RTMIN+3", 37 },
		{ "sigrtmin+3", 37 },
		{ "SIGRTMAX", 64 },
		{ "RTMAX-30", 34 },
		{ "", 0 },
		{ "0", 0 },
		{ "65", 0 },
		{ "-9", 0 },
		{ "SIG", 0 },
		{ "SIGSIGTERM", 0 },
		{ "SIG9", 0 },
		{ "TERMS", 0 },
		{ " TERM", 0 },
		{ "RTMIN-1", 0 },
		{ "RTMAX+1", 0 },
		{ "RTMIN+0", 0 },
		{ "RTMIN+31", 0 },
		{ "RTMIN+", 0 },
		{ "RTMIN3", 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int sig = UNTOUCHED, r = parse_signal(rows[i].text, &sig);
		if (r != (rows[i].sig ? 0 : -EINVAL) || sig != (rows[i].sig ? rows[i].sig : UNTOUCHED))
			fail_msg("\"%s\": %d, %d", rows[i].text, r, sig);
	}
}

static void test_every_signal_has_its_name(void **state)
{
	(void)state;
	for (int sig = 1; sig <= 64; sig++) {
		int back;
		if (sig == 32 || sig == 33)
			continue;
		if (parse_signal(signal_name(sig), &back) != 0 || back != sig)
			fail_msg("%d is called %s", sig, signal_name(sig));
	}
	assert_string_equal(signal_name(SIGTERM), "SIGTERM");
	assert_non_null(signal_name(0));
	assert_non_null(signal_name(-1));
	assert_non_null(signal_name(1000));
}

static void test_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *back; /* back NULL: refused */
	} rows[] = {
		{ "0.0.0.0:80", "0.0.0.0:80" },
		{ "127.0.0.1:1", "127.0.0.1:1" },
		{ "255.255.255.255:65535", "255.255.255.255:65535" },
		{ "[::1]:80", "[::1]:80" },
		{ "[::]:443", "[::]:443" },
		{ "[2001:DB8:0:0::1]:80", "[2001:db8::1]:80" },
		{ "[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.1]:80" },
		{ ":80", "0.0.0.0:80" },
		{ "80", "0.0.0.0:80" },
		{ "", NULL },
		{ ":", NULL },
		{ "0", NULL },
		{ ":65536", NULL },
		{ "1.2.3.4", NULL },
		{ "1.2.3.4:", NULL },
		{ "1.2.3.4:0", NULL },
		{ "1.2.3.4:80x", NULL },
		{ "1.2.3:80", NULL },
		{ "1.2.3.256:80", NULL },
		{ "01.2.3.4.5:80", NULL },
		{ "localhost:80", NULL },
		{ "::1:80", NULL },
		{ "[::1]", NULL },
		{ "[::1]80", NULL },
		{ "[:80", NULL },
		{ "]:80", NULL },
		{ "[]:80", NULL },
		{ "[1.2.3.4]:80", NULL },
		{ "[::1%lo]:80", NULL },
		{ "[::1]]:80", NULL },
		{ " 1.2.3.4:80", NULL },
		{ "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee]:80", NULL },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sockaddr_storage a = { 0 };
		socklen_t len = UNTOUCHED;
		char text[ADDRESS_MAX];
		int r = parse_address(rows[i].text, &a, &len);
		if ((r == 0) != (rows[i].back != NULL))
			fail_msg("\"%s\": %d", rows[i].text, r);
		if (r < 0) {
			assert_int_equal(a.ss_family, 0);
			assert_int_equal(len, UNTOUCHED);
			continue;
		}
		assert_string_equal(format_address(&a, text), rows[i].back);
		assert_int_equal(len, address_len(&a));
		struct sockaddr_storage again;
		assert_int_equal(parse_address(text, &again, NULL), 0);
		assert_true(address_equal(&a, &again));
	}
}

static void test_addresses_differ(void **state)
{
	(void)state;
	struct sockaddr_storage a, b;
	static const char *const different[] = { "1.2.3.4:80", "1.2.3.4:81", "1.2.3.5:80", "[::1]:80",
		"[::ffff:1.2.3.4]:80" };
	for (size_t i = 0; i < ARRAY_LEN(different); i++) {
		for (size_t j = 0; j < ARRAY_LEN(different); j++) {
			assert_int_equal(parse_address(different[i], &a, NULL), 0);
			assert_int_equal(parse_address(different[j], &b, NULL), 0);
			assert_int_equal(address_equal(&a, &b), i == j);
		}
	}
}

static void test_suggest(void **state)
{
	(void)state;
	static const char *const names[] = { "command", "environment", "env_file", "image", "ports", "user",
		"tty", "a-name-that-is-much-longer-than-any-word-that-anybody-would-ever-type-by-hand",
		NULL };
	static const char *const nothing[] = { NULL };
	static const struct {
		const char *text, *meant;
	} rows[] = {
		{ "comand", "command" },
		{ "commnad", "command" },
		{ "enviroment", "environment" },
		{ "envfile", "env_file" },
		{ "imaeg", "image" },
		{ "port", "ports" },
		{ "usr", "user" },
		{ "image", "image" },
		{ "zebra", NULL },
		{ "", NULL },
		{ "q", NULL },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *s = suggest(rows[i].text, names);
		if ((s == NULL) != (rows[i].meant == NULL) || (s && strcmp(s, rows[i].meant) != 0))
			fail_msg("\"%s\" suggests %s", rows[i].text, s ? s : "nothing");
	}
	assert_null(suggest("image", nothing));
	char longest[200];
	memset(longest, 'x', sizeof longest - 1);
	for (size_t n = 60; n < 70; n++) {
		longest[n] = '\0';
		assert_null(suggest(longest, names));
		longest[n] = 'x';
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_signed_integers),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_written_reads_back),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_every_signal_has_its_name),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_addresses_differ),
		cmocka_unit_test(test_suggest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
