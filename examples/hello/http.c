#include "hello.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum conn_state {
	READING,   /* a request head is wanted */
	UPLOADING, /* its body is */
	WAITING,   /* the answer is held back until due_ms */
	WRITING,
};

struct conn {
	int fd;
	enum conn_state state;
	char in[HEAD_MAX + 1];
	size_t in_len, head_len; /* head_len: how much of `in` the current request's head takes */
	char method[16], path[512], query[512];
	uint64_t body_len, body_left;
	uint32_t body_crc;
	struct answer answer;
	char head[256]; /* of the answer */
	size_t head_sent, head_total, text_sent;
	uint64_t stream_sent;
	int64_t due_ms;
	bool keep;
	struct conn *next, **link;
};

static void conn_close(struct app *app, struct conn *c)
{
	if (c->state == WAITING)
		app->n_waiting--;
	if (c->next)
		c->next->link = c->link;
	*c->link = c->next;
	close(c->fd);
	free(c->answer.text);
	free(c);
}

static void conn_set_state(struct app *app, struct conn *c, enum conn_state state)
{
	static const uint32_t interest[] = {
		[READING] = EPOLLIN, [UPLOADING] = EPOLLIN, [WAITING] = 0, [WRITING] = EPOLLOUT
	};
	struct epoll_event e = { .events = interest[state], .data.ptr = c };

	app->n_waiting += (state == WAITING) - (c->state == WAITING);
	if (interest[state] != interest[c->state])
		epoll_ctl(app->epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
	c->state = state;
}

void http_accept(struct app *app)
{
	for (;;) {
		int fd = accept4(app->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct conn *c = calloc(1, sizeof(*c));
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

		if (!c || epoll_ctl(app->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
			free(c);
			close(fd);
			continue;
		}
		c->fd = fd;
		c->next = app->conns;
		c->link = &app->conns;
		if (c->next)
			c->next->link = &c->next;
		app->conns = c;
	}
}

/* CRC-32 as zlib's, a nibble at a time. */
static uint32_t crc32_add(uint32_t crc, const char *bytes, size_t len)
{
	static const uint32_t table[16] = { 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190,
		0x6b6b51f4, 0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c };

	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= (unsigned char)bytes[i];
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}

/* The value of a header within a head, or NULL. `name` ends with a colon. */
static const char *header_find(const char *head, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, len) == 0)
			return line + len + strspn(line + len, " \t");
	}
	return NULL;
}

static bool header_is(const char *head, const char *name, const char *value)
{
	const char *found = header_find(head, name);

	return found && strncasecmp(found, value, strlen(value)) == 0;
}

static void answer_begin(struct app *app, struct conn *c)
{
	const struct answer *a = &c->answer;
	uint64_t len = a->stream_len ? a->stream_len : a->text_len;

	c->keep = c->keep && !app->stopping;
	c->head_total = (size_t)snprintf(c->head, sizeof(c->head),
		"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %llu\r\nConnection: %s\r\n\r\n",
		a->status, a->status < 300 ? "OK" : "Not OK", a->type, (unsigned long long)len,
		c->keep ? "keep-alive" : "close");
	if (strcmp(c->method, "HEAD") == 0)
		c->answer.text_len = c->answer.stream_len = 0;
	c->head_sent = c->text_sent = c->stream_sent = 0;
	conn_set_state(app, c, WRITING);
}

static void request_handle(struct app *app, struct conn *c)
{
	const struct request request = { c->method, c->path, c->query, c->body_len, c->body_crc };

	page_answer(app, &request, &c->answer);
	if (c->answer.delay_ms <= 0) {
		answer_begin(app, c);
		return;
	}
	c->due_ms = clock_now_ms() + c->answer.delay_ms;
	conn_set_state(app, c, WAITING);
}

/* Reads the request line and what matters of the headers; false: not HTTP. */
static bool request_parse(struct conn *c)
{
	char target[512], version[16];

	if (sscanf(c->in, "%15s %511s %15s", c->method, target, version) != 3 ||
		strncmp(version, "HTTP/1.", 7) != 0)
		return false;
	char *question = strchr(target, '?');
	snprintf(c->query, sizeof(c->query), "%s", question ? question + 1 : "");
	if (question)
		*question = '\0';
	snprintf(c->path, sizeof(c->path), "%s", target);
	if (header_find(c->in, "Transfer-Encoding:"))
		return false;
	const char *length = header_find(c->in, "Content-Length:");
	c->body_len = c->body_left = length ? strtoull(length, NULL, 10) : 0;
	c->body_crc = 0;
	c->keep = version[7] == '0' ? header_is(c->in, "Connection:", "keep-alive")
				    : !header_is(c->in, "Connection:", "close");
	return true;
}

