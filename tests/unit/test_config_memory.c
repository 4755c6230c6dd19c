/* Memory that runs out at any point: the nth allocation fails, for every n. Nothing crashes, nothing leaks,
 * and the answer is -ENOMEM. Sanitizers bring their own allocator, so with them only the good case runs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/own.h"
#include "config_rig.h"

static size_t left = SIZE_MAX; /* allocations until one fails */
static bool for_good;	       /* so do all after it */
static bool failed;
static long alive;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *p);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *old, size_t size);
void free(void *p);
void *reallocarray(void *old, size_t n, size_t size);

static int fails(void)
{
	if (left == SIZE_MAX || left-- > 0)
		return 0;
	left = for_good ? 0 : SIZE_MAX;
	failed = true;
	errno = ENOMEM;
	return 1;
}

static void *counted(void *p)
{
	alive += p != NULL;
	return p;
}

void *malloc(size_t size)
{
	return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *old, size_t size)
{
	if (fails())
		return NULL;
	void *p = __libc_realloc(old, size);
	alive += p && !old;
	return p;
}

void *reallocarray(void *old, size_t n, size_t size)
{
	return realloc(old, n * size);
}

void free(void *p)
{
	alive -= p != NULL;
	__libc_free(p);
}
#endif

static const char *const texts[] = {
	"name: web\nimage: rootfs:x\nentrypoint: [a, b]\ncommand: run 'a b'\nenvironment: [A=1, B=2]\n"
	"ports: [8080:3000, { name: x, published: 1, target: 2 }]\nhealthcheck: { exec: [a, b] }\nuser: a:b\n"
	"labels: { a: b }\ndeploy: { resources: { limits: { cpus: 1 } } }\nworking_dir: /x\n",
	"nam: web\nimage: nginx\nports: [80, 80:80]\nhealthcheck: { http: /x, tcp: 1 }\nname: web\nname: &a "
	"x\n",
	"name: [web\n",
};

/* What cfg_read says, and the canonical form of what it gave (NULL: nothing). Both failing, for the nth
 * allocation. */
static int read_failing(size_t n, const char *text, char **ret_canonical)
{
	struct diag_list d = { 0 };
	struct buf out = { 0 };
	struct spec *s = NULL;
	left = n;
	int r = cfg_read(text, strlen(text), "spec.yaml", "/srv", &s, &d);
	json_t *diff = s ? cfg_diff(NULL, s) : NULL;
	diag_print(&d, true, &out);
	left = SIZE_MAX;
	assert_int_equal(r == 0, s != NULL);
	assert_true(r != -EINVAL || d.errors > 0);
	*ret_canonical = s ? rig_canonical(s) : NULL;
	json_decref(diff);
	buf_done(&out);
	diag_done(&d);
	spec_unref(s);
	return r;
}

/* Whatever is missing: the answer is right, or it is that memory is missing. */
static void check_text(const char *text)
{
	OWN_FREE char *good = NULL;
	int wanted = read_failing(SIZE_MAX, text, &good);
	size_t n = 0;
	for (failed = true; failed; n++) {
		long before = alive;
		char *canonical;
		failed = false;
		int r = read_failing(n, text, &canonical);
		assert_true(r == wanted || r == -ENOMEM);
		if (canonical)
			assert_string_equal(canonical, good);
		free(canonical);
		assert_int_equal(alive, before);
	}
#ifdef COUNTS
	assert_true(n > 10);
#endif
}

static void test_every_allocation_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(texts); i++) {
		for_good = i % 2;
		check_text(texts[i / 2]);
	}
}

static void test_documents(void **state)
{
	(void)state;
	failed = true;
	for (size_t n = 0; failed; n++) {
		long before = alive;
		struct buf out = { 0 };
		failed = false;
		left = n;
		json_t *schema = cfg_schema();
		int r = cfg_explain("deploy", &out, NULL);
		left = SIZE_MAX;
		assert_true(failed || (schema && r == 0));
		json_decref(schema);
		buf_done(&out);
		assert_int_equal(alive, before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_allocation_fails),
		cmocka_unit_test(test_documents),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
