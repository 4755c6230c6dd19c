/* Where connections go: retries, flips, holds and drains. */
#include <errno.h>
#include <setjmp.h>
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
#include "tests/unit/proxy_rig.h"

static void test_round_robin_over_ready(void **state)
{
	struct rig *r = *state;
	struct backend b[3];
	struct px_backend backends[3];
	int seen[256] = { 0 };
	for (unsigned i = 0; i < 3; i++) {
		backend_start(&b[i], 2 + i, serve_tag, (char)('a' + i));
		backends[i] = rig_backend(&b[i].address, "r", i != 1);
	}
	struct sockaddr_storage at = rig_simple(r, &b[0]);
	rig_route(r, "web", 1, false, at, backends, 3);
	for (int i = 0; i < 40; i++)
		seen[ask(&at) & 255]++;
	assert_int_equal(seen['a'] + seen['c'], 40);
	assert_true(seen['a'] >= 10 && seen['c'] >= 10);
	backends[0].ready = backends[2].ready = false; /* none is: better any than none */
	rig_route(r, "web", 1, false, at, backends, 3);
	memset(seen, 0, sizeof seen);
	for (int i = 0; i < 40; i++)
		seen[ask(&at) & 255]++;
	assert_int_equal(seen['a'] + seen['b'] + seen['c'], 40);
	assert_true(seen['b'] > 0);
	for (unsigned i = 0; i < 3; i++)
		backend_stop(&b[i]);
}

static void test_refused_is_retried(void **state)
{
	struct rig *r = *state;
	struct backend b;
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b), nobody = rig_address(7, 9);
	struct px_backend backends[] = { rig_backend(&nobody, "dead", true),
		rig_backend(&b.address, "r1", true) };
	rig_route(r, "web", 1, false, at, backends, 2);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(&at), 'a');
	struct px_counts n = rig_count(r, "web", 1);
	assert_int_equal(n.total, 20);
	assert_int_equal(n.connect_errors, n.retries);
	assert_true(n.retries >= 5);
	backend_stop(&b);
}

struct asker {
	pthread_t thread;
	struct sockaddr_storage at;
	int tag;
};

static void *ask_once(void *arg)
{
	struct asker *a = arg;
	a->tag = ask(&a->at);
	return NULL;
}

static void asker_start(struct asker *a, struct sockaddr_storage at)
{
	*a = (struct asker){ .at = at };
	assert_int_equal(pthread_create(&a->thread, NULL, ask_once, a), 0);
}

/* Nobody answers for a moment, then somebody does: the client notices a delay only. */
static void test_waits_for_a_backend(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct asker a;
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b), nobody = rig_address(7, 9);
	struct px_backend dead = rig_backend(&nobody, "dead", true),
			  alive = rig_backend(&b.address, "r1", true);
	rig_route(r, "web", 1, false, at, &dead, 1);
	asker_start(&a, at);
	while (rig_count(r, "web", 1).connect_errors < 3)
		;
	rig_route(r, "web", 2, false, at, &alive, 1); /* the retry takes the new route */
	pthread_join(a.thread, NULL);
	assert_int_equal(a.tag, 'a');
	assert_int_equal(rig_count(r, "web", 2).total, 1);
	assert_int_equal(rig_count(r, "web", 1).active, 0);
	backend_stop(&b);
}

struct load {
	pthread_t thread;
	struct sockaddr_storage at;
	atomic_bool stop;
	unsigned asked, failed;
	unsigned wrong; /* answers of the old generation after the flip was acknowledged */
	atomic_int floor;
};

static void *load_run(void *arg)
{
	struct load *l = arg;
	while (!atomic_load(&l->stop)) {
		int floor = atomic_load(&l->floor);
		int tag = ask(&l->at);
		l->asked++;
		l->failed += tag < 0;
		l->wrong += tag >= 0 && tag < floor;
	}
	return NULL;
}

static void test_flips_under_load(void **state)
{
	struct rig *r = *state;
	struct backend b[26];
	struct load loads[3];
	for (unsigned i = 0; i < 26; i++)
		backend_start(&b[i], 2 + i, serve_tag, (char)('a' + i));
	struct sockaddr_storage at = rig_simple(r, &b[0]);
	for (int i = 0; i < 3; i++) {
		memset(&loads[i], 0, sizeof loads[i]);
		loads[i].at = at;
		pthread_create(&loads[i].thread, NULL, load_run, &loads[i]);
	}
	for (unsigned g = 1; g < 26; g++) {
		struct px_backend next = rig_backend(&b[g].address, "r1", true);
		rig_route(r, "web", g + 1, false, at, &next, 1);
		for (int i = 0; i < 3; i++)
			atomic_store(&loads[i].floor, 'a' + (int)g);
		rig_run_for(r, 10);
	}
	unsigned asked = 0;
	for (int i = 0; i < 3; i++) {
		atomic_store(&loads[i].stop, true);
		pthread_join(loads[i].thread, NULL);
		assert_int_equal(loads[i].failed, 0);
		assert_int_equal(loads[i].wrong, 0);
		asked += loads[i].asked;
	}
	assert_true(asked > 50);
	for (unsigned i = 0; i < 26; i++)
		backend_stop(&b[i]);
}

