#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/own.h"

#define EVENTS_MAX 64
_Static_assert(TAG_CLIENT == (int)CLIENT && TAG_SERVER == (int)SERVER, "a side's tag is its number");

int worker_watch(struct worker *w, int fd, void *at, unsigned tag, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = (uintptr_t)at | tag };
	return epoll_ctl(w->set, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void worker_post(struct worker *w, struct mail *m)
{
	uv_mutex_lock(&w->lock);
	STAILQ_INSERT_TAIL(&w->mails, m, next);
	atomic_store(&w->has_mail, true);
	uv_mutex_unlock(&w->lock);
	uv_async_send(&w->wake);
}

static void mail_run(struct worker *w)
{
	STAILQ_HEAD(, mail) mine = STAILQ_HEAD_INITIALIZER(mine);
	struct mail *m;
	uv_mutex_lock(&w->lock);
	STAILQ_CONCAT(&mine, &w->mails);
	atomic_store(&w->has_mail, false);
	uv_mutex_unlock(&w->lock);
	while ((m = STAILQ_FIRST(&mine))) {
		STAILQ_REMOVE_HEAD(&mine, next);
		m->run(w, m);
	}
}

void worker_ready_add(struct worker *w, struct conn *c)
{
	if (!c->is_ready) {
		c->is_ready = true;
		TAILQ_INSERT_TAIL(&w->ready, c, in_ready);
	}
}

/* One turn for each connection that was in the queue when the round began. */
static void ready_run(struct worker *w)
{
	struct conn *last = TAILQ_LAST(&w->ready, conn_queue), *c;
	bool more = last != NULL;
	while (more && (c = TAILQ_FIRST(&w->ready))) {
		more = c != last;
		TAILQ_REMOVE(&w->ready, c, in_ready);
		c->is_ready = false;
		if (c->phase != PHASE_DEAD)
			conn_continue(c);
		if (atomic_load_explicit(&w->has_mail, memory_order_relaxed))
			mail_run(w);
	}
}

static void graves_empty(struct worker *w)
{
	struct conn *c;
	struct port *p;
	while ((c = w->graves)) {
		w->graves = c->next_grave;
		if (c->is_ready)
			TAILQ_REMOVE(&w->ready, c, in_ready);
		free(c);
	}
	while ((p = w->port_graves)) {
		w->port_graves = p->next_grave;
		free(p);
	}
}

/* What every turn ends with, whatever began it. */
static void turn_end(struct worker *w)
{
	graves_empty(w);
	if (w->ports_paused)
		ports_update(w);
}

static void on_wake(uv_async_t *wake)
{
	mail_run(wake->data);
}

static void on_timer(uv_timer_t *timer)
{
	struct worker *w = timer->data;
	uint64_t now = uv_now(&w->loop), next = UINT64_MAX;
	for (unsigned p = 0; p < PHASE_DEAD; p++) {
		struct conn *c;
		while ((c = TAILQ_FIRST(&w->timed[p])) && c->deadline <= now)
			conn_expire(c);
		if (c && c->deadline < next)
			next = c->deadline;
	}
	if (w->starved_until > now && w->starved_until < next)
		next = w->starved_until;
	if (next != UINT64_MAX)
		worker_timer_arm(w, next);
}

/* Lazily: the timer is moved only when it would fire too late. */
void worker_timer_arm(struct worker *w, uint64_t deadline)
{
	uint64_t now = uv_now(&w->loop), due = uv_timer_get_due_in(&w->timer);
	if (uv_is_active((uv_handle_t *)&w->timer) && now + due <= deadline)
		return;
	uv_timer_start(&w->timer, on_timer, deadline > now ? deadline - now : 0, 0);
}

struct table_mail {
	struct mail mail;
	struct table *table;
};

static void table_apply(struct worker *w, struct mail *m)
{
	OWN_FREE struct table_mail *t = CONTAINER_OF(m, struct table_mail, mail);
	struct table *old = w->table;
	w->table = t->table;
	ports_apply(w);
	table_unref(old);
	atomic_store(&w->applied, w->table->version);
	uv_async_send(w->tell);
	struct conn *c;
	TAILQ_FOREACH (c, &w->timed[PHASE_HELD], timed)
		worker_ready_add(w, c);
}

int worker_post_table(struct worker *w, struct table *t)
{
	struct table_mail *m = calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	m->mail.run = table_apply;
	m->table = t;
	worker_post(w, &m->mail);
	return 0;
}

struct order_mail {
	struct mail mail;
	struct gen *gen;
	enum gen_order order;
};

static void order_apply(struct worker *w, struct mail *m)
{
	OWN_FREE struct order_mail *o = CONTAINER_OF(m, struct order_mail, mail);
	struct cell *cell = &o->gen->cells[w->index];
	struct conn *c, *next;
	if (o->order == GEN_DRAIN || o->order == GEN_UNDRAIN) {
		cell->draining = o->order == GEN_DRAIN;
		px_gen_unref(o->gen);
		uv_async_send(w->tell);
		return;
	}
	for (c = LIST_FIRST(&cell->conns); c; c = next) {
		next = LIST_NEXT(c, in_gen);
		conn_cut(c, o->order == GEN_ABORT);
	}
	px_gen_unref(o->gen);
}

int worker_post_order(struct worker *w, struct gen *gen, enum gen_order order)
{
	struct order_mail *m = calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	*m = (struct order_mail){ .mail.run = order_apply, .gen = px_gen_ref(gen), .order = order };
	worker_post(w, &m->mail);
	return 0;
}

static int loop_init(struct worker *w)
{
	int r = uv_loop_init(&w->loop);
	if (r == 0)
		r = uv_async_init(&w->loop, &w->wake, on_wake);
	if (r == 0)
		r = uv_timer_init(&w->loop, &w->timer);
	if (r == 0)
		r = uv_mutex_init(&w->lock);
	w->wake.data = w->timer.data = w;
	return r ? r : worker_watch(w, uv_backend_fd(&w->loop), NULL, TAG_LOOP, EPOLLIN);
}

static void dispatch(struct worker *w, const struct epoll_event *ev)
{
	uintptr_t tag = (uintptr_t)ev->data.u64;
	void *at = (void *)(tag & ~(uintptr_t)TAG_BITS);
	switch (tag & TAG_BITS) {
	case TAG_LOOP:
		break; /* a mail: looked for after every event anyway, and by the loop after all of them */
	case TAG_PORT: port_accept(w, at); break;
	default: conn_event(at, tag & TAG_BITS, ev->events);
	}
}

/* After a turn with work to do the next is often there already: a look costs less than falling asleep. */
static int events_wait(struct worker *w, struct epoll_event ev[EVENTS_MAX])
{
	int timeout = TAILQ_EMPTY(&w->ready) ? uv_backend_timeout(&w->loop) : 0;
	int n = w->was_busy ? epoll_wait(w->set, ev, EVENTS_MAX, 0) : 0;
	if (n == 0 && (timeout != 0 || !w->was_busy))
		n = epoll_wait(w->set, ev, EVENTS_MAX, timeout);
	w->was_busy = n > 0;
	return n;
}

static void turn(struct worker *w)
{
	struct epoll_event ev[EVENTS_MAX];
	int n = events_wait(w, ev);
	bool loop_due = n <= 0;
	uv_update_time(&w->loop);
	w->gathering = n > 1;
	for (int i = 0; i < n; i++) {
		loop_due |= (ev[i].data.u64 & TAG_BITS) == TAG_LOOP;
		dispatch(w, &ev[i]);
		/* A flip waits for one event of ours, not for a batch of them. */
		if (atomic_load_explicit(&w->has_mail, memory_order_relaxed))
			mail_run(w);
	}
	w->gathering = false;
	ready_run(w); /* whoever has something in the outbox is in the queue */
	w->outbox_used = 0;
	if (loop_due || uv_backend_timeout(&w->loop) == 0)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	turn_end(w);
}

static void worker_run(void *arg)
{
	struct worker *w = arg;
	uv_run(&w->loop, UV_RUN_NOWAIT); /* puts the mailbox into the loop's own set */
	for (;;)
		turn(w);
}

/* A worker that failed to start is not taken apart: the process ends over it. */
int worker_start(struct worker *w, const struct worker_config *config, struct err *err)
{
	*w = (struct worker){ .index = config->index,
		.n_workers = config->n_workers,
		.peers = config->peers,
		.tell = config->tell,
		.max_conns = config->max_conns,
		.max_held = config->max_held,
		.pipes.max = config->max_pipes };
	STAILQ_INIT(&w->mails);
	TAILQ_INIT(&w->ready);
	for (unsigned p = 0; p < N_PHASES; p++)
		TAILQ_INIT(&w->timed[p]);
	w->scratch = malloc(SCRATCH_BYTES);
	w->outbox = malloc(OUTBOX_BYTES);
	w->set = epoll_create1(EPOLL_CLOEXEC);
	if (!w->scratch || !w->outbox || w->set < 0)
		return err_set(err, errno, "start a worker");
	int r = loop_init(w);
	if (r == 0)
		r = uv_thread_create(&w->thread, worker_run, w);
	return r < 0 ? err_set(err, -r, "start a worker") : 0;
}
