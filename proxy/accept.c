#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"

#define ACCEPT_BATCH                                                                                         \
	16		 /* connections taken in one go; the others of the worker get their turn in between  \
			  */
#define STARVED_MS   100 /* nothing tells when the kernel has memory again */
#define UNEVEN_LEAST 8	 /* connections that a worker may have more than another before it hands over */

static unsigned conns_of(const struct worker *w)
{
	return atomic_load_explicit(&w->n_conns, memory_order_relaxed);
}

static bool has_room(const struct worker *w)
{
	return conns_of(w) < w->max_conns && w->starved_until <= uv_now(&w->loop);
}

static bool port_wanted(const struct worker *w, const struct port *p)
{
	return p->entry->pool && (!p->entry->hold || w->n_held < w->max_held);
}

static void port_watch(struct worker *w, struct port *p, bool watch)
{
	if (p->watched == watch)
		return;
	if (watch) /* level-triggered: what we leave in the backlog is reported again, to one worker at a time
		    */
		watch = worker_watch(w, p->listener->fd, p, TAG_PORT, EPOLLIN | EPOLLEXCLUSIVE) == 0;
	else
		epoll_ctl(w->set, EPOLL_CTL_DEL, p->listener->fd, NULL);
	p->watched = watch;
}

/* Room that was short must be well back before ports are watched again: not one system call per connection.
 */
void ports_update(struct worker *w)
{
	bool room = has_room(w) && (!w->ports_paused || conns_of(w) <= w->max_conns - w->max_conns / 32);
	bool held_room = w->n_held <= w->max_held - w->max_held / 32;
	bool paused = false;
	for (size_t i = 0; i < w->n_ports; i++) {
		struct port *p = w->ports[i];
		bool wanted = port_wanted(w, p);
		bool watch = room && wanted && (p->watched || !p->entry->hold || held_room);
		port_watch(w, p, watch);
		paused |= p->entry->pool && !watch;
	}
	w->ports_paused = paused;
}

static struct port *port_new(const struct entry *e)
{
	struct port *p = aligned_alloc(16, (sizeof *p + 15) / 16 * 16);
	if (p)
		*p = (struct port){ .listener = e->listener, .id = e->listener->id };
	return p;
}

/* Both the ports and the table's entries ascend by listener id: one walk over both. */
void ports_apply(struct worker *w)
{
	struct table *t = w->table;
	struct port **old = w->ports, **now = NULL;
	size_t n_old = w->n_ports, n = 0, cap = 0;
	if (vec_reserve(&now, &cap, t->n ? t->n : 1, sizeof *now) < 0)
		abort(); /* the old table's listeners may be gone: there is no way to go on */
	for (size_t i = 0, k = 0; i < t->n || k < n_old;) {
		if (k < n_old && (i == t->n || old[k]->id < t->entries[i].listener->id)) {
			struct port *gone = old[k++];
			port_watch(w, gone, false);
			gone->gone = true;
			gone->next_grave = w->port_graves;
			w->port_graves = gone;
			continue;
		}
		const struct entry *e = &t->entries[i++];
		struct port *p = k < n_old && old[k]->id == e->listener->id ? old[k++] : port_new(e);
		if (!p)
			abort();
		p->entry = e;
		now[n++] = p;
	}
	free(old);
	w->ports = now;
	w->n_ports = n;
	ports_update(w);
}

static void ports_starve(struct worker *w)
{
	w->starved_until = uv_now(&w->loop) + STARVED_MS;
	worker_timer_arm(w, w->starved_until);
	ports_update(w);
}

struct conn_mail {
	struct mail mail;
	uint32_t listener_id;
	int fd;
};

static void conn_arrive(struct worker *w, struct mail *m)
{
	OWN_FREE struct conn_mail *c = CONTAINER_OF(m, struct conn_mail, mail);
	atomic_fetch_sub(&w->n_conns, 1); /* counted when it was sent, so that a burst is spread evenly */
	conn_accept(w, c->listener_id, c->fd);
}

/* Who of us has clearly less to do; the kernel's choice of whom it wakes is not fair. */
static struct worker *worker_choose(struct worker *w)
{
	struct worker *least = w;
	unsigned mine = conns_of(w), n = mine;
	for (unsigned i = 0; i < w->n_workers; i++) {
		unsigned theirs = conns_of(&w->peers[i]);
		if (theirs < n) {
			least = &w->peers[i];
			n = theirs;
		}
	}
	return mine - n > UNEVEN_LEAST + mine / 8 || (mine - n > 1 && mine <= UNEVEN_LEAST) ? least : w;
}

static void conn_place(struct worker *w, uint32_t listener_id, int fd)
{
	struct worker *to = worker_choose(w);
	struct conn_mail *m = to != w ? calloc(1, sizeof *m) : NULL;
	if (!m) {
		conn_accept(w, listener_id, fd);
		return;
	}
	*m = (struct conn_mail){ .mail.run = conn_arrive, .listener_id = listener_id, .fd = fd };
	atomic_fetch_add(&to->n_conns, 1);
	worker_post(to, &m->mail);
}

/* Errors of a connection that died in the queue concern only that one; all others mean that we can take none
 * now. */
static bool is_transient(int e)
{
	return e == EINTR || e == ECONNABORTED || e == EPROTO || e == ENETDOWN || e == ENOPROTOOPT ||
	       e == EHOSTDOWN || e == ENONET || e == EHOSTUNREACH || e == EOPNOTSUPP || e == ENETUNREACH ||
	       e == EPERM;
}

void port_accept(struct worker *w, struct port *p)
{
	for (int i = 0; i < ACCEPT_BATCH && !p->gone && p->watched; i++) {
		if (!has_room(w) || !port_wanted(w, p)) {
			ports_update(w);
			return;
		}
		int fd = accept4(p->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			conn_place(w, p->id, fd);
		else if (errno == EAGAIN)
			return;
		else if (!is_transient(errno))
			return ports_starve(w);
	}
}
