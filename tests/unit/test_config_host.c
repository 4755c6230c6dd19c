/* What a container gets of its host: volumes, secrets, names, limits; what is accepted, how it looks in
 * canonical form, what is said about the rest. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/own.h"
#include "config_rig.h"
#include "scratch.h"

#define M "name: web\nimage: rootfs:/srv/web\ncommand: run\n"

static void test_canonical(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
		{ "volumes: [\"uploads:/data\", \"./x:/x:ro\", { type: tmpfs, target: /t, size: 1M }]\n",
			"\"volumes\":[{\"access\":\"shared\",\"read_only\":false,\"source\":\"uploads\","
			"\"target\":\"/data\",\"type\":\"volume\"},"
			"{\"access\":\"shared\",\"read_only\":true,\"source\":\"/srv/x\",\"target\":\"/x\","
			"\"type\":\"bind\"},"
			"{\"access\":\"shared\",\"read_only\":false,\"size\":\"1M\",\"target\":\"/t\","
			"\"type\":\"tmpfs\"}]" },
		{ "ulimits: { nofile: { soft: 10, hard: 20 }, core: 0, nproc: \"5:-1\" }\n",
			"\"ulimits\":{\"core\":\"0:0\",\"nofile\":\"10:20\",\"nproc\":\"5:-1\"}" },
		{ "dns: 192.0.2.1\n", "\"dns\":[\"192.0.2.1\"]" },
		{ "oom_score_adj: -5\n", "\"oom_score_adj\":-5" },
		{ "extra_hosts: [\"db=host-gateway\"]\n", "\"extra_hosts\":{\"db\":\"host-gateway\"}" },
		{ "sysctls: { kernel.shmmax: 1, net.core.somaxconn: 9 }\n",
			"\"sysctls\":{\"kernel.shmmax\":\"1\",\"net.core.somaxconn\":\"9\"}" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		OWN_BUF struct buf text = { 0 };
		buf_addf(&text, M "%s", cases[i].text);
		OWN_SPEC struct spec *s = rig_read_good(text.data);
		OWN_FREE char *canonical = rig_canonical(s);
		if (!strstr(canonical, cases[i].canonical))
			fail_msg("%s\nlacks\n%s", canonical, cases[i].canonical);
		OWN_SPEC struct spec *again = rig_read_good(canonical);
		OWN_FREE char *twice = rig_canonical(again);
		assert_string_equal(canonical, twice);
	}
}

static void test_faults(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{ "volumes: [data]", "`data` names one place" },
		{ "volumes: [\"a:/data:rx\"]", "ends with neither `ro` nor `rw`" },
		{ "volumes: [\"a:/proc/x\"]", "is where the container finds what teal puts there" },
		{ "volumes: [\"a:/a/../b\"]", "is not the absolute path" },
		{ "volumes: [\"a/b:/data\"]", "is not a name" },
		{ "volumes: [\"a:/d\", \"b:/d\"]", "items 1 and 2 have the same target" },
		{ "volumes: [{ target: /d }]", "`volumes[].source` is missing" },
		{ "volumes: [{ type: tmpfs, source: a, target: /d }]", "a tmpfs has no source" },
		{ "volumes: [{ source: a, target: /d, size: 1M }]", "only a tmpfs has a size" },
		{ "volumes: [{ source: a, target: /d, access: exclusive }]\ndeploy: { replicas: 2 }",
			"2 replicas can't each have it exclusively" },
		{ "secrets: [{ source: ../x, file: /x }]", "is not a name" },
		{ "secrets: [{ source: x }]", "`secrets[].file` is missing" },
		{ "secrets: [{ source: x, file: nowhere }]", "/srv/nowhere No such file" },
		{ "secrets: [{ source: x, digest: sha256:12 }]", "is not a sha256 digest" },
		{ "ulimits: { nofiles: 1 }", "did you mean `nofile`?" },
		{ "ulimits: { nofile: 9:5 }", "is above the hard one" },
		{ "ulimits: { nofile: many }", "is neither a number nor a pair" },
		{ "sysctls: { kernel.core_pattern: x }", "is the host's, for all its processes" },
		{ "sysctls: { net.x: 1 }\nnetwork: host", "is the host's with `network: host`" },
		{ "sysctls: { net/../kernel: 1 }", "parts are separated by single dots" },
		{ "dns: [nameserver]", "is not a numeric address" },
		{ "dns: [1.1.1.1, 1.1.1.1]", "is there twice" },
		{ "extra_hosts: { db: nowhere }", "is not a numeric address" },
		{ "devices: [/dev/../etc]", "is not a path below /dev" },
		{ "oom_score_adj: 1001", "out of range: -1000 to 1000" },
		{ "hostname: a b", "is not a host name" },
		{ "deploy: { resources: { limits: { memory: 1M }, reservations: { memory: 2M } } }",
			"is more than the limit" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		OWN_BUF struct buf text = { 0 };
		OWN_FREE char *said = NULL;
		buf_addf(&text, M "%s\n", cases[i].text);
		OWN_SPEC struct spec *s = rig_read(text.data, &said);
		if (s || !strstr(said, cases[i].said))
			fail_msg("%s\nsaid\n%s\nnot\n%s", cases[i].text, said, cases[i].said);
	}
}

static void test_exclusive_stops_first(void **state)
{
	(void)state;
	OWN_SPEC struct spec *shared = rig_read_good(M "volumes: [\"a:/d\"]\n");
	OWN_SPEC struct spec *exclusive =
		rig_read_good(M "volumes: [{ source: a, target: /d, access: exclusive }]\n");
	assert_false(spec_stop_first(shared));
	assert_true(spec_stop_first(exclusive));
}

/* A spec whose only secret is the scratch file called name. */
static struct spec *read_secret(struct scratch *s, const char *name, char **said)
{
	OWN_BUF struct buf text = { 0 };
	buf_addf(&text, M "secrets: [{ source: db, file: %s }]\n", scratch_name(s, name));
	return rig_read(text.data, said);
}

