#include "proxy/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/parse.h"
#include "proxy/control_impl.h"

#define TICK_MS	       100 /* only while something drains or waits to be forgotten */
#define PROGRESS_TICKS 10
#define MAX_HELD       10000 /* connections that wait for a route, over all services */
#define MAX_PIPES      48    /* of 1 MiB: what the kernel grants an ordinary user is 64 MiB */

struct request {
	struct control *control;
	struct peer *peer;
	const json_t *msg;
	json_int_t seq;
	const char *service;
	int *fds;
	unsigned n_fds;
};

static void reply(const struct request *q, json_t *msg)
{
	if (msg)
		json_object_set_new(msg, "seq", json_integer(q->seq));
	channel_send(q->peer->channel, msg, -1);
}

static void reply_result(const struct request *q, int result, const struct err *err)
{
	if (result < 0)
		reply(q, json_pack("{s:i, s:s}", "code", -result, "error", err->msg));
	else
		reply(q, json_object());
}

/* Answers once every worker uses the table published last. */
static int reply_when_applied(const struct request *q, struct err *err)
{
	struct ack *a = calloc(1, sizeof *a);
	if (!a)
		return err_set(err, ENOMEM, "request");
	*a = (struct ack){ .peer = q->peer, .version = q->control->version, .seq = q->seq };
	STAILQ_INSERT_TAIL(&q->control->acks, a, next);
	return 1;
}

static void acks_send(struct control *c)
{
	uint64_t applied = registry_applied(c);
	struct ack *a;
	while ((a = STAILQ_FIRST(&c->acks)) && a->version <= applied) {
		STAILQ_REMOVE_HEAD(&c->acks, next);
		if (a->peer)
			channel_send(a->peer->channel, json_pack("{s:I}", "seq", a->seq), -1);
		free(a);
	}
}

static void on_tick(uv_timer_t *tick);

static void tick_need(struct control *c)
{
	if (!uv_is_active((uv_handle_t *)&c->tick))
		uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
}

static void on_tick(uv_timer_t *tick)
{
	struct control *c = tick->data;
	bool progress = ++c->ticks % PROGRESS_TICKS == 0;
	bool any = drains_look(c, progress);
	registry_collect(c);
	if (!any && LIST_EMPTY(&c->forgotten))
		uv_timer_stop(&c->tick);
}

static void on_told(uv_async_t *told)
{
	struct control *c = told->data;
	acks_send(c);
	drains_look(c, false);
}

static uint64_t connections(const struct control *c)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < c->config.workers; i++)
		n += atomic_load_explicit(&c->workers[i].n_conns, memory_order_relaxed);
	return n;
}

static void dump_part(void *arg, json_t *msg, bool last)
{
	const struct request *q = arg;
	if (msg) {
		json_object_set_new(
			msg, "part", json_boolean(!last)); /* `more` is about the whole dump here */
		json_object_set_new(msg, "more", json_true());
	}
	reply(q, msg);
}

static void dump_service(const struct request *q, struct service *s)
{
	char text[ADDRESS_MAX];
	for (size_t i = 0; i < s->n_ports; i++) {
		const struct listener *l = s->ports[i].listener;
		json_t *msg = json_pack("{s:s, s:s, s:s, s:I, s:b}", "op", "bind", "service", s->name,
			"address", format_address(&l->address, text), "seq", q->seq, "more", 1);
		channel_send(q->peer->channel, msg, l->fd);
	}
	if (s->route)
		route_emit(s->route, s->name, dump_part, (void *)(uintptr_t)q);
}

static int op_hello(const struct request *q, struct err *err)
{
	struct control *c = q->control;
	if (json_int(q->msg, "v", 0) != WIRE_VERSION)
		return err_say(
			err, EPROTO, "this proxy speaks version %d of the control protocol", WIRE_VERSION);
	reply(q, json_pack("{s:s, s:s, s:I, s:i, s:i, s:I, s:b}", "op", "hello", "version", TEAL_VERSION,
			 "pid", (json_int_t)getpid(), "workers", (int)c->config.workers, "max_connections",
			 (int)c->config.max_connections, "connections", (json_int_t)connections(c), "more",
			 1));
	for (struct service *s = c->services; s; s = s->hh.next)
		dump_service(q, s);
	return 0;
}

