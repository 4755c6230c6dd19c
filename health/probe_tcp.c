/* Does something listen? A connect to each port in turn, ended by a reset, so that no TIME_WAIT piles up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/uvx.h"
#include "health/check.h"

struct tcp_probe {
	struct hc_engine *engine;
	struct hc_check *check; /* NULL: cancelled */
	size_t port;		/* index of the one being asked */
	uv_tcp_t tcp;
	uv_connect_t connect;
	int result;
	struct uvx_timer *timeout;
};

static void ask_port(struct tcp_probe *p, size_t port);

static void probe_free(struct tcp_probe *p)
{
	struct hc_engine *e = p->engine;
	uvx_timer_cancel(&p->timeout);
	free(p);
	hc_engine_unref(e);
}

static void finish(struct tcp_probe *p)
{
	struct hc_check *c = p->check;
	int result = p->result;
	struct sockaddr_storage a = hc_address(c, c->ports[p->port]);
	char where[ADDRESS_MAX], limit[FORMAT_MAX];
	c->probe = NULL;
	probe_free(p);
	format_address(&a, where);
	if (result == -ETIMEDOUT)
		hc_check_answer(c, false, "connect %s: no answer within %s", where,
			format_duration_ms(c->health->timeout_ms, limit));
	else if (result < 0)
		hc_check_answer(c, false, "connect %s: %s", where, strerror(-result));
	else
		hc_check_answer(c, true, "connect %s: ok", where);
}

/* Every connect ends here, with p->result; the handle is free for the next port. */
static void on_closed(uv_handle_t *h)
{
	struct tcp_probe *p = h->data;
	if (!p->check)
		probe_free(p);
	else if (p->result == 0 && p->port + 1 < p->check->n_ports)
		ask_port(p, p->port + 1);
	else
		finish(p);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct tcp_probe *p = connect->data;
	if (uv_is_closing((uv_handle_t *)&p->tcp))
		return; /* timed out or cancelled */
	p->result = status;
	if (status < 0 || uv_tcp_close_reset(&p->tcp, on_closed) < 0)
		uv_close((uv_handle_t *)&p->tcp, on_closed);
}

static void ask_port(struct tcp_probe *p, size_t port)
{
	struct sockaddr_storage a = hc_address(p->check, p->check->ports[port]);
	p->port = port;
	uv_tcp_init(p->engine->loop, &p->tcp);
	p->tcp.data = p->connect.data = p;
	p->result = uv_tcp_connect(&p->connect, &p->tcp, (const struct sockaddr *)&a, on_connected);
	if (p->result < 0)
		uv_close((uv_handle_t *)&p->tcp, on_closed);
}

static void on_timeout(void *arg)
{
	struct tcp_probe *p = arg;
	if (uv_is_closing((uv_handle_t *)&p->tcp))
		return; /* the last answer came in this very turn */
	p->result = -ETIMEDOUT;
	uv_close((uv_handle_t *)&p->tcp, on_closed);
}

static int tcp_start(struct hc_check *c, struct err *err)
{
	struct tcp_probe *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(err, ENOMEM, "connect");
	p->engine = c->engine;
	p->check = c;
	int r = uvx_timer_start(c->engine->loop, c->health->timeout_ms, on_timeout, p, &p->timeout);
	if (r < 0) {
		free(p);
		return err_set(err, -r, "connect");
	}
	c->engine->refs++;
	c->probe = p;
	ask_port(p, 0);
	return 0;
}

static void tcp_cancel(struct hc_check *c)
{
	struct tcp_probe *p = c->probe;
	c->probe = NULL;
	p->check = NULL;
	uvx_timer_cancel(&p->timeout);
	if (!uv_is_closing((uv_handle_t *)&p->tcp))
		uv_close((uv_handle_t *)&p->tcp, on_closed);
}

const struct hc_probe_kind hc_probe_tcp = { .start = tcp_start, .cancel = tcp_cancel };
