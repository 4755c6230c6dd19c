/* The API server against real clients on a real unix socket, all on one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/http.h"
#include "base/own.h"

struct world {
	uv_loop_t loop;
	struct http_server *server;
	struct sockaddr_un address;
	char dir[32];
	bool closed;
	struct http_request *held; /* by the handlers below that answer later */
	unsigned calls, gone;
	bool gone_inside; /* gone ran within the call that led to it */
	bool in_call;
};

struct client {
	struct world *w;
	uv_pipe_t pipe;
	uv_connect_t connect;
	struct buf in;
	bool eof, shut;
	bool reading;
};

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *ret)
{
	(void)h;
	*ret = uv_buf_init(malloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk)
{
	struct client *c = stream->data;
	if (n > 0)
		buf_add(&c->in, chunk->base, (size_t)n);
	else if (n < 0)
		c->eof = true;
	if (c->eof)
		uv_read_stop(stream);
	free(chunk->base);
}

static void client_read(struct client *c)
{
	c->reading = true;
	uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
}

static void on_connect(uv_connect_t *req, int status)
{
	struct client *c = req->data;
	assert_int_equal(status, 0);
	if (c->reading)
		client_read(c);
}

static void client_open(struct world *w, struct client *c, bool reading)
{
	*c = (struct client){ .w = w, .reading = reading };
	uv_pipe_init(&w->loop, &c->pipe, 0);
	c->pipe.data = c->connect.data = c;
	uv_pipe_connect(&c->connect, &c->pipe, w->address.sun_path, on_connect);
}

static void on_written(uv_write_t *req, int status)
{
	(void)status;
	free(req->data);
	free(req);
}

static void client_send(struct client *c, const char *text)
{
	uv_write_t *req = calloc(1, sizeof *req);
	req->data = strdup(text);
	uv_buf_t b = uv_buf_init(req->data, (unsigned)strlen(text));
	uv_write(req, (uv_stream_t *)&c->pipe, &b, 1, on_written);
}

static void on_shut(uv_handle_t *h)
{
	((struct client *)h->data)->shut = true;
}

static void client_close(struct client *c)
{
	uv_close((uv_handle_t *)&c->pipe, on_shut);
	while (!c->shut)
		uv_run(&c->w->loop, UV_RUN_ONCE);
	buf_done(&c->in);
}

/* Runs the loop until the condition holds; alarm() ends a test that waits in vain. */
#define WAIT(w, condition)                                                                                   \
	while (!(condition))                                                                                 \
	uv_run(&(w)->loop, UV_RUN_ONCE)

static bool has(const struct client *c, const char *text)
{
	return c->in.data && strstr(c->in.data, text);
}

/* One request on a connection of its own; returns what came until the server closed. Caller frees. */
static char *ask(struct world *w, const char *request)
{
	struct client c;
	client_open(w, &c, true);
	client_send(&c, request);
	WAIT(w, c.eof);
	char *all = strdup(c.in.data ? c.in.data : "");
	client_close(&c);
	return all;
}

static void expect(struct world *w, const char *request, const char *status, const char *part)
{
	OWN_FREE char *answer = ask(w, request);
	if (strncmp(answer, status, strlen(status)) != 0 || !strstr(answer, part))
		fail_msg("wanted %s … %s, got:\n%s", status, part, answer);
}

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
#define OK_STATUS  "HTTP/1.1 200 "
#define POST(path) "POST " path " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"

static void h_param(void *arg, struct http_request *r)
{
	struct world *w = arg;
	w->calls++;
	const char *query = http_query(r, "q");
	http_reply(r, 200,
		json_pack("{s:s?, s:s?, s:b, s:i, s:s?}", "name", http_param(r, "name"), "q", query, "none",
			http_query(r, "absent") == NULL && http_param(r, "q") == NULL, "uid",
			(int)http_peer(r)->uid, "agent", http_header(r, "USER-AGENT")));
}

static void h_body(void *arg, struct http_request *r)
{
	((struct world *)arg)->calls++;
	const json_t *body = http_body(r);
	http_reply(r, 202, body ? json_deep_copy(body) : json_null());
}

static void h_held(void *arg, struct http_request *r)
{
	((struct world *)arg)->held = r;
}

static void on_gone(void *arg)
{
	struct world *w = arg;
	w->gone++;
	w->gone_inside = w->in_call;
	w->held = NULL;
}

static void h_stream(void *arg, struct http_request *r)
{
	struct world *w = arg;
	w->in_call = true;
	http_stream(r, "application/x-ndjson", on_gone, w);
	w->in_call = false;
	w->held = r;
}

static void on_world_closed(void *arg)
{
	((struct world *)arg)->closed = true;
}

static void h_close(void *arg, struct http_request *r)
{
	struct world *w = arg;
	http_close(w->server, on_world_closed, w);
	w->server = NULL;
	http_reply_text(r, 200, "text/plain", "bye\n");
}

static const struct http_route routes[] = {
	{ "GET", "/v1/things/{name}", h_param, "" },
	{ "POST", "/v1/things/{name}", h_body, "" },
	{ "POST", "/v1/things/{name}/apply", h_body, "" },
	{ "GET", "/v1/held", h_held, "" },
	{ "GET", "/v1/stream", h_stream, "" },
	{ "POST", "/v1/close", h_close, "" },
	{ NULL, NULL, NULL, NULL },
};

static int listen_on(struct world *w)
{
	strcpy(w->dir, "/tmp/teal-http-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->address.sun_family = AF_UNIX;
	snprintf(w->address.sun_path, sizeof w->address.sun_path, "%s/s", w->dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&w->address, sizeof w->address), 0);
	assert_int_equal(listen(fd, 128), 0);
	return fd;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct err err;
	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(http_open(&w->loop, listen_on(w), routes, w, &w->server, &err), 0);
	alarm(20);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	if (w->server) {
		http_close(w->server, on_world_closed, w);
		assert_false(w->closed);
	}
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_true(w->closed);
	assert_false(w->gone_inside);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	unlink(w->address.sun_path);
	rmdir(w->dir);
	free(w);
	return 0;
}

static void test_routes(void **state)
{
	struct world *w = *state;
	expect(w, GET("/v1/things/web?q=a%20b+c"), OK_STATUS,
		"\"name\":\"web\",\"q\":\"a b c\",\"none\":true");
	expect(w, GET("/v1/things/web?q"), OK_STATUS, "\"q\":\"\"");
	expect(w, GET("/v1/things/we%62?q=%3"), OK_STATUS, "\"name\":\"web\",\"q\":\"%3\"");
	expect(w, GET("/v1/things/a%00b"), OK_STATUS, "\"name\":\"a%00b\"");
	expect(w, "GET /v1/things/x HTTP/1.0\r\nUser-Agent: me\r\n\r\n", "HTTP/1", "\"agent\":\"me\"");
	assert_int_equal(w->calls, 5);
	expect(w, GET("/v1/things/"), "HTTP/1.1 404 ",
		"{\"error\":{\"code\":\"not_found\",\"message\":\"no such");
	expect(w, GET("/v1/things"), "HTTP/1.1 404 ", "not_found");
	expect(w, GET("/v1/things/a/b"), "HTTP/1.1 404 ", "not_found");
	expect(w, GET("/"), "HTTP/1.1 404 ", "Content-Type: application/json");
	expect(w, "DELETE /v1/things/a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 ",
		"Allow: GET, POST");
	assert_int_equal(w->calls, 5);
}

static void test_peer(void **state)
{
	struct world *w = *state;
	OWN_FREE char *answer = ask(w, GET("/v1/things/x"));
	char want[32];
	snprintf(want, sizeof want, "\"uid\":%d", (int)getuid());
	assert_non_null(strstr(answer, want));
}

static void test_bodies(void **state)
{
	struct world *w = *state;
	expect(w, POST("/v1/things/a/apply") "Content-Length: 7\r\n\r\n{\"a\":1}", "HTTP/1.1 202 ",
		"\r\n\r\n{\"a\":1}\n");
	expect(w, POST("/v1/things/a/apply") "\r\n", "HTTP/1.1 202 ", "\r\n\r\nnull\n");
	assert_int_equal(w->calls, 2);
	expect(w, POST("/v1/things/a") "Content-Length: 3\r\n\r\n{]}", "HTTP/1.1 400 ", "body:1:");
	expect(w, POST("/v1/things/a") "Content-Length: 2\r\n\r\n[]", "HTTP/1.1 400 ", "not a JSON object");
	expect(w, POST("/v1/things/a") "Content-Length: 1048577\r\n\r\n", "HTTP/1.1 413 ",
		"larger than 1048576");
	expect(w, POST("/v1/things/a") "Content-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 4", "");
	expect(w, POST("/v1/things/a") "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 411 ", "Content-Length");
	assert_int_equal(w->calls, 2);
}

static void test_largest_body(void **state)
{
	struct world *w = *state;
	size_t size = 1024 * 1024;
	OWN_BUF struct buf request = { 0 };
	buf_addf(&request, POST("/v1/things/a") "Content-Length: %zu\r\n\r\n{\"a\":\"", size);
	for (size_t i = 0; i < size - 8; i++)
		buf_add(&request, "x", 1);
	buf_adds(&request, "\"}");
	expect(w, request.data, "HTTP/1.1 202 ", "xxxx\"}\n");
}

static void test_large_head(void **state)
{
	struct world *w = *state;
	static const size_t sizes[] = { 15000, 17000, 60000 };
	static const char *const answers[] = { OK_STATUS, "HTTP/1.1 431 ", "HTTP/1.1 431 " };
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		OWN_BUF struct buf request = { 0 };
		buf_adds(&request, "GET /v1/things/a HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX: ");
		for (size_t n = 0; n < sizes[i]; n++)
			buf_adds(&request, "y");
		buf_adds(&request, "\r\n\r\n");
		expect(w, request.data, answers[i], "");
	}
}

