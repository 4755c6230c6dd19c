#include "base/uvx.h"

#include <errno.h>
#include <stdlib.h>

#include "base/own.h"

int uvx_err(struct err *err, int uv_code, const char *what)
{
	return err_say(err, -uv_code, "%s: %s", what, uv_strerror(uv_code));
}

struct uvx_watch {
	uv_poll_t poll;
	uvx_ended ended;
	void *arg;
};

static void watch_free(uv_handle_t *h)
{
	free(h->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct uvx_watch *w = poll->data;
	(void)status;
	(void)events;
	uvx_ended ended = w->ended;
	void *arg = w->arg;
	uvx_watch_stop(w);
	ended(arg);
}

int uvx_watch_start(
	uv_loop_t *loop, int pidfd, uvx_ended ended, void *arg, struct uvx_watch **ret, struct err *err)
{
	struct uvx_watch *w = calloc(1, sizeof *w);
	if (!w)
		return err_set(err, ENOMEM, "watch process");
	w->ended = ended;
	w->arg = arg;
	int r = uv_poll_init(loop, &w->poll, pidfd);
	if (r < 0) {
		free(w);
		return uvx_err(err, r, "watch process");
	}
	w->poll.data = w;
	r = uv_poll_start(&w->poll, UV_READABLE, on_readable);
	if (r < 0) {
		uv_close((uv_handle_t *)&w->poll, watch_free);
		return uvx_err(err, r, "watch process");
	}
	*ret = w;
	return 0;
}

void uvx_watch_stop(struct uvx_watch *w)
{
	if (!w)
		return;
	uv_poll_stop(&w->poll); /* at once: the caller may close the descriptor */
	uv_close((uv_handle_t *)&w->poll, watch_free);
}

struct uvx_timer {
	uv_timer_t timer;
	void (*fn)(void *arg);
	void *arg;
	struct uvx_timer **place;
};

static void on_timer(uv_timer_t *timer)
{
	struct uvx_timer *t = timer->data;
	void (*fn)(void *arg) = t->fn;
	void *arg = t->arg;
	uvx_timer_cancel(t->place);
	fn(arg);
}

int uvx_timer_start(
	uv_loop_t *loop, uint64_t after_ms, void (*fn)(void *arg), void *arg, struct uvx_timer **t)
{
	uvx_timer_cancel(t);
	struct uvx_timer *n = calloc(1, sizeof *n);
	if (!n)
		return -ENOMEM;
	n->fn = fn;
	n->arg = arg;
	n->place = t;
	n->timer.data = n;
	uv_timer_init(loop, &n->timer);
	uv_update_time(loop);
	uv_timer_start(&n->timer, on_timer, after_ms, 0);
	*t = n;
	return 0;
}

static void timer_free(uv_handle_t *h)
{
	free(h->data);
}

void uvx_timer_cancel(struct uvx_timer **t)
{
	struct uvx_timer *old = TAKE_PTR(*t);
	if (old)
		uv_close((uv_handle_t *)&old->timer, timer_free);
}

struct work {
	uv_work_t req;
	uvx_work_fn work;
	uvx_work_done done;
	void *arg;
	int result;
	struct err err;
};

static void work_run(uv_work_t *req)
{
	struct work *w = req->data;
	w->result = w->work(w->arg, &w->err);
}

static void work_after(uv_work_t *req, int status)
{
	OWN_FREE struct work *w = req->data;
	if (status < 0)
		w->result = err_set(&w->err, -status, "background work");
	w->done(w->arg, w->result, w->result < 0 ? &w->err : NULL);
}

int uvx_work(uv_loop_t *loop, uvx_work_fn work, uvx_work_done done, void *arg)
{
	struct work *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	*w = (struct work){ .work = work, .done = done, .arg = arg };
	w->req.data = w;
	int r = uv_queue_work(loop, &w->req, work_run, work_after);
	if (r < 0)
		free(w);
	return r;
}

struct deferred {
	uv_timer_t timer; /* a zero timer, not an idle handle: runs once and never spins */
	void (*fn)(void *arg);
	void *arg;
};

static void deferred_run(uv_timer_t *timer)
{
	struct deferred *d = timer->data;
	void (*fn)(void *arg) = d->fn;
	void *arg = d->arg;
	uv_close((uv_handle_t *)timer, timer_free);
	fn(arg);
}

int uvx_defer(uv_loop_t *loop, void (*fn)(void *arg), void *arg)
{
	struct deferred *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->fn = fn;
	d->arg = arg;
	uv_timer_init(loop, &d->timer);
	d->timer.data = d;
	uv_timer_start(&d->timer, deferred_run, 0, 0);
	return 0;
}
