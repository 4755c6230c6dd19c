/* A proxied connection: two sockets and what is on the way between them. Small on purpose: thousands sit
 * idle, so buffers exist only while a peer can't take what was read, pipes only during bulk, an attempt only
 * until a backend answered. Bounded: at most one scratch buffer or one pipe of bytes waits per direction. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proxy/gen.h"
#include "proxy/pipe.h"

struct worker;
struct entry;

enum phase {
	PHASE_HELD,	  /* waiting for a route without hold */
	PHASE_CONNECTING, /* a backend was asked */
	PHASE_WAITING,	  /* none answered; a pause before the next round */
	PHASE_YOUNG,	  /* open, for less than it takes to be worth keepalive probes */
	PHASE_OPEN,
	PHASE_CUTTING,	 /* at its drain's deadline: has a moment left to end by itself */
	PHASE_RESETTING, /* one side was reset; the other is, as soon as it has what was sent before */
	PHASE_DEAD,
	N_PHASES,
};

enum { CLIENT, SERVER };

struct pending { /* read from one side, not yet taken by the other */
	uint32_t from, len;
	char bytes[];
};

struct side {
	int fd;
	unsigned watched : 1;  /* in the epoll set */
	unsigned readable : 1; /* until the kernel says EAGAIN */
	unsigned writable : 1;
	unsigned hup : 1;      /* the peer has said its last: read on until that is reached */
	unsigned eof : 1;      /* nothing more will be read from it */
	unsigned fin : 1;      /* we have ended our sending to it */
	unsigned broken : 1;   /* reset or timed out: nothing more can be sent to it */
	unsigned borrowed : 1; /* `out` lies in the worker's outbox: to be sent or copied within the turn */
	unsigned streak : 4;   /* large reads in a row: bulk when it is full */
	uint32_t last_ms;      /* when bytes came from it last */
	struct pending *out;   /* waiting to be sent to it */
	struct pipe *pipe;     /* the same, for bulk */
};

struct attempt { /* at reaching a backend */
	uint64_t since_ms;
	uint64_t version; /* of the table the tried ones are counted in */
	uint32_t listener_id;
	unsigned tries;
	unsigned target;
	enum spec_proxy_protocol proxy_protocol; /* of the backend being asked */
	uint64_t tried[PX_BACKENDS_MAX / 64];
};

struct conn {
	struct worker *w;
	struct gen *gen; /* whose connection it is; NULL before the first route */
	LIST_ENTRY(conn) in_gen;
	TAILQ_ENTRY(conn) timed;
	TAILQ_ENTRY(conn) in_ready;
	uint64_t deadline; /* of its phase */
	union {
		struct attempt *attempt; /* until a backend answered */
		struct conn *next_grave; /* once dead */
	};
	struct side side[2];
	unsigned char phase; /* enum phase */
	bool is_ready;	     /* in the ready queue */
	bool was_cut;
	unsigned char looks_left; /* at whether a reset may go out, without anything having moved */
	int tail;		  /* bytes it waited for at the last look */
} __attribute__((aligned(16)));	  /* epoll's tags live in the low bits of its address */

/* Takes the accepted fd. */
void conn_accept(struct worker *w, uint32_t listener_id, int fd);
/* What epoll said about one side. */
void conn_event(struct conn *c, unsigned which, uint32_t events);
/* Its turn came, or its phase is over. */
void conn_continue(struct conn *c);
void conn_expire(struct conn *c);
/* The end of its drain: directions that are quiet are ended with FIN, busy ones may go on for a moment; then
 * reset. (A FIN in the middle of an answer would make half an answer look whole.) at_once: reset now. */
void conn_cut(struct conn *c, bool at_once);

/* Between the files of a connection. */
void conn_set_phase(struct conn *c, enum phase phase);
void conn_set_gen(struct conn *c, struct gen *gen); /* NULL: nobody's for now */
bool conn_watch(struct conn *c, unsigned which);
void conn_close(struct conn *c); /* both sides are done: orderly */
void conn_abort(struct conn *c); /* resets whatever is open */
/* connect.c: finds a backend by the worker's present table. */
void conn_route(struct conn *c);
void conn_reroute(struct conn *c); /* drops the backend being asked */
void conn_connect_event(struct conn *c, uint32_t events);
void conn_connect_expired(struct conn *c);
/* relay.c: puts bytes of ours in front of what a side gets. */
int conn_prepend(struct conn *c, unsigned which, const char *bytes, size_t len);
/* Moves what can be moved now. */
void conn_relay(struct conn *c);
/* Drops what waits to be sent to this side. */
void side_discard(struct worker *w, struct side *to);
/* True when nothing waits to be sent to this side. */
bool conn_flush(struct conn *c, unsigned which);
/* One side broke: what it sent before still goes to the other, which is reset then. */
void conn_reset_after(struct conn *c, unsigned broken);
