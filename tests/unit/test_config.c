/* What a good spec becomes: typed values, defaults, canonical form, digest, diff. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/own.h"
#include "base/parse.h"
#include "config_rig.h"

#define MINIMAL "name: web\nimage: rootfs:/srv/web\ncommand: /app/server\n"

static void test_defaults(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s = rig_read_good(MINIMAL "ports: [\"8080:3000\"]\n");
	const struct spec_container *c = &s->container;
	assert_string_equal(s->name, "web");
	assert_string_equal(c->image, "rootfs:/srv/web");
	assert_string_equal(c->command[0], "/app/server");
	assert_null(c->command[1]);
	assert_null(c->entrypoint);
	assert_null(c->working_dir);
	assert_null(c->user);
	assert_int_equal(c->restart, SPEC_RESTART_ON_FAILURE);
	assert_int_equal(c->stop_signal, SIGTERM);
	assert_int_equal(c->stop_grace_ms, 10000);
	assert_true(c->read_only);
	assert_int_equal(c->network, SPEC_NETWORK_PRIVATE);
	assert_int_equal(c->limits.cpu_milli + c->limits.memory_bytes + c->limits.pids, 0);
	assert_int_equal(c->logging.max_size_bytes, 10 << 20);
	assert_int_equal(c->logging.max_files, 3);
	assert_int_equal(s->n_ports, 1);
	assert_string_equal(s->ports[0].name, "3000");
	assert_string_equal(s->ports[0].published, "0.0.0.0:8080");
	assert_int_equal(s->ports[0].address.ss_family, AF_INET);
	assert_int_equal(s->ports[0].target, 3000);
	assert_int_equal(s->deploy.replicas, 1);
	assert_int_equal(s->deploy.order, SPEC_ORDER_START_FIRST);
	assert_int_equal(s->deploy.healthy_deadline_ms, 120000);
	assert_int_equal(s->deploy.min_healthy_ms, 0);
	assert_int_equal(s->deploy.drain_timeout_ms, 30000);
	assert_int_equal(s->deploy.standby_ms, 600000);
	assert_int_equal(s->deploy.history, 5);
}

static void test_health_without_check(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s = rig_read_good(MINIMAL);
	const struct spec_health *h = &s->container.health;
	assert_int_equal(h->kind, SPEC_CHECK_NONE);
	assert_int_equal(h->interval_ms, 1000);
	assert_int_equal(h->timeout_ms, 2000);
	assert_int_equal(h->start_period_ms, 0);
	assert_int_equal(h->successes, 1);
	assert_int_equal(h->retries, 3);
}

static void test_health_http(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s = rig_read_good(MINIMAL
		"ports: [\"8080:3000\", \"9090:4000\"]\nhealthcheck:\n  http: /healthz\n  interval: 250ms\n");
	const struct spec_health *h = &s->container.health;
	assert_int_equal(h->kind, SPEC_CHECK_HTTP);
	assert_string_equal(h->http_path, "/healthz");
	assert_null(h->http_host);
	assert_int_equal(h->port, 3000);
	assert_int_equal(h->status_min, 200);
	assert_int_equal(h->status_max, 299);
	assert_int_equal(h->interval_ms, 250);
	assert_int_equal(h->successes, 2);
}

static void test_health_long_forms(void **state)
{
	(void)state;
	OWN_SPEC struct spec *http =
		rig_read_good(MINIMAL "healthcheck: { http: { port: 8000, path: /up?x=1, status: 204, host: "
				      "shop.example.com }, successes: 1 }\n");
	assert_int_equal(http->container.health.port, 8000);
	assert_string_equal(http->container.health.http_path, "/up?x=1");
	assert_string_equal(http->container.health.http_host, "shop.example.com");
	assert_int_equal(http->container.health.status_min, 204);
	assert_int_equal(http->container.health.status_max, 204);
	assert_int_equal(http->container.health.successes, 1);
	OWN_SPEC struct spec *tcp = rig_read_good(MINIMAL "healthcheck: { tcp: 5432 }\n");
	assert_int_equal(tcp->container.health.kind, SPEC_CHECK_TCP);
	assert_int_equal(tcp->container.health.port, 5432);
	assert_null(tcp->container.health.http_path);
	OWN_SPEC struct spec *exec = rig_read_good(MINIMAL "healthcheck: { exec: /app/check --fast }\n");
	assert_int_equal(exec->container.health.kind, SPEC_CHECK_EXEC);
	assert_string_equal(exec->container.health.exec[0], "/app/check");
	assert_string_equal(exec->container.health.exec[1], "--fast");
}

static void check_command(const char *yaml, const char *const *argv)
{
	OWN_BUF struct buf text = { 0 };
	size_t n = 0;
	buf_addf(&text, "name: web\nimage: rootfs:/x\ncommand: %s\n", yaml);
	OWN_SPEC struct spec *s = rig_read_good(text.data);
	for (; argv[n]; n++)
		assert_string_equal(s->container.command[n], argv[n]);
	assert_null(s->container.command[n]);
}

static void test_commands(void **state)
{
	(void)state;
	check_command("/app/server --port 3000", (const char *[]){ "/app/server", "--port", "3000", NULL });
	check_command("[/app/server, 3000, true, 1.10, \"\", no]",
		(const char *[]){ "/app/server", "3000", "true", "1.10", "", "no", NULL });
	check_command("sh -c 'echo \"a  b\"; sleep 1'",
		(const char *[]){ "sh", "-c", "echo \"a  b\"; sleep 1", NULL });
	check_command(
		"a\\ b \"c\\\"d\\n\" ''e\"\" f'g'h", (const char *[]){ "a b", "c\"d\\n", "e", "fgh", NULL });
	check_command(
		"|\n  /app/server\n  --port 1\n", (const char *[]){ "/app/server", "--port", "1", NULL });
}

static void test_maps(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s =
		rig_read_good(MINIMAL "environment: { Z: 1, A: no, DEBUG: true, V: 1.10, E: \"\", "
				      "spring.datasource.url: x }\nlabels: [team=shop, empty=, a=b=c]\n");
	static const char *const wanted[] = { "A=no", "DEBUG=true", "E=", "V=1.10", "Z=1",
		"spring.datasource.url=x" };
	assert_int_equal(s->container.n_environment, ARRAY_LEN(wanted));
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		char pair[100];
		snprintf(pair, sizeof pair, "%s=%s", s->container.environment[i].key,
			s->container.environment[i].value);
		assert_string_equal(pair, wanted[i]);
	}
	assert_int_equal(s->n_labels, 3);
	assert_string_equal(s->labels[0].value, "b=c");
	assert_string_equal(s->labels[1].value, "");
}

static void test_ports(void **state)
{
	(void)state;
	static const struct {
		const char *published, *name;
		uint16_t target;
	} wanted[] = {
		{ "0.0.0.0:8080", "3000", 3000 },
		{ "127.0.0.1:8081", "3000-8081", 3000 },
		{ "[::1]:8080", "4000", 4000 },
		{ "0.0.0.0:9090", "admin", 4000 },
		{ "0.0.0.0:9443", "4000-9443", 4000 },
	};
	OWN_SPEC struct spec *s =
		rig_read_good(MINIMAL "ports:\n"
				      "  - 8080:3000\n"
				      "  - \"127.0.0.1:8081:3000/tcp\"\n"
				      "  - \"[::1]:8080:4000\"\n"
				      "  - { name: admin, published: 9090, target: 4000, protocol: tcp }\n"
				      "  - { published: \":9443\", target: 4000, x-note: 1 }\n");
	assert_int_equal(s->n_ports, ARRAY_LEN(wanted));
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		char text[ADDRESS_MAX];
		assert_string_equal(s->ports[i].published, wanted[i].published);
		assert_string_equal(format_address(&s->ports[i].address, text), wanted[i].published);
		assert_string_equal(s->ports[i].name, wanted[i].name);
		assert_int_equal(s->ports[i].target, wanted[i].target);
	}
}

static void test_plain_words_are_text(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s = rig_read_good(
		"name: no\nimage: rootfs:/x\ncommand: [yes, null-ish, 0x10, 1_000]\nrestart: no\n"
		"user: 1000\nstop_signal: 10\nworking_dir: null\nlabels: ~\n");
	assert_string_equal(s->name, "no");
	assert_string_equal(s->container.command[0], "yes");
	assert_string_equal(s->container.command[2], "0x10");
	assert_string_equal(s->container.user, "1000");
	assert_int_equal(s->container.restart, SPEC_RESTART_NO);
	assert_int_equal(s->container.stop_signal, SIGUSR1);
	assert_null(s->container.working_dir);
}

static void test_relative_rootfs(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s = rig_read_good("name: web\nimage: rootfs:./images//../web/\ncommand: x\n");
	assert_string_equal(s->container.image, "rootfs:/srv/images/../web");
}

static void test_canonical_form(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s =
		rig_read_good(MINIMAL "environment: [B=2, A=1]\nports: [8080:3000]\n"
				      "deploy: { resources: { limits: { cpus: 1.50, memory: 1024m } } }\n");
	OWN_FREE char *text = rig_canonical(s);
	assert_string_equal(text,
		"{\"command\":[\"/app/"
		"server\"],\"deploy\":{\"auto_revert\":true,\"bake_time\":\"0s\",\"confirm\":\"0s\",\"drain_"
		"timeout\":\"30s\","
		"\"healthy_deadline\":\"2m\",\"history\":5,"
		"\"min_healthy_time\":\"0s\",\"order\":\"start-first\",\"promote\":\"auto\",\"promote_"
		"timeout\":\"30m\",\"replicas\":1,\"resources\":{"
		"\"limits\":{\"cpus\":\"1.5\","
		"\"memory\":\"1G\"}},\"revert_on\":{\"connect_errors\":\"5%\",\"exits\":1,\"min_samples\":50,"
		"\"resets\":\"5%\","
		"\"unready\":true},\"standby\":\"10m\"},\"environment\":{\"A\":\"1\",\"B\":\"2\"},"
		"\"image\":\"rootfs:/srv/web\","
		"\"logging\":{\"max_files\":3,\"max_size\":\"10M\"},\"name\":\"web\",\"network\":\"private\","
		"\"ports\":[{\"name\":"
		"\"3000\",\"protocol\":\"tcp\",\"proxy_protocol\":\"none\",\"published\":\"0.0.0.0:8080\","
		"\"target\":3000}],\"read_"
		"only\":true,"
		"\"restart\":\"on-failure\",\"seccomp\":\"default\",\"stop_grace_period\":\"10s\",\"stop_signal\":\"SIGTERM\"}");
	OWN_SPEC struct spec *again = rig_read_good(text);
	OWN_FREE char *text_again = rig_canonical(again);
	assert_string_equal(text, text_again);
}

static void digest_of_text(const char *text, const char *image, char ret[DIGEST_LEN])
{
	OWN_SPEC struct spec *s = rig_read_good(text);
	assert_int_equal(cfg_digest(s, image, ret), 0);
	assert_true(digest_valid(ret));
}

static void test_digest(void **state)
{
	char a[DIGEST_LEN], b[DIGEST_LEN];
	(void)state;
	digest_of_text(MINIMAL "environment: [A=1, B=2]\n", "sha256:1", a);
	digest_of_text("# the same\n" MINIMAL "environment: { B: 2, A: \"1\" }\nrestart: on-failure\n",
		"sha256:1", b);
	assert_string_equal(a, b);
	digest_of_text(MINIMAL "environment: [A=1, B=2]\n", "sha256:2", b);
	assert_string_not_equal(a, b);
	digest_of_text(MINIMAL "environment: [A=1, B=3]\n", "sha256:1", b);
	assert_string_not_equal(a, b);
	digest_of_text("name: web\nimage: rootfs:/elsewhere\ncommand: /app/server\nenvironment: [A=1, B=2]\n",
		"sha256:1", b);
	assert_string_equal(a, b); /* only what is in the image counts */
}

