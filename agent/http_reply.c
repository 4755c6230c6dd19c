#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <string.h>

#include "agent/http_private.h"
#include "base/own.h"

const struct http_peer *http_peer(const struct http_request *r)
{
	return &r->peer;
}

const char *http_param(const struct http_request *r, const char *name)
{
	return http_field_find(&r->fields, HTTP_PARAM, name);
}

const char *http_query(const struct http_request *r, const char *name)
{
	return http_field_find(&r->fields, HTTP_QUERY, name);
}

const char *http_header(const struct http_request *r, const char *name)
{
	return http_field_find(&r->fields, HTTP_HEADER, name);
}

const json_t *http_body(const struct http_request *r)
{
	return r->json;
}

/* Every answer ends here. The response is queued when MHD asks for it: from within the handler's call at
 * once, for a suspended request after its resume. Without a response (no memory) the connection is dropped
 * instead. */
static void answer(
	struct http_request *r, unsigned status, const char *content_type, struct MHD_Response *response)
{
	r->answered = true;
	r->status = status;
	r->response = response;
	if (!r->conn) {
		http_request_bury(r);
		return;
	}
	if (!response) {
		http_request_abort(r);
		return;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (r->allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, r->allow);
	if (r->suspended)
		http_request_resume(r);
}

static struct MHD_Response *response_of(const char *text)
{
	/* MHD_RESPMEM_MUST_COPY does not write through the pointer, it only lacks the const. */
	return MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
}

void http_reply_text(struct http_request *r, unsigned status, const char *content_type, const char *text)
{
	answer(r, status, content_type, response_of(text));
}

void http_reply(struct http_request *r, unsigned status, json_t *body)
{
	OWN_JSON json_t *owned = body;
	OWN_FREE char *text = json_dumps(owned, JSON_COMPACT | JSON_ENCODE_ANY);
	OWN_BUF struct buf line = { 0 };
	if (!text || buf_addf(&line, "%s\n", text) < 0)
		http_reply_text(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "application/json",
			"{\"error\":{\"code\":\"internal\",\"message\":\"out of memory\"}}\n");
	else
		http_reply_text(r, status, "application/json", line.data);
}

void http_error(struct http_request *r, unsigned status, const char *code, const char *fmt, ...)
{
	OWN_BUF struct buf message = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&message, fmt, ap);
	va_end(ap);
	json_t *text = json_string(message.data ? message.data : ""); /* NULL: it quotes what is not UTF-8 */
	http_reply(r, status,
		json_pack("{s:{s:s, s:o}}", "error", "code", code, "message",
			text ? text : json_string("(message is not UTF-8)")));
}

static void tell_room(struct http_request *r)
{
	if (!r->room || http_stream_backlog(r) > HTTP_STREAM_ROOM_BYTES)
		return;
	void (*room)(void *arg) = r->room;
	r->room = NULL;
	room(r->room_arg);
}

void http_stream_wait_room(struct http_request *r, void (*room)(void *arg), void *arg)
{
	assert(http_stream_backlog(r) > 0);
	r->room = room;
	r->room_arg = arg;
}

static void stream_compact(struct http_request *r)
{
	if (r->out_sent == r->out.len || r->out_sent > HTTP_STREAM_MAX_BYTES / 4) {
		buf_drop(&r->out, r->out_sent);
		r->out_sent = 0;
	}
}

/* MHD asks for the next bytes. With none there the connection sleeps until the next write. */
static ssize_t stream_read(void *arg, uint64_t position, char *to, size_t max)
{
	struct http_request *r = arg;
	(void)position;
	if (r->aborted)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	size_t n = http_stream_backlog(r);
	if (n == 0 && r->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		http_request_suspend(r);
		return 0;
	}
	if (n > max)
		n = max;
	memcpy(to, r->out.data + r->out_sent, n);
	r->out_sent += n;
	stream_compact(r);
	tell_room(r);
	return (ssize_t)n;
}

void http_stream(struct http_request *r, const char *content_type, void (*gone)(void *arg), void *arg)
{
	r->gone = gone;
	r->gone_arg = arg;
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 * 1024, stream_read, r, NULL);
	if (response)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	/* No timeout from here on: a reader may pause as long as it likes (a pager), if only it keeps the
	 * connection and not too much waits for it. "close" above keeps that from the connection's next
	 * request. */
	if (r->conn)
		MHD_set_connection_option(r->conn, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
	answer(r, MHD_HTTP_OK, content_type, response);
}

size_t http_stream_backlog(const struct http_request *r)
{
	return r->out.len - r->out_sent;
}

int http_stream_write(struct http_request *r, const void *bytes, size_t len)
{
	if (!r->conn || r->aborted || r->ended)
		return -EPIPE;
	if (len > HTTP_STREAM_MAX_BYTES - http_stream_backlog(r) || buf_add(&r->out, bytes, len) < 0) {
		http_request_abort(r);
		return -EPIPE;
	}
	if (r->suspended)
		http_request_resume(r);
	return 0;
}

void http_stream_end(struct http_request *r)
{
	r->ended = true;
	if (r->suspended)
		http_request_resume(r);
}
