/* The life of a container after its start: watched through its shim until it ends, then removed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/bundle.h"
#include "runtime/native/bundle_read.h"
#include "runtime/native/etc.h"
#include "runtime/native/native.h"

struct container *container_find(struct rt_host *h, const char *id)
{
	struct container *c;
	LIST_FOREACH (c, &h->containers, link)
		if (strcmp(c->state.id, id) == 0)
			return c;
	return NULL;
}

struct container *container_new(struct rt_host *h, const char *id)
{
	struct container *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->host = h;
	c->shim = c->init = PROC_NONE;
	c->status_fd = -1;
	STAILQ_INIT(&c->on_end);
	STAILQ_INIT(&c->on_gone);
	snprintf(c->state.id, sizeof c->state.id, "%s", id);
	LIST_INSERT_HEAD(&h->containers, c, link);
	return c;
}

static void status_closed(uv_handle_t *handle)
{
	free(handle);
}

static void close_status(struct container *c)
{
	if (c->status) {
		uv_poll_stop(c->status);
		uv_close((uv_handle_t *)TAKE_PTR(c->status), status_closed);
	}
	own_close(&c->status_fd);
}

void container_free(struct container *c)
{
	LIST_REMOVE(c, link);
	close_status(c);
	uvx_watch_stop(c->watch);
	uvx_timer_cancel(&c->grace);
	proc_close(&c->shim);
	proc_close(&c->init);
	free(c);
}

void container_rename(struct container *c)
{
	OWN_FREE char *dir = fs_join(c->host->containers_dir, c->state.id, NULL);
	struct bundle_info info;
	if (!dir || c->phase != CONTAINER_RUNNING || bundle_read(dir, &info, NULL) < 0)
		return;
	etc_rename(dir, info.gateway[0] ? info.gateway : "127.0.0.1", c->host->names, NULL);
}

static int add_waiter(struct waiters *list, rt_done done, void *arg, struct err *err)
{
	struct waiter *w = calloc(1, sizeof *w);
	if (!w)
		return err_set(err, ENOMEM, "wait for container");
	w->done = done;
	w->arg = arg;
	STAILQ_INSERT_TAIL(list, w, next);
	return 0;
}

static void run_waiters(struct waiters *list, int result, const struct err *why)
{
	struct waiters mine = STAILQ_HEAD_INITIALIZER(mine);
	STAILQ_CONCAT(&mine, list);
	while (!STAILQ_EMPTY(&mine)) {
		OWN_FREE struct waiter *w = STAILQ_FIRST(&mine);
		STAILQ_REMOVE_HEAD(&mine, next);
		if (w->done)
			w->done(w->arg, result, why);
	}
}

void container_set_phase(struct container *c, enum container_phase phase)
{
	c->phase = phase;
	c->state.running = phase == CONTAINER_RUNNING;
	if (phase == CONTAINER_RUNNING)
		return;
	uvx_watch_stop(TAKE_PTR(c->watch));
	uvx_timer_cancel(&c->grace);
	close_status(c);
	if (phase != CONTAINER_STARTING) {
		proc_close(&c->shim);
		proc_close(&c->init);
	}
}

/* Work on the files of a container that is not running. */
struct removal {
	struct rt_host *host;
	struct container *container;
	char id[RT_ID_MAX];
};

static int removal_work(void *arg, struct err *err)
{
	struct removal *r = arg;
	struct rt_host *h = r->host;
	OWN_FD int dir = -1;
	cgroups_remove(h->cgroups, r->id);
	network_release(h->network, r->id);
	int result = fs_open_dir(AT_FDCWD, h->containers_dir, &dir, err);
	return result < 0 ? result : fs_remove_tree(dir, r->id, err);
}

static void removal_done(void *arg, int result, const struct err *err)
{
	OWN_FREE struct removal *r = arg;
	struct container *c = r->container;
	struct waiters gone = STAILQ_HEAD_INITIALIZER(gone);
	STAILQ_CONCAT(&gone, &c->on_gone);
	container_free(c);
	run_waiters(&gone, result, err);
}

