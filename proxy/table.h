/* The routing table: immutable once published, shared by all workers, replaced as a whole. A worker holds one
 * reference to the table it uses; the last one gone frees it and closes listeners nobody names any more. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proxy/gen.h"
#include "proxy/route.h"

struct listener { /* a listening socket; known by id, which is never used twice */
	atomic_uint refs;
	uint32_t id;
	int fd;
	struct sockaddr_storage address;
};

struct target {
	struct sockaddr_storage address;
	socklen_t len;
};

struct pool { /* where the connections of one listener go */
	atomic_uint refs;
	struct gen *gen;
	enum spec_proxy_protocol proxy_protocol;
	unsigned n, n_ready; /* the ready ones come first */
	struct target targets[];
};

struct entry {
	struct listener *listener;
	struct pool *pool; /* NULL: no route; the connections wait in the backlog */
	bool hold;
};

struct table {
	atomic_uint refs;
	uint64_t version;
	size_t n, cap;
	struct entry *entries; /* by listener id, ascending */
};

int listener_new(uint32_t id, int fd, const struct sockaddr_storage *address, struct listener **ret);
struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);

struct pool *pool_new(const struct route_listener *from, struct gen *gen);
void pool_unref(struct pool *p);

struct table *px_table_new(uint64_t version);
/* Adds in any order; references are taken. table_seal sorts. */
int table_add(struct table *t, struct listener *l, struct pool *p, bool hold);
void table_seal(struct table *t);
struct table *table_ref(struct table *t);
void table_unref(struct table *t);
const struct entry *table_find(const struct table *t, uint32_t listener_id);
