/* The PROXY protocol: what a backend reads before the client's first byte. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka wants the standard headers first */
#include <cmocka.h>

#include "base/own.h"
#include "base/parse.h"
#include "proxy/preface.h"
#include "tests/unit/proxy_rig.h"

static void on_routed(void *arg, int result, const struct err *why)
{
	(void)why;
	assert_int_equal(result, 0);
	*(int *)arg = 1;
}

static struct sockaddr_storage rig_preface(
	struct rig *r, const struct backend *b, enum spec_proxy_protocol version)
{
	struct err err = { 0 };
	int routed = 0;
	struct px_backend backend = rig_backend(&b->address, "r1", true);
	struct px_listener l = { .address = rig_address(1, 8080),
		.proxy_protocol = version,
		.backends = &backend,
		.n_backends = 1 };
	struct px_route route = {
		.service = "web", .generation = 1, .slot = "blue", .listeners = &l, .n_listeners = 1
	};
	assert_int_equal(px_bind(r->client, "web", &l.address, &err), 0);
	assert_int_equal(px_route(r->client, &route, on_routed, &routed, &err), 0);
	rig_until(r, &routed, 1);
	return l.address;
}

static struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in in;
	socklen_t len = sizeof in;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	return in;
}

static void expect_bytes(int fd, const void *want, size_t len)
{
	char got[256];
	assert_int_equal(recv(fd, got, len, MSG_WAITALL), (ssize_t)len);
	assert_memory_equal(got, want, len);
}

static void test_v1(void **state)
{
	struct rig *r = *state;
	struct backend b;
	char want[PREFACE_MAX], client[INET_ADDRSTRLEN], listener[INET_ADDRSTRLEN];
	backend_start(&b, 2, serve_echo, 'a');
	struct sockaddr_storage at = rig_preface(r, &b, SPEC_PROXY_V1);
	OWN_FD int fd = dial(&at);
	struct sockaddr_in mine = name_of(fd), theirs;
	memcpy(&theirs, &at, sizeof theirs);
	inet_ntop(AF_INET, &mine.sin_addr, client, sizeof client);
	inet_ntop(AF_INET, &theirs.sin_addr, listener, sizeof listener);
	int len = snprintf(
		want, sizeof want, "PROXY TCP4 %s %s %u 8080\r\n", client, listener, ntohs(mine.sin_port));
	expect_bytes(fd, want, (size_t)len); /* at once: the backend may be the one who speaks first */
	assert_int_equal(write_all(fd, "hello", 5), 0);
	expect_bytes(fd, "hello", 5);
	close(TAKE_FD(fd));
	backend_stop(&b);
}

static void test_v2(void **state)
{
	struct rig *r = *state;
	struct backend b;
	unsigned char want[28] = { 13, 10, 13, 10, 0, 13, 10, 'Q', 'U', 'I', 'T', 10, 0x21, 0x11, 0, 12 };
	backend_start(&b, 2, serve_echo, 'a');
	struct sockaddr_storage at = rig_preface(r, &b, SPEC_PROXY_V2);
	OWN_FD int fd = dial(&at);
	struct sockaddr_in mine = name_of(fd), theirs;
	memcpy(&theirs, &at, sizeof theirs);
	memcpy(want + 16, &mine.sin_addr, 4);
	memcpy(want + 20, &theirs.sin_addr, 4);
	memcpy(want + 24, &mine.sin_port, 2);
	memcpy(want + 26, &theirs.sin_port, 2);
	assert_int_equal(write_all(fd, "hello", 5), 0);
	expect_bytes(fd, want, sizeof want);
	expect_bytes(fd, "hello", 5);
	close(TAKE_FD(fd));
	backend_stop(&b);
}

static void test_a_client_that_left_is_unknown(void **state)
{
	char text[PREFACE_MAX];
	static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
	(void)state;
	OWN_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(preface_write(SPEC_PROXY_NONE, fd, text), 0);
	assert_int_equal(preface_write(SPEC_PROXY_V1, fd, text), strlen("PROXY UNKNOWN\r\n"));
	assert_string_equal(text, "PROXY UNKNOWN\r\n");
	assert_int_equal(preface_write(SPEC_PROXY_V2, fd, text), 16);
	assert_memory_equal(text, local, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_v1, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_v2, rig_setup, rig_teardown),
		cmocka_unit_test(test_a_client_that_left_is_unknown),
	};
	return cmocka_run_group_tests_name("proxy preface", tests, NULL, NULL);
}
