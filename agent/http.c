#include "agent/http.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/http_private.h"
#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"
#include "base/uvx.h"

static void on_timer(uv_timer_t *timer);

/* pump() in the loop's next turn. */
static void wake(struct http_server *s)
{
	uv_timer_start(&s->timer, on_timer, 0, 0);
}

static void watch_stop(struct http_request *r)
{
	if (r->watching)
		uv_poll_stop(&r->watch);
}

static void on_hangup(uv_poll_t *watch, int status, int events)
{
	struct http_request *r = watch->data;
	(void)status;
	(void)events;
	watch_stop(r);
	if (r->suspended)
		http_request_abort(r); /* else MHD is at it and sees for itself */
}

/* Without a watch (no memory) a hang-up shows at the next write. */
static void watch_start(struct http_request *r)
{
	if (r->watching || uv_poll_init(r->server->loop, &r->watch, r->fd) < 0)
		return;
	r->watching = true;
	r->watch.data = r;
	/* Urgent data never comes on a unix socket, but EPOLLHUP always does. Not UV_DISCONNECT: that fires,
	 * again and again, for a client that only ended its sending side and still wants the answer. */
	uv_poll_start(&r->watch, UV_PRIORITIZED, on_hangup);
}

void http_request_suspend(struct http_request *r)
{
	r->suspended = true;
	MHD_suspend_connection(r->conn);
	watch_start(r);
}

void http_request_resume(struct http_request *r)
{
	r->suspended = false;
	r->server->again = true; /* nothing becomes readable by it: MHD has to be called */
	MHD_resume_connection(r->conn);
	wake(r->server);
}

void http_request_abort(struct http_request *r)
{
	r->aborted = true;
	if (!r->conn)
		return;
	shutdown(r->fd, SHUT_RDWR); /* MHD notices it while it waits for the client to take more */
	if (r->suspended)
		http_request_resume(r);
}

void http_request_bury(struct http_request *r)
{
	TAILQ_REMOVE(&r->server->living, r, link);
	TAILQ_INSERT_TAIL(&r->server->dead, r, link);
	wake(r->server);
}

static struct http_request *request_new(struct http_server *s, struct MHD_Connection *conn)
{
	struct http_request *r = calloc(1, sizeof *r);
	if (!r)
		return NULL;
	r->server = s;
	r->conn = conn;
	r->fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	r->body.max = HTTP_BODY_MAX_BYTES;
	r->body_until_ms = clock_boot_ms() + HTTP_BODY_TIMEOUT_S * 1000;
	TAILQ_INSERT_TAIL(&s->living, r, link);
	s->n_requests++;
	return r;
}

static void request_release(struct http_request *r)
{
	struct http_server *s = r->server;
	if (r->response)
		MHD_destroy_response(r->response);
	json_decref(r->json);
	http_fields_done(&r->fields);
	buf_done(&r->body);
	buf_done(&r->out);
	free(r->allow);
	free(r);
	s->n_requests--;
	if (s->stopping)
		wake(s);
}

static void on_watch_closed(uv_handle_t *h)
{
	request_release(h->data);
}

static void reap(struct http_server *s)
{
	for (struct http_request *r; (r = TAILQ_FIRST(&s->dead));) {
		TAILQ_REMOVE(&s->dead, r, link);
		if (r->gone)
			r->gone(r->gone_arg);
		if (r->watching)
			uv_close((uv_handle_t *)&r->watch, on_watch_closed);
		else
			request_release(r);
	}
}

static enum MHD_Result collect_field(
	void *arg, enum MHD_ValueKind mhd_kind, const char *name, const char *value)
{
	struct http_request *r = arg;
	enum http_field_kind kind = mhd_kind == MHD_HEADER_KIND ? HTTP_HEADER : HTTP_QUERY;
	if (!value)
		value = ""; /* "?follow" */
	int n = http_field_add(&r->fields, kind, name, strlen(name), value, strlen(value));
	return n < 0 ? MHD_NO : MHD_YES;
}

