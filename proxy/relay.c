#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "proxy/conn.h"
#include "proxy/worker.h"

#define TURN_BYTES  (1024 * 1024) /* moved in one direction before others get their turn */
#define LARGE_BYTES (16 * 1024)	  /* a read of that much looks like bulk … */
#define BULK_STREAK 3		  /* … and so many in a row are */

static void side_break(struct side *s)
{
	s->broken = 1;
	s->readable = 1; /* what it sent before is still there to be read */
	s->hup = 1;
}

static void pending_drop(struct side *to)
{
	if (!to->borrowed)
		free(to->out);
	to->out = NULL;
	to->borrowed = 0;
}

void side_discard(struct worker *w, struct side *to)
{
	pending_drop(to);
	pipe_give(&w->pipes, TAKE_PTR(to->pipe));
}

static struct pending *pending_new(const char *bytes, size_t len)
{
	struct pending *p = malloc(sizeof *p + len);
	if (p) {
		p->from = 0;
		p->len = (uint32_t)len;
		memcpy(p->bytes, bytes, len);
	}
	return p;
}

static bool send_failed(struct side *to)
{
	if (errno == EINTR)
		return false;
	if (errno == EAGAIN)
		to->writable = 0;
	else
		side_break(to);
	return true;
}

/* The outbox is used again in the next turn. */
static void pending_keep(struct side *to)
{
	struct pending *p = pending_new(to->out->bytes + to->out->from, to->out->len - to->out->from);
	pending_drop(to);
	to->out = p;
	if (!p)
		side_break(to);
}

static void pending_flush(struct side *to)
{
	struct pending *p = to->out;
	while (p->from < p->len && to->writable && !to->broken) {
		ssize_t n = send(to->fd, p->bytes + p->from, p->len - p->from, MSG_NOSIGNAL);
		if (n > 0)
			p->from += (uint32_t)n;
		else if (send_failed(to))
			break;
	}
	if (p->from == p->len)
		pending_drop(to);
	else if (to->borrowed)
		pending_keep(to);
}

static void pipe_flush(struct worker *w, struct side *to)
{
	struct pipe *p = to->pipe;
	while (p->len > 0 && to->writable && !to->broken) {
		ssize_t n = splice(p->read_fd, NULL, to->fd, NULL, p->len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n > 0)
			p->len -= (size_t)n;
		else if (send_failed(to))
			break;
	}
	if (p->len == 0)
		pipe_give(&w->pipes, TAKE_PTR(to->pipe));
}

/* True when nothing waits to be sent to it. */
static bool side_flush(struct worker *w, struct side *to)
{
	if (to->out)
		pending_flush(to);
	if (to->pipe)
		pipe_flush(w, to);
	if (to->broken)
		side_discard(w, to);
	return !to->out && !to->pipe;
}

/* Sends what it can now, keeps the rest. */
static int side_send(struct side *to, const char *bytes, size_t len)
{
	ssize_t n = 0;
	while (to->writable && (n = send(to->fd, bytes, len, MSG_NOSIGNAL)) < 0 && !send_failed(to))
		;
	size_t sent = n > 0 ? (size_t)n : 0;
	if (sent == len || to->broken)
		return 0;
	to->out = pending_new(bytes + sent, len - sent);
	return to->out ? 0 : -ENOMEM;
}

static void read_ended(struct side *from, ssize_t n)
{
	if (n < 0 && errno == EINTR)
		return;
	if (n < 0 && errno == EAGAIN) {
		from->readable = 0;
		return;
	}
	from->eof = 1;
	if (n < 0)
		from->broken = 1;
}

static size_t move_by_copy(struct worker *w, struct side *from, struct side *to)
{
	ssize_t n = recv(from->fd, w->scratch, SCRATCH_BYTES, 0);
	if (n <= 0) {
		read_ended(from, n);
		return 0;
	}
	if (n < SCRATCH_BYTES && !from->hup)
		from->readable = 0; /* a stream gave all it had; the next byte is a new event */
	from->streak = n < LARGE_BYTES ? 0 : from->streak < BULK_STREAK ? from->streak + 1u : BULK_STREAK;
	if (side_send(to, w->scratch, (size_t)n) <
		0) { /* no memory: the bytes are lost, so the connection is */
		side_break(to);
		side_break(from);
		from->eof = 1;
	}
	return (size_t)n;
}

static bool may_gather(const struct worker *w, const struct side *from)
{
	return w->gathering && from->streak == 0 &&
	       w->outbox_used + sizeof(struct pending) + LARGE_BYTES <= OUTBOX_BYTES;
}

