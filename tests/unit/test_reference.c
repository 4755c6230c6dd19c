/* The grammar of image references, and what Docker's defaults make of short ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/own.h"
#include "config/reference.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
	const char *text, *whole;
} good[] = {
	{ "nginx", "docker.io/library/nginx:latest" },
	{ "nginx:1.25", "docker.io/library/nginx:1.25" },
	{ "shop/web", "docker.io/shop/web:latest" },
	{ "index.docker.io/shop/web:v1", "docker.io/shop/web:v1" },
	{ "docker.io/redis", "docker.io/library/redis:latest" },
	{ "localhost/web", "localhost/web:latest" },
	{ "localhost:5000/web", "localhost:5000/web:latest" },
	{ "Registry/web", "Registry/web:latest" },
	{ "127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x" },
	{ "[::1]:5000/web:x", "[::1]:5000/web:x" },
	{ "r.example.com/a.b_c__d-e---f:A_b.c-D", "r.example.com/a.b_c__d-e---f:A_b.c-D" },
	{ "web@sha256:" HEX, "docker.io/library/web@sha256:" HEX },
	{ "r.io/web:1@sha256:" HEX, "r.io/web@sha256:" HEX },
	{ "rootfs:/srv/web:1", "rootfs:/srv/web:1" },
	{ "oci:/srv/web", "oci:/srv/web" },
	{ "oci:/srv/web:v1", "oci:/srv/web:v1" },
	{ "oci-archive:/srv/web.tar", "oci-archive:/srv/web.tar" },
	{ "docker-archive:web.tar:shop/web:1", "docker-archive:web.tar:shop/web:1" },
};

static const char *const bad[] = { "", ":", "/", "a/", "/a", "a//b", "A", "a b", "-a", "a-", "a._b", "a___b",
	"a..b", "web:", "web:-x", "web:.x", "web@", "web@sha256:abc", "web@md5:" HEX, "web@sha256:" HEX "0",
	"web:1:2", HEX, "r.io/", "r.io:0/web", "r.io:x/web", "r.io:70000/web", "-r.io/web",
	"r..io/web", "r.io./web", "[::1/web", "[]/web", "user:pw@r.io/web", "https://r.io/web", "../web",
	"web/../x", "oci:", "oci-archive:", "docker-archive:", "rootfs:", "oci:/x:", "r.io/web:sha256-\x01",
	"w\303\251b", "r.io?x=1/web", "r.io/web#1" };

static void test_defaults_are_dockers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		OWN_IMAGE_REF struct image_ref r = { 0 };
		struct err err;
		if (image_ref_parse(good[i].text, &r, &err) < 0)
			fail_msg("%s: %s", good[i].text, err.msg);
		OWN_FREE char *whole = image_ref_format(&r);
		assert_string_equal(whole, good[i].whole);
	}
}

static void test_what_is_no_reference_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct image_ref r = { 0 };
		struct err err = { 0 };
		if (image_ref_parse(bad[i], &r, &err) != -EINVAL || err.msg[0] == '\0')
			fail_msg("accepted \"%s\"", bad[i]);
		assert_null(r.repository);
	}
}

static void test_long_names(void **state)
{
	char text[400];
	struct image_ref r = { 0 };
	(void)state;
	memset(text, 'a', sizeof text);
	text[300] = '\0';
	assert_int_equal(image_ref_parse(text, &r, NULL), -EINVAL);
	memcpy(text, "web:", 4);
	text[4 + 129] = '\0';
	assert_int_equal(image_ref_parse(text, &r, NULL), -EINVAL);
	text[4 + 128] = '\0';
	assert_int_equal(image_ref_parse(text, &r, NULL), 0);
	image_ref_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_are_dockers),
		cmocka_unit_test(test_what_is_no_reference_is_refused),
		cmocka_unit_test(test_long_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
