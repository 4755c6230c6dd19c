/* The agent's half of the proxy: owns the listening sockets, runs and watches teal-proxy, tells it what to
 * route.
 *
 * The client holds the whole desired state (listeners, routes, drains) and sends it again whenever the proxy
 * was restarted, so that the agent never notices more than an event. After an agent restart px_open() finds
 * the living proxy, takes copies of its listening sockets back and can tell what it routes: the proxy is the
 * truth for traffic. Addresses in, bytes through: this folder knows neither drivers nor what a generation is
 * beyond a number. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/err.h"
#include "base/json.h"
#include "config/spec.h"

#define PX_BACKENDS_MAX 256 /* per listener */

struct px_client;

struct px_config {
	const char *program;	 /* absolute path of teal-proxy */
	const char *socket_path; /* its control socket; made here, 0600 */
	uint32_t workers;
	uid_t uid; /* who it runs as, when the agent is root */
	gid_t gid;
};

struct px_backend {
	char id[64];			 /* replica id, for statistics */
	struct sockaddr_storage address; /* with port */
	bool ready;			 /* only ready ones get new connections; none ready: all are tried */
};

struct px_listener {
	struct sockaddr_storage address; /* bound with px_bind before */
	enum spec_protocol protocol;
	enum spec_proxy_protocol proxy_protocol; /* what the backends are told about the client */
	const struct px_backend *backends;
	size_t n_backends;
};

struct px_route { /* replaces the service's whole route, all listeners at once; borrowed for the call */
	const char *service;
	uint32_t generation;
	const char *slot;
	bool hold; /* accept new connections but let them wait (bounded) until a route without hold comes */
	const struct px_listener
		*listeners; /* listeners of the service that are bound but not named here stop accepting */
	size_t n_listeners;
};

struct px_counts {	 /* of one generation of one service */
	uint64_t active; /* connections now */
	uint64_t total, bytes_in, bytes_out;
	uint64_t connect_errors, retries, resets, held;
	uint64_t ended, cut; /* since its drain began: by themselves, by us at the deadline */
};

struct px_events {
	void *arg;
	/* up: it answers and has all routes. Down: it ended or doesn't answer; why says how; a restart is
	 * under way. */
	void (*up)(void *arg, pid_t pid, bool adopted);
	void (*down)(void *arg, const struct err *why);
};

typedef void (*px_done)(void *arg, int result, const struct err *why);
typedef void (*px_drained)(void *arg, const struct px_counts *counts);
typedef void (*px_counted)(void *arg, int result, const struct px_counts *counts);
typedef void (*px_seen_route)(void *arg, const char *service, uint32_t generation, bool hold);

int px_open(uv_loop_t *loop, const struct px_config *config, const struct px_events *events,
	struct px_client **ret, struct err *err);
/* stop_proxy false: the proxy goes on without us. true: ends it (no service left). closed runs once all is
 * freed. */
void px_close(struct px_client *c, bool stop_proxy, void (*closed)(void *arg), void *arg);

/* After px_open on a living proxy, before any px_route: what it routes now. Calls seen during the call. */
void px_routes_found(struct px_client *c, px_seen_route seen, void *arg);

/* Binds and listens for a service; -EADDRINUSE names who has it (a service of ours, or another process).
 * Already bound for the same service: 0. Takes no connections until a route names it; they wait in the
 * backlog. */
int px_bind(
	struct px_client *c, const char *service, const struct sockaddr_storage *address, struct err *err);
/* Closes a listener of a service; established connections go on. */
void px_unbind(struct px_client *c, const char *service, const struct sockaddr_storage *address);

/* done: every worker has the route (0), or the proxy was not up and will get it when it is (-EAGAIN never
 * comes; it waits). A newer px_route for the same service makes the older one's done come with -ECANCELED. */
int px_route(struct px_client *c, const struct px_route *route, px_done done, void *arg, struct err *err);
/* Lets the connections of a generation end; at the deadline half-closes, then resets them. Runs `progress`
 * about once a second and `drained` once. Routing to this generation again, or px_forget, cancels it (drained
 * does not run). */
int px_drain(struct px_client *c, const char *service, uint32_t generation, uint32_t timeout_ms,
	px_drained progress, px_drained drained, void *arg, struct err *err);
int px_count(struct px_client *c, const char *service, uint32_t generation, px_counted done, void *arg,
	struct err *err);
/* Removes a service: its route, listeners and drains; what is still connected is cut. */
void px_forget(struct px_client *c, const char *service);
/* {"pid":…,"workers":…,"connections":…,"max_connections":…,"up":true,"restarts":…}; new reference. */
json_t *px_status(struct px_client *c);
