#include "proxy/conn.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "proxy/worker.h"

#define QUIET_MS   200 /* a direction without bytes for that long is not in the middle of something */
#define TAIL_MS	   20  /* between looks whether the other side has all that was sent before the reset */
#define TAIL_LOOKS 100

static const uint32_t phase_ms[N_PHASES] = {
	[PHASE_HELD] = 60000,
	[PHASE_CONNECTING] = 2000,
	[PHASE_WAITING] = 50,
	[PHASE_YOUNG] = 10000,
	[PHASE_OPEN] = 0, /* no end of its own */
	[PHASE_CUTTING] = 1000,
	[PHASE_RESETTING] = TAIL_MS,
};

/* The one place where a connection's phase changes; the new one's time starts. */
void conn_set_phase(struct conn *c, enum phase phase)
{
	struct worker *w = c->w;
	if (phase_ms[c->phase])
		TAILQ_REMOVE(&w->timed[c->phase], c, timed);
	w->n_held -= c->phase == PHASE_HELD;
	w->n_held += phase == PHASE_HELD;
	c->phase = (unsigned char)phase;
	if (!phase_ms[phase])
		return;
	c->deadline = uv_now(&w->loop) + phase_ms[phase];
	TAILQ_INSERT_TAIL(&w->timed[phase], c, timed);
	worker_timer_arm(w, c->deadline);
}

/* The store to `active` is the last touch: at zero the generation may be freed. */
static void px_gen_leave(struct conn *c)
{
	struct worker *w = c->w;
	struct cell *cell = &c->gen->cells[w->index];
	uint64_t left = atomic_load(&cell->active) - 1;
	bool tell = left == 0 && cell->draining;
	LIST_REMOVE(c, in_gen);
	c->gen = NULL;
	atomic_store(&cell->active, left);
	if (tell)
		uv_async_send(w->tell);
}

void conn_set_gen(struct conn *c, struct gen *gen)
{
	if (c->gen == gen)
		return;
	if (c->gen)
		px_gen_leave(c);
	if (!gen)
		return;
	struct cell *cell = &gen->cells[c->w->index];
	c->gen = gen;
	LIST_INSERT_HEAD(&cell->conns, c, in_gen);
	atomic_store(&cell->active, atomic_load(&cell->active) + 1);
}

bool conn_watch(struct conn *c, unsigned which)
{
	struct side *s = &c->side[which];
	if (!s->watched)
		s->watched =
			worker_watch(c->w, s->fd, c, which, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) == 0;
	return s->watched;
}

static void side_close(struct conn *c, struct side *s, bool reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	if (s->fd >= 0 && reset)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	side_discard(c->w, s);
}

/* The memory goes at the end of the turn: events already fetched may still name it. */
static void conn_bury(struct conn *c, bool reset)
{
	struct worker *w = c->w;
	if (c->phase == PHASE_DEAD)
		return;
	side_close(c, &c->side[CLIENT], reset);
	side_close(c, &c->side[SERVER], reset);
	if (c->gen) {
		struct cell *cell = &c->gen->cells[w->index];
		counter_add(&cell->closed, 1);
		if (reset && !c->was_cut)
			counter_add(&cell->resets, 1);
		px_gen_leave(c);
	}
	conn_set_phase(c, PHASE_DEAD);
	free(TAKE_PTR(c->attempt));
	atomic_fetch_sub_explicit(&w->n_conns, 1, memory_order_relaxed);
	c->next_grave = w->graves;
	w->graves = c;
}

void conn_close(struct conn *c)
{
	conn_bury(c, false);
}

void conn_abort(struct conn *c)
{
	conn_bury(c, true);
}

void conn_accept(struct worker *w, uint32_t listener_id, int fd)
{
	struct conn *c = calloc(1, sizeof *c);
	struct attempt *a = calloc(1, sizeof *a);
	if (!c || !a) {
		free(c);
		free(a);
		close(fd);
		return;
	}
	*a = (struct attempt){ .since_ms = uv_now(&w->loop), .listener_id = listener_id };
	*c = (struct conn){ .w = w, .attempt = a, .phase = PHASE_OPEN };
	/* Hopeful: the request is often there already, and the first read finds out for sure. */
	c->side[CLIENT] = (struct side){ .fd = fd, .readable = 1, .writable = 1 };
	c->side[SERVER] = (struct side){ .fd = -1 };
	atomic_fetch_add_explicit(&w->n_conns, 1, memory_order_relaxed);
	conn_route(c);
}

