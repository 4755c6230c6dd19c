#include "proxy/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"
#include "proxy/client_impl.h"

struct finish { /* a px_done that must not run inside the call that brings it about */
	px_done done;
	void *arg;
	int result;
	struct err why;
};

static void finish_run(void *arg)
{
	OWN_FREE struct finish *f = arg;
	f->done(f->arg, f->result, &f->why);
}

static void finish_later(struct px_client *c, px_done done, void *arg, int result, const char *why)
{
	struct finish *f = done ? calloc(1, sizeof *f) : NULL;
	if (!f)
		return;
	*f = (struct finish){ .done = done, .arg = arg, .result = result };
	err_say(&f->why, -result, "%s", why);
	if (uvx_defer(c->loop, finish_run, f) < 0)
		finish_run(f);
}

static void px_service_route_finish(struct px_client *c, struct px_service *s, int result, const char *why)
{
	finish_later(c, TAKE_PTR(s->done), s->done_arg, result, why);
}

struct px_service *client_service(struct px_client *c, const char *name)
{
	struct px_service *s;
	TAILQ_FOREACH (s, &c->services, next)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

int client_service_get(struct px_client *c, const char *name, struct px_service **ret, struct err *err)
{
	struct px_service *s = client_service(c, name);
	if (!s) {
		s = calloc(1, sizeof *s);
		if (!s || !(s->name = strdup(name))) {
			free(s);
			return err_set(err, ENOMEM, "service %s", name);
		}
		LIST_INIT(&s->drains);
		TAILQ_INSERT_TAIL(&c->services, s, next);
	}
	*ret = s;
	return 0;
}

static struct px_port *px_service_port(const struct px_service *s, const struct sockaddr_storage *address)
{
	for (size_t i = 0; s && i < s->n_ports; i++)
		if (address_equal(&s->ports[i].address, address))
			return &s->ports[i];
	return NULL;
}

int px_service_add_port(struct px_service *s, const struct sockaddr_storage *address, int *fd)
{
	int r = vec_reserve(&s->ports, &s->cap_ports, s->n_ports + 1, sizeof *s->ports);
	if (r == 0)
		s->ports[s->n_ports++] = (struct px_port){ .address = *address, .fd = TAKE_FD(*fd) };
	return r;
}

static struct px_drainer *px_service_drainer(const struct px_service *s, uint32_t generation)
{
	struct px_drainer *d;
	LIST_FOREACH (d, &s->drains, next)
		if (d->generation == generation)
			return d;
	return NULL;
}

static void drainer_free(struct px_drainer *d)
{
	if (!d)
		return;
	LIST_REMOVE(d, next);
	free(d);
}

static void px_service_free(struct px_client *c, struct px_service *s)
{
	struct px_drainer *d;
	px_service_route_finish(c, s, -ECANCELED, "the service was removed");
	while ((d = LIST_FIRST(&s->drains)))
		drainer_free(d);
	for (size_t i = 0; i < s->n_ports; i++)
		close(s->ports[i].fd);
	free(s->ports);
	route_free(s->route);
	TAILQ_REMOVE(&c->services, s, next);
	free(s->name);
	free(s);
}

void client_free(struct px_client *c)
{
	struct px_service *s;
	void (*closed)(void *arg) = c->closed;
	void *arg = c->closed_arg;
	uv_loop_t *loop = c->loop;
	while ((s = TAILQ_FIRST(&c->services)))
		px_service_free(c, s);
	free(c->program);
	free(c->socket_path);
	free(c);
	if (closed && uvx_defer(loop, closed, arg) < 0)
		closed(arg);
}

int px_open(uv_loop_t *loop, const struct px_config *config, const struct px_events *events,
	struct px_client **ret, struct err *err)
{
	struct px_client *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(err, ENOMEM, "proxy client");
	*c = (struct px_client){ .loop = loop, .config = *config, .process = PROC_NONE };
	if (events)
		c->events = *events;
	TAILQ_INIT(&c->services);
	TAILQ_INIT(&c->requests);
	c->program = strdup(config->program);
	c->socket_path = strdup(config->socket_path);
	int r = c->program && c->socket_path ? link_open(c, err) : err_set(err, ENOMEM, "proxy client");
	if (r < 0) {
		client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void px_close(struct px_client *c, bool stop_proxy, void (*closed)(void *arg), void *arg)
{
	c->closed = closed;
	c->closed_arg = arg;
	link_close(c, stop_proxy);
}

void px_routes_found(struct px_client *c, px_seen_route seen, void *arg)
{
	struct px_service *s;
	TAILQ_FOREACH (s, &c->services, next)
		if (s->route)
			seen(arg, s->name, s->route->generation, s->route->hold);
}

static uint16_t address_port(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
					: ((const struct sockaddr_in *)a)->sin_port;
}

static bool address_is_any(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)a)->sin6_addr);
	return ((const struct sockaddr_in *)a)->sin_addr.s_addr == htonl(INADDR_ANY);
}

static bool addresses_clash(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family || address_port(a) != address_port(b))
		return false;
	return address_equal(a, b) || address_is_any(a) || address_is_any(b);
}

static const struct px_service *bound_by(struct px_client *c, const struct sockaddr_storage *address)
{
	struct px_service *s;
	TAILQ_FOREACH (s, &c->services, next)
		for (size_t i = 0; i < s->n_ports; i++)
			if (addresses_clash(&s->ports[i].address, address))
				return s;
	return NULL;
}

