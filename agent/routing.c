/* What a service tells the proxy: listeners, the route, drains. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "agent/service.h"
#include "base/log.h"
#include "base/own.h"
#include "base/parse.h"

/* The proxy's answer may come after the service was removed: it finds its service by name. */
struct route_token {
	struct agent *agent;
	char service[SPEC_NAME_MAX];
};

static void route_done(void *arg, int result, const struct err *why)
{
	OWN_FREE struct route_token *t = arg;
	struct service *s = service_find(t->agent, t->service);
	if (s && !t->agent->closing)
		service_route_done(s, result, why);
}

static size_t fill_backends(const struct generation *g, size_t port, struct px_backend *out)
{
	size_t n = 0;
	for (size_t i = 0; i < g->n && n < PX_BACKENDS_MAX; i++) {
		const struct replica *r = &g->replicas[i];
		if (r->state != REPLICA_RUNNING || port >= r->rt.n_ports)
			continue;
		struct px_backend *b = &out[n++];
		*b = (struct px_backend){ .address = r->rt.address, .ready = r->verdict == HC_READY };
		snprintf(b->id, sizeof b->id, "%s", r->id);
		struct sockaddr_in in;
		memcpy(&in, &b->address, sizeof in);
		in.sin_port = htons(r->rt.ports[port]);
		memcpy(&b->address, &in, sizeof in);
	}
	return n;
}

static int send_route(struct service *s, struct err *err)
{
	const struct generation *g = s->routed;
	size_t n = g->spec->n_ports;
	OWN_FREE struct px_listener *listeners = calloc(n + 1, sizeof *listeners);
	OWN_FREE struct px_backend *backends = calloc(n * g->n + 1, sizeof *backends);
	OWN_FREE struct route_token *token = calloc(1, sizeof *token);
	if (!listeners || !backends || !token)
		return err_set(err, ENOMEM, "route %s", s->name);
	for (size_t i = 0; i < n; i++) {
		struct px_backend *mine = backends + i * g->n;
		listeners[i] = (struct px_listener){ .address = g->spec->ports[i].address,
			.protocol = g->spec->ports[i].protocol,
			.proxy_protocol = g->spec->ports[i].proxy_protocol,
			.backends = mine,
			.n_backends = fill_backends(g, i, mine) };
	}
	struct px_route route = { .service = s->name,
		.generation = g->number,
		.slot = g->slot,
		.hold = s->holding,
		.listeners = listeners,
		.n_listeners = n };
	token->agent = s->agent;
	snprintf(token->service, sizeof token->service, "%s", s->name);
	int r = px_route(s->agent->proxy, &route, route_done, token, err);
	if (r == 0)
		TAKE_PTR(token);
	return r;
}

int service_route(struct service *s, struct generation *g, bool hold, struct err *err)
{
	s->routed = g;
	s->holding = hold;
	return send_route(s, err);
}

void service_route_again(struct service *s)
{
	struct err why = { 0 };
	if (s->routed && send_route(s, &why) < 0)
		log_error("%s: %s", s->name, why.msg);
}

/* A service of its own in the proxy: the name can't be anybody's, and a new agent forgets it. */
#define PREVIEW_SUFFIX "~preview"

static void preview_routed(void *arg, int result, const struct err *why)
{
	(void)arg;
	if (result < 0 && result != -ECANCELED && why)
		log_warn("preview: %s", why->msg);
}

int service_preview(struct service *s, struct generation *g, struct err *err)
{
	char name[SPEC_NAME_MAX + sizeof PREVIEW_SUFFIX];
	snprintf(name, sizeof name, "%s" PREVIEW_SUFFIX, s->name);
	if (!g) {
		px_forget(s->agent->proxy, name);
		return 0;
	}
	OWN_FREE struct px_backend *backends = calloc(g->n, sizeof *backends);
	if (!backends)
		return err_set(err, ENOMEM, "%s", name);
	struct px_listener listener = { .address = g->spec->deploy.preview_address,
		.backends = backends,
		.n_backends = fill_backends(g, 0, backends) };
	struct px_route route = { .service = name,
		.generation = g->number,
		.slot = g->slot,
		.listeners = &listener,
		.n_listeners = 1 };
	int r = px_bind(s->agent->proxy, name, &listener.address, err);
	return r < 0 ? r : px_route(s->agent->proxy, &route, preview_routed, NULL, err);
}

static bool publishes(const struct spec *spec, const struct sockaddr_storage *address)
{
	for (size_t i = 0; spec && i < spec->n_ports; i++)
		if (address_equal(&spec->ports[i].address, address))
			return true;
	return false;
}

int service_bind(struct service *s, const struct spec *spec, struct err *err)
{
	for (size_t i = 0; i < spec->n_ports; i++) {
		const struct sockaddr_storage *address = &spec->ports[i].address;
		int r = vec_reserve(&s->bound, &s->cap_bound, s->n_bound + 1, sizeof *s->bound);
		if (r < 0)
			err_set(err, ENOMEM, "%s", s->name);
		else
			r = px_bind(s->agent->proxy, s->name, address, err);
		if (r < 0) {
			service_unbind_unused(s);
			return r;
		}
		bool known = false;
		for (size_t j = 0; j < s->n_bound; j++)
			known |= address_equal(&s->bound[j], address);
		if (!known)
			s->bound[s->n_bound++] = *address;
	}
	return 0;
}

void service_unbind_unused(struct service *s)
{
	const struct deployment *d = s->deployment;
	const struct spec *next =
		d && d->to && !d->failing && dep_traits[d->state].running ? d->to->spec : NULL;
	const struct spec *now = s->active && !s->removed ? s->active->spec : NULL;
	for (size_t i = s->n_bound; i > 0; i--) {
		struct sockaddr_storage address = s->bound[i - 1];
		if (publishes(now, &address) || publishes(next, &address))
			continue;
		px_unbind(s->agent->proxy, s->name, &address);
		s->bound[i - 1] = s->bound[--s->n_bound];
	}
}

static void drain_report(struct drain *drain, const struct px_counts *counts, bool over)
{
	struct deployment *d = drain->service->deployment;
	uint32_t generation = drain->generation;
	if (over) {
		LIST_REMOVE(drain, link);
		free(drain);
	}
	if (d)
		action_drained(d, generation, counts, over);
}

static void on_drain_progress(void *arg, const struct px_counts *counts)
{
	drain_report(arg, counts, false);
}

static void on_drained(void *arg, const struct px_counts *counts)
{
	drain_report(arg, counts, true);
}

int service_drain(struct service *s, struct generation *g, uint32_t timeout_ms, struct err *err)
{
	struct drain *drain = calloc(1, sizeof *drain);
	if (!drain)
		return err_set(err, ENOMEM, "drain %s", s->name);
	*drain = (struct drain){ .service = s, .generation = g->number };
	int r = px_drain(
		s->agent->proxy, s->name, g->number, timeout_ms, on_drain_progress, on_drained, drain, err);
	if (r < 0)
		free(drain);
	else
		LIST_INSERT_HEAD(&s->drains, drain, link);
	return r;
}