/* Two requests on one connection, both answered later; the second was sent before the first answer. */
static void test_delayed(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, true);
	client_send(&c, "GET /v1/held HTTP/1.1\r\nHost: t\r\n\r\n" GET("/v1/held"));
	for (unsigned i = 1; i <= 2; i++) {
		WAIT(w, w->held);
		struct http_request *r = TAKE_PTR(w->held);
		assert_false(has(&c, i == 1 ? "answer 1" : "answer 2"));
		http_error(r, 409, "held", "answer %u", i);
	}
	WAIT(w, c.eof);
	assert_true(has(&c, "HTTP/1.1 409 "));
	assert_true(has(&c, "{\"error\":{\"code\":\"held\",\"message\":\"answer 2\"}}"));
	client_close(&c);
}

/* The connection is given back at once, the request stays until its handler is done with it. */
static void test_hangup_while_pending(void **state)
{
	struct world *w = *state;
	struct client c;
	for (unsigned i = 0; i < 70; i++) { /* more than there are connections */
		client_open(w, &c, true);
		client_send(&c, GET("/v1/held?i=7"));
		WAIT(w, w->held);
		struct http_request *r = TAKE_PTR(w->held);
		client_close(&c);
		expect(w, GET("/v1/things/x"), OK_STATUS, "");
		assert_string_equal(http_query(r, "i"), "7");
		if (i % 2) {
			http_reply(r, 200, json_object());
		} else {
			w->in_call = true;
			http_stream(r, "text/plain", on_gone, w);
			assert_int_equal(http_stream_write(r, "x", 1), -EPIPE);
			w->in_call = false;
			unsigned before = w->gone;
			WAIT(w, w->gone > before);
		}
	}
	assert_int_equal(w->gone, 35);
}

