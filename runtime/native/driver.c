#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/limits.h"
#include "runtime/native/native.h"
#include "runtime/native/plan.h"
#include "runtime/native/seal.h"
#include "runtime/native/seccomp.h"
#include "runtime/native/volumes.h"

void native_op_begin(struct rt_host *h, struct native_op *op, void (*cancel)(struct rt_op *op))
{
	op->host = h;
	op->op.cancel = cancel;
	LIST_INSERT_HEAD(&h->ops, op, link);
}

void native_op_end(struct native_op *op)
{
	LIST_REMOVE(op, link);
	native_check_closed(op->host);
}

struct job {
	struct rt_host *host;
	uvx_work_fn work;
	uvx_work_done done;
	void *arg;
};

static int job_run(void *arg, struct err *err)
{
	struct job *j = arg;
	return j->work(j->arg, err);
}

static void job_done(void *arg, int result, const struct err *err)
{
	OWN_FREE struct job *j = arg;
	struct rt_host *h = j->host;
	j->done(j->arg, result, err);
	h->work--;
	native_check_closed(h);
}

int native_work(struct rt_host *h, uvx_work_fn work, uvx_work_done done, void *arg)
{
	struct job *j = calloc(1, sizeof *j);
	if (!j)
		return -ENOMEM;
	*j = (struct job){ .host = h, .work = work, .done = done, .arg = arg };
	int r = uvx_work(h->loop, job_run, job_done, j);
	if (r < 0)
		free(j);
	else
		h->work++;
	return r;
}

static void host_free(struct rt_host *h)
{
	image_store_close(h->images);
	cgroups_close(h->cgroups);
	network_close(h->network);
	filters_close(&h->filters);
	own_close(&h->shim_fd);
	strv_free(h->names);
	free(h->shim_path);
	free(h->containers_dir);
	free(h->logs_dir);
	free(h);
}

static void host_closed(void *arg)
{
	struct rt_host *h = arg;
	void (*closed)(void *) = h->closed;
	void *closed_arg = h->closed_arg;
	while (!LIST_EMPTY(&h->containers))
		container_free(LIST_FIRST(&h->containers));
	while (!LIST_EMPTY(&h->lingerers))
		lingerer_free(LIST_FIRST(&h->lingerers));
	host_free(h);
	if (closed)
		closed(closed_arg);
}

void native_check_closed(struct rt_host *h)
{
	if (!h->closing || h->work > 0 || !LIST_EMPTY(&h->ops))
		return;
	h->closing = false; /* once */
	uvx_defer(h->loop, host_closed, h);
}

static void native_close(struct rt_host *h, void (*closed)(void *arg), void *arg)
{
	struct container *c;
	struct native_op *op, *next;
	h->closed = closed;
	h->closed_arg = arg;
	h->events.exited = NULL;
	h->closing = true;
	h->work++; /* not before this function has looked at everything */
	for (op = LIST_FIRST(&h->ops); op; op = next) {
		next = LIST_NEXT(op, link);
		op->op.cancel(&op->op);
	}
	LIST_FOREACH (c, &h->containers, link)
		container_abandon(c);
	h->work--;
	native_check_closed(h);
}

/* A missing program is told of by the start that needs it, and by doctor. */
static void seal_shim(struct rt_host *h)
{
	if (seal_program(h->shim_path, &h->shim_fd, NULL) == 0)
		snprintf(h->shim_exec, sizeof h->shim_exec, "/proc/self/fd/%d", h->shim_fd);
}

const char *native_shim(const struct rt_host *h)
{
	return h->shim_fd >= 0 ? h->shim_exec : h->shim_path;
}

