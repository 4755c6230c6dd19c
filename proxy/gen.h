/* What is counted about one generation of one service. Each worker writes its own cell and nobody else's, so
 * that counting costs no lock and no shared cache line; the control thread adds the cells up. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proxy/client.h"

struct conn;

typedef _Atomic uint64_t counter;

struct cell {
	LIST_HEAD(, conn) conns; /* the worker's own, like the next: the control thread never looks */
	bool draining;		 /* tell the control thread when active is down to nothing */
	counter active, total, closed, cut;
	counter bytes_in, bytes_out;
	counter connect_errors, retries, resets, held;
} __attribute__((aligned(64)));

struct gen {
	LIST_ENTRY(gen) next; /* of its service; control thread */
	uint32_t number;
	atomic_uint refs; /* pools and mails that name it, and the registry */
	unsigned n_cells;
	struct cell cells[];
};

struct gen *px_gen_new(uint32_t number, unsigned n_workers);
struct gen *px_gen_ref(struct gen *g);
/* Only the control thread drops the last one, and only when no connection is counted. */
void px_gen_unref(struct gen *g);

/* Everything but ended and cut, which depend on when a drain began; those are totals here. */
void px_gen_sum(const struct gen *g, struct px_counts *ret);
uint64_t px_gen_active(const struct gen *g);

static inline void counter_add(counter *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}
