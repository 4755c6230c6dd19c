#include "proxy/gen.h"

#include <stdlib.h>
#include <string.h>

struct gen *px_gen_new(uint32_t number, unsigned n_workers)
{
	size_t size = sizeof(struct gen) + n_workers * sizeof(struct cell);
	struct gen *g = aligned_alloc(64, (size + 63) / 64 * 64);
	if (!g)
		return NULL;
	memset(g, 0, size);
	g->number = number;
	g->n_cells = n_workers;
	atomic_init(&g->refs, 1);
	for (unsigned i = 0; i < n_workers; i++)
		LIST_INIT(&g->cells[i].conns);
	return g;
}

struct gen *px_gen_ref(struct gen *g)
{
	atomic_fetch_add(&g->refs, 1);
	return g;
}

void px_gen_unref(struct gen *g)
{
	if (g && atomic_fetch_sub(&g->refs, 1) == 1)
		free(g);
}

uint64_t px_gen_active(const struct gen *g)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < g->n_cells; i++)
		n += atomic_load(&g->cells[i].active);
	return n;
}

static uint64_t get(const counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

void px_gen_sum(const struct gen *g, struct px_counts *ret)
{
	struct px_counts sum = { .active = px_gen_active(g) };
	for (unsigned i = 0; i < g->n_cells; i++) {
		const struct cell *c = &g->cells[i];
		sum.total += get(&c->total);
		sum.bytes_in += get(&c->bytes_in);
		sum.bytes_out += get(&c->bytes_out);
		sum.connect_errors += get(&c->connect_errors);
		sum.retries += get(&c->retries);
		sum.resets += get(&c->resets);
		sum.held += get(&c->held);
		sum.cut += get(&c->cut);
		sum.ended += get(&c->closed);
	}
	*ret = sum;
}