static void check_diff(const char *before, const char *after, const char *wanted)
{
	OWN_SPEC struct spec *a = rig_read_good(before), *b = rig_read_good(after);
	OWN_JSON json_t *diff = cfg_diff(a, b);
	OWN_FREE char *text = json_canonical(diff);
	assert_string_equal(text, wanted);
}

static void test_diff(void **state)
{
	(void)state;
	check_diff(MINIMAL, MINIMAL "restart: on-failure\n", "{}");
	check_diff(MINIMAL "environment: { A: 1, B: 2 }\n",
		MINIMAL "environment: { B: 3, C: 4 }\ndeploy: { replicas: 2 }\n",
		"{\"deploy.replicas\":[1,2],\"environment.A\":[\"1\",null],\"environment.B\":[\"2\",\"3\"],"
		"\"environment.C\":[null,\"4\"]}");
	check_diff(MINIMAL "ports: [8080:3000]\n", MINIMAL "ports: [9090:4000, 8081:3000]\n",
		"{\"ports.3000.published\":[\"0.0.0.0:8080\",\"0.0.0.0:8081\"],\"ports.4000.name\":[null,"
		"\"4000\"],"
		"\"ports.4000.protocol\":[null,\"tcp\"],\"ports.4000.proxy_protocol\":[null,\"none\"],"
		"\"ports.4000.published\":[null,\"0.0.0.0:9090\"],"
		"\"ports.4000.target\":[null,4000]}");
	check_diff(MINIMAL "user: root\n", "name: web\nimage: rootfs:/srv/web\ncommand: [/app/server, -v]\n",
		"{\"command\":[[\"/app/server\"],[\"/app/server\",\"-v\"]],\"user\":[\"root\",null]}");
}

