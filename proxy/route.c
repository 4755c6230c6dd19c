#include "proxy/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/parse.h"

#define PART_BACKENDS 128 /* at most 200 bytes each: a part stays far below WIRE_MAX */

void route_free(struct route *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n_listeners; i++)
		free(r->listeners[i].backends);
	free(r->listeners);
	free(r->slot);
	free(r);
}

void own_route(struct route **r)
{
	route_free(*r);
}

static int route_new(uint32_t generation, const char *slot, bool hold, struct route **ret)
{
	struct route *r = calloc(1, sizeof *r);
	if (!r || !(r->slot = strdup(slot ? slot : ""))) {
		route_free(r);
		return -ENOMEM;
	}
	r->generation = generation;
	r->hold = hold;
	*ret = r;
	return 0;
}

static int listener_add(struct route *r, const struct sockaddr_storage *address, struct route_listener **ret)
{
	int e = vec_reserve(&r->listeners, &r->cap, r->n_listeners + 1, sizeof *r->listeners);
	if (e < 0)
		return e;
	*ret = &r->listeners[r->n_listeners++];
	(*ret)->address = *address;
	return 0;
}

static int backend_add(struct route_listener *l, const struct px_backend *b)
{
	if (l->n_backends >= PX_BACKENDS_MAX)
		return -E2BIG;
	int e = vec_reserve(&l->backends, &l->cap, l->n_backends + 1, sizeof *l->backends);
	if (e == 0)
		l->backends[l->n_backends++] = *b;
	return e;
}

int route_copy(const struct px_route *from, struct route **ret, struct err *err)
{
	OWN_ROUTE struct route *r = NULL;
	int e = route_new(from->generation, from->slot, from->hold, &r);
	for (size_t i = 0; e == 0 && i < from->n_listeners; i++) {
		const struct px_listener *l = &from->listeners[i];
		struct route_listener *mine = NULL;
		e = listener_add(r, &l->address, &mine);
		if (e == 0) {
			mine->protocol = l->protocol;
			mine->proxy_protocol = l->proxy_protocol;
		}
		for (size_t k = 0; e == 0 && k < l->n_backends; k++)
			e = backend_add(mine, &l->backends[k]);
	}
	if (e < 0)
		return err_set(err, -e, "route of service %s", from->service);
	*ret = TAKE_PTR(r);
	return 0;
}

static json_t *part_begin(const struct route *r, const char *service)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:b, s:b, s:[]}", "op", "route", "service", service,
		"generation", (json_int_t)r->generation, "slot", r->slot, "hold", r->hold, "more", 1,
		"listeners");
}

static json_t *listener_to_json(const struct route_listener *l, size_t from, size_t n)
{
	char text[ADDRESS_MAX];
	json_t *backends = json_array();
	for (size_t i = from; i < from + n; i++) {
		const struct px_backend *b = &l->backends[i];
		json_array_append_new(
			backends, json_pack("[s, s, b]", b->id, format_address(&b->address, text), b->ready));
	}
	return json_pack("{s:s, s:i, s:i, s:o}", "address", format_address(&l->address, text), "protocol",
		(int)l->protocol, "proxy_protocol", (int)l->proxy_protocol, "backends", backends);
}

void route_emit(const struct route *r, const char *service, void (*emit)(void *arg, json_t *msg, bool last),
	void *arg)
{
	json_t *part = part_begin(r, service);
	size_t room = PART_BACKENDS;
	for (size_t i = 0; i < r->n_listeners; i++) {
		const struct route_listener *l = &r->listeners[i];
		size_t done = 0;
		do {
			if (room == 0) {
				emit(arg, part, false);
				part = part_begin(r, service);
				room = PART_BACKENDS;
			}
			size_t n = l->n_backends - done < room ? l->n_backends - done : room;
			json_array_append_new(
				json_object_get(part, "listeners"), listener_to_json(l, done, n));
			done += n;
			room -= n ? n : 1;
		} while (done < l->n_backends);
	}
	json_object_set_new(part, "more", json_false());
	emit(arg, part, true);
}

