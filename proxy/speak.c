#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"
#include "proxy/client_impl.h"

/* Sends one request; `details` say who waits for what. Steals msg. Out of memory ends the channel, as a lost
 * message would have to: the proxy is asked again from the start. */
static json_int_t speak(struct px_client *c, json_t *msg, int fd, const struct px_request *details)
{
	struct px_request *q = calloc(1, sizeof *q);
	if (!q) {
		json_decref(msg);
		channel_send(c->channel, NULL, -1);
		return 0;
	}
	if (details)
		*q = *details;
	q->seq = ++c->seq;
	q->sent_ms = clock_boot_ms();
	q->restoring = c->state == LINK_RESTORING;
	c->restoring += q->restoring;
	TAILQ_INSERT_TAIL(&c->requests, q, next);
	if (msg)
		json_object_set_new(msg, "seq", json_integer(q->seq));
	channel_send(c->channel, msg, fd);
	return q->seq;
}

static void request_free(struct px_client *c, struct px_request *q)
{
	TAILQ_REMOVE(&c->requests, q, next);
	free(q->service);
	free(q);
}

int64_t speak_waiting_ms(const struct px_client *c)
{
	const struct px_request *oldest = TAILQ_FIRST(&c->requests);
	return oldest ? clock_boot_ms() - oldest->sent_ms : 0;
}

void speak_hello(struct px_client *c)
{
	struct px_request details = { .hello = true };
	speak(c, json_pack("{s:s, s:s}", "op", "hello", "version", TEAL_VERSION), -1, &details);
}

void speak_status(struct px_client *c)
{
	speak(c, json_pack("{s:s}", "op", "status"), -1, NULL);
}

void speak_quit(struct px_client *c)
{
	speak(c, json_pack("{s:s}", "op", "quit"), -1, NULL);
}

void speak_bind(struct px_client *c, const struct px_service *s, const struct px_port *p)
{
	char text[ADDRESS_MAX];
	json_t *msg = json_pack("{s:s, s:s, s:s}", "op", "bind", "service", s->name, "address",
		format_address(&p->address, text));
	speak(c, msg, p->fd, NULL);
}

void speak_unbind(struct px_client *c, const char *service, const struct sockaddr_storage *address)
{
	char text[ADDRESS_MAX];
	json_t *msg = json_pack("{s:s, s:s, s:s}", "op", "unbind", "service", service, "address",
		format_address(address, text));
	speak(c, msg, -1, NULL);
}

struct route_emission {
	struct px_client *c;
	struct px_service *s;
};

static void route_part(void *arg, json_t *msg, bool last)
{
	struct route_emission *e = arg;
	struct px_request details = { .service = last ? strdup(e->s->name) : NULL };
	if (last)
		e->s->route_seq = speak(e->c, msg, -1, &details);
	else
		channel_send(e->c->channel, msg, -1);
}

void speak_route(struct px_client *c, struct px_service *s)
{
	struct route_emission e = { c, s };
	route_emit(s->route, s->name, route_part, &e);
}

void speak_drain(struct px_client *c, const struct px_service *s, const struct px_drainer *d)
{
	int64_t left = d->deadline_ms - clock_boot_ms();
	speak(c,
		json_pack("{s:s, s:s, s:I, s:I}", "op", "drain", "service", s->name, "generation",
			(json_int_t)d->generation, "timeout_ms", (json_int_t)(left > 0 ? left : 0)),
		-1, NULL);
}

void speak_count(struct px_client *c, const char *service, uint32_t generation, px_counted counted, void *arg)
{
	struct px_request details = { .counted = counted, .arg = arg };
	speak(c,
		json_pack("{s:s, s:s, s:I}", "op", "count", "service", service, "generation",
			(json_int_t)generation),
		-1, &details);
}

void speak_forget(struct px_client *c, const char *service)
{
	speak(c, json_pack("{s:s, s:s}", "op", "forget", "service", service), -1, NULL);
}

/* Everything again, listeners before routes before drains. A barrier at the end, so that there is an answer
 * to wait for even when there is nothing to restore. */
