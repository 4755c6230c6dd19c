/* What the agent and teal-proxy say to each other: one JSON object per SOCK_SEQPACKET message, over a unix
 * socket that the agent makes and the proxy inherits as descriptor 3. Either side may die at any message;
 * nothing is torn.
 *
 * Requests carry `op` and `seq`; each gets one answer with the same `seq`, and `error` if it was refused.
 * Every message carries `v`; another version is refused at hello. Unknown members are ignored. Operations:
 *
 * - hello {version}: several messages with `more`: true: first {version, pid, workers, max_connections,
 *   connections}, then a `bind` with its descriptor per listener and the `route` messages of every service,
 *   with `part` in place of their `more`; at last {seq} alone.
 * - bind {service, address} + 1 descriptor: a listening socket. Known already: the descriptor is dropped.
 * - unbind {service, address}: stops accepting, closes; answered when no worker uses it any more.
 * - route {service, generation, slot, hold, listeners: [{address, protocol, proxy_protocol, backends: [[id,
 * address, ready]]}], more}: the parts of one route follow each other; the last has more: false and is the
 * only one answered, when every worker has the whole route.
 * - drain {service, generation, timeout_ms}: later, unasked, {op: draining, service, generation, counts} each
 *   second and {op: drained, ...} once.
 * - count {service, generation}: {counts}.
 * - status: {connections}.
 * - forget {service}: its route and listeners; its connections are reset.
 * - quit: ends the process. */
#pragma once
#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "base/json.h"

#define WIRE_VERSION 1
#define WIRE_MAX     (64 * 1024) /* bytes in one message; routes are split to stay well below */
#define WIRE_BACKLOG 16
#define WIRE_FD	     3 /* the proxy's control socket */

struct channel;

struct channel_events {
	void *arg;
	/* msg and fds are borrowed: what shall live on is increfed, or taken by setting fds[i] = -1. */
	void (*message)(void *arg, json_t *msg, int *fds, unsigned n_fds);
	/* The other side is gone or talks nonsense. Once; the channel is still the owner's to close. */
	void (*ended)(void *arg, const struct err *why);
};

/* Takes fd (connected, non-blocking), also on failure. */
int channel_open(
	uv_loop_t *loop, int fd, const struct channel_events *events, struct channel **ret, struct err *err);
/* Sends, or queues when the socket is full (descriptors are duplicated then). Steals the reference to msg,
 * which may be NULL (out of memory when it was built). A failure ends the channel by `ended`, in a later
 * turn. */
void channel_send(struct channel *c, json_t *msg, int fd_or_minus_1);
/* No callback after this returns. Accepts NULL. */
void channel_close(struct channel *c);

/* The same messages without a loop, for the greeting while the agent starts: waits until the deadline. */
int wire_send_now(int fd, json_t *msg, struct err *err);
int wire_recv_now(int fd, int64_t deadline_ms, json_t **ret, int *ret_fd, struct err *err);
