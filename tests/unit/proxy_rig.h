/* What the proxy's tests share: a real teal-proxy from the build directory under a real client, backends as
 * threads, and blocking sockets for the people who connect. Every rig has loopback addresses of its own. */
#pragma once
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/client.h"

struct backend;
typedef void (*backend_fn)(struct backend *b, int fd); /* one connection; fd is closed after it */

struct backend {
	struct sockaddr_storage address;
	int listen_fd;
	pthread_t thread;
	backend_fn serve;
	char tag;
	atomic_int connections, serving;
};

struct rig {
	uv_loop_t loop;
	uv_timer_t watchdog;
	struct px_client *client;
	char dir[64], program[512], socket_path[128];
	unsigned workers;
	int ups, downs;
	bool adopted;
	pid_t pid;
	bool closed;
};

/* cmocka setup and teardown: *state is the rig. */
int rig_setup(void **state);
int rig_teardown(void **state);
void rig_open_client(struct rig *r);
void rig_close_client(struct rig *r, bool stop_proxy);
/* Runs the loop until *flag >= at_least; fails after ten seconds. */
void rig_until(struct rig *r, const int *flag, int at_least);
void rig_run_for(struct rig *r, unsigned ms);

/* 127.x.y.host:port, x and y from the test's pid. */
struct sockaddr_storage rig_address(unsigned host, unsigned port);
/* Routes one listener to backends, and waits until all workers have it. */
void rig_route(struct rig *r, const char *service, uint32_t generation, bool hold,
	struct sockaddr_storage listener, const struct px_backend *backends, size_t n);
struct px_backend rig_backend(const struct sockaddr_storage *address, const char *id, bool ready);
/* bind + route to one backend: service "web", generation 1; returns the listener's address. */
struct sockaddr_storage rig_simple(struct rig *r, const struct backend *b);
struct px_counts rig_count(struct rig *r, const char *service, uint32_t generation);

void backend_start(struct backend *b, unsigned host, backend_fn serve, char tag);
void backend_stop(struct backend *b);
void serve_echo(struct backend *b, int fd); /* until end of file, then ends too */
void serve_tag(struct backend *b, int fd);  /* one byte: its tag; then closes */
void serve_hold(struct backend *b, int fd); /* its tag, then silent until the other side ends */

int dial(const struct sockaddr_storage *to); /* connected, blocking, 10 s timeouts; -1 with errno */
/* The tag of the backend that answers a new connection; -1: failed. */
int ask(const struct sockaddr_storage *to);
/* 0, or the errno a read ended with; *ret_len bytes came before. */
int read_all(int fd, size_t *ret_len);
int write_all(int fd, const void *bytes, size_t len);
/* Pseudo-random bytes at a position of an endless stream. */
void pattern(uint64_t position, unsigned char *ret, size_t len);
int count_fds(pid_t pid);