static int backend_from_json(const json_t *j, struct px_backend *ret)
{
	socklen_t len;
	const char *id = json_string_value(json_array_get(j, 0));
	const char *address = json_string_value(json_array_get(j, 1));
	memset(ret, 0, sizeof *ret);
	if (!id || strlen(id) >= sizeof ret->id || !address ||
		parse_address(address, &ret->address, &len) < 0)
		return -EINVAL;
	memcpy(ret->id, id, strlen(id));
	ret->ready = json_is_true(json_array_get(j, 2));
	return 0;
}

static int listener_from_json(struct route *r, const json_t *j)
{
	struct sockaddr_storage address;
	socklen_t len;
	if (parse_address(json_str(j, "address", ""), &address, &len) < 0)
		return -EINVAL;
	struct route_listener *l = r->n_listeners ? &r->listeners[r->n_listeners - 1] : NULL;
	if (!l || !address_equal(&l->address, &address)) { /* else: more backends of the part before */
		int e = listener_add(r, &address, &l);
		if (e < 0)
			return e;
		l->protocol = (enum spec_protocol)json_int(j, "protocol", 0);
		l->proxy_protocol = (enum spec_proxy_protocol)json_int(j, "proxy_protocol", 0);
	}
	size_t i;
	json_t *b;
	json_array_foreach (json_object_get(j, "backends"), i, b) {
		struct px_backend backend;
		int e = backend_from_json(b, &backend);
		if (e == 0)
			e = backend_add(l, &backend);
		if (e < 0)
			return e;
	}
	return 0;
}

int route_add_part(struct route **r, const json_t *msg, struct err *err)
{
	size_t i;
	json_t *l;
	int e = 0;
	if (!*r)
		e = route_new((uint32_t)json_int(msg, "generation", 0), json_str(msg, "slot", ""),
			json_flag(msg, "hold", false), r);
	json_array_foreach (json_object_get(msg, "listeners"), i, l) {
		if (e == 0)
			e = listener_from_json(*r, l);
	}
	return e < 0 ? err_set(err, -e, "route message of service %s", json_str(msg, "service", "")) : 0;
}

void route_drop_listener(struct route *r, const struct sockaddr_storage *address)
{
	for (size_t i = 0; r && i < r->n_listeners; i++) {
		if (!address_equal(&r->listeners[i].address, address))
			continue;
		free(r->listeners[i].backends);
		r->n_listeners--;
		memmove(&r->listeners[i], &r->listeners[i + 1],
			(r->n_listeners - i) * sizeof r->listeners[0]);
		memset(&r->listeners[r->n_listeners], 0, sizeof r->listeners[0]);
		return;
	}
}

/* One row per member: the single source of both directions. */
static const struct {
	const char *name;
	size_t offset;
} count_rows[] = {
	{ "active", offsetof(struct px_counts, active) },
	{ "total", offsetof(struct px_counts, total) },
	{ "bytes_in", offsetof(struct px_counts, bytes_in) },
	{ "bytes_out", offsetof(struct px_counts, bytes_out) },
	{ "connect_errors", offsetof(struct px_counts, connect_errors) },
	{ "retries", offsetof(struct px_counts, retries) },
	{ "resets", offsetof(struct px_counts, resets) },
	{ "held", offsetof(struct px_counts, held) },
	{ "ended", offsetof(struct px_counts, ended) },
	{ "cut", offsetof(struct px_counts, cut) },
};
_Static_assert(ARRAY_LEN(count_rows) * sizeof(uint64_t) == sizeof(struct px_counts), "a row for every count");

json_t *counts_to_json(const struct px_counts *counts)
{
	json_t *obj = json_object();
	for (size_t i = 0; i < ARRAY_LEN(count_rows); i++) {
		uint64_t v;
		memcpy(&v, (const char *)counts + count_rows[i].offset, sizeof v);
		json_object_set_new(obj, count_rows[i].name, json_integer((json_int_t)v));
	}
	return obj;
}

void counts_from_json(const json_t *obj, struct px_counts *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(count_rows); i++) {
		uint64_t v = (uint64_t)json_int(obj, count_rows[i].name, 0);
		memcpy((char *)ret + count_rows[i].offset, &v, sizeof v);
	}
}
