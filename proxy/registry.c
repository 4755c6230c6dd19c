#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/parse.h"
#include "proxy/control_impl.h"

#define IDLE_KEPT 8 /* generations without connections whose counts are kept, per service */

struct service *px_service_find(struct control *c, const char *name)
{
	struct service *s;
	HASH_FIND_STR(c->services, name, s);
	return s;
}

int px_service_get(struct control *c, const char *name, struct service **ret, struct err *err)
{
	struct service *s = px_service_find(c, name);
	if (!s) {
		s = calloc(1, sizeof *s);
		if (!s || !(s->name = strdup(name))) {
			free(s);
			return err_set(err, ENOMEM, "service %s", name);
		}
		LIST_INIT(&s->generations);
		HASH_ADD_KEYPTR(hh, c->services, s->name, strlen(s->name), s);
	}
	*ret = s;
	return 0;
}

struct port_entry *px_service_port(struct service *s, const struct sockaddr_storage *address)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (address_equal(&s->ports[i].listener->address, address))
			return &s->ports[i];
	return NULL;
}

int px_service_bind(struct control *c, struct service *s, const struct sockaddr_storage *address, int *fd,
	struct err *err)
{
	struct listener *l = NULL;
	if (px_service_port(s, address))
		return 0;
	if (vec_reserve(&s->ports, &s->cap_ports, s->n_ports + 1, sizeof *s->ports) < 0 ||
		listener_new(c->last_listener_id + 1, *fd, address, &l) < 0)
		return err_set(err, ENOMEM, "listener of service %s", s->name);
	TAKE_FD(*fd);
	c->last_listener_id++;
	s->ports[s->n_ports++] = (struct port_entry){ .listener = l };
	return 0;
}

static void port_free(struct port_entry *p)
{
	listener_unref(p->listener);
	pool_unref(p->pool);
}

bool px_service_unbind(struct service *s, const struct sockaddr_storage *address)
{
	struct port_entry *p = px_service_port(s, address);
	if (!p)
		return false;
	route_drop_listener(s->route, address);
	port_free(p);
	*p = s->ports[--s->n_ports];
	return true;
}

struct generation *generation_find(struct service *s, uint32_t number)
{
	struct generation *g;
	LIST_FOREACH (g, &s->generations, next)
		if (g->gen->number == number)
			return g;
	return NULL;
}

struct generation *generation_get(struct control *c, struct service *s, uint32_t number)
{
	struct generation *g = generation_find(s, number);
	if (g)
		return g;
	g = calloc(1, sizeof *g);
	if (!g || !(g->gen = px_gen_new(number, c->config.workers))) {
		free(g);
		return NULL;
	}
	g->service = s;
	LIST_INSERT_HEAD(&s->generations, g, next);
	return g;
}

void generation_order(struct control *c, struct generation *g, enum gen_order order)
{
	for (unsigned i = 0; i < c->config.workers; i++)
		worker_post_order(&c->workers[i], g->gen, order);
}

void generation_counts(const struct generation *g, struct px_counts *ret)
{
	struct px_counts n;
	px_gen_sum(g->gen, &n);
	uint64_t cut = n.cut - g->drain.cut_before, closed = n.ended - g->drain.closed_before;
	n.cut = cut;
	n.ended = closed > cut ? closed - cut : 0; /* of the cut ones, some may not have closed yet */
	*ret = n;
}

/* A generation's cells are freed only when no worker can reach them: no pool or mail names it, no connection
 * counts in it. The newest idle ones of a living service are kept for their counts. */
static void generations_collect(struct generation *first, unsigned kept)
{
	struct generation *g, *next;
	for (g = first; g; g = next) {
		next = LIST_NEXT(g, next);
		if (atomic_load(&g->gen->refs) > 1 || px_gen_active(g->gen) > 0 || g->drain.active)
			continue;
		if (kept > 0) {
			kept--;
			continue;
		}
		LIST_REMOVE(g, next);
		px_gen_unref(g->gen);
		free(g);
	}
}