static void test_secret_is_read_and_not_shown(void **state)
{
	struct scratch *dir = *state;
	OWN_FREE char *said = NULL, *said_too = NULL;
	scratch_write(dir, "one", "hunter2", 7);
	scratch_write(dir, "two", "hunter3", 7);
	OWN_SPEC struct spec *one = read_secret(dir, "one", &said);
	OWN_SPEC struct spec *two = read_secret(dir, "two", &said_too);
	assert_non_null(one);
	const struct spec_secret *secret = &one->container.secrets[0];
	assert_memory_equal(secret->value, "hunter2", 7);
	assert_int_equal(secret->value_len, 7);
	assert_null(secret->file);
	OWN_FREE char *canonical = rig_canonical(one), *other = rig_canonical(two);
	assert_null(strstr(canonical, "hunter"));
	assert_null(strstr(canonical, dir->path));
	assert_string_not_equal(canonical, other);
	/* An agent reads the same spec, without values. */
	struct diag_list d = { 0 };
	OWN_SPEC struct spec *agent = NULL;
	assert_int_equal(cfg_read(canonical, strlen(canonical), "spec", NULL, &agent, &d), 0);
	assert_string_equal(agent->container.secrets[0].digest, secret->digest);
	assert_null(agent->container.secrets[0].value);
	diag_done(&d);
}

static void refuse_secret(struct scratch *dir, const char *name, const char *why)
{
	OWN_FREE char *said = NULL;
	OWN_SPEC struct spec *s = read_secret(dir, name, &said);
	if (s || !strstr(said, why))
		fail_msg("%s: %s", name, said);
}

static void test_secret_files(void **state)
{
	struct scratch *dir = *state;
	static char big[64 * 1024 + 1];
	scratch_write(dir, "open", "x", 1);
	assert_int_equal(fchmodat(dir->fd, "open", 0640, 0), 0);
	refuse_secret(dir, "open", "can be read by others");
	assert_int_equal(mkfifoat(dir->fd, "fifo", 0600), 0);
	refuse_secret(dir, "fifo", "is not a file");
	scratch_write(dir, "big", big, sizeof big);
	refuse_secret(dir, "big", "has more than 64 KiB");
	if (geteuid() != 0)
		return;
	scratch_write(dir, "other", "x", 1);
	assert_int_equal(fchownat(dir->fd, "other", 1, 1, 0), 0);
	refuse_secret(dir, "other", "belongs to somebody else");
}

/* The agent must not be made to read a file for somebody. */
static void test_agent_reads_no_secret(void **state)
{
	static const char text[] = M "secrets: [{ source: db, file: /etc/shadow }]\n";
	struct diag_list d = { 0 };
	OWN_SPEC struct spec *s = NULL;
	(void)state;
	assert_int_equal(cfg_read(text, strlen(text), "spec", NULL, &s, &d), -EINVAL);
	assert_non_null(strstr(d.items[0].text, "can't be read"));
	diag_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_exclusive_stops_first),
		cmocka_unit_test_setup_teardown(
			test_secret_is_read_and_not_shown, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_secret_files, scratch_setup, scratch_teardown),
		cmocka_unit_test(test_agent_reads_no_secret),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
