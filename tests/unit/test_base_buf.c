/* Errors, buffers, vectors of anything and of strings; every allocation of theirs failing once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/own.h"

/* The nth call from now finds no memory; 0: never. These stand before the C library's. */
static unsigned fail_in;

static bool fails_now(void)
{
	if (fail_in == 0 || --fail_in > 0)
		return false;
	errno = ENOMEM;
	return true;
}

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

void *realloc(void *p, size_t size)
{
	static void *(*real)(void *p, size_t size);
	if (!real)
		*(void **)&real = next("realloc");
	return fails_now() ? NULL : real(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	static void *(*real)(void *p, size_t n, size_t size);
	if (!real)
		*(void **)&real = next("reallocarray");
	return fails_now() ? NULL : real(p, n, size);
}

#undef strdup
char *strdup(const char *text)
{
	static char *(*real)(const char *text);
	if (!real)
		*(void **)&real = next("strdup");
	return fails_now() ? NULL : real(text);
}

/* Absurd sizes are to be refused by the allocator, not by the sanitizer. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void test_err_texts(void **state)
{
	(void)state;
	struct err e = { 0 };
	assert_int_equal(err_set(&e, ENOSPC, "open %s", "layers/ab12"), -ENOSPC);
	assert_int_equal(e.code, ENOSPC);
	assert_string_equal(e.msg, "open layers/ab12: No space left on device");
	assert_int_equal(err_wrap(&e, "unpack %d", 7), -ENOSPC);
	assert_string_equal(e.msg, "unpack 7: open layers/ab12: No space left on device");
	assert_int_equal(err_say(&e, EBUSY, "held"), -EBUSY);
	assert_string_equal(e.msg, "held");
}

static void test_err_accepts_nothing_and_zero(void **state)
{
	(void)state;
	struct err e = { 0 };
	assert_int_equal(err_set(NULL, ENOENT, "x"), -ENOENT);
	assert_int_equal(err_say(NULL, ENOENT, "x"), -ENOENT);
	assert_int_equal(err_wrap(NULL, "x"), -EIO);
	/* A failure with the number 0 is a failure all the same. */
	assert_int_equal(err_set(&e, 0, "x"), -EIO);
	assert_int_equal(err_say(&e, 0, "x"), -EIO);
}

/* However long the path: the reason stays, nothing overflows, the rest is cut between two characters. */
static void test_err_long(void **state)
{
	(void)state;
	char path[3000];
	for (size_t shift = 0; shift < 4; shift++) {
		struct err e = { 0 };
		memset(path, 'a', shift);
		for (size_t i = shift; i + 4 < sizeof path; i += 4)
			memcpy(path + i, "\xf0\x9f\x90\xa2", 5);
		err_set(&e, EACCES, "open %s", path);
		assert_true(strlen(e.msg) < sizeof e.msg);
		assert_non_null(strstr(e.msg, ": Permission denied"));
		OWN_JSON json_t *j = json_string(e.msg);
		assert_non_null(j);
		for (int i = 0; i < 5; i++)
			err_wrap(&e, "%s", path);
		OWN_JSON json_t *wrapped = json_string(e.msg);
		assert_non_null(wrapped);
		err_say(&e, EACCES, "%s", path);
		OWN_JSON json_t *said = json_string(e.msg);
		assert_non_null(said);
	}
}

static void test_buf_grows(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { 0 };
	for (int i = 0; i < 5000; i++)
		assert_int_equal(buf_addf(&b, "%05d", i), 0);
	assert_int_equal(b.len, 25000);
	assert_int_equal(strlen(b.data), 25000);
	assert_memory_equal(b.data + 5 * 4321, "04321", 5);
	assert_int_equal(buf_add(&b, "a\0b", 3), 0);
	assert_memory_equal(b.data + 25000, "a\0b", 4);
	assert_int_equal(buf_add(&b, NULL, 0), 0);
}

static void test_buf_cap_is_sticky(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { .max = 5 };
	assert_int_equal(buf_adds(&b, "12345"), 0);
	assert_false(b.failed);
	assert_int_equal(buf_adds(&b, "6"), -EFBIG);
	assert_true(b.failed);
	assert_true(buf_adds(&b, "") < 0);
	assert_true(buf_addf(&b, "%d", 1) < 0);
	assert_null(buf_room(&b, 0));
	assert_string_equal(b.data, "12345");
	assert_null(buf_take(&b));
	/* Taken or done, it starts anew with the same cap. */
	assert_int_equal(buf_adds(&b, "1234"), 0);
	assert_int_equal(buf_addf(&b, "%d", 56), -EFBIG);
}

static void test_buf_absurd_lengths(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { .max = SIZE_MAX };
	assert_int_equal(buf_adds(&b, "x"), 0);
	assert_null(buf_room(&b, SIZE_MAX));
	struct buf c = { 0 };
	assert_int_equal(buf_add(&c, "x", SIZE_MAX / 2), -EFBIG);
}