static void read_peer(struct http_request *r)
{
	struct ucred cred = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	socklen_t len = sizeof cred;
	getsockopt(r->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	r->peer = (struct http_peer){ .uid = cred.uid, .gid = cred.gid, .pid = cred.pid };
}

static void check_route(struct http_request *r, const char *method, const char *path)
{
	OWN_BUF struct buf allow = { 0 };
	int n = http_route_find(r->server->routes, method, path, &r->fields, &allow, &r->route);
	if (n == -ENOENT) {
		http_error(r, MHD_HTTP_NOT_FOUND, "not_found", "no such call: %s", path);
	} else if (n == -EOPNOTSUPP) {
		r->allow = buf_take(&allow);
		http_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, "bad_request", "%s: %s is not possible, only %s",
			path, method, r->allow ? r->allow : "");
	} else if (n < 0) {
		http_error(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "internal", "out of memory");
	}
}

static void check_body(struct http_request *r)
{
	if (http_header(r, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
		http_error(r, MHD_HTTP_LENGTH_REQUIRED, "bad_request", "a body needs a Content-Length");
		return;
	}
	const char *length = http_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
	uint64_t n;
	if (length && parse_u64(length, 0, HTTP_BODY_MAX_BYTES, &n) < 0)
		http_error(r, MHD_HTTP_CONTENT_TOO_LARGE, "bad_request",
			"body of %.20s bytes is larger than %u bytes", length, HTTP_BODY_MAX_BYTES);
}

/* The head has arrived: everything that can be refused before a byte of the body is read. */
static void request_begin(struct http_request *r, const char *method, const char *path)
{
	const union MHD_ConnectionInfo *head =
		MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	read_peer(r);
	MHD_get_connection_values(r->conn, MHD_HEADER_KIND, collect_field, r);
	MHD_get_connection_values(r->conn, MHD_GET_ARGUMENT_KIND, collect_field, r);
	if (head && head->header_size > HTTP_HEAD_MAX_BYTES) {
		http_error(r, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "bad_request",
			"head is larger than %u bytes", HTTP_HEAD_MAX_BYTES);
		return;
	}
	check_route(r, method, path);
	if (!r->response)
		check_body(r);
}

/* A body that comes too slowly ends the connection: MHD takes no answer in the middle of one. */
static enum MHD_Result request_take(struct http_request *r, const char *bytes, size_t len)
{
	if (clock_boot_ms() > r->body_until_ms)
		return MHD_NO;
	return buf_add(&r->body, bytes, len) < 0 ? MHD_NO : MHD_YES;
}

static void request_dispatch(struct http_request *r)
{
	struct err err;
	if (r->body.len > 0 && json_parse(r->body.data, r->body.len, "body", &r->json, &err) < 0) {
		http_error(r, MHD_HTTP_BAD_REQUEST, "bad_request", "%s", err.msg);
		return;
	}
	buf_done(&r->body);
	r->handled = true;
	r->route->handler(r->server->arg, r);
}

/* Hands the answer to MHD, or puts the connection to sleep until there is one. */
static enum MHD_Result request_queue(struct http_request *r)
{
	if (r->aborted)
		return MHD_NO;
	if (!r->response) {
		http_request_suspend(r);
		return MHD_YES;
	}
	struct MHD_Response *response = TAKE_PTR(r->response);
	enum MHD_Result queued = MHD_queue_response(r->conn, r->status, response);
	MHD_destroy_response(response);
	return queued;
}

/* MHD calls this when the head is there, for each piece of the body, at its end, and after every resume. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *path,
	const char *method, const char *version, const char *bytes, size_t *len, void **slot)
{
	struct http_request *r = *slot;
	(void)version;
	if (!r) {
		r = request_new(arg, conn);
		if (!r)
			return MHD_NO;
		*slot = r;
		request_begin(r, method, path);
		return r->answered ? request_queue(r) : MHD_YES;
	}
	if (*len > 0) {
		enum MHD_Result taken = request_take(r, bytes, *len);
		*len = 0;
		return taken;
	}
	if (!r->handled && !r->answered)
		request_dispatch(r);
	return request_queue(r);
}

/* The connection is done with the request, one way or another. */
static void on_completed(
	void *arg, struct MHD_Connection *conn, void **slot, enum MHD_RequestTerminationCode why)
{
	struct http_request *r = *slot;
	(void)arg;
	(void)conn;
	(void)why;
	if (!r)
		return;
	*slot = NULL;
	r->conn = NULL;
	watch_stop(r); /* the descriptor goes, or serves the connection's next request */
	if (!r->handled || r->answered)
		http_request_bury(r);
}

/* When all connections are taken, MHD stops to listen; only its turn after one has gone takes that back. */
static void on_connection(
	void *arg, struct MHD_Connection *conn, void **slot, enum MHD_ConnectionNotificationCode what)
{
	struct http_server *s = arg;
	(void)conn;
	(void)slot;
	if (what == MHD_CONNECTION_NOTIFY_CLOSED)
		s->again = true;
}

/* %XX in place, once; %00 stays as it is, so that no text is ever cut short by it. */
static size_t unescape(void *arg, struct MHD_Connection *conn, char *text)
{
	size_t n = 0;
	(void)arg;
	(void)conn;
	for (const char *p = text; *p; p++) {
		const char hex[] = { p[0] == '%' && p[1] ? p[1] : '\0', p[0] == '%' && p[1] ? p[2] : '\0',
			'\0' };
		char *end;
		unsigned long byte = strtoul(hex, &end, 16);
		bool escaped = strspn(hex, "0123456789abcdefABCDEF") == 2 && byte != 0;
		text[n++] = escaped ? (char)byte : *p;
		if (escaped)
			p += 2;
	}
	text[n] = '\0';
	return n;
}

/* MHD refuses to stop while a connection sleeps. Requests whose handler has not answered yet stay until it
 * does. */
static void server_stop(struct http_server *s)
{
	struct MHD_Daemon *daemon = TAKE_PTR(s->daemon);
	struct http_request *r;
	if (!daemon)
		return;
	TAILQ_FOREACH (r, &s->living, link) {
		r->aborted = true;
		if (r->suspended)
			http_request_resume(r);
	}
	MHD_stop_daemon(daemon);
}

static void on_closed(uv_handle_t *h)
{
	OWN_FREE struct http_server *s = h->data;
	s->closed(s->closed_arg);
}

static void arm_timer(struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG ms;
	if (s->stopping && s->n_requests == 0)
		uv_close((uv_handle_t *)&s->timer, on_closed);
	else if (s->closing)
		; /* what there is still to wait for wakes us */
	else if (s->again || !TAILQ_EMPTY(&s->dead))
		wake(s);
	else if (MHD_get_timeout(s->daemon, &ms) == MHD_YES)
		uv_timer_start(&s->timer, on_timer, ms, 0);
	else
		uv_timer_stop(&s->timer);
}

/* Everything that moves the server on: MHD's turn, then the burials that it or others brought about. */
static void pump(struct http_server *s)
{
	s->again = false;
	if (s->stopping)
		server_stop(s);
	else if (!s->closing)
		MHD_run(s->daemon);
	reap(s);
	arm_timer(s);
}

static void on_timer(uv_timer_t *timer)
{
	pump(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	pump(poll->data);
}

static struct MHD_Daemon *start_daemon(struct http_server *s, int listen_fd)
{
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
		MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, HTTP_BODY_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)2 * HTTP_HEAD_MAX_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_UNESCAPE_CALLBACK, unescape, s,
		MHD_OPTION_END);
}