static int begin_removal(struct container *c, struct err *err)
{
	struct removal *r = calloc(1, sizeof *r);
	if (!r)
		return err_set(err, ENOMEM, "remove %s", c->state.id);
	*r = (struct removal){ .host = c->host, .container = c };
	memcpy(r->id, c->state.id, sizeof r->id);
	int result = native_work(c->host, removal_work, removal_done, r);
	if (result < 0) {
		free(r);
		return err_set(err, -result, "remove %s", c->state.id);
	}
	container_set_phase(c, CONTAINER_REMOVING);
	return 0;
}

/* Tells everybody who waits; may free c. */
static void settle(struct container *c)
{
	struct err err = { 0 };
	run_waiters(&c->on_end, 0, NULL);
	if (c->phase != CONTAINER_ENDED || !c->destroy)
		return; /* one of them may have started it again */
	int r = begin_removal(c, &err);
	if (r < 0) {
		c->destroy = false;
		run_waiters(&c->on_gone, r, &err);
	}
}

static void end_container(struct container *c, const struct rt_exit *exit)
{
	struct rt_host *h = c->host;
	char id[RT_ID_MAX];
	memcpy(id, c->state.id, sizeof id);
	c->state.exit = *exit;
	container_set_phase(c, CONTAINER_ENDED);
	logs_container_ended(h, id);
	/* The agent may destroy or start it again from within. */
	if (h->events.exited)
		h->events.exited(h->events.arg, id, &c->state.exit);
	c = container_find(h, id);
	if (c && c->phase == CONTAINER_ENDED)
		settle(c);
}

static void on_init_ended(void *arg)
{
	struct container *c = arg;
	struct rt_exit lost = { .code = -1, .at_ms = clock_wall_ms() };
	c->watch = NULL;
	end_container(c, &lost);
}

/* Killed with its shim by the kernel; this only waits for that to be over, and helps where it was not so. */
static void lose_container(struct container *c)
{
	proc_signal(&c->init, SIGKILL);
	if (c->init.pidfd < 0 ||
		uvx_watch_start(c->host->loop, c->init.pidfd, on_init_ended, c, &c->watch, NULL) < 0)
		on_init_ended(c);
}

static void on_shim_ended(void *arg)
{
	struct container *c = arg;
	struct rt_exit exit;
	int wstatus;
	c->watch = NULL;
	proc_reap(&c->shim, &wstatus);
	OWN_FREE char *dir = fs_join(c->host->containers_dir, c->state.id, NULL);
	if (dir && bundle_read_exit(dir, &exit) == 0)
		end_container(c, &exit);
	else
		lose_container(c);
}

void lingerer_free(struct lingerer *l)
{
	LIST_REMOVE(l, link);
	uvx_watch_stop(l->watch);
	proc_close(&l->shim);
	free(l);
}

static void on_lingerer_ended(void *arg)
{
	struct lingerer *l = arg;
	int wstatus;
	l->watch = NULL;
	proc_reap(&l->shim, &wstatus);
	lingerer_free(l);
}

/* Without memory or a watch it stays a corpse until the agent ends; that is all. */
static void let_linger(struct container *c)
{
	struct lingerer *l = calloc(1, sizeof *l);
	if (!l)
		return;
	l->shim = c->shim;
	c->shim = PROC_NONE;
	LIST_INSERT_HEAD(&c->host->lingerers, l, link);
	if (uvx_watch_start(c->host->loop, l->shim.pidfd, on_lingerer_ended, l, &l->watch, NULL) < 0)
		lingerer_free(l);
}

static void on_status(uv_poll_t *poll, int status, int events)
{
	struct container *c = poll->data;
	struct shim_report report;
	(void)status;
	(void)events;
	ssize_t n = read(c->status_fd, &report, sizeof report);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close_status(c);
	if (n != (ssize_t)sizeof report || report.result != SHIM_ENDED)
		return; /* the shim was killed: its end follows */
	struct rt_exit exit = {
		.code = report.code, .signal = report.signal, .oom = report.oom != 0, .at_ms = report.at_ms
	};
	uvx_watch_stop(TAKE_PTR(c->watch));
	let_linger(c);
	end_container(c, &exit);
}

static int watch_status(struct container *c, int status_fd, struct err *err)
{
	uv_poll_t *poll = calloc(1, sizeof *poll);
	int r = poll ? uv_poll_init(c->host->loop, poll, status_fd) : UV_ENOMEM;
	if (r < 0) {
		free(poll);
		return uvx_err(err, r, "watch status pipe");
	}
	poll->data = c;
	c->status = poll;
	r = uv_poll_start(poll, UV_READABLE, on_status);
	if (r < 0) {
		close_status(c);
		return uvx_err(err, r, "watch status pipe");
	}
	c->status_fd = status_fd;
	return 0;
}