/* Bytes that have not reached the other side yet, in the kernel and here. A reset would throw them away. */
static int side_tail(const struct side *s)
{
	int left = 0;
	if (s->fd < 0 || ioctl(s->fd, TIOCOUTQ, &left) < 0)
		return 0;
	left += s->out ? (int)(s->out->len - s->out->from) : 0;
	return left + (s->pipe ? (int)s->pipe->len : 0);
}

/* Waits as long as the tail gets shorter, and a while longer. */
static void conn_reset_look(struct conn *c)
{
	unsigned which = c->side[CLIENT].fd >= 0 ? CLIENT : SERVER;
	conn_flush(c, which);
	int tail = c->side[which].broken ? 0 : side_tail(&c->side[which]);
	c->looks_left = tail < c->tail ? TAIL_LOOKS : c->looks_left - 1;
	c->tail = tail;
	if (tail == 0 || c->looks_left == 0)
		conn_abort(c);
	else
		conn_set_phase(c, PHASE_RESETTING);
}

void conn_reset_after(struct conn *c, unsigned broken)
{
	side_close(c, &c->side[broken], true);
	c->tail = INT_MAX;
	conn_reset_look(c);
}

static void side_event(struct side *s, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->readable = 1;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		s->writable = 1;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->hup = 1;
}

void conn_event(struct conn *c, unsigned which, uint32_t events)
{
	struct side *s = &c->side[which];
	side_event(s, events);
	switch ((enum phase)c->phase) {
	case PHASE_HELD:
	case PHASE_WAITING:
		if (events & (EPOLLHUP | EPOLLERR))
			conn_abort(c); /* the client gave up; one that only ended its sending still wants an
					  answer */
		break;
	case PHASE_CONNECTING:
		if (which == SERVER)
			conn_connect_event(c, events);
		else if (events & (EPOLLHUP | EPOLLERR))
			conn_abort(c);
		break;
	case PHASE_RESETTING:
		if (events & (EPOLLHUP | EPOLLERR))
			conn_abort(c);
		else if (events & EPOLLOUT)
			conn_reset_look(c);
		break;
	case PHASE_YOUNG:
	case PHASE_OPEN:
	case PHASE_CUTTING: conn_relay(c); break;
	case PHASE_DEAD:
	case N_PHASES: break;
	}
}

void conn_continue(struct conn *c)
{
	if (c->phase == PHASE_HELD)
		conn_route(c);
	else if (c->phase == PHASE_YOUNG || c->phase == PHASE_OPEN || c->phase == PHASE_CUTTING)
		conn_relay(c);
}

void conn_expire(struct conn *c)
{
	int on = 1;
	switch ((enum phase)c->phase) {
	case PHASE_CONNECTING: conn_connect_expired(c); break;
	case PHASE_WAITING: conn_route(c); break;
	case PHASE_YOUNG: /* the client's side has it from the listener */
		setsockopt(c->side[SERVER].fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
		conn_set_phase(c, PHASE_OPEN);
		break;
	case PHASE_RESETTING: conn_reset_look(c); break;
	case PHASE_HELD:
	case PHASE_CUTTING: conn_abort(c); break;
	case PHASE_OPEN:
	case PHASE_DEAD:
	case N_PHASES: break;
	}
}

/* Bytes on their way, or lately: an end here could be taken for the end of what was being said. */
static bool side_is_quiet(const struct conn *c, const struct side *from, const struct side *to)
{
	uint32_t age = (uint32_t)uv_now(&c->w->loop) - from->last_ms;
	return !to->out && !to->pipe && age >= QUIET_MS;
}

void conn_cut(struct conn *c, bool at_once)
{
	struct side *client = &c->side[CLIENT], *server = &c->side[SERVER];
	bool open = c->phase == PHASE_YOUNG || c->phase == PHASE_OPEN;
	if (!at_once && !open) { /* not there yet: the present route is another; or on its way out already */
		if (c->phase == PHASE_CONNECTING || c->phase == PHASE_WAITING)
			conn_reroute(c);
		return;
	}
	if (!c->was_cut)
		counter_add(&c->gen->cells[c->w->index].cut, 1);
	c->was_cut = true;
	if (at_once) {
		conn_abort(c);
		return;
	}
	conn_set_phase(c, PHASE_CUTTING);
	bool up = side_is_quiet(c, client, server), down = side_is_quiet(c, server, client);
	client->eof |= up;
	server->eof |= down;
	conn_relay(c);
}
