#include "tests/unit/proxy_rig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
/* cmocka wants the standard headers first */
#include <cmocka.h>

#include "base/own.h"
#include "base/parse.h"

#define PATIENCE_MS 10000

static void find_program(char *ret, size_t size)
{
	char self[400];
	const char *build = getenv("TEAL_BUILD");
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	assert_true(n > 0);
	self[n] = '\0';
	*strrchr(self, '/') = '\0'; /* BUILD/tests/test_x */
	if (build)
		snprintf(ret, size, "%s/teal-proxy", build);
	else
		snprintf(ret, size, "%s/../teal-proxy", self);
}

static void on_up(void *arg, pid_t pid, bool adopted)
{
	struct rig *r = arg;
	r->ups++;
	r->pid = pid;
	r->adopted = adopted;
}

static void on_down(void *arg, const struct err *why)
{
	struct rig *r = arg;
	assert_true(why->msg[0]);
	r->downs++;
}

static void on_watchdog(uv_timer_t *t)
{
	(void)t;
	fail_msg("waited too long");
}

static void on_time(uv_timer_t *t)
{
	*(int *)t->data = 1;
}

void rig_until(struct rig *r, const int *flag, int at_least)
{
	uv_update_time(&r->loop);
	uv_timer_start(&r->watchdog, on_watchdog, PATIENCE_MS, 0);
	while (*flag < at_least)
		uv_run(&r->loop, UV_RUN_ONCE);
	uv_timer_stop(&r->watchdog);
}

void rig_run_for(struct rig *r, unsigned ms)
{
	int over = 0;
	uv_update_time(&r->loop);
	r->watchdog.data = &over;
	uv_timer_start(&r->watchdog, on_time, ms, 0);
	while (!over)
		uv_run(&r->loop, UV_RUN_ONCE);
}

void rig_open_client(struct rig *r)
{
	struct err err = { 0 };
	struct px_config config = {
		.program = r->program, .socket_path = r->socket_path, .workers = r->workers
	};
	struct px_events events = { .arg = r, .up = on_up, .down = on_down };
	int ups = r->ups;
	if (px_open(&r->loop, &config, &events, &r->client, &err) < 0)
		fail_msg("%s", err.msg);
	rig_until(r, &r->ups, ups + 1);
}

static void on_closed(void *arg)
{
	*(int *)arg = 1;
}

void rig_close_client(struct rig *r, bool stop_proxy)
{
	int closed = 0;
	px_close(TAKE_PTR(r->client), stop_proxy, on_closed, &closed);
	rig_until(r, &closed, 1);
}

int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof *r);
	r->workers = 2;
	assert_int_equal(uv_loop_init(&r->loop), 0);
	uv_timer_init(&r->loop, &r->watchdog);
	find_program(r->program, sizeof r->program);
	snprintf(r->dir, sizeof r->dir, "/tmp/teal-proxy-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->socket_path, sizeof r->socket_path, "%s/proxy.sock", r->dir);
	rig_open_client(r);
	*state = r;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *r = *state;
	rig_close_client(r, true);
	uv_close((uv_handle_t *)&r->watchdog, NULL);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	assert_int_not_equal(access(r->socket_path, F_OK), 0);
	assert_int_equal(rmdir(r->dir), 0);
	free(r);
	return 0;
}

struct sockaddr_storage rig_address(unsigned host, unsigned port)
{
	struct sockaddr_storage ret = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&ret;
	uint32_t pid = (uint32_t)getpid();
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	in->sin_addr.s_addr = htonl(127u << 24 | (pid >> 8 & 255) << 16 | (pid & 255) << 8 | host);
	return ret;
}

struct px_backend rig_backend(const struct sockaddr_storage *address, const char *id, bool ready)
{
	struct px_backend b = { .address = *address, .ready = ready };
	snprintf(b.id, sizeof b.id, "%s", id);
	return b;
}

static void on_routed(void *arg, int result, const struct err *why)
{
	if (result < 0)
		fail_msg("route: %s", why->msg);
	*(int *)arg = 1;
}