int container_attach(struct container *c, int status_fd, struct err *err)
{
	container_set_phase(c, CONTAINER_RUNNING);
	int r = uvx_watch_start(c->host->loop, c->shim.pidfd, on_shim_ended, c, &c->watch, err);
	return r < 0 || status_fd < 0 ? r : watch_status(c, status_fd, err);
}

/* The start is over: it runs, or what was made for it is gone again (then c goes too). */
void container_start_ended(struct container *c, bool running)
{
	c->start = NULL;
	if (running && !c->destroy)
		return;
	if (running) {
		proc_signal(&c->init, SIGKILL);
		return;
	}
	struct waiters end = STAILQ_HEAD_INITIALIZER(end), gone = STAILQ_HEAD_INITIALIZER(gone);
	STAILQ_CONCAT(&end, &c->on_end);
	STAILQ_CONCAT(&gone, &c->on_gone);
	container_free(c);
	run_waiters(&end, 0, NULL);
	run_waiters(&gone, 0, NULL);
}

void container_abandon(struct container *c)
{
	struct err err;
	if (c->phase == CONTAINER_STARTING || c->phase == CONTAINER_REMOVING)
		return; /* both end by themselves */
	uvx_watch_stop(TAKE_PTR(c->watch));
	close_status(c);
	uvx_timer_cancel(&c->grace);
	err_say(&err, ECANCELED, "%s: the runtime is closing", c->state.id);
	run_waiters(&c->on_end, -ECANCELED, &err);
	run_waiters(&c->on_gone, -ECANCELED, &err);
}

static void on_grace_over(void *arg)
{
	struct container *c = arg;
	proc_signal(&c->init, SIGKILL);
}

/* done in the next turn of the loop, for what needs no waiting. */
static void run_deferred(void *arg)
{
	struct waiters one = STAILQ_HEAD_INITIALIZER(one);
	STAILQ_INSERT_TAIL(&one, (struct waiter *)arg, next);
	run_waiters(&one, 0, NULL);
}

static int defer_done(struct rt_host *h, rt_done done, void *arg, struct err *err)
{
	struct waiter *w = calloc(1, sizeof *w);
	if (!w)
		return err_set(err, ENOMEM, "defer");
	w->done = done;
	w->arg = arg;
	int r = uvx_defer(h->loop, run_deferred, w);
	if (r < 0)
		free(w);
	return r < 0 ? err_set(err, -r, "defer") : 0;
}

int container_stop(struct rt_host *h, const char *id, int sig, uint32_t grace_ms, rt_done done, void *arg,
	struct err *err)
{
	struct container *c = container_find(h, id);
	if (!c || c->phase == CONTAINER_ENDED || c->phase == CONTAINER_REMOVING)
		return defer_done(h, done, arg, err);
	int r = add_waiter(&c->on_end, done, arg, err);
	if (r < 0)
		return r;
	if (c->phase == CONTAINER_STARTING) {
		start_cancel(c->start);
		return 0;
	}
	proc_signal(&c->init, grace_ms ? sig : SIGKILL);
	if (grace_ms && !c->grace)
		uvx_timer_start(h->loop, grace_ms, on_grace_over, c, &c->grace);
	return 0;
}

int container_destroy(struct rt_host *h, const char *id, rt_done done, void *arg, struct err *err)
{
	struct container *c = container_find(h, id);
	if (!c)
		return defer_done(h, done, arg, err);
	int r = add_waiter(&c->on_gone, done, arg, err);
	if (r < 0)
		return r;
	c->destroy = true;
	if (c->phase == CONTAINER_STARTING)
		start_cancel(c->start);
	else if (c->phase == CONTAINER_RUNNING)
		proc_signal(&c->init, SIGKILL);
	else if (c->phase == CONTAINER_ENDED && (r = begin_removal(c, err)) < 0) {
		c->destroy = false;
		struct waiter *w =
			STAILQ_FIRST(&c->on_gone); /* ours alone: others would have begun a removal */
		STAILQ_INIT(&c->on_gone);
		free(w);
	}
	return r;
}