static int make_paths(struct rt_host *h, struct err *err)
{
	const struct settings *s = h->settings;
	h->shim_path = fs_join(s->libexec_dir, "teal-shim", NULL);
	h->containers_dir = fs_join(s->state_dir, "containers", NULL);
	h->logs_dir = fs_join(s->state_dir, "logs", NULL);
	if (!h->shim_path || !h->containers_dir || !h->logs_dir)
		return err_set(err, ENOMEM, "open runtime");
	seal_shim(h);
	int r = fs_mkdirs(h->containers_dir, 0700, err);
	return r < 0 ? r : fs_mkdirs(h->logs_dir, 0750, err);
}

static int open_images(struct rt_host *h, struct err *err)
{
	const struct settings *s = h->settings;
	OWN_FREE char *etc = s->root ? fs_join(s->root, "etc", NULL) : strdup("/etc/teal");
	if (!etc)
		return err_set(err, ENOMEM, "open images");
	const struct image_places places = {
		.state_dir = s->state_dir, .libexec_dir = s->libexec_dir, .etc_dir = etc
	};
	return image_store_open(&places, &h->images, err);
}

static int open_all(struct rt_host *h, struct err *err)
{
	int r = make_paths(h, err);
	if (r == 0)
		r = open_images(h, err);
	if (r == 0)
		r = cgroups_open(h->settings->tag, &h->cgroups, err);
	if (r == 0)
		r = network_open(h->settings, &h->network, err);
	if (r == 0)
		host_probe(h->settings, &h->features);
	return r;
}

static int native_open(uv_loop_t *loop, const struct settings *settings, const struct rt_events *events,
	struct rt_host **ret, struct err *err)
{
	struct rt_host *h = calloc(1, sizeof *h);
	if (!h)
		return err_set(err, ENOMEM, "open runtime");
	h->loop = loop;
	h->settings = settings;
	h->events = *events;
	h->shim_fd = -1;
	LIST_INIT(&h->containers);
	LIST_INIT(&h->ops);
	LIST_INIT(&h->lingerers);
	filters_open(&h->filters);
	int r = open_all(h, err);
	if (r < 0) {
		host_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

static int native_check(struct rt_host *h, const struct spec *s, struct err *err)
{
	OWN_JSON json_t *profile = NULL;
	OWN_BUF struct buf program = { 0 };
	int r = host_check(h->settings, &h->features, h->cgroups, &s->container, err);
	if (r == 0)
		r = limits_check(&s->container, err);
	if (r == 0)
		r = volume_check(h->settings, &s->container, err);
	if (r == 0)
		r = seccomp_profile(s->container.seccomp, plan_caps(&s->container), &profile, err);
	if (r == 0 && profile)
		r = filters_get(&h->filters, profile, &program, err); /* kept for the start */
	return r;
}

/* A name that could not be added is one that a container can't look up: the next change tries again. */
static void native_set_names(struct rt_host *h, char *const *names)
{
	struct container *c;
	char **copy = NULL;
	if (strv_copy(names, &copy) < 0)
		return;
	strv_free(h->names);
	h->names = copy;
	h->names_version++;
	LIST_FOREACH (c, &h->containers, link)
		container_rename(c);
}

static int native_inspect(struct rt_host *h, const char *id, struct rt_state *ret, struct err *err)
{
	const struct container *c = container_find(h, id);
	if (!c || c->phase == CONTAINER_STARTING || c->phase == CONTAINER_REMOVING)
		return err_say(err, ENOENT, "no container %s", id);
	*ret = c->state;
	return 0;
}

const struct rt_driver native_driver = {
	.name = "native",
	.open = native_open,
	.close = native_close,
	.check = native_check,
	.image_resolve = images_resolve,
	.image_fetch = images_fetch,
	.image_present = images_present,
	.image_list = images_list,
	.image_inspect = images_inspect,
	.image_keep = images_keep,
	.image_remove = images_remove,
	.start = container_start,
	.stop = container_stop,
	.destroy = container_destroy,
	.logs_remove = logs_remove,
	.exec = container_exec,
	.inspect = native_inspect,
	.adopt = containers_adopt,
	.logs = container_logs,
	.set_names = native_set_names,
	.doctor = host_doctor,
};