int http_open(uv_loop_t *loop, int listen_fd, const struct http_route *routes, void *arg,
	struct http_server **ret, struct err *err)
{
	OWN_FD int fd = listen_fd;
	OWN_FREE struct http_server *s = calloc(1, sizeof *s);
	if (!s || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return err_set(err, s ? errno : ENOMEM, "start the API server");
	*s = (struct http_server){ .loop = loop, .routes = routes, .arg = arg };
	TAILQ_INIT(&s->living);
	TAILQ_INIT(&s->dead);
	s->daemon = start_daemon(s, fd);
	if (!s->daemon)
		return err_set(err, errno, "start the API server");
	TAKE_FD(fd);
	int epoll_fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	int r = uv_poll_init(loop, &s->poll, epoll_fd);
	if (r < 0) {
		MHD_stop_daemon(s->daemon);
		return uvx_err(err, r, "start the API server");
	}
	uv_timer_init(loop, &s->timer);
	s->poll.data = s->timer.data = s;
	uv_poll_start(&s->poll, UV_READABLE, on_poll);
	*ret = TAKE_PTR(s);
	return 0;
}

static void on_poll_closed(uv_handle_t *h)
{
	struct http_server *s = h->data;
	s->stopping = true;
	wake(s);
}

/* Not at once: the caller may be a handler, that is, inside MHD. */
void http_close(struct http_server *s, void (*closed)(void *arg), void *arg)
{
	s->closing = true;
	s->closed = closed;
	s->closed_arg = arg;
	uv_close((uv_handle_t *)&s->poll, on_poll_closed);
}
