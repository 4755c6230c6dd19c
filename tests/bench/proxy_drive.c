/* Runs a teal-proxy for the benchmarks: proxy_drive PROGRAM SOCKET WORKERS LISTEN=BACKEND… routes each
 * listener to its backend, prints "ready PID", and ends the proxy when its standard input does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/own.h"
#include "base/parse.h"
#include "proxy/client.h"

#define LISTENERS_MAX 16
#define USAGE	      "usage: proxy_drive PROGRAM SOCKET WORKERS LISTEN=BACKEND..."

struct drive {
	uv_loop_t loop;
	uv_pipe_t input;
	struct px_client *client;
	struct px_listener listeners[LISTENERS_MAX];
	struct px_backend backends[LISTENERS_MAX];
	size_t n;
	pid_t pid;
	bool routed;
};

static void die(const char *what)
{
	fprintf(stderr, "proxy_drive: %s\n", what);
	exit(1);
}

static void pair_add(struct drive *d, const char *text)
{
	socklen_t len;
	const char *equals = strchr(text, '=');
	if (!equals || d->n == LISTENERS_MAX)
		die(USAGE);
	OWN_FREE char *listen = strndup(text, (size_t)(equals - text));
	struct px_listener *l = &d->listeners[d->n];
	struct px_backend *b = &d->backends[d->n++];
	if (!listen || parse_address(listen, &l->address, &len) < 0 ||
		parse_address(equals + 1, &b->address, &len) < 0)
		die("LISTEN and BACKEND are addresses with ports");
	b->ready = true;
	l->backends = b;
	l->n_backends = 1;
}

static void ready_look(const struct drive *d)
{
	if (!d->pid || !d->routed)
		return;
	printf("ready %d\n", (int)d->pid);
	fflush(stdout);
}

static void on_up(void *arg, pid_t pid, bool adopted)
{
	struct drive *d = arg;
	(void)adopted;
	d->pid = pid;
	ready_look(d);
}

static void on_down(void *arg, const struct err *why)
{
	(void)arg;
	fprintf(stderr, "proxy_drive: %s\n", why->msg);
}

static void on_routed(void *arg, int result, const struct err *why)
{
	struct drive *d = arg;
	if (result < 0)
		die(why->msg);
	d->routed = true;
	ready_look(d);
}

static void on_closed(void *arg)
{
	(void)arg;
	exit(0);
}

static void input_room(uv_handle_t *h, size_t size, uv_buf_t *ret)
{
	static char bytes[64];
	(void)h;
	(void)size;
	*ret = uv_buf_init(bytes, sizeof bytes);
}

static void on_input(uv_stream_t *s, ssize_t n, const uv_buf_t *bytes)
{
	struct drive *d = s->data;
	(void)bytes;
	if (n < 0 && d->client)
		px_close(TAKE_PTR(d->client), true, on_closed, NULL);
}

static void proxy_start(struct drive *d, char **argv)
{
	struct err err = { 0 };
	uint64_t workers;
	if (parse_u64(argv[3], 1, 64, &workers) < 0)
		die(USAGE);
	struct px_config config = {
		.program = argv[1], .socket_path = argv[2], .workers = (uint32_t)workers
	};
	struct px_events events = { .arg = d, .up = on_up, .down = on_down };
	struct px_route route = { .service = "bench",
		.generation = 1,
		.slot = "blue",
		.listeners = d->listeners,
		.n_listeners = d->n };
	if (px_open(&d->loop, &config, &events, &d->client, &err) < 0)
		die(err.msg);
	for (size_t i = 0; i < d->n; i++)
		if (px_bind(d->client, "bench", &d->listeners[i].address, &err) < 0)
			die(err.msg);
	if (px_route(d->client, &route, on_routed, d, &err) < 0)
		die(err.msg);
}

int main(int argc, char **argv)
{
	static struct drive d;
	if (argc < 5)
		die(USAGE);
	for (int i = 4; i < argc; i++)
		pair_add(&d, argv[i]);
	if (uv_loop_init(&d.loop) < 0 || uv_pipe_init(&d.loop, &d.input, 0) < 0 ||
		uv_pipe_open(&d.input, STDIN_FILENO) < 0)
		die("standard input must be a pipe");
	d.input.data = &d;
	uv_read_start((uv_stream_t *)&d.input, input_room, on_input);
	proxy_start(&d, argv);
	return uv_run(&d.loop, UV_RUN_DEFAULT);
}
