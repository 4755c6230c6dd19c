/* What the files of the API server share: a request from its first byte to its release. Only http.c and
 * http_reply.c know libmicrohttpd ("MHD"); http_route.c knows neither it nor the loop. */
#pragma once
#include <sys/queue.h>

#include "agent/http.h"

#define HTTP_HEAD_MAX_BYTES    (16u * 1024)
#define HTTP_BODY_MAX_BYTES    (1024u * 1024)
#define HTTP_STREAM_MAX_BYTES  (1024u * 1024)
#define HTTP_STREAM_ROOM_BYTES (64u * 1024) /* that little left is room */
#define HTTP_CONNECTIONS_MAX   64u
#define HTTP_BODY_TIMEOUT_S    15u

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;

enum http_field_kind { HTTP_PARAM, HTTP_QUERY, HTTP_HEADER };

/* Copied, so that a handler may look at them after the client has gone. */
struct http_field {
	enum http_field_kind kind;
	char *name, *value;
};
struct http_fields {
	struct http_field *items;
	size_t n, cap;
};
int http_field_add(struct http_fields *f, enum http_field_kind kind, const char *name, size_t name_len,
	const char *value, size_t value_len);
const char *http_field_find(const struct http_fields *f, enum http_field_kind kind, const char *name);
void http_fields_done(struct http_fields *f);

/* The row that answers, with its parameters added to f. 0, -ENOENT, -EOPNOTSUPP (then allow lists the methods
 * that the path has: "GET, POST"), or -ENOMEM. */
int http_route_find(const struct http_route *routes, const char *method, const char *path,
	struct http_fields *f, struct buf *allow, const struct http_route **ret);

/* Two parties hold a request: MHD's connection (conn) and, from the handler's call to the answer, the
 * handler. When both have let go it is buried, and freed in the loop's next turn. */
struct http_request {
	TAILQ_ENTRY(http_request) link; /* in the server's living or dead */
	struct http_server *server;
	struct MHD_Connection *conn; /* NULL: the connection is over */
	int fd;			     /* its socket; MHD's */
	bool suspended;		     /* MHD leaves the connection alone until we resume it */
	bool handled, answered;	     /* the handler was called; it has answered */
	bool aborted;		     /* the client hung up or was given up: MHD is to drop the connection */

	const struct http_route *route;
	struct http_fields fields;
	struct http_peer peer;
	struct buf body;
	json_t *json;
	int64_t body_until_ms; /* boot-time clock */

	struct MHD_Response *response; /* waits to be queued */
	unsigned status;
	char *allow; /* the Allow header of a 405 */

	struct buf out; /* of a stream: what the client has not taken yet, from out_sent on */
	size_t out_sent;
	bool ended;
	void (*gone)(void *arg);
	void *gone_arg;
	void (*room)(void *arg); /* waits for the backlog to shrink; NULL: nobody does */
	void *room_arg;

	uv_poll_t watch; /* for the client's hang-up, which MHD does not see while suspended */
	bool watching;
};
TAILQ_HEAD(http_requests, http_request);

struct http_server {
	uv_loop_t *loop;
	const struct http_route *routes;
	void *arg;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;	  /* MHD's epoll descriptor */
	uv_timer_t timer; /* MHD's next timeout, or now */
	struct http_requests living, dead;
	size_t n_requests;
	bool again;    /* MHD needs another turn, whatever its descriptor says */
	bool closing;  /* http_close was called: MHD gets no more turns */
	bool stopping; /* and nobody is inside MHD: it can be stopped */
	void (*closed)(void *arg);
	void *closed_arg;
};

/* http.c: */
/* Takes the connection out of MHD's hands until http_request_resume. Only from within a call by MHD. */
void http_request_suspend(struct http_request *r);
void http_request_resume(struct http_request *r);
/* Gives the client up. */
void http_request_abort(struct http_request *r);
/* Nobody holds it any more: gone runs and it is freed in the loop's next turn. */
void http_request_bury(struct http_request *r);