void registry_collect(struct control *c)
{
	for (struct service *s = c->services; s; s = s->hh.next)
		generations_collect(LIST_FIRST(&s->generations), IDLE_KEPT);
	generations_collect(LIST_FIRST(&c->forgotten), 0);
}

static const struct route_listener *route_find(const struct route *r, const struct sockaddr_storage *address)
{
	for (size_t i = 0; i < r->n_listeners; i++)
		if (address_equal(&r->listeners[i].address, address))
			return &r->listeners[i];
	return NULL;
}

static void pools_free(struct pool **pools, size_t n)
{
	for (size_t i = 0; pools && i < n; i++)
		pool_unref(pools[i]);
	free(pools);
}

/* One pool per port, in the order of ports; NULL for those the route does not name. */
static int pools_new(const struct service *s, const struct route *r, struct gen *gen, struct pool ***ret)
{
	struct pool **pools = calloc(s->n_ports + 1, sizeof *pools);
	for (size_t i = 0; pools && i < s->n_ports; i++) {
		const struct route_listener *l = route_find(r, &s->ports[i].listener->address);
		if (l && !(pools[i] = pool_new(l, gen))) {
			pools_free(pools, s->n_ports);
			return -ENOMEM;
		}
	}
	*ret = pools;
	return pools ? 0 : -ENOMEM;
}

static int route_check(struct service *s, const struct route *r, struct err *err)
{
	char text[ADDRESS_MAX];
	for (size_t i = 0; i < r->n_listeners; i++)
		if (!px_service_port(s, &r->listeners[i].address))
			return err_say(err, ENOENT, "service %s has no listener on %s", s->name,
				format_address(&r->listeners[i].address, text));
	return 0;
}

int px_service_set_route(struct control *c, struct service *s, struct route **route, struct err *err)
{
	struct pool **pools = NULL;
	int r = route_check(s, *route, err);
	if (r < 0)
		return r;
	struct generation *g = generation_get(c, s, (*route)->generation);
	if (!g || pools_new(s, *route, g->gen, &pools) < 0)
		return err_set(err, ENOMEM, "route of service %s", s->name);
	for (size_t i = 0; i < s->n_ports; i++) {
		pool_unref(s->ports[i].pool);
		s->ports[i].pool = pools[i];
	}
	free(pools);
	route_free(s->route);
	s->route = TAKE_PTR(*route);
	drain_cancel(c, g);
	return 0;
}

void px_service_forget(struct control *c, struct service *s)
{
	struct generation *g;
	for (size_t i = 0; i < s->n_ports; i++)
		port_free(&s->ports[i]);
	free(s->ports);
	route_free(s->route);
	while ((g = LIST_FIRST(&s->generations))) {
		drain_cancel(c, g);
		generation_order(c, g, GEN_ABORT);
		generation_order(c, g, GEN_DRAIN); /* so that its end is told, and its memory collected */
		LIST_REMOVE(g, next);
		g->service = NULL;
		LIST_INSERT_HEAD(&c->forgotten, g, next);
	}
	HASH_DEL(c->services, s);
	free(s->name);
	free(s);
}

static struct table *table_build(struct control *c)
{
	struct table *t = px_table_new(c->version + 1);
	for (struct service *s = c->services; t && s; s = s->hh.next) {
		for (size_t i = 0; i < s->n_ports; i++) {
			if (table_add(t, s->ports[i].listener, s->ports[i].pool,
				    s->route && s->route->hold) == 0)
				continue;
			table_unref(t);
			return NULL;
		}
	}
	if (t)
		table_seal(t);
	return t;
}

int registry_publish(struct control *c, struct err *err)
{
	struct table *t = table_build(c);
	if (!t)
		return err_set(err, ENOMEM, "routing table");
	for (unsigned i = 0; i < c->config.workers; i++)
		if (worker_post_table(&c->workers[i], table_ref(t)) < 0)
			abort(); /* workers on different tables would be worse than a new start with the same
				    sockets */
	c->version = t->version;
	table_unref(t);
	return 0;
}

uint64_t registry_applied(const struct control *c)
{
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < c->config.workers; i++) {
		uint64_t v = atomic_load(&c->workers[i].applied);
		least = v < least ? v : least;
	}
	return least;
}
