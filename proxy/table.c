#include "proxy/table.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/parse.h"

int listener_new(uint32_t id, int fd, const struct sockaddr_storage *address, struct listener **ret)
{
	struct listener *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	atomic_init(&l->refs, 1);
	l->id = id;
	l->fd = fd;
	l->address = *address;
	*ret = l;
	return 0;
}

struct listener *listener_ref(struct listener *l)
{
	atomic_fetch_add(&l->refs, 1);
	return l;
}

void listener_unref(struct listener *l)
{
	if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	close(l->fd);
	free(l);
}

static void pool_fill(struct pool *p, const struct route_listener *from, bool ready)
{
	for (size_t i = 0; i < from->n_backends; i++) {
		const struct px_backend *b = &from->backends[i];
		if (b->ready != ready)
			continue;
		p->targets[p->n++] =
			(struct target){ .address = b->address, .len = address_len(&b->address) };
	}
}

struct pool *pool_new(const struct route_listener *from, struct gen *gen)
{
	struct pool *p = calloc(1, sizeof *p + from->n_backends * sizeof p->targets[0]);
	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->gen = px_gen_ref(gen);
	p->proxy_protocol = from->proxy_protocol;
	pool_fill(p, from, true);
	p->n_ready = p->n;
	pool_fill(p, from, false);
	return p;
}

void pool_unref(struct pool *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	px_gen_unref(p->gen);
	free(p);
}

struct table *px_table_new(uint64_t version)
{
	struct table *t = calloc(1, sizeof *t);
	if (t) {
		atomic_init(&t->refs, 1);
		t->version = version;
	}
	return t;
}

int table_add(struct table *t, struct listener *l, struct pool *p, bool hold)
{
	int r = vec_reserve(&t->entries, &t->cap, t->n + 1, sizeof *t->entries);
	if (r < 0)
		return r;
	if (p)
		atomic_fetch_add(&p->refs, 1);
	t->entries[t->n++] = (struct entry){ .listener = listener_ref(l), .pool = p, .hold = hold };
	return 0;
}

static int entry_compare(const void *a, const void *b)
{
	uint32_t x = ((const struct entry *)a)->listener->id, y = ((const struct entry *)b)->listener->id;
	return x < y ? -1 : x > y;
}

void table_seal(struct table *t)
{
	if (t->n > 1)
		qsort(t->entries, t->n, sizeof *t->entries, entry_compare);
}

struct table *table_ref(struct table *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void table_unref(struct table *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	for (size_t i = 0; i < t->n; i++) {
		listener_unref(t->entries[i].listener);
		pool_unref(t->entries[i].pool);
	}
	free(t->entries);
	free(t);
}

const struct entry *table_find(const struct table *t, uint32_t listener_id)
{
	size_t low = 0, high = t ? t->n : 0;
	while (low < high) {
		size_t mid = (low + high) / 2;
		uint32_t id = t->entries[mid].listener->id;
		if (id == listener_id)
			return &t->entries[mid];
		if (id < listener_id)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}