static int request_address(const struct request *q, struct sockaddr_storage *ret, struct err *err)
{
	socklen_t len;
	const char *text = json_str(q->msg, "address", "");
	return parse_address(text, ret, &len) < 0 ? err_say(err, EINVAL, "\"%s\" is no address", text) : 0;
}

static int op_bind(const struct request *q, struct err *err)
{
	struct sockaddr_storage address;
	struct service *s = NULL;
	int r = request_address(q, &address, err);
	if (r == 0 && q->n_fds != 1)
		r = err_say(err, EINVAL, "bind wants one descriptor");
	if (r == 0)
		r = px_service_get(q->control, q->service, &s, err);
	return r < 0 ? r : px_service_bind(q->control, s, &address, &q->fds[0], err);
}

static int op_unbind(const struct request *q, struct err *err)
{
	struct sockaddr_storage address;
	struct service *s = px_service_find(q->control, q->service);
	int r = request_address(q, &address, err);
	if (r < 0 || !s || !px_service_unbind(s, &address))
		return r;
	r = registry_publish(q->control, err);
	return r < 0 ? r : reply_when_applied(q, err);
}

static void staged_drop(struct peer *p)
{
	route_free(TAKE_PTR(p->staged));
	free(TAKE_PTR(p->staged_service));
}

static int op_route(const struct request *q, struct err *err)
{
	struct peer *p = q->peer;
	struct service *s = NULL;
	if (p->staged && strcmp(p->staged_service, q->service) != 0)
		staged_drop(p);
	int r = route_add_part(&p->staged, q->msg, err);
	if (r == 0 && !p->staged_service && !(p->staged_service = strdup(q->service)))
		r = err_set(err, ENOMEM, "route");
	if (r < 0) {
		staged_drop(p);
		return r;
	}
	if (json_flag(q->msg, "more", false))
		return 1;
	r = px_service_get(q->control, q->service, &s, err);
	if (r == 0)
		r = px_service_set_route(q->control, s, &p->staged, err);
	staged_drop(p);
	if (r == 0)
		r = registry_publish(q->control, err);
	return r < 0 ? r : reply_when_applied(q, err);
}

static int request_generation(const struct request *q, struct generation **ret, struct err *err)
{
	struct service *s = NULL;
	int r = px_service_get(q->control, q->service, &s, err);
	if (r < 0)
		return r;
	*ret = generation_get(q->control, s, (uint32_t)json_int(q->msg, "generation", 0));
	return *ret ? 0 : err_set(err, ENOMEM, "generation");
}

static int op_drain(const struct request *q, struct err *err)
{
	struct generation *g;
	int r = request_generation(q, &g, err);
	if (r < 0)
		return r;
	drain_start(q->control, g, q->peer, (uint64_t)json_int(q->msg, "timeout_ms", 0));
	tick_need(q->control);
	return 0;
}

static int op_count(const struct request *q, struct err *err)
{
	struct generation *g;
	struct px_counts counts;
	int r = request_generation(q, &g, err);
	if (r < 0)
		return r;
	generation_counts(g, &counts);
	reply(q, json_pack("{s:o}", "counts", counts_to_json(&counts)));
	return 1;
}

static int op_status(const struct request *q, struct err *err)
{
	(void)err;
	reply(q, json_pack("{s:I}", "connections", (json_int_t)connections(q->control)));
	return 1;
}

static int op_forget(const struct request *q, struct err *err)
{
	struct service *s = px_service_find(q->control, q->service);
	if (!s)
		return 0;
	px_service_forget(q->control, s);
	tick_need(q->control);
	int r = registry_publish(q->control, err);
	return r < 0 ? r : reply_when_applied(q, err);
}

/* Nothing is worth an orderly end: the agent has no service left, the kernel closes the rest. */
static int op_quit(const struct request *q, struct err *err)
{
	(void)q;
	(void)err;
	_exit(0);
}

/* run: 0 is answered with success, negative with the error; 1: answered already, or later. */
static const struct {
	const char *name;
	int (*run)(const struct request *q, struct err *err);
	bool wants_service;
} ops[] = {
	{ "hello", op_hello, false },
	{ "bind", op_bind, true },
	{ "unbind", op_unbind, true },
	{ "route", op_route, true },
	{ "drain", op_drain, true },
	{ "count", op_count, true },
	{ "status", op_status, false },
	{ "forget", op_forget, true },
	{ "quit", op_quit, false },
};

