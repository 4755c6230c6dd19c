/* The parts of the control thread: registry.c knows services, generations and tables; drain.c ends
 * generations; control.c speaks with agents. */
#pragma once
#include <sys/queue.h>
#include <uthash.h>

#include "proxy/control.h"
#include "proxy/route.h"
#include "proxy/table.h"
#include "proxy/wire.h"
#include "proxy/worker.h"

struct peer { /* an agent's connection */
	LIST_ENTRY(peer) next;
	struct control *control;
	struct channel *channel;
	struct route *staged; /* parts of a route that is not complete yet */
	char *staged_service;
};

struct drain {
	struct peer *peer; /* whom to tell; NULL once gone */
	uint64_t deadline; /* loop time */
	uint64_t closed_before, cut_before;
	bool active, cutting;
};

struct generation { /* what the control thread knows of a gen beyond its cells */
	LIST_ENTRY(generation) next;
	struct gen *gen;
	struct service *service; /* NULL: forgotten, waits for its last connection */
	struct drain drain;
};

struct port_entry { /* a service's listener with where it leads */
	struct listener *listener;
	struct pool *pool; /* NULL: the route does not name it */
};

struct service {
	UT_hash_handle hh;
	char *name;
	struct port_entry *ports;
	size_t n_ports, cap_ports;
	struct route *route; /* NULL: none yet */
	LIST_HEAD(, generation) generations;
};

struct ack { /* an answer that waits until all workers use a table */
	STAILQ_ENTRY(ack) next;
	struct peer *peer; /* NULL once gone */
	uint64_t version;
	json_int_t seq;
};

struct control {
	uv_loop_t *loop;
	struct control_config config;
	struct worker *workers;
	uv_async_t told; /* by a worker */
	uv_poll_t accept;
	uv_timer_t tick;
	LIST_HEAD(, peer) peers;
	struct service *services;
	LIST_HEAD(, generation) forgotten;
	STAILQ_HEAD(, ack) acks;
	uint64_t version;
	uint32_t last_listener_id;
	unsigned ticks;
};

/* registry.c */
struct service *px_service_find(struct control *c, const char *name);
int px_service_get(struct control *c, const char *name, struct service **ret, struct err *err);
struct port_entry *px_service_port(struct service *s, const struct sockaddr_storage *address);
int px_service_bind(struct control *c, struct service *s, const struct sockaddr_storage *address, int *fd,
	struct err *err);
bool px_service_unbind(struct service *s, const struct sockaddr_storage *address);
/* Takes the route over. */
int px_service_set_route(struct control *c, struct service *s, struct route **route, struct err *err);
void px_service_forget(struct control *c, struct service *s);
struct generation *generation_find(struct service *s, uint32_t number);
struct generation *generation_get(struct control *c, struct service *s, uint32_t number);
void generation_order(struct control *c, struct generation *g, enum gen_order order);
void generation_counts(const struct generation *g, struct px_counts *ret);
/* Frees what nobody needs any more. */
void registry_collect(struct control *c);
/* Hands a new table to every worker. */
int registry_publish(struct control *c, struct err *err);
/* The newest version that every worker uses. */
uint64_t registry_applied(const struct control *c);

/* drain.c */
void drain_start(struct control *c, struct generation *g, struct peer *peer, uint64_t timeout_ms);
void drain_cancel(struct control *c, struct generation *g);
/* Looks at all drains: which are over, which are past their deadline. progress: also tell how they do. False:
 * none is left. */
bool drains_look(struct control *c, bool progress);
void drains_forget_peer(struct control *c, struct peer *peer);
