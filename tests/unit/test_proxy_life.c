/* The proxy and its agent dying, returning and finding each other again. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka wants the standard headers first */
#include <cmocka.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"
#include "tests/unit/proxy_rig.h"

struct found {
	int n;
	char service[64];
	uint32_t generation;
	bool hold;
};

static void on_found(void *arg, const char *service, uint32_t generation, bool hold)
{
	struct found *f = arg;
	f->n++;
	snprintf(f->service, sizeof f->service, "%s", service);
	f->generation = generation;
	f->hold = hold;
}

static void test_client_returns(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct err err = { 0 };
	struct found f = { 0 };
	char byte;
	backend_start(&b, 2, serve_echo, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	pid_t pid = r->pid;
	OWN_FD int kept = dial(&at);
	rig_close_client(r, false);
	OWN_FD int during = dial(&at); /* nobody but the proxy is there */
	assert_int_equal(write_all(during, "x", 1), 0);
	assert_int_equal(recv(during, &byte, 1, 0), 1);
	rig_open_client(r);
	assert_true(r->adopted);
	assert_int_equal(r->pid, pid);
	px_routes_found(r->client, on_found, &f);
	assert_int_equal(f.n, 1);
	assert_string_equal(f.service, "web");
	assert_int_equal(f.generation, 1);
	assert_false(f.hold);
	assert_int_equal(px_bind(r->client, "web", &at, &err), 0); /* has the socket back */
	struct px_backend backend = rig_backend(&b.address, "r1", true);
	rig_route(r, "web", 2, false, at, &backend, 1);
	assert_int_equal(write_all(kept, "y", 1), 0);
	assert_int_equal(recv(kept, &byte, 1, 0), 1);
	shutdown(kept, SHUT_WR);
	shutdown(during, SHUT_WR);
	backend_stop(&b);
}

/* The sockets that came back by adoption serve the next proxy as well. */
static void test_killed_after_adoption(void **state)
{
	struct rig *r = *state;
	struct backend b;
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	rig_close_client(r, false);
	rig_open_client(r);
	int downs = r->downs, ups = r->ups;
	kill(r->pid, SIGKILL);
	rig_until(r, &r->downs, downs + 1);
	rig_until(r, &r->ups, ups + 1);
	assert_int_equal(ask(&at), 'a');
	backend_stop(&b);
}

struct prober {
	pthread_t thread;
	struct sockaddr_storage at;
	atomic_bool stop;
	unsigned refused, served;
	int64_t longest_ms;
};

/* Connects again and again: a connection may be cut by the kill, none may be refused, and each must be served
 * soon. */
static void *probe(void *arg)
{
	struct prober *p = arg;
	int64_t since = clock_boot_ms();
	while (!atomic_load(&p->stop)) {
		char c;
		int fd = dial(&p->at);
		if (fd < 0) {
			p->refused++;
			continue;
		}
		if (recv(fd, &c, 1, 0) == 1) {
			int64_t now = clock_boot_ms();
			p->longest_ms = now - since > p->longest_ms ? now - since : p->longest_ms;
			since = now;
			p->served++;
		}
		close(fd);
	}
	return NULL;
}

static void test_killed_proxy_is_back(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct prober p = { 0 };
	backend_start(&b, 2, serve_tag, 'a');
	p.at = rig_simple(r, &b);
	pthread_create(&p.thread, NULL, probe, &p);
	for (int i = 0; i < 5; i++) {
		int downs = r->downs, ups = r->ups;
		rig_run_for(r, 50);
		kill(r->pid, SIGKILL);
		rig_until(r, &r->downs, downs + 1);
		rig_until(r, &r->ups, ups + 1);
	}
	rig_run_for(r, 50);
	atomic_store(&p.stop, true);
	pthread_join(p.thread, NULL);
	print_message("killed 5 times: %u served, longest pause %d ms\n", p.served, (int)p.longest_ms);
	assert_int_equal(p.refused, 0);
	assert_true(p.served > 5);
	OWN_JSON json_t *status = px_status(r->client);
	assert_int_equal(json_int(status, "restarts", 0), 5);
	backend_stop(&b);
}

/* Stopped, so that it neither ends nor answers: found by the agent that starts, and replaced. */
static void test_hung_proxy_is_replaced(void **state)
{
	struct rig *r = *state;
	pid_t pid = r->pid;
	rig_close_client(r, false);
	kill(pid, SIGSTOP);
	rig_open_client(r);
	assert_false(r->adopted);
	assert_int_not_equal(r->pid, pid);
}

static void test_address_in_use(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct err err = { 0 };
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	assert_int_equal(px_bind(r->client, "web", &at, &err), 0);
	assert_int_equal(px_bind(r->client, "shop", &at, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "service web has this address"));
	assert_int_equal(px_bind(r->client, "shop", &b.address, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "another process has this address"));
	px_unbind(r->client, "web", &at);
	assert_int_equal(rig_count(r, "web", 1).active, 0); /* a round trip: the proxy has let go, too */
	struct px_backend backend = rig_backend(&b.address, "r1", true);
	for (int i = 0; i < 1000 && px_bind(r->client, "shop", &at, &err) < 0; i++)
		rig_run_for(r, 1);
	rig_route(r, "shop", 1, false, at, &backend, 1);
	assert_int_equal(ask(&at), 'a');
	backend_stop(&b);
}

static void test_no_descriptor_leaks(void **state)
{
	struct rig *r = *state;
	struct backend b;
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	for (int i = 0; i < 20; i++)
		ask(&at);
	while (rig_count(r, "web", 1).active > 0 || atomic_load(&b.serving) > 0)
		;
	int before = count_fds(r->pid), ours = count_fds(getpid());
	for (int i = 0; i < 500; i++)
		ask(&at);
	for (unsigned i = 0; i < 20; i++) {
		struct err err = { 0 };
		struct sockaddr_storage extra = rig_address(1, 8100 + i);
		assert_int_equal(px_bind(r->client, "extra", &extra, &err), 0);
		px_unbind(r->client, "extra", &extra);
	}
	while (rig_count(r, "web", 1).active > 0)
		;
	for (int i = 0; i < 1000 && count_fds(r->pid) != before; i++)
		rig_run_for(r, 1);
	assert_int_equal(count_fds(r->pid), before);
	backend_stop(&b);
	assert_int_equal(count_fds(getpid()), ours - 1);
}

static void *serve_many(void *arg)
{
	struct backend *b = arg;
	int fds[2100], n = 0;
	while (n < 2000 && (fds[n] = accept(b->listen_fd, NULL, NULL)) >= 0)
		write_all(fds[n++], &b->tag, 1);
	char c;
	for (int i = 0; i < n; i++) {
		while (recv(fds[i], &c, 1, 0) > 0)
			;
		close(fds[i]);
	}
	return NULL;
}

static void test_many_connections(void **state)
{
	struct rig *r = *state;
	struct backend b = { .address = rig_address(2, 9000), .tag = 'a' };
	int *fds = calloc(2000, sizeof *fds);
	int on = 1;
	b.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(b.listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	assert_int_equal(bind(b.listen_fd, (struct sockaddr *)&b.address, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(b.listen_fd, 4096), 0);
	pthread_create(&b.thread, NULL, serve_many, &b);
	struct sockaddr_storage at = rig_simple(r, &b);
	for (int i = 0; i < 2000; i++)
		assert_true((fds[i] = dial(&at)) >= 0);
	for (int i = 0; i < 2000; i++) {
		char c;
		assert_int_equal(recv(fds[i], &c, 1, 0), 1);
	}
	assert_int_equal(rig_count(r, "web", 1).active, 2000);
	for (int i = 0; i < 2000; i++)
		close(fds[i]);
	pthread_join(b.thread, NULL);
	close(b.listen_fd);
	while (rig_count(r, "web", 1).active > 0)
		;
	free(fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_client_returns, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_killed_after_adoption, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_killed_proxy_is_back, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_hung_proxy_is_replaced, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_address_in_use, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_no_descriptor_leaks, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_many_connections, rig_setup, rig_teardown),
	};
	return cmocka_run_group_tests_name("proxy life", tests, NULL, NULL);
}