void speak_restore(struct px_client *c)
{
	struct px_service *s;
	struct px_drainer *d;
	c->state = LINK_RESTORING;
	c->restoring = 0;
	TAILQ_FOREACH (s, &c->services, next) {
		for (size_t i = 0; i < s->n_ports; i++)
			speak_bind(c, s, &s->ports[i]);
		if (s->route)
			speak_route(c, s);
		LIST_FOREACH (d, &s->drains, next)
			speak_drain(c, s, d);
	}
	speak_status(c);
}

void speak_facts(struct px_client *c, const json_t *msg)
{
	c->connections = json_int(msg, "connections", c->connections);
	c->max_connections = json_int(msg, "max_connections", c->max_connections);
	c->workers = json_int(msg, "workers", c->workers);
	const char *version = json_str(msg, "version", NULL);
	if (version)
		snprintf(c->version, sizeof c->version, "%s", version);
}

static void answer(struct px_client *c, struct px_request *q, const json_t *msg)
{
	struct px_counts counts;
	struct err why = { 0 };
	int result = -(int)json_int(msg, "code", 0);
	if (result < 0)
		err_say(&why, -result, "%s", json_str(msg, "error", "refused by the proxy"));
	speak_facts(c, msg);
	if (q->hello)
		speak_restore(c);
	if (q->counted) {
		counts_from_json(json_object_get(msg, "counts"), &counts);
		q->counted(q->arg, result, &counts);
	}
	if (q->service)
		client_routed(c, q->service, q->seq, result, result < 0 ? &why : NULL);
}

void speak_message(void *arg, json_t *msg, int *fds, unsigned n_fds)
{
	struct px_client *c = arg;
	struct px_request *q;
	const char *op = json_str(msg, "op", "");
	(void)fds; /* copies of what we hold already: the channel closes them */
	(void)n_fds;
	if (!strcmp(op, "draining") || !strcmp(op, "drained")) {
		client_drained(c, msg, !strcmp(op, "drained"));
		return;
	}
	if (json_flag(msg, "more", false)) {
		speak_facts(c, msg);
		return;
	}
	json_int_t seq = json_int(msg, "seq", 0);
	TAILQ_FOREACH (q, &c->requests, next)
		if (q->seq == seq)
			break;
	if (!q)
		return;
	struct px_request mine = *q;
	q->service = NULL;
	request_free(c, q);
	c->restoring -= mine.restoring;
	answer(c, &mine, msg);
	free(mine.service);
	if (mine.restoring && c->restoring == 0 && c->state == LINK_RESTORING && !c->closing)
		link_up(c);
}

void speak_fail(struct px_client *c)
{
	struct px_request *q;
	struct px_counts none = { 0 };
	c->restoring = 0;
	while ((q = TAILQ_FIRST(&c->requests))) {
		px_counted counted = q->counted;
		void *arg = q->arg;
		request_free(c, q);
		if (counted)
			counted(arg, -EPIPE, &none);
	}
}

int speak_adopt(struct px_client *c, const json_t *msg, int *fd, struct err *err)
{
	struct sockaddr_storage address;
	socklen_t len;
	struct px_service *s;
	const char *op = json_str(msg, "op", ""), *service = json_str(msg, "service", "");
	speak_facts(c, msg);
	if (json_int(msg, "code", 0))
		return err_say(err, EPROTO, "%s", json_str(msg, "error", "refused by the proxy"));
	bool binds = !strcmp(op, "bind"), routes = !strcmp(op, "route");
	if (!binds && !routes)
		return 0;
	int r = client_service_get(c, service, &s, err);
	if (r == 0 && routes)
		r = route_add_part(&s->route, msg, err);
	if (r < 0 || routes)
		return r;
	if (*fd < 0 || parse_address(json_str(msg, "address", ""), &address, &len) < 0)
		return err_say(err, EPROTO, "the proxy told of a listener without its socket");
	return px_service_add_port(s, &address, fd) < 0 ? err_set(err, ENOMEM, "listener") : 0;
}