static void test_diff_of_nothing_and_of_order(void **state)
{
	(void)state;
	OWN_SPEC struct spec *s = rig_read_good(MINIMAL "ports: [1:1, 2:2]\n");
	OWN_SPEC struct spec *turned = rig_read_good(MINIMAL "ports: [2:2, 1:1]\n");
	OWN_JSON json_t *from_nothing = cfg_diff(NULL, s);
	const json_t *name = json_object_get(from_nothing, "name");
	assert_true(json_is_null(json_array_get(name, 0)));
	assert_string_equal(json_string_value(json_array_get(name, 1)), "web");
	OWN_JSON json_t *order = cfg_diff(s, turned);
	assert_int_equal(json_object_size(order), 1);
	assert_int_equal(json_array_size(json_object_get(order, "ports")), 2);
}

static void test_references(void **state)
{
	(void)state;
	struct spec *s = rig_read_good(MINIMAL);
	assert_ptr_equal(spec_ref(s), s);
	spec_unref(s);
	assert_string_equal(s->name, "web");
	spec_unref(s);
	spec_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_health_without_check),
		cmocka_unit_test(test_health_http),
		cmocka_unit_test(test_health_long_forms),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_plain_words_are_text),
		cmocka_unit_test(test_relative_rootfs),
		cmocka_unit_test(test_canonical_form),
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_diff_of_nothing_and_of_order),
		cmocka_unit_test(test_references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