static void on_message(void *arg, json_t *msg, int *fds, unsigned n_fds)
{
	struct peer *p = arg;
	struct err err = { 0 };
	const char *op = json_str(msg, "op", "");
	struct request q = { .control = p->control, .peer = p, .msg = msg, .fds = fds, .n_fds = n_fds };
	q.seq = json_int(msg, "seq", 0);
	q.service = json_str(msg, "service", NULL);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (strcmp(ops[i].name, op) != 0)
			continue;
		int r = ops[i].wants_service && !q.service ? err_say(&err, EINVAL, "%s wants a service", op)
							   : ops[i].run(&q, &err);
		if (r != 1)
			reply_result(&q, r, &err);
		return;
	}
	reply_result(&q, err_say(&err, ENOSYS, "unknown operation \"%s\"", op), &err);
}

static void on_ended(void *arg, const struct err *why)
{
	struct peer *p = arg;
	struct ack *a;
	(void)why; /* agents come and go; what they asked for stays */
	STAILQ_FOREACH (a, &p->control->acks, next)
		if (a->peer == p)
			a->peer = NULL;
	drains_forget_peer(p->control, p);
	LIST_REMOVE(p, next);
	staged_drop(p);
	channel_close(p->channel);
	free(p);
}

/* The socket's mode keeps others out already; this holds even where a directory was made too open. */
static bool peer_allowed(int fd)
{
	struct ucred who;
	socklen_t len = sizeof who;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	       (who.uid == 0 || who.uid == geteuid());
}

static void peer_add(struct control *c, int fd)
{
	struct peer *p = peer_allowed(fd) ? calloc(1, sizeof *p) : NULL;
	if (!p) {
		close(fd);
		return;
	}
	p->control = c;
	struct channel_events events = { .arg = p, .message = on_message, .ended = on_ended };
	if (channel_open(c->loop, fd, &events, &p->channel, NULL) < 0) {
		free(p);
		return;
	}
	LIST_INSERT_HEAD(&c->peers, p, next);
}

static void on_accept(uv_poll_t *poll, int status, int events)
{
	struct control *c = poll->data;
	int fd;
	(void)status;
	(void)events;
	while ((fd = accept4(c->config.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		peer_add(c, fd);
}

static int workers_start(struct control *c, struct err *err)
{
	unsigned n = c->config.workers;
	c->workers = aligned_alloc(64, (n * sizeof *c->workers + 63) / 64 * 64);
	if (!c->workers)
		return err_set(err, ENOMEM, "workers");
	memset(c->workers, 0, n * sizeof *c->workers);
	for (unsigned i = 0; i < n; i++) {
		struct worker_config config = { .index = i,
			.n_workers = n,
			.peers = c->workers,
			.tell = &c->told,
			.max_conns = c->config.max_connections / n,
			.max_held = MAX_HELD / n,
			.max_pipes = MAX_PIPES / n };
		int r = worker_start(&c->workers[i], &config, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int control_open(uv_loop_t *loop, const struct control_config *config, struct control **ret, struct err *err)
{
	struct control *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(err, ENOMEM, "control");
	c->loop = loop;
	c->config = *config;
	STAILQ_INIT(&c->acks);
	/* Once more, by us: the kernel gives connecting agents the pid of whoever listened last. */
	if (listen(config->listen_fd, WIRE_BACKLOG) < 0) {
		free(c);
		return err_set(err, errno, "control socket");
	}
	int r = uv_async_init(loop, &c->told, on_told);
	if (r == 0)
		r = uv_timer_init(loop, &c->tick);
	if (r == 0)
		r = uv_poll_init(loop, &c->accept, config->listen_fd);
	if (r == 0)
		r = uv_poll_start(&c->accept, UV_READABLE, on_accept);
	c->told.data = c->tick.data = c->accept.data = c;
	if (r < 0)
		return err_set(err, -r, "control socket"); /* the process ends over it */
	*ret = c;
	return workers_start(c, err);
}
