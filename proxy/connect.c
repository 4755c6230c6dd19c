#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "proxy/conn.h"
#include "proxy/preface.h"
#include "proxy/worker.h"

#define ROUND_TRIES 3	 /* different backends asked without a pause */
#define GIVE_UP_MS  5000 /* nobody answers for that long: the client is reset */

static bool tried(const struct attempt *a, unsigned target)
{
	return a->tried[target / 64] & (uint64_t)1 << (target % 64);
}

static void round_begin(struct attempt *a, uint64_t version)
{
	memset(a->tried, 0, sizeof a->tried);
	a->tries = 0;
	a->version = version;
}

/* Round robin over the ready ones, or over all if none is; none left to try: false. */
static bool target_choose(struct worker *w, const struct pool *p, struct attempt *a)
{
	unsigned n = p->n_ready ? p->n_ready : p->n;
	if (a->tries >= ROUND_TRIES)
		return false;
	unsigned start = n ? w->next_target++ % n : 0;
	for (unsigned i = 0; i < n; i++) {
		unsigned target = (start + i) % n;
		if (tried(a, target))
			continue;
		a->tried[target / 64] |= (uint64_t)1 << (target % 64);
		a->tries++;
		a->target = target;
		return true;
	}
	return false;
}

/* 0: connected or on the way. */
static int target_connect(struct conn *c, const struct target *t)
{
	int on = 1;
	OWN_FD int fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, (const struct sockaddr *)&t->address, t->len) < 0 && errno != EINPROGRESS)
		return -errno;
	c->side[SERVER] = (struct side){ .fd = fd };
	if (!conn_watch(c, SERVER)) {
		c->side[SERVER].fd = -1;
		return -ENOMEM;
	}
	TAKE_FD(fd);
	return 0;
}

static bool is_ours(int e)
{
	return e == EMFILE || e == ENFILE || e == ENOBUFS || e == ENOMEM || e == EADDRNOTAVAIL || e == EAGAIN;
}

static void target_failed(struct conn *c, bool retried)
{
	struct cell *cell = &c->gen->cells[c->w->index];
	counter_add(&cell->connect_errors, 1);
	if (retried)
		counter_add(&cell->retries, 1);
}

static void conn_wait(struct conn *c)
{
	struct attempt *a = c->attempt;
	if (uv_now(&c->w->loop) - a->since_ms >= GIVE_UP_MS) {
		conn_abort(c);
		return;
	}
	a->version = 0; /* all may be asked again */
	conn_watch(c, CLIENT);
	conn_set_phase(c, PHASE_WAITING);
}

static void conn_hold(struct conn *c, const struct entry *e)
{
	if (c->phase == PHASE_HELD)
		return;
	if (e->pool)
		counter_add(&e->pool->gen->cells[c->w->index].held, 1);
	conn_set_gen(c, NULL); /* the generation being replaced must be able to drain to nothing */
	conn_watch(c, CLIENT);
	conn_set_phase(c, PHASE_HELD);
}

static void conn_connect(struct conn *c, const struct pool *p)
{
	struct attempt *a = c->attempt;
	bool failed = false;
	while (target_choose(c->w, p, a)) {
		if (failed)
			counter_add(&p->gen->cells[c->w->index].retries, 1);
		a->proxy_protocol = p->proxy_protocol;
		int r = target_connect(c, &p->targets[a->target]);
		if (r == 0) {
			conn_set_phase(c, PHASE_CONNECTING);
			return;
		}
		if (is_ours(-r))
			break;
		target_failed(c, false);
		failed = true;
	}
	conn_wait(c);
}

void conn_route(struct conn *c)
{
	struct worker *w = c->w;
	const struct entry *e = table_find(w->table, c->attempt->listener_id);
	if (!e) { /* its listener was taken away */
		conn_abort(c);
		return;
	}
	if (!e->pool || e->hold) {
		conn_hold(c, e);
		return;
	}
	if (c->phase == PHASE_HELD)
		c->attempt->since_ms = uv_now(&w->loop);
	if (c->attempt->version != w->table->version)
		round_begin(c->attempt, w->table->version);
	conn_set_gen(c, e->pool->gen);
	conn_connect(c, e->pool);
}

static void conn_connect_failed(struct conn *c)
{
	target_failed(c, true);
	conn_reroute(c);
}

void conn_reroute(struct conn *c)
{
	struct side *s = &c->side[SERVER];
	if (s->fd >= 0)
		close(TAKE_FD(s->fd));
	conn_route(c);
}

static void conn_connected(struct conn *c)
{
	char preface[PREFACE_MAX];
	size_t len = preface_write(c->attempt->proxy_protocol, c->side[CLIENT].fd, preface);
	if (len > 0 && conn_prepend(c, SERVER, preface, len) < 0) {
		conn_abort(c);
		return;
	}
	counter_add(&c->gen->cells[c->w->index].total, 1);
	free(TAKE_PTR(c->attempt));
	c->side[CLIENT].last_ms = c->side[SERVER].last_ms = (uint32_t)uv_now(&c->w->loop);
	conn_set_phase(c, PHASE_YOUNG);
	conn_relay(c);
}

void conn_connect_event(struct conn *c, uint32_t events)
{
	int e = 0;
	socklen_t len = sizeof e;
	if (events & (EPOLLERR | EPOLLHUP) &&
		(getsockopt(c->side[SERVER].fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 || e != 0)) {
		conn_connect_failed(c);
		return;
	}
	if (events & (EPOLLOUT | EPOLLHUP))
		conn_connected(c);
}

void conn_connect_expired(struct conn *c)
{
	conn_connect_failed(c);
}