static void input_consume(struct conn *c, size_t len)
{
	c->in_len -= len;
	memmove(c->in, c->in + len, c->in_len);
	c->in[c->in_len] = '\0';
}

static void body_take(struct app *app, struct conn *c)
{
	size_t len = c->in_len < c->body_left ? c->in_len : (size_t)c->body_left;

	c->body_crc = crc32_add(c->body_crc, c->in, len);
	c->body_left -= len;
	input_consume(c, len);
	if (c->body_left == 0)
		request_handle(app, c);
}

/* Goes on as far as the bytes at hand allow. False: the connection is of no use any more. */
static bool input_handle(struct app *app, struct conn *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (c->state == READING) {
		char *end = strstr(c->in, "\r\n\r\n");
		if (!end)
			return c->in_len < HEAD_MAX;
		c->head_len = (size_t)(end + 4 - c->in);
		end[2] = '\0'; /* headers are looked up within the head only */
		if (!request_parse(c))
			return false;
		if (header_is(c->in, "Expect:", "100-continue") &&
			send(c->fd, go_on, strlen(go_on), MSG_NOSIGNAL) < 0)
			return false;
		input_consume(c, c->head_len);
		conn_set_state(app, c, UPLOADING);
	}
	if (c->state == UPLOADING)
		body_take(app, c);
	return true;
}

/* `more` follows at once: it shall travel in the same packet. 1: sent all; 0: the socket is full; -1: gone.
 */
static int send_part(int fd, const char *bytes, size_t len, size_t *sent, bool more)
{
	while (*sent < len) {
		ssize_t n = send(fd, bytes + *sent, len - *sent, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		*sent += (size_t)n;
	}
	return 1;
}

/* The stream is the alphabet and a newline over and over, so that a client can check each byte by its
 * position. */
static int send_stream(struct conn *c)
{
	static char pattern[27 * 2048];

	if (!pattern[0])
		for (size_t i = 0; i < sizeof(pattern); i++)
			pattern[i] = "abcdefghijklmnopqrstuvwxyz\n"[i % 27];
	while (c->stream_sent < c->answer.stream_len) {
		size_t from = c->stream_sent % sizeof(pattern), len = sizeof(pattern);
		uint64_t left = c->answer.stream_len - c->stream_sent;

		if (left < len - from)
			len = from + (size_t)left;
		size_t at = from;
		int r = send_part(c->fd, pattern, len, &at, false);
		c->stream_sent += at - from;
		if (r <= 0)
			return r;
	}
	return 1;
}

static int answer_send(struct conn *c)
{
	bool body = c->answer.text_len || c->answer.stream_len;
	int r = send_part(c->fd, c->head, c->head_total, &c->head_sent, body);

	if (r > 0)
		r = send_part(c->fd, c->answer.text, c->answer.text_len, &c->text_sent, false);
	return r > 0 ? send_stream(c) : r;
}

/* Runs a connection until it has to wait for something, or is closed. */
static void conn_run(struct app *app, struct conn *c)
{
	while (c->state == WRITING) {
		int r = answer_send(c);
		if (r == 0)
			return;
		if (r < 0 || !c->keep) {
			conn_close(app, c);
			return;
		}
		free(c->answer.text);
		c->answer = (struct answer){ 0 };
		conn_set_state(app, c, READING);
		if (!input_handle(app, c)) {
			conn_close(app, c);
			return;
		}
	}
	if (app->stopping && c->state == READING && c->in_len == 0)
		conn_close(app, c);
}

void http_ready(struct app *app, struct conn *c, uint32_t events)
{
	if (c->state == WAITING) { /* EPOLLHUP or EPOLLERR: nobody waits for the answer */
		conn_close(app, c);
		return;
	}
	if (c->state != WRITING && events) {
		ssize_t n = recv(c->fd, c->in + c->in_len, HEAD_MAX - c->in_len, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			conn_close(app, c);
			return;
		}
		c->in_len += (size_t)n;
		c->in[c->in_len] = '\0';
		if (!input_handle(app, c)) {
			conn_close(app, c);
			return;
		}
	}
	conn_run(app, c);
}

int http_run_due(struct app *app)
{
	int64_t now = app->n_waiting ? clock_now_ms() : 0, next = -1;
	struct conn *following;

	for (struct conn *c = app->n_waiting ? app->conns : NULL; c; c = following) {
		following = c->next;
		if (c->state != WAITING)
			continue;
		if (c->due_ms <= now) {
			answer_begin(app, c);
			conn_run(app, c);
		} else if (next < 0 || c->due_ms - now < next) {
			next = c->due_ms - now;
		}
	}
	return (int)next;
}

void http_stop(struct app *app)
{
	struct conn *following;

	for (struct conn *c = app->conns; c; c = following) {
		following = c->next;
		if (c->state == READING && c->in_len == 0)
			conn_close(app, c);
		else
			c->keep = false;
	}
}