void rig_route(struct rig *r, const char *service, uint32_t generation, bool hold,
	struct sockaddr_storage listener, const struct px_backend *backends, size_t n)
{
	struct err err = { 0 };
	int routed = 0;
	struct px_listener l = { .address = listener, .backends = backends, .n_backends = n };
	struct px_route route = { .service = service,
		.generation = generation,
		.slot = generation % 2 ? "blue" : "green",
		.hold = hold,
		.listeners = &l,
		.n_listeners = 1 };
	if (px_route(r->client, &route, on_routed, &routed, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(routed, 0);
	rig_until(r, &routed, 1);
}

struct sockaddr_storage rig_simple(struct rig *r, const struct backend *b)
{
	struct err err = { 0 };
	struct sockaddr_storage listener = rig_address(1, 8080);
	struct px_backend backend = rig_backend(&b->address, "r1", true);
	if (px_bind(r->client, "web", &listener, &err) < 0)
		fail_msg("%s", err.msg);
	rig_route(r, "web", 1, false, listener, &backend, 1);
	return listener;
}

struct counted {
	int done;
	struct px_counts counts;
};

static void on_counted(void *arg, int result, const struct px_counts *counts)
{
	struct counted *c = arg;
	assert_int_equal(result, 0);
	c->counts = *counts;
	c->done = 1;
}

struct px_counts rig_count(struct rig *r, const char *service, uint32_t generation)
{
	struct err err = { 0 };
	struct counted c = { 0 };
	if (px_count(r->client, service, generation, on_counted, &c, &err) < 0)
		fail_msg("%s", err.msg);
	rig_until(r, &c.done, 1);
	return c.counts;
}

struct serving {
	struct backend *b;
	int fd;
};

static void *serve_one(void *arg)
{
	struct serving *s = arg;
	s->b->serve(s->b, s->fd);
	close(s->fd);
	atomic_fetch_sub(&s->b->serving, 1);
	free(s);
	return NULL;
}

static void *accept_loop(void *arg)
{
	struct backend *b = arg;
	int fd;
	while ((fd = accept(b->listen_fd, NULL, NULL)) >= 0) {
		struct serving *s = malloc(sizeof *s);
		pthread_t t;
		pthread_attr_t small;
		*s = (struct serving){ b, fd };
		atomic_fetch_add(&b->connections, 1);
		atomic_fetch_add(&b->serving, 1);
		pthread_attr_init(&small);
		pthread_attr_setstacksize(&small, 256 * 1024);
		pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
		if (pthread_create(&t, &small, serve_one, s) != 0)
			abort();
		pthread_attr_destroy(&small);
	}
	return NULL;
}

void backend_start(struct backend *b, unsigned host, backend_fn serve, char tag)
{
	int on = 1;
	*b = (struct backend){ .address = rig_address(host, 9000), .serve = serve, .tag = tag };
	b->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(b->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	assert_int_equal(bind(b->listen_fd, (struct sockaddr *)&b->address, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(b->listen_fd, 4096), 0);
	assert_int_equal(pthread_create(&b->thread, NULL, accept_loop, b), 0);
}

void backend_stop(struct backend *b)
{
	shutdown(b->listen_fd, SHUT_RDWR);
	pthread_join(b->thread, NULL);
	close(b->listen_fd);
	for (int i = 0; i < 5000 && atomic_load(&b->serving) > 0; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&b->serving), 0);
}

int write_all(int fd, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(fd, (const char *)bytes + done, len - done, MSG_NOSIGNAL);
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int read_all(int fd, size_t *ret_len)
{
	char bytes[65536];
	ssize_t n;
	*ret_len = 0;
	while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
		*ret_len += (size_t)n;
	return n < 0 ? errno : 0;
}

void serve_echo(struct backend *b, int fd)
{
	char bytes[65536];
	ssize_t n;
	(void)b;
	while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
		if (write_all(fd, bytes, (size_t)n) < 0)
			return;
}

void serve_tag(struct backend *b, int fd)
{
	char c;
	write_all(fd, &b->tag, 1);
	shutdown(fd, SHUT_WR);
	while (recv(fd, &c, 1, 0) > 0)
		;
}

void serve_hold(struct backend *b, int fd)
{
	char c;
	write_all(fd, &b->tag, 1);
	while (recv(fd, &c, 1, 0) > 0)
		;
}

int dial(const struct sockaddr_storage *to)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	OWN_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)to, address_len(to)) < 0)
		return -1;
	return TAKE_FD(fd);
}

int ask(const struct sockaddr_storage *to)
{
	unsigned char tag;
	OWN_FD int fd = dial(to);
	return fd >= 0 && recv(fd, &tag, 1, 0) == 1 ? tag : -1;
}

void pattern(uint64_t position, unsigned char *ret, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t x = (position + i) / 8 * 0x9e3779b97f4a7c15u;
		x ^= x >> 29;
		ret[i] = (unsigned char)(x >> ((position + i) % 8 * 8));
	}
}

int count_fds(pid_t pid)
{
	char path[64];
	int n = 0;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	OWN_DIR DIR *d = opendir(path);
	assert_true(
		d || (errno == EACCES && geteuid() != 0)); /* the proxy is nobody's to look into but root's */
	while (d && readdir(d))
		n++;
	return n;
}
