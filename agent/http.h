/* The API server: libmicrohttpd inside our loop, on a unix socket. Handlers get a parsed request and answer
 * now or later. Knows HTTP and JSON, nothing of services. Limits: head 16 KiB, body 1 MiB with
 * Content-Length, 64 connections, 15 s for a body; chunked bodies are refused. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

struct http_server;
struct http_request; /* alive until answered, or until its stream was ended and `gone` ran */

struct http_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid; /* for the log only */
};

/* arg is the server's; runs once per request with its whole body. Must lead to exactly one http_reply… or
 * http_stream. */
typedef void (*http_handler)(void *arg, struct http_request *r);

struct http_route {
	const char *method;  /* "GET" */
	const char *pattern; /* "/v1/services/{service}/apply": {…} matches one segment */
	http_handler handler;
	const char *help;
};

/* listen_fd: bound and listening unix socket; owned from here on. routes ends with method NULL; borrowed.
 * Unknown path: 404, known path with another method: 405, both as JSON errors. */
int http_open(uv_loop_t *loop, int listen_fd, const struct http_route *routes, void *arg,
	struct http_server **ret, struct err *err);
/* Ends streams, closes connections; closed runs once all is freed, that is, not before every request that a
 * handler still holds was answered (into the void, as always). */
void http_close(struct http_server *s, void (*closed)(void *arg), void *arg);

const struct http_peer *http_peer(const struct http_request *r);
/* Segment that {name} matched; NULL if the pattern has none of that name. */
const char *http_param(const struct http_request *r, const char *name);
const char *http_query(const struct http_request *r, const char *name); /* NULL: absent */
const char *http_header(const struct http_request *r, const char *name);
/* The JSON body; NULL when there was none. Malformed JSON never reaches a handler (400). Borrowed. */
const json_t *http_body(const struct http_request *r);

/* Takes the reference to body. The request is dead afterwards. A client that hung up meanwhile is no error.
 */
void http_reply(struct http_request *r, unsigned status, json_t *body);
/* {"error":{"code":"held","message":…,…}} */
void http_error(struct http_request *r, unsigned status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void http_reply_text(struct http_request *r, unsigned status, const char *content_type, const char *text);

/* Starts a streamed answer; then any number of writes from the loop. gone runs exactly once, when the client
 * hung up, fell more than 1 MiB behind, the server closes, or after http_stream_end was delivered; the
 * request is dead after it. */
void http_stream(struct http_request *r, const char *content_type, void (*gone)(void *arg), void *arg);
int http_stream_write(struct http_request *r, const void *bytes, size_t len); /* -EPIPE: gone is on its way */
/* Bytes written that the client has not taken yet. Who has much to say stops when it passes
 * HTTP_STREAM_PACE_BYTES and goes on when asked: */
size_t http_stream_backlog(const struct http_request *r);
#define HTTP_STREAM_PACE_BYTES (256u * 1024)
/* room runs once, later, when the client has taken nearly all of the backlog (there must be one), and may
 * write; never after gone. */
void http_stream_wait_room(struct http_request *r, void (*room)(void *arg), void *arg);
void http_stream_end(struct http_request *r);
