/* A service's whole route as a value: what both halves keep, and its form on the wire in parts of bounded
 * size. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "proxy/client.h"

struct route_listener {
	struct sockaddr_storage address;
	enum spec_protocol protocol;
	enum spec_proxy_protocol proxy_protocol;
	struct px_backend *backends;
	size_t n_backends, cap;
};

struct route {
	uint32_t generation;
	char *slot;
	bool hold;
	struct route_listener *listeners;
	size_t n_listeners, cap;
};

/* A copy of what the agent asked for; -EINVAL beyond PX_BACKENDS_MAX. */
int route_copy(const struct px_route *from, struct route **ret, struct err *err);
void route_free(struct route *r);
void own_route(struct route **r);
#define OWN_ROUTE OWN(own_route)

/* Calls emit with each message of op `route` for this service; emit steals it. */
void route_emit(const struct route *r, const char *service, void (*emit)(void *arg, json_t *msg, bool last),
	void *arg);
/* Adds one part; *r is made by the first. */
int route_add_part(struct route **r, const json_t *msg, struct err *err);

/* A listener that was unbound leaves the route too. */
void route_drop_listener(struct route *r, const struct sockaddr_storage *address);

json_t *counts_to_json(const struct px_counts *counts);
void counts_from_json(const json_t *obj, struct px_counts *ret);
