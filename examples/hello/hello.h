/* hello, the demo app: a small HTTP/1.1 server in one process and one thread that says which generation it
 * is, and that can be told (by environment or by query) to be slow, sick or to crash. main.c has the list of
 * what it obeys. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_MAX 8192 /* bytes of one request head */

struct settings { /* from the environment; times in ms, -1 = never */
	uint16_t port;
	int64_t start_delay_ms, slow_ms, sick_after_ms, crash_after_ms;
	bool ignore_term;
};

/* What a page answers with: text, or a stream of stream_len bytes. Filled by a page, sent by http.c. */
struct answer {
	int status;
	const char *type;
	char *text; /* owned */
	size_t text_len;
	uint64_t stream_len;
	int64_t delay_ms; /* hold the answer back that long */
};

struct request { /* borrowed for the length of a page's call */
	const char *method, *path, *query;
	uint64_t body_len;
	uint32_t body_crc; /* CRC-32 of the body, as zlib computes it */
};

struct app {
	struct settings settings;
	int epoll_fd, listen_fd, signal_fd;
	int64_t started_ms;
	bool stopping;
	size_t n_waiting; /* connections whose answer is held back */
	struct conn *conns;
};

int64_t clock_now_ms(void);
const char *env_or(const char *name, const char *fallback);

/* http.c: connections. */
void http_accept(struct app *app);
struct conn;
void http_ready(struct app *app, struct conn *c, uint32_t events);
/* Sends what is due; returns ms until the next answer is due, or -1. */
int http_run_due(struct app *app);
/* Closes idle connections; busy ones answer first, with Connection: close. */
void http_stop(struct app *app);

/* pages.c: what there is to see. */
void page_answer(const struct app *app, const struct request *request, struct answer *ret);

/* inside.c: what a process in a container sees of its world, as one JSON object. */
void inside_describe(struct answer *ret);