/* Ends its sending side and waits: no hang-up. */
static void test_half_close(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, true);
	client_send(&c, GET("/v1/held"));
	uv_shutdown_t shut;
	WAIT(w, w->held);
	assert_int_equal(uv_shutdown(&shut, (uv_stream_t *)&c.pipe, NULL), 0);
	expect(w, GET("/v1/things/x"), OK_STATUS, ""); /* some turns of the loop */
	http_reply_text(w->held, 200, "text/plain", "still there");
	WAIT(w, c.eof);
	assert_true(has(&c, "still there"));
	client_close(&c);
}

static void test_stream(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, true);
	client_send(&c, GET("/v1/stream"));
	WAIT(w, has(&c, "\r\n\r\n")); /* the head comes before the first write */
	assert_true(has(&c, OK_STATUS));
	assert_true(has(&c, "Content-Type: application/x-ndjson"));
	assert_int_equal(http_stream_write(w->held, "{\"a\":1}\n", 8), 0);
	WAIT(w, has(&c, "{\"a\":1}\n"));
	assert_int_equal(http_stream_backlog(w->held), 0);
	assert_int_equal(http_stream_write(w->held, "two ", 4), 0);
	assert_int_equal(http_stream_write(w->held, "three\n", 6), 0);
	WAIT(w, has(&c, "two three\n"));
	assert_int_equal(http_stream_write(w->held, "last\n", 5), 0);
	http_stream_end(w->held);
	assert_int_equal(http_stream_write(w->held, "x", 1), -EPIPE);
	assert_int_equal(w->gone, 0);
	WAIT(w, c.eof && w->gone);
	assert_true(has(&c, "last\n"));
	assert_true(has(&c, "\r\n0\r\n\r\n"));
	client_close(&c);
	assert_int_equal(w->gone, 1);
}