static void test_flip_is_quick(void **state)
{
	struct rig *r = *state;
	struct backend b;
	int64_t took[51];
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	struct px_backend backend = rig_backend(&b.address, "r1", true);
	int64_t best = INT64_MAX;
	for (unsigned g = 0; g < 51; g++) {
		int64_t before = clock_boot_us();
		rig_route(r, "web", 2 + g, false, at, &backend, 1);
		took[g] = clock_boot_us() - before;
		best = took[g] < best ? took[g] : best;
	}
	print_message("flip, request to all workers acknowledged: best %d us\n", (int)best);
	assert_true(best < 3000);
	backend_stop(&b);
}

/* Those that were looking for a backend of the old generation are held as well, and are not its any more. */
static void test_hold_takes_those_underway(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct asker a;
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b), nobody = rig_address(7, 9);
	struct px_backend dead = rig_backend(&nobody, "dead", true), alive = rig_backend(&b.address, "r1", true);
	rig_route(r, "web", 1, false, at, &dead, 1);
	asker_start(&a, at);
	while (rig_count(r, "web", 1).connect_errors == 0)
		;
	assert_int_equal(rig_count(r, "web", 1).active, 1);
	rig_route(r, "web", 1, true, at, &dead, 1);
	while (rig_count(r, "web", 1).held == 0)
		;
	assert_int_equal(rig_count(r, "web", 1).active, 0);
	rig_route(r, "web", 2, false, at, &alive, 1);
	pthread_join(a.thread, NULL);
	assert_int_equal(a.tag, 'a');
	backend_stop(&b);
}

static void test_hold_then_release(void **state)
{
	struct rig *r = *state;
	struct backend old, new;
	struct asker askers[20];
	backend_start(&old, 2, serve_tag, 'a');
	backend_start(&new, 3, serve_tag, 'b');
	struct sockaddr_storage at = rig_simple(r, &old);
	struct px_backend was = rig_backend(&old.address, "r1", true),
			  is = rig_backend(&new.address, "r2", true);
	rig_route(r, "web", 1, true, at, &was, 1);
	for (int i = 0; i < 20; i++)
		asker_start(&askers[i], at);
	while (rig_count(r, "web", 1).held < 20)
		;
	assert_int_equal(rig_count(r, "web", 1).active, 0); /* the old one can drain to nothing */
	assert_int_equal(atomic_load(&old.connections), 0);
	rig_route(r, "web", 2, false, at, &is, 1);
	for (int i = 0; i < 20; i++) {
		pthread_join(askers[i].thread, NULL);
		assert_int_equal(askers[i].tag, 'b');
	}
	backend_stop(&old);
	backend_stop(&new);
}

/* Bound but not routed: the backlog keeps them. */
static void test_backlog_waits_for_a_route(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct asker a;
	struct err err = { 0 };
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_address(1, 8080);
	struct px_backend backend = rig_backend(&b.address, "r1", true);
	assert_int_equal(px_bind(r->client, "web", &at, &err), 0);
	int early = dial(&at);
	assert_true(early >= 0);
	asker_start(&a, at);
	rig_route(r, "web", 1, false, at, &backend, 1);
	pthread_join(a.thread, NULL);
	assert_int_equal(a.tag, 'a');
	close(early);
	backend_stop(&b);
}

struct drained {
	int progress, done;
	struct px_counts counts;
};

static void on_progress(void *arg, const struct px_counts *counts)
{
	struct drained *d = arg;
	d->counts = *counts;
	d->progress++;
}

static void on_drained(void *arg, const struct px_counts *counts)
{
	struct drained *d = arg;
	d->counts = *counts;
	d->done++;
}

static int open_one(struct sockaddr_storage at)
{
	char c;
	int fd = dial(&at);
	assert_int_equal(recv(fd, &c, 1, 0), 1);
	return fd;
}