static int bind_failed(struct px_client *c, const struct sockaddr_storage *address, int code, struct err *err)
{
	char text[ADDRESS_MAX];
	format_address(address, text);
	if (code != EADDRINUSE)
		return err_set(err, code, "listen on %s", text);
	const struct px_service *owner = bound_by(c, address);
	if (owner)
		return err_say(err, code, "listen on %s: service %s has this address", text, owner->name);
	return err_say(err, code, "listen on %s: another process has this address", text);
}

int px_bind(struct px_client *c, const char *service, const struct sockaddr_storage *address, struct err *err)
{
	OWN_FD int fd = -1;
	struct px_service *s = client_service(c, service);
	if (px_service_port(s, address))
		return 0;
	int r = listen_tcp(address, &fd);
	if (r < 0)
		return bind_failed(c, address, -r, err);
	r = client_service_get(c, service, &s, err);
	if (r < 0)
		return r;
	if (px_service_add_port(s, address, &fd) < 0)
		return err_set(err, ENOMEM, "listener of service %s", service);
	if (link_ready(c))
		speak_bind(c, s, &s->ports[s->n_ports - 1]);
	return 0;
}

void px_unbind(struct px_client *c, const char *service, const struct sockaddr_storage *address)
{
	struct px_service *s = client_service(c, service);
	struct px_port *p = px_service_port(s, address);
	if (!p)
		return;
	route_drop_listener(s->route, address);
	close(p->fd);
	*p = s->ports[--s->n_ports];
	if (link_ready(c))
		speak_unbind(c, service, address);
}

static int route_check(const struct px_service *s, const struct px_route *route, struct err *err)
{
	char text[ADDRESS_MAX];
	for (size_t i = 0; i < route->n_listeners; i++)
		if (!px_service_port(s, &route->listeners[i].address))
			return err_say(err, ENOENT, "service %s has no listener on %s", route->service,
				format_address(&route->listeners[i].address, text));
	return 0;
}

int px_route(struct px_client *c, const struct px_route *route, px_done done, void *arg, struct err *err)
{
	OWN_ROUTE struct route *copy = NULL;
	struct px_service *s = NULL;
	int r = client_service_get(c, route->service, &s, err);
	if (r == 0)
		r = route_check(s, route, err);
	if (r == 0)
		r = route_copy(route, &copy, err);
	if (r < 0)
		return r;
	px_service_route_finish(c, s, -ECANCELED, "a newer route replaced this one");
	route_free(s->route);
	s->route = TAKE_PTR(copy);
	s->done = done;
	s->done_arg = arg;
	drainer_free(px_service_drainer(s, route->generation));
	if (link_ready(c))
		speak_route(c, s);
	return 0;
}

void client_routed(
	struct px_client *c, const char *service, json_int_t seq, int result, const struct err *why)
{
	struct px_service *s = client_service(c, service);
	if (!s || s->route_seq != seq || !s->done)
		return;
	px_done done = TAKE_PTR(s->done);
	done(s->done_arg, result, why);
}

int px_drain(struct px_client *c, const char *service, uint32_t generation, uint32_t timeout_ms,
	px_drained progress, px_drained drained, void *arg, struct err *err)
{
	struct px_service *s = NULL;
	int r = client_service_get(c, service, &s, err);
	if (r < 0)
		return r;
	struct px_drainer *d = px_service_drainer(s, generation);
	if (!d) {
		d = calloc(1, sizeof *d);
		if (!d)
			return err_set(err, ENOMEM, "drain of service %s", service);
		LIST_INSERT_HEAD(&s->drains, d, next);
	}
	d->generation = generation;
	d->deadline_ms = clock_boot_ms() + timeout_ms;
	d->progress = progress;
	d->drained = drained;
	d->arg = arg;
	if (link_ready(c))
		speak_drain(c, s, d);
	return 0;
}

void client_drained(struct px_client *c, const json_t *msg, bool over)
{
	struct px_service *s = client_service(c, json_str(msg, "service", ""));
	struct px_drainer *d = s ? px_service_drainer(s, (uint32_t)json_int(msg, "generation", 0)) : NULL;
	struct px_counts counts;
	if (!d)
		return;
	counts_from_json(json_object_get(msg, "counts"), &counts);
	px_drained tell = over ? d->drained : d->progress;
	void *arg = d->arg;
	if (over)
		drainer_free(d);
	if (tell)
		tell(arg, &counts);
}

int px_count(struct px_client *c, const char *service, uint32_t generation, px_counted done, void *arg,
	struct err *err)
{
	if (!link_ready(c))
		return err_say(err, ENOTCONN, "the proxy is not up");
	speak_count(c, service, generation, done, arg);
	return 0;
}

void px_forget(struct px_client *c, const char *service)
{
	struct px_service *s = client_service(c, service);
	if (!s)
		return;
	px_service_free(c, s);
	if (link_ready(c))
		speak_forget(c, service);
}

json_t *px_status(struct px_client *c)
{
	if (c->state == LINK_UP)
		speak_status(c);
	return json_pack("{s:i, s:I, s:I, s:I, s:b, s:I, s:s, s:b}", "pid", (int)c->process.pid, "workers",
		c->workers, "connections", c->connections, "max_connections", c->max_connections, "up",
		c->state == LINK_UP, "restarts", (json_int_t)c->restarts, "version", c->version,
		"same_version", !strcmp(c->version, TEAL_VERSION));
}