static void test_stream_hangup(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, true);
	client_send(&c, GET("/v1/stream"));
	WAIT(w, w->held);
	http_stream_write(w->held, "x", 1);
	WAIT(w, http_stream_backlog(w->held) == 0);
	client_close(&c); /* nothing more is written: it must be noticed all the same */
	WAIT(w, w->gone);
	expect(w, GET("/v1/things/x"), OK_STATUS, "");
	assert_int_equal(w->gone, 1);
}

/* A reader that stopped reading: tolerated until more than 1 MiB waits for it. */
static void test_stream_slow_reader(void **state)
{
	struct world *w = *state;
	struct client c;
	char block[4096];
	memset(block, 'z', sizeof block);
	client_open(w, &c, false);
	client_send(&c, GET("/v1/stream"));
	WAIT(w, w->held);
	size_t taken = 0;
	while (http_stream_backlog(w->held) < 1024 * 1024) {
		if (http_stream_write(w->held, block, sizeof block) < 0)
			break;
		taken += sizeof block;
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	assert_true(taken >= 1024 * 1024);
	assert_int_equal(w->gone, 0);
	w->in_call = true;
	assert_int_equal(http_stream_write(w->held, block, sizeof block), -EPIPE);
	assert_int_equal(http_stream_write(w->held, block, 1), -EPIPE);
	w->in_call = false;
	WAIT(w, w->gone);
	client_close(&c);
	assert_int_equal(w->gone, 1);
}

/* A reader that pauses and goes on gets every byte in order. */
static void test_stream_paused_reader(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, false);
	client_send(&c, GET("/v1/stream"));
	WAIT(w, w->held);
	char line[32];
	for (unsigned i = 0; i < 60000; i++) {
		int n = snprintf(line, sizeof line, "line %u\n", i);
		assert_int_equal(http_stream_write(w->held, line, (size_t)n), 0);
	}
	http_stream_end(w->held);
	client_read(&c);
	WAIT(w, c.eof && w->gone);
	size_t found = 0; /* chunk heads may stand within a line: count the bytes that make up the lines */
	for (size_t i = 0; i < c.in.len; i++)
		found += c.in.data[i] == 'l';
	assert_in_range(found, 60000, 60100);
	assert_true(has(&c, "59999\n"));
	client_close(&c);
}

struct paced {
	struct world *w;
	struct http_request *request;
	unsigned sent, rooms;
	bool writing;
};

#define PACED_LINES 300000u

/* Writes until the client is behind, goes on when it has caught up: any amount arrives. */
static void paced_write(void *arg)
{
	struct paced *p = arg;
	char line[32];
	assert_false(p->writing);
	p->writing = true;
	p->rooms++;
	while (p->sent < PACED_LINES && http_stream_backlog(p->request) <= HTTP_STREAM_PACE_BYTES) {
		int n = snprintf(line, sizeof line, "line %u\n", p->sent++);
		assert_int_equal(http_stream_write(p->request, line, (size_t)n), 0);
	}
	if (p->sent < PACED_LINES)
		http_stream_wait_room(p->request, paced_write, p);
	else
		http_stream_end(p->request);
	p->writing = false;
}

