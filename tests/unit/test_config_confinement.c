/* Capabilities by name, and the seccomp profile that a spec takes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "config/capability.h"
#include "config_rig.h"

#define M "name: web\nimage: rootfs:/x\ncommand: run\n"

static void test_names_are_the_kernels_numbers(void **state)
{
	(void)state;
	assert_string_equal(capability_names[CAP_CHOWN], "CHOWN");
	assert_string_equal(capability_names[CAP_NET_RAW], "NET_RAW");
	assert_string_equal(capability_names[CAP_SYS_ADMIN], "SYS_ADMIN");
	assert_string_equal(capability_names[CAP_AUDIT_READ], "AUDIT_READ");
	assert_string_equal(capability_names[CAPABILITY_COUNT - 1], "CHECKPOINT_RESTORE");
	assert_null(capability_names[CAPABILITY_COUNT]);
}

static void test_sets(void **state)
{
	OWN_SPEC struct spec *s = rig_read_good(M "cap_add: [CAP_NET_RAW, sys_ptrace]\ncap_drop: [all]\n");
	OWN_SPEC struct spec *none = rig_read_good(M "cap_add: []\n"), *plain = rig_read_good(M);
	OWN_FREE char *text = rig_canonical(s), *empty = rig_canonical(none), *absent = rig_canonical(plain);
	(void)state;
	assert_int_equal(s->container.cap_add, UINT64_C(1) << CAP_NET_RAW | UINT64_C(1) << CAP_SYS_PTRACE);
	assert_int_equal(s->container.cap_drop, CAPABILITY_ALL);
	assert_non_null(strstr(text, "\"cap_add\":[\"NET_RAW\",\"SYS_PTRACE\"],\"cap_drop\":[\"ALL\"]"));
	assert_string_equal(empty, absent);
}

static void put(const char *path, const char *text)
{
	OWN_FILE FILE *f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
}

/* The canonical form holds the profile, not its place: it can be read where there is no such file. */
static void test_profile_of_a_file(void **state)
{
	char path[] = "/tmp/teal-seccomp-XXXXXX", spec[200];
	OWN_FD int fd = mkstemp(path);
	(void)state;
	assert_true(fd >= 0);
	put(path, "{\n  \"syscalls\": [],\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n");
	snprintf(spec, sizeof spec, M "seccomp: %s\n", path);
	OWN_SPEC struct spec *first = rig_read_good(spec);
	assert_string_equal(
		first->container.seccomp, "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[]}");
	OWN_FREE char *text = rig_canonical(first);
	put(path, "{\"defaultAction\": \"SCMP_ACT_KILL\"}");
	OWN_SPEC struct spec *second = rig_read_good(spec);
	assert_int_equal(unlink(path), 0);
	OWN_SPEC struct spec *again = rig_read_good(text);
	OWN_FREE char *same = rig_canonical(again), *other = rig_canonical(second);
	assert_string_equal(same, text);
	assert_string_not_equal(other, text);
}

static void test_words(void **state)
{
	OWN_SPEC struct spec *plain = rig_read_good(M), *open = rig_read_good(M "seccomp: unconfined\n");
	(void)state;
	assert_string_equal(plain->container.seccomp, "default");
	assert_string_equal(open->container.seccomp, "unconfined");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_the_kernels_numbers),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_profile_of_a_file),
		cmocka_unit_test(test_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
