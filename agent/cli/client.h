/* HTTP over the agent's unix socket: the only file of the CLI that knows libcurl. One client is one
 * connection at a time; calls block, but wake for an interrupt descriptor and a tick, so that a live view can
 * go on turning. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct client;

int client_open(const char *socket_path, struct client **ret, struct err *err);
void client_close(struct client *c); /* accepts NULL */

/* While this descriptor is readable (a signalfd), calls end with -EINTR. -1: none. Borrowed. */
void client_interrupt(struct client *c, int fd);

/* One request and its whole answer. body NULL = none. 0 for any HTTP status; negative when there was no
 * answer: -ENOENT, -ECONNREFUSED, -EACCES (nobody there, or not for us), -ECONNRESET (lost on the way),
 * -ETIMEDOUT, -EINTR. */
int client_call(struct client *c, const char *method, const char *path, const char *body,
	unsigned *ret_status, struct buf *ret_body, struct err *err);

struct client_stream {
	/* One line without its newline; non-zero ends the stream with that value. */
	int (*line)(void *arg, const char *line, size_t len);
	/* Every tick_ms and after each arrival; non-zero ends the stream with that value. May be NULL. */
	int (*tick)(void *arg);
	int tick_ms;
	void *arg;
};
/* GET of a stream of lines. 0 when the agent ended it, a callback's value, or negative as above. A status
 * other than 200 is given in *ret_status with its body, and no line is called. */
int client_stream(struct client *c, const char *path, const struct client_stream *s, unsigned *ret_status,
	struct buf *ret_body, struct err *err);

/* Sleeps up to ms; -EINTR as soon as the interrupt descriptor is readable. */
int client_sleep(struct client *c, int ms);