static void test_stream_paced(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, true);
	client_send(&c, GET("/v1/stream"));
	WAIT(w, w->held);
	struct paced p = { .w = w, .request = w->held };
	paced_write(&p);
	WAIT(w, c.eof && w->gone);
	assert_true(p.rooms > 5);
	size_t lines = 0;
	for (size_t i = 0; i < c.in.len; i++)
		lines += c.in.data[i] == 'l';
	assert_in_range(lines, PACED_LINES, PACED_LINES + 5);
	assert_true(has(&c, "\r\n0\r\n\r\n"));
	client_close(&c);
}

/* Streams and waiting requests alike; what a handler still holds keeps the server from going. */
static void test_close_while_busy(void **state)
{
	struct world *w = *state;
	struct client c[5];
	struct http_request *held[5];
	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		client_open(w, &c[i], true);
		client_send(&c[i], i < 3 ? GET("/v1/stream") : GET("/v1/held"));
		WAIT(w, w->held);
		held[i] = TAKE_PTR(w->held);
	}
	http_close(TAKE_PTR(w->server), on_world_closed, w);
	assert_int_equal(w->gone, 0);
	assert_int_equal(http_stream_write(held[0], "x", 1), 0);
	http_reply(held[3], 200, json_object());
	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		WAIT(w, c[i].eof);
		client_close(&c[i]);
	}
	assert_int_equal(w->gone, 3);
	assert_false(w->closed);
	http_reply(held[4], 200, json_object());
}

static void test_close_by_handler(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, true);
	client_send(&c, POST("/v1/close") "\r\n");
	WAIT(w, c.eof);
	client_close(&c);
}

/* A client that stalls in the middle of its request holds up nobody. */
static void test_stalled_request(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(w, &c, true);
	client_send(&c, POST("/v1/things/a") "Content-Length: 100\r\n\r\n{");
	expect(w, GET("/v1/things/x"), OK_STATUS, "");
	client_close(&c);
	expect(w, GET("/v1/things/x"), OK_STATUS, "");
	assert_int_equal(w->calls, 2);
}

/* With every connection taken, one more waits until one is free: nothing else has to happen for that. */
static void test_connection_limit(void **state)
{
	struct world *w = *state;
	struct client c[66];
	for (unsigned i = 0; i < 64; i++) {
		client_open(w, &c[i], true);
		client_send(&c[i], GET("/v1/stream"));
		WAIT(w, w->held);
		w->held = NULL;
		WAIT(w, has(&c[i], "\r\n\r\n"));
	}
	for (unsigned i = 64; i < 66; i++) {
		client_open(w, &c[i], true);
		client_send(&c[i], GET("/v1/things/x"));
	}
	for (unsigned i = 0; i < 20; i++)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_false(has(&c[64], "HTTP"));
	client_close(&c[0]);
	WAIT(w, c[64].eof && c[65].eof);
	assert_true(has(&c[64], OK_STATUS) && has(&c[65], OK_STATUS));
	for (unsigned i = 1; i < 66; i++)
		client_close(&c[i]);
	WAIT(w, w->gone == 64);
}

static void test_open_failure(void **state)
{
	uv_loop_t loop;
	struct http_server *server;
	struct err err;
	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_true(http_open(&loop, -1, routes, NULL, &server, &err) < 0);
	assert_non_null(strstr(err.msg, "API server"));
	assert_int_equal(uv_loop_close(&loop), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_routes),
		TEST(test_peer),
		TEST(test_bodies),
		TEST(test_largest_body),
		TEST(test_large_head),
		TEST(test_delayed),
		TEST(test_hangup_while_pending),
		TEST(test_half_close),
		TEST(test_stream),
		TEST(test_stream_hangup),
		TEST(test_stream_slow_reader),
		TEST(test_stream_paused_reader),
		TEST(test_stream_paced),
		TEST(test_close_while_busy),
		TEST(test_close_by_handler),
		TEST(test_stalled_request),
		TEST(test_connection_limit),
		cmocka_unit_test(test_open_failure),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
