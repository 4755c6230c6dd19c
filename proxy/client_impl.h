/* The parts of the client: client.c is the contract's face and the desired state, link.c keeps a proxy
 * running and speaks with it, listen.c makes sockets. */
#pragma once
#include <sys/queue.h>

#include "base/proc.h"
#include "base/uvx.h"
#include "proxy/client.h"
#include "proxy/route.h"
#include "proxy/wire.h"

struct px_port {
	struct sockaddr_storage address;
	int fd;
};

struct px_drainer {
	LIST_ENTRY(px_drainer) next;
	uint32_t generation;
	int64_t deadline_ms; /* boot clock */
	px_drained progress, drained;
	void *arg;
};

struct px_service {
	TAILQ_ENTRY(px_service) next;
	char *name;
	struct px_port *ports;
	size_t n_ports, cap_ports;
	struct route *route;
	json_int_t route_seq; /* of the request that carries it; its answer is the one that counts */
	px_done done;	      /* NULL: nobody waits */
	void *done_arg;
	LIST_HEAD(, px_drainer) drains;
};

enum link_state {
	LINK_DOWN,	/* no process; a timer or px_open starts one */
	LINK_GREETING,	/* a process; asked hello */
	LINK_RESTORING, /* it answered; has not all the state yet */
	LINK_UP,
	LINK_LOST, /* a process that no longer speaks with us */
};

struct px_request {
	TAILQ_ENTRY(px_request) next;
	json_int_t seq;
	int64_t sent_ms;
	char *service;	    /* of a route */
	px_counted counted; /* of a count */
	void *arg;
	bool hello;	/* its last answer: it has told all it knows */
	bool restoring; /* the proxy is up when all of these are answered */
};

struct px_client {
	uv_loop_t *loop;
	struct px_config config;
	char *program, *socket_path;
	struct px_events events;
	TAILQ_HEAD(, px_service) services;

	enum link_state state;
	struct channel *channel;
	struct proc process;
	struct uvx_watch *watch;
	struct uvx_timer *timer; /* of the state: restart, greeting deadline, pulse */
	struct uvx_timer *announce;
	TAILQ_HEAD(, px_request) requests;
	json_int_t seq;
	unsigned restoring; /* requests */
	bool adopted;
	unsigned restarts, credit; /* immediate restarts left; grows with time */
	int64_t credit_ms;
	int64_t connections, max_connections, workers; /* as it said last */
	char version[32];

	bool closing, stopping;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* client.c */
struct px_service *client_service(struct px_client *c, const char *name);
int client_service_get(struct px_client *c, const char *name, struct px_service **ret, struct err *err);
void client_drained(struct px_client *c, const json_t *msg, bool over);
void client_routed(
	struct px_client *c, const char *service, json_int_t seq, int result, const struct err *why);
int px_service_add_port(struct px_service *s, const struct sockaddr_storage *address, int *fd);
void client_free(struct px_client *c);

/* link.c: the process and the channel to it. Adopts a living proxy or starts one. */
int link_open(struct px_client *c, struct err *err);
/* client_free, and what px_close promised, when it is done. */
void link_close(struct px_client *c, bool stop_proxy);
bool link_ready(const struct px_client *c); /* may be sent to */
void link_up(struct px_client *c);
void link_hung(struct px_client *c);

/* speak.c: requests and answers. */
void speak_hello(struct px_client *c);
void speak_quit(struct px_client *c);
void speak_restore(struct px_client *c);
void speak_status(struct px_client *c);
void speak_bind(struct px_client *c, const struct px_service *s, const struct px_port *p);
void speak_unbind(struct px_client *c, const char *service, const struct sockaddr_storage *address);
void speak_route(struct px_client *c, struct px_service *s);
void speak_drain(struct px_client *c, const struct px_service *s, const struct px_drainer *d);
void speak_count(
	struct px_client *c, const char *service, uint32_t generation, px_counted counted, void *arg);
void speak_forget(struct px_client *c, const char *service);
void speak_message(void *arg, json_t *msg, int *fds, unsigned n_fds);
/* All requests end unanswered; counts are told so, routes wait for the next proxy. */
void speak_fail(struct px_client *c);
/* How long the oldest request waits. */
int64_t speak_waiting_ms(const struct px_client *c);
/* The greeting's messages while the agent starts: takes state over from a living proxy. */
void speak_facts(struct px_client *c, const json_t *msg);
int speak_adopt(struct px_client *c, const json_t *msg, int *fd, struct err *err);

/* listen.c */
int listen_tcp(const struct sockaddr_storage *address, int *ret);
/* The proxy's control socket, made new; replaces what lies there. */
int listen_control(const char *path, int *ret, struct err *err);
int connect_control(const char *path, int *ret, struct err *err);
