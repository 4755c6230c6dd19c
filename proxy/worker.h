/* One thread of the data plane: its sockets in one edge-triggered epoll set, and a libuv loop for its mailbox
 * and timer embedded in that set by uv_backend_fd(). (A poll handle per socket would cost system calls for
 * each change of interest and more memory than the connection itself, and libuv can't ask for EPOLLEXCLUSIVE,
 * without which every new connection wakes every worker.) Everything in here is the worker's own but the
 * mailbox and the atomics. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/err.h"
#include "proxy/conn.h"
#include "proxy/pipe.h"
#include "proxy/table.h"

#define SCRATCH_BYTES (64 * 1024)
#define OUTBOX_BYTES  (64 * 1024)

struct worker;

enum {
	TAG_CLIENT,
	TAG_SERVER,
	TAG_PORT,
	TAG_LOOP,
	TAG_BITS = 3
}; /* in the low bits of what epoll gives back */

/* Something for a worker to do on its own thread. run() frees it. */
struct mail {
	STAILQ_ENTRY(mail) next;
	void (*run)(struct worker *w, struct mail *m);
};

struct port { /* a listener as one worker sees it */
	struct port *next_grave;
	struct listener *listener; /* borrowed from the table */
	const struct entry *entry;
	uint32_t id;
	bool watched; /* in the epoll set; otherwise the backlog waits */
	bool gone;
};

TAILQ_HEAD(conn_queue, conn);

struct worker {
	unsigned index, n_workers;
	struct worker *peers; /* all of them, this one included */
	uv_async_t *tell; /* the control thread: a table was taken over, or a drained generation is empty */
	uv_thread_t thread;
	uv_loop_t loop;
	uv_async_t wake;
	uv_timer_t timer;
	int set;

	uv_mutex_t lock;
	STAILQ_HEAD(, mail) mails;
	atomic_bool has_mail;

	struct table *table;
	_Atomic uint64_t applied; /* version of the table in use */
	struct port **ports;	  /* by listener id, ascending; n_ports of them */
	size_t n_ports, cap_ports;
	bool ports_paused;	/* some port is left alone for want of room */
	uint64_t starved_until; /* the kernel had no descriptor or memory for us */

	_Atomic unsigned n_conns; /* read by the others when they look for someone with less to do */
	unsigned max_conns, n_held, max_held;
	struct conn_queue
		timed[N_PHASES]; /* a phase lasts equally long for all: the first in is the first out */
	struct conn_queue ready; /* more to do, in the next turn */
	struct conn *graves;	 /* ended in this turn; events already fetched may still name them */
	struct port *port_graves;
	unsigned next_target; /* round robin */
	struct pipe_pool pipes;
	char *scratch;
	char *outbox; /* small messages read in this turn: all reads first, so that who gets them wakes up
			 once */
	size_t outbox_used;
	bool gathering; /* events are being looked at; what they bring may wait in the outbox */
	bool was_busy;	/* the last turn had events */
};

struct worker_config {
	unsigned index, n_workers;
	struct worker *peers;
	uv_async_t *tell;
	unsigned max_conns, max_held, max_pipes;
};

int worker_start(struct worker *w, const struct worker_config *config, struct err *err);
/* From any thread. */
void worker_post(struct worker *w, struct mail *m);
/* Takes a reference to the table over; `applied` tells when. */
int worker_post_table(struct worker *w, struct table *t);
/* What the connections of a generation are to do. */
enum gen_order {
	GEN_DRAIN,   /* `tell` when the worker's last one ended, and once now */
	GEN_UNDRAIN, /* not any more */
	GEN_CUT,     /* end soon: conn_cut */
	GEN_ABORT,   /* end now */
};
int worker_post_order(struct worker *w, struct gen *gen, enum gen_order order);

/* For the files of the worker itself. */
int worker_watch(struct worker *w, int fd, void *at, unsigned tag, uint32_t events);
void worker_timer_arm(struct worker *w, uint64_t deadline);
void worker_ready_add(struct worker *w, struct conn *c);
/* accept.c: listeners follow the table and the room there is. */
void ports_apply(struct worker *w);
void ports_update(struct worker *w);
void port_accept(struct worker *w, struct port *p);