static void test_drain_ends_by_itself(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct err err = { 0 };
	struct drained d = { 0 };
	int fds[5];
	backend_start(&b, 2, serve_hold, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	struct px_backend backend = rig_backend(&b.address, "r1", true);
	for (int i = 0; i < 5; i++)
		fds[i] = open_one(at);
	rig_route(r, "web", 2, false, at, &backend, 1);
	assert_int_equal(px_drain(r->client, "web", 1, 60000, on_progress, on_drained, &d, &err), 0);
	rig_until(r, &d.progress, 1);
	assert_int_equal(d.counts.active, 5);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
	rig_until(r, &d.done, 1);
	assert_int_equal(d.counts.active, 0);
	assert_int_equal(d.counts.ended, 5);
	assert_int_equal(d.counts.cut, 0);
	backend_stop(&b);
}

static void serve_stubborn(struct backend *b, int fd)
{
	char bytes[4096] = { 0 };
	write_all(fd, &b->tag, 1);
	while (write_all(fd, bytes, sizeof bytes) == 0)
		usleep(1000);
}

/* A quiet connection is ended in order, one in the middle of something is reset: a cut answer must not look
 * whole. */
static void test_drain_cuts_at_the_deadline(void **state)
{
	struct rig *r = *state;
	struct backend quiet, busy;
	struct err err = { 0 };
	struct drained d = { 0 };
	size_t n;
	backend_start(&quiet, 2, serve_hold, 'a');
	backend_start(&busy, 3, serve_stubborn, 'b');
	struct sockaddr_storage at = rig_simple(r, &quiet);
	OWN_FD int idle = open_one(at);
	struct px_backend backend = rig_backend(&busy.address, "r1", true);
	rig_route(r, "web", 1, false, at, &backend, 1);
	OWN_FD int stream = open_one(at);
	rig_run_for(r, 250);
	rig_route(r, "web", 2, false, at, &backend, 1);
	assert_int_equal(px_drain(r->client, "web", 1, 100, NULL, on_drained, &d, &err), 0);
	rig_until(r, &d.done, 1);
	assert_int_equal(d.counts.cut, 2);
	assert_int_equal(d.counts.ended, 0);
	assert_int_equal(d.counts.active, 0);
	assert_int_equal(read_all(idle, &n), 0);
	assert_int_equal(read_all(stream, &n), ECONNRESET);
	backend_stop(&quiet);
	backend_stop(&busy);
}

static void test_route_back_cancels_the_drain(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct err err = { 0 };
	struct drained d = { 0 };
	char c = 0;
	backend_start(&b, 2, serve_hold, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	struct px_backend backend = rig_backend(&b.address, "r1", true);
	OWN_FD int fd = open_one(at);
	rig_route(r, "web", 2, false, at, &backend, 1);
	assert_int_equal(px_drain(r->client, "web", 1, 50, NULL, on_drained, &d, &err), 0);
	rig_route(r, "web", 1, false, at, &backend, 1);
	rig_run_for(r, 400);
	assert_int_equal(d.done, 0);
	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN); /* neither ended nor reset */
	assert_int_equal(rig_count(r, "web", 1).active, 1);
	shutdown(fd, SHUT_RDWR);
	backend_stop(&b);
}

static void test_forget_cuts(void **state)
{
	struct rig *r = *state;
	struct backend b;
	size_t n;
	backend_start(&b, 2, serve_hold, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	OWN_FD int fd = open_one(at);
	px_forget(r->client, "web");
	assert_int_equal(rig_count(r, "other", 1).active, 0); /* a round trip */
	assert_int_equal(read_all(fd, &n), ECONNRESET);
	int late = 0;
	for (int i = 0; i < 1000 && (late >= 0 || errno != ECONNREFUSED); i++)
		if ((late = dial(&at)) >= 0)
			close(late); /* until the last worker dropped it */
	assert_int_equal(errno, ECONNREFUSED);
	backend_stop(&b);
}

struct cancelled {
	int first, second;
};

static void on_first(void *arg, int result, const struct err *why)
{
	(void)why;
	assert_int_equal(result, -ECANCELED);
	((struct cancelled *)arg)->first++;
}

static void on_second(void *arg, int result, const struct err *why)
{
	(void)why;
	assert_int_equal(result, 0);
	((struct cancelled *)arg)->second++;
}

static void test_newer_route_cancels_older(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct err err = { 0 };
	struct cancelled c = { 0 };
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	struct px_backend backend = rig_backend(&b.address, "r1", true);
	struct px_listener l = { .address = at, .backends = &backend, .n_backends = 1 };
	struct px_route route = { .service = "web", .generation = 2, .listeners = &l, .n_listeners = 1 };
	assert_int_equal(px_route(r->client, &route, on_first, &c, &err), 0);
	route.generation = 3;
	assert_int_equal(px_route(r->client, &route, on_second, &c, &err), 0);
	assert_int_equal(c.first + c.second, 0);
	rig_until(r, &c.second, 1);
	assert_int_equal(c.first, 1);
	backend_stop(&b);
}

static void test_large_route_in_parts(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct px_backend *backends = calloc(PX_BACKENDS_MAX, sizeof *backends);
	backend_start(&b, 2, serve_tag, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	for (unsigned i = 0; i < PX_BACKENDS_MAX; i++) {
		char id[64];
		snprintf(id, sizeof id, "a-replica-with-a-rather-long-name-%u", i);
		backends[i] = rig_backend(&b.address, id, true);
	}
	rig_route(r, "web", 2, false, at, backends, PX_BACKENDS_MAX);
	assert_int_equal(ask(&at), 'a');
	assert_int_equal(rig_count(r, "web", 2).total, 1);
	free(backends);
	backend_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_robin_over_ready, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_refused_is_retried, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_waits_for_a_backend, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_flips_under_load, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_flip_is_quick, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_hold_takes_those_underway, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_hold_then_release, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_backlog_waits_for_a_route, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_drain_ends_by_itself, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_drain_cuts_at_the_deadline, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_route_back_cancels_the_drain, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_forget_cuts, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_newer_route_cancels_older, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_large_route_in_parts, rig_setup, rig_teardown),
	};
	return cmocka_run_group_tests_name("proxy routes", tests, NULL, NULL);
}
