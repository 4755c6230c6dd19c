#include "proxy/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdpass.h"
#include "base/own.h"

#define QUEUE_MAX 65536 /* messages: a side that reads nothing any more is given up */

struct packet {
	STAILQ_ENTRY(packet) next;
	int fd;
	size_t len;
	char bytes[];
};

struct channel {
	uv_poll_t poll;
	int fd;
	struct channel_events events;
	STAILQ_HEAD(, packet) queue;
	unsigned n_queued;
	bool closed, ended;
	int failure;   /* of a send; told by the loop, never from inside channel_send */
	unsigned busy; /* callbacks on the stack: the last one out may free */
	char in[WIRE_MAX];
};

static void packet_free(struct packet *p)
{
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

/* The descriptor goes last: libuv still names it to epoll while it closes the handle. */
static void channel_release(struct channel *c)
{
	int fd = TAKE_FD(c->fd);
	uv_close((uv_handle_t *)&c->poll, on_closed);
	close(fd);
}

static void channel_end(struct channel *c, int code, const char *what)
{
	struct err why = { 0 };
	if (c->ended || c->closed)
		return;
	c->ended = true;
	uv_poll_stop(&c->poll);
	if (code)
		err_set(&why, code, "%s", what);
	else
		err_say(&why, EPIPE, "%s", what);
	c->events.ended(c->events.arg, &why);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void channel_watch(struct channel *c)
{
	bool writes = !STAILQ_EMPTY(&c->queue) || c->failure;
	if (!c->closed && !c->ended)
		uv_poll_start(&c->poll, UV_READABLE | (writes ? UV_WRITABLE : 0), on_ready);
}

static void channel_flush(struct channel *c)
{
	struct packet *p;
	while (!c->failure && (p = STAILQ_FIRST(&c->queue))) {
		int r = fdpass_send(c->fd, p->bytes, p->len, &p->fd, p->fd >= 0);
		if (r == -EAGAIN)
			return;
		if (r < 0)
			c->failure = -r;
		STAILQ_REMOVE_HEAD(&c->queue, next);
		c->n_queued--;
		packet_free(p);
	}
}

static void channel_receive(struct channel *c)
{
	while (!c->closed && !c->ended) {
		int fds[FDPASS_MAX];
		unsigned n_fds = 0;
		struct err err = { 0 };
		OWN_JSON json_t *msg = NULL;
		int n = fdpass_recv(c->fd, c->in, sizeof c->in, fds, &n_fds);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			channel_end(c, -n, "read from the control socket");
		} else if (n == 0) {
			channel_end(c, 0, "the control socket was closed by the other side");
		} else if (json_parse(c->in, (size_t)n, "control message", &msg, &err) < 0) {
			channel_end(c, 0, err.msg);
		} else {
			c->events.message(c->events.arg, msg, fds, n_fds);
		}
		for (unsigned i = 0; i < n_fds; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct channel *c = poll->data;
	c->busy++;
	if (status < 0)
		channel_end(c, -status, "control socket");
	if (events & UV_WRITABLE)
		channel_flush(c);
	channel_receive(c);
	if (c->failure)
		channel_end(c, c->failure, "write to the control socket");
	c->busy--;
	if (c->closed)
		channel_release(c);
	else if (events & UV_WRITABLE)
		channel_watch(c);
}

int channel_open(
	uv_loop_t *loop, int fd, const struct channel_events *events, struct channel **ret, struct err *err)
{
	OWN_FD int mine = fd;
	struct channel *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(err, ENOMEM, "control channel");
	c->fd = fd;
	c->events = *events;
	STAILQ_INIT(&c->queue);
	int r = uv_poll_init(loop, &c->poll, fd);
	if (r < 0) {
		free(c);
		return err_set(err, -r, "control channel");
	}
	c->poll.data = c;
	TAKE_FD(mine);
	channel_watch(c);
	*ret = c;
	return 0;
}

static int channel_queue(struct channel *c, const char *bytes, size_t len, int fd)
{
	if (c->n_queued >= QUEUE_MAX)
		return -ENOBUFS;
	struct packet *p = malloc(sizeof *p + len);
	if (!p)
		return -ENOMEM;
	p->len = len;
	memcpy(p->bytes, bytes, len);
	p->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
	if (fd >= 0 && p->fd < 0) {
		free(p);
		return -errno;
	}
	STAILQ_INSERT_TAIL(&c->queue, p, next);
	c->n_queued++;
	return -EAGAIN;
}

void channel_send(struct channel *c, json_t *msg, int fd)
{
	OWN_JSON json_t *owned = msg;
	if (c->closed || c->ended || c->failure)
		return;
	if (msg)
		json_object_set_new(msg, "v", json_integer(WIRE_VERSION));
	OWN_FREE char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	int r = !text ? -ENOMEM : len > WIRE_MAX ? -EMSGSIZE : 0;
	if (r == 0)
		r = STAILQ_EMPTY(&c->queue) ? fdpass_send(c->fd, text, len, &fd, fd >= 0) : -EAGAIN;
	if (r == -EAGAIN)
		r = channel_queue(c, text, len, fd);
	if (r < 0) {
		c->failure = r == -EAGAIN ? 0 : -r;
		channel_watch(c);
	}
}

void channel_close(struct channel *c)
{
	struct packet *p;
	if (!c || c->closed)
		return;
	c->closed = true;
	uv_poll_stop(&c->poll);
	while ((p = STAILQ_FIRST(&c->queue))) {
		STAILQ_REMOVE_HEAD(&c->queue, next);
		packet_free(p);
	}
	if (!c->busy)
		channel_release(c);
}

int wire_send_now(int fd, json_t *msg, struct err *err)
{
	OWN_JSON json_t *owned = msg;
	if (msg)
		json_object_set_new(msg, "v", json_integer(WIRE_VERSION));
	OWN_FREE char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	int r = text ? fdpass_send(fd, text, strlen(text), NULL, 0) : -ENOMEM;
	return r < 0 ? err_set(err, -r, "write to the control socket") : 0;
}

int wire_recv_now(int fd, int64_t deadline_ms, json_t **ret, int *ret_fd, struct err *err)
{
	OWN_FREE char *in = malloc(WIRE_MAX);
	int fds[FDPASS_MAX];
	unsigned n_fds = 0;
	int n = in ? -EAGAIN : -ENOMEM;
	while (n == -EAGAIN) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = deadline_ms - clock_boot_ms();
		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return err_say(err, ETIMEDOUT, "no answer on the control socket in time");
		n = fdpass_recv(fd, in, WIRE_MAX, fds, &n_fds);
	}
	if (n < 0)
		return err_set(err, -n, "read from the control socket");
	int r = n == 0 ? err_say(err, EPIPE, "the control socket was closed by the other side")
		       : json_parse(in, (size_t)n, "control message", ret, err);
	*ret_fd = r == 0 && n_fds > 0 ? TAKE_FD(fds[0]) : -1;
	for (unsigned i = 0; i < n_fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return r;
}