static void test_buf_drop(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { 0 };
	buf_drop(&b, 3);
	buf_adds(&b, "hello world");
	buf_drop(&b, 6);
	assert_string_equal(b.data, "world");
	assert_int_equal(b.len, 5);
	buf_drop(&b, 99);
	assert_string_equal(b.data, "");
	assert_int_equal(b.len, 0);
}

static void test_buf_take(void **state)
{
	(void)state;
	struct buf b = { 0 };
	OWN_FREE char *empty = buf_take(&b);
	assert_string_equal(empty, "");
	buf_adds(&b, "x");
	OWN_FREE char *text = buf_take(&b);
	assert_string_equal(text, "x");
	assert_null(b.data);
	assert_int_equal(b.len, 0);
}

static void test_buf_without_memory(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { 0 };
	fail_in = 1;
	assert_int_equal(buf_adds(&b, "x"), -ENOMEM);
	assert_true(b.failed);
	assert_null(buf_take(&b));
	buf_adds(&b, "kept");
	fail_in = 1;
	assert_int_equal(buf_addf(&b, "%200d", 1), -ENOMEM);
	assert_string_equal(b.data, "kept");
	fail_in = 1;
	struct buf untouched = { 0 };
	assert_null(buf_take(&untouched));
	fail_in = 0;
}

struct pair {
	int a, b;
};

static void test_vec_reserve(void **state)
{
	(void)state;
	OWN_FREE struct pair *v = NULL;
	size_t cap = 0;
	for (size_t n = 1; n < 1000; n++) {
		assert_int_equal(vec_reserve(&v, &cap, n, sizeof *v), 0);
		assert_true(cap >= n);
		assert_int_equal(v[n - 1].a, 0);
		assert_int_equal(v[n - 1].b, 0);
		v[n - 1] = (struct pair){ (int)n, -(int)n };
	}
	for (size_t i = 0; i < 999; i++)
		assert_int_equal(v[i].a, i + 1);
	struct pair *before = v;
	size_t cap_before = cap;
	assert_int_equal(vec_reserve(&v, &cap, SIZE_MAX, sizeof *v), -ENOMEM);
	assert_int_equal(vec_reserve(&v, &cap, SIZE_MAX / 4, sizeof *v), -ENOMEM);
	fail_in = 1;
	assert_int_equal(vec_reserve(&v, &cap, cap + 1, sizeof *v), -ENOMEM);
	assert_ptr_equal(v, before);
	assert_int_equal(cap, cap_before);
}

static void test_strv(void **state)
{
	(void)state;
	OWN_STRV char **v = NULL, **copy = NULL, **none = (char **)&none;
	assert_int_equal(strv_len(NULL), 0);
	assert_int_equal(strv_add(&v, "one"), 0);
	assert_int_equal(strv_addf(&v, "%s-%d", "two", 2), 0);
	assert_int_equal(strv_addf(&v, "%s", ""), 0);
	assert_int_equal(strv_len(v), 3);
	assert_int_equal(strv_copy(v, &copy), 0);
	assert_int_equal(strv_len(copy), 3);
	assert_string_equal(copy[1], "two-2");
	assert_string_equal(copy[2], "");
	assert_ptr_not_equal(copy[0], v[0]);
	assert_int_equal(strv_copy(NULL, &none), 0);
	assert_null(none);
	strv_free(NULL);
}

/* Whichever allocation fails: -ENOMEM, the vector as it was, nothing leaked (the leak checker looks). */
static void test_strv_without_memory(void **state)
{
	(void)state;
	OWN_STRV char **v = NULL, **copy = NULL;
	strv_add(&v, "one");
	strv_add(&v, "two");
	for (unsigned n = 1; n <= 2; n++) {
		fail_in = n;
		assert_int_equal(strv_add(&v, "x"), -ENOMEM);
		fail_in = n;
		assert_int_equal(strv_addf(&v, "%d", 1), -ENOMEM);
		assert_int_equal(strv_len(v), 2);
	}
	for (unsigned n = 1; n <= 4; n++) {
		fail_in = n;
		assert_int_equal(strv_copy(v, &copy), -ENOMEM);
		assert_null(copy);
	}
	fail_in = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_texts),
		cmocka_unit_test(test_err_accepts_nothing_and_zero),
		cmocka_unit_test(test_err_long),
		cmocka_unit_test(test_buf_grows),
		cmocka_unit_test(test_buf_cap_is_sticky),
		cmocka_unit_test(test_buf_absurd_lengths),
		cmocka_unit_test(test_buf_drop),
		cmocka_unit_test(test_buf_take),
		cmocka_unit_test(test_buf_without_memory),
		cmocka_unit_test(test_vec_reserve),
		cmocka_unit_test(test_strv),
		cmocka_unit_test(test_strv_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