/* Reads into the outbox; sent when all events of the turn were looked at. */
static size_t move_by_outbox(struct conn *c, struct side *from, struct side *to)
{
	struct worker *w = c->w;
	struct pending *p = (struct pending *)(void *)(w->outbox + w->outbox_used);
	ssize_t n = recv(from->fd, p->bytes, LARGE_BYTES, 0);
	if (n <= 0) {
		read_ended(from, n);
		return 0;
	}
	if (n < LARGE_BYTES && !from->hup)
		from->readable = 0;
	from->streak = n == LARGE_BYTES;
	p->from = 0;
	p->len = (uint32_t)n;
	to->out = p;
	to->borrowed = 1;
	w->outbox_used += (sizeof *p + (size_t)n + 7) & ~(size_t)7;
	worker_ready_add(w, c);
	return (size_t)n;
}

/* The pipe is always empty before it is filled, so that EAGAIN can only mean an empty socket. */
static size_t move_by_pipe(struct worker *w, struct side *from, struct side *to)
{
	struct pipe *p = to->pipe;
	ssize_t n = splice(from->fd, NULL, p->write_fd, NULL, p->size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n <= 0) {
		read_ended(from, n);
		side_flush(w, to);
		return 0;
	}
	p->len = (size_t)n;
	if (n < LARGE_BYTES)
		from->streak = 0;
	return (size_t)n;
}

/* One direction, as far as it goes now. True: there is more, but others wait too. */
static bool side_relay(struct conn *c, struct side *from, struct side *to, counter *bytes)
{
	struct worker *w = c->w;
	size_t moved = 0;
	bool more = true;
	while (moved < TURN_BYTES && !(to->borrowed && w->gathering)) {
		more = side_flush(w, to) && !to->broken && !from->eof && from->readable;
		if (!more)
			break;
		if (may_gather(w, from))
			moved += move_by_outbox(c, from, to);
		else if (from->streak == BULK_STREAK && (to->pipe = pipe_take(&w->pipes)))
			moved += move_by_pipe(w, from, to);
		else
			moved += move_by_copy(w, from, to);
	}
	if (moved > 0) {
		from->last_ms = (uint32_t)uv_now(&w->loop);
		counter_add(bytes, moved);
	}
	return more;
}

static bool is_through(const struct side *from, const struct side *to)
{
	return from->eof && ((!to->out && !to->pipe) || to->broken);
}

static void side_fin(const struct side *from, struct side *to)
{
	if (!is_through(from, to) || to->fin || to->broken)
		return;
	to->fin = 1;
	shutdown(to->fd, SHUT_WR);
}

/* One side was reset. The other gets what was read before, and then the reset too. */
static void conn_relay_broken(struct conn *c)
{
	unsigned which = c->side[CLIENT].broken ? CLIENT : SERVER;
	struct side *broken = &c->side[which], *other = &c->side[!which];
	if (other->broken)
		conn_abort(c);
	else if (broken->eof || !broken->readable)
		conn_reset_after(c, which);
	else if (!other->out && !other->pipe)
		worker_ready_add(c->w, c);
}

static bool may_close(const struct conn *c)
{
	const struct side *client = &c->side[CLIENT], *server = &c->side[SERVER];
	if (!is_through(client, server) || !is_through(server, client))
		return false;
	return c->phase != PHASE_CUTTING || (client->hup && server->hup);
}

void conn_relay(struct conn *c)
{
	struct worker *w = c->w;
	struct cell *cell = &c->gen->cells[w->index];
	struct side *client = &c->side[CLIENT], *server = &c->side[SERVER];
	bool more = side_relay(c, client, server, &cell->bytes_in);
	more |= side_relay(c, server, client, &cell->bytes_out);
	if (client->broken || server->broken) {
		conn_relay_broken(c);
		return;
	}
	if (may_close(c)) {
		conn_close(c);
		return;
	}
	side_fin(client, server);
	side_fin(server, client);
	if (more)
		worker_ready_add(w, c);
	if (!client->watched && !conn_watch(c, CLIENT))
		conn_abort(c);
}

int conn_prepend(struct conn *c, unsigned which, const char *bytes, size_t len)
{
	c->side[which].out = pending_new(bytes, len);
	return c->side[which].out ? 0 : -ENOMEM;
}

bool conn_flush(struct conn *c, unsigned which)
{
	return side_flush(c->w, &c->side[which]);
}
