/* A start: a worker thread writes the bundle and spawns the shim, the shim's status pipe tells how it went.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/bundle.h"
#include "runtime/native/bundle_read.h"
#include "runtime/native/bundle_write.h"
#include "runtime/native/limits.h"
#include "runtime/native/native.h"
#include "runtime/native/oci.h"
#include "runtime/native/passwd.h"
#include "runtime/native/plan.h"
#include "runtime/native/seccomp.h"
#include "runtime/native/volumes.h"

struct start_op {
	struct native_op base;
	struct container *container;
	struct launch_plan *plan;
	char *bundle;
	rt_started started;
	void *arg;
	struct proc shim;
	int status_fd;
	uv_poll_t *status;
	bool cancelled, spawned;
	struct shim_report report;
	bool reported;
	struct err why; /* of a failure, kept while its remains are cleared away */
};

static struct start_op *of_op(struct rt_op *op)
{
	return CONTAINER_OF(CONTAINER_OF(op, struct native_op, op), struct start_op, base);
}

static char *log_path(const struct rt_host *h, const struct launch_plan *p)
{
	OWN_BUF struct buf b = { 0 };
	buf_addf(&b, "%s/%s/%u/%u.log", h->logs_dir, p->service, p->generation, p->replica);
	return buf_take(&b);
}

static int make_log_dir(const char *log, struct err *err)
{
	OWN_FREE char *dir = strdup(log);
	if (!dir)
		return err_set(err, ENOMEM, "create log directory");
	*strrchr(dir, '/') = '\0';
	return fs_mkdirs(dir, 0750, err);
}

static int clear_bundle(const struct rt_host *h, const char *id, struct err *err)
{
	OWN_FD int dir = -1;
	int r = fs_open_dir(AT_FDCWD, h->containers_dir, &dir, err);
	return r < 0 ? r : fs_remove_tree(dir, id, err);
}

static int read_image(struct start_op *op, char **ret_root, int *ret_fd, json_t **ret_config,
	struct passwd_ids *ret, struct err *err)
{
	struct rt_host *h = op->base.host;
	int r = image_open_root(h->images, op->plan->image_digest, ret_fd, err);
	if (r == 0)
		r = image_config(h->images, op->plan->image_digest, ret_config, err);
	if (r < 0)
		return r;
	*ret_root = image_root_path(h->images, op->plan->image_digest);
	const char *user = op->plan->user ? op->plan->user : json_str(*ret_config, "User", NULL);
	return *ret_root ? passwd_resolve(*ret_fd, user, OCI_IDS, ret, err)
			 : err_set(err, ENOMEM, "open image");
}

/* Neither of them, if the container is unconfined. */
static int make_filter(struct rt_host *h, const struct launch_plan *p, json_t **ret_profile, struct buf *ret,
	struct err *err)
{
	int r = seccomp_profile(p->seccomp, p->caps, ret_profile, err);
	return r < 0 || !*ret_profile ? r : filters_get(&h->filters, *ret_profile, ret, err);
}

static int make_etc(
	const struct launch_plan *p, const struct lease *lease, struct etc_files *ret, struct err *err)
{
	char hostname[64];
	oci_hostname(p, hostname);
	return etc_make(p, lease, hostname, ret, err);
}

static int write_bundle(struct start_op *op, struct oci_host *host, struct err *err)
{
	struct rt_host *h = op->base.host;
	const struct launch_plan *p = op->plan;
	OWN_JSON json_t *config = NULL, *seccomp = NULL, *devices = NULL;
	OWN_BUF struct buf filter = { 0 };
	OWN_ETC struct etc_files etc = { 0 };
	struct lease lease;
	int r = limits_devices(p->container, &devices, err);
	if (r < 0)
		return r;
	host->devices = devices;
	if (p->network == SPEC_NETWORK_PRIVATE) {
		r = network_acquire(h->network, p->id, &lease, err);
		host->lease = &lease;
	}
	if (r == 0)
		r = make_filter(h, p, &seccomp, &filter, err);
	host->seccomp = seccomp;
	if (r == 0)
		r = make_etc(p, host->lease, &etc, err);
	if (r == 0)
		r = oci_build(p, host, &config, err);
	if (r == 0)
		r = clear_bundle(h, p->id, err);
	return r < 0 ? r : bundle_write(op->bundle, config, &filter, &etc, err);
}

static int make_bundle(struct start_op *op, struct err *err)
{
	struct rt_host *h = op->base.host;
	struct launch_plan *p = op->plan;
	OWN_FREE char *root = NULL, *groups = NULL, *log = log_path(h, p);
	OWN_JSON json_t *image = NULL, *volumes = NULL, *map = NULL;
	OWN_FD int root_fd = -1;
	struct oci_host host = { .bundle = op->bundle,
		.tag = h->settings->tag,
		.log = log,
		.cgroup_v2 = cgroups_version(h->cgroups) == 2,
		.time_namespace = h->features.time_namespace };
	int r = log ? read_image(op, &root, &root_fd, &image, &host.ids, err) : err_set(err, ENOMEM, "start");
	if (h->features.userns)
		host.map = map = oci_id_map(oci_first_id(h->settings->tag, p->service));
	if (r == 0)
		r = volume_prepare(h->settings, p, root_fd, &host.ids, map, &volumes, err);
	host.volumes = volumes;
	if (r == 0 && p->network == SPEC_NETWORK_HOST)
		r = plan_pick_ports(p, err);
	if (r == 0)
		r = make_log_dir(log, err);
	if (r == 0) {
		cgroups_remove(h->cgroups, p->id); /* of a run before this one */
		r = cgroups_create(h->cgroups, p->id, &p->limits, &groups, err);
	}
	if (r < 0)
		return r;
	host.root = root;
	host.cgroups = groups;
	host.image_config = image;
	return write_bundle(op, &host, err);
}

static int spawn_shim(struct start_op *op, struct err *err)
{
	struct rt_host *h = op->base.host;
	int p[2];
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_set(err, errno, "make status pipe");
	OWN_FD int reader = p[0], writer = p[1];
	char report[] = "--report", bundle[] = "--bundle";
	char *argv[] = { h->shim_path, report, bundle, op->bundle, NULL };
	char *envp[] = { NULL };
	struct spawn_fd fds[] = { { .from = writer, .to = SHIM_STATUS_FD } };
	struct spawn how = { .path = native_shim(h),
		.argv = argv,
		.envp = envp,
		.fds = fds,
		.n_fds = 1,
		.new_session = true };
	int r = proc_spawn(&how, &op->shim, err);
	if (r < 0)
		return r;
	op->spawned = true;
	op->status_fd = TAKE_FD(reader);
	return 0;
}

static int start_work(void *arg, struct err *err)
{
	struct start_op *op = arg;
	int r = make_bundle(op, err);
	return r < 0 ? r : spawn_shim(op, err);
}

static void poll_closed(uv_handle_t *handle)
{
	free(handle);
}

static void stop_polling(struct start_op *op)
{
	if (!op->status)
		return;
	uv_poll_stop(op->status);
	uv_close((uv_handle_t *)TAKE_PTR(op->status), poll_closed);
}

static void stop_status(struct start_op *op)
{
	stop_polling(op);
	own_close(&op->status_fd);
}

/* Ends the operation; the callbacks may start, stop or destroy whatever they like. */
static void finish(struct start_op *op, int result)
{
	struct container *c = op->container;
	struct rt_state state = c->state;
	rt_started started = op->started;
	void *arg = op->arg;
	struct err why = op->why;
	stop_status(op);
	proc_close(&op->shim);
	plan_free(op->plan);
	free(op->bundle);
	native_op_end(&op->base);
	free(op);
	container_start_ended(c, result == 0);
	started(arg, result, result == 0 ? &state : NULL, result == 0 ? NULL : &why);
}

static int clear_work(void *arg, struct err *err)
{
	struct start_op *op = arg;
	struct rt_host *h = op->base.host;
	cgroups_remove(h->cgroups, op->plan->id);
	network_release(h->network, op->plan->id);
	return clear_bundle(h, op->plan->id, err);
}

static void clear_done(void *arg, int result, const struct err *err)
{
	struct start_op *op = arg;
	(void)result; /* what could not be removed is found again by adopt; the start's own failure says more
		       */
	(void)err;
	finish(op, op->cancelled ? -ECANCELED : -op->why.code);
}

/* The shim is gone or never was. */
static void clear_away(struct start_op *op)
{
	if (op->cancelled)
		err_say(&op->why, ECANCELED, "start %s: cancelled", op->plan->id);
	if (native_work(op->base.host, clear_work, clear_done, op) < 0)
		clear_done(op, 0, NULL);
}

static void on_failed_shim_ended(void *arg)
{
	struct start_op *op = arg;
	int wstatus;
	proc_reap(&op->shim, &wstatus);
	op->container->watch = NULL;
	clear_away(op);
}

/* Waits for the shim to have cleaned up after itself; at its end its container is dead too. */
static void await_shim_end(struct start_op *op)
{
	stop_status(op);
	struct container *c = op->container;
	if (uvx_watch_start(op->base.host->loop, op->shim.pidfd, on_failed_shim_ended, op, &c->watch, NULL) <
		0) {
		proc_signal(&op->shim, SIGKILL);
		clear_away(op);
	}
}

static int fill_container(struct start_op *op, struct err *err)
{
	struct container *c = op->container;
	struct bundle_info info;
	int r = bundle_read(op->bundle, &info, err);
	if (r == 0)
		r = proc_open(op->report.pid, op->report.start_time, &c->init, err);
	if (r == -ESRCH) /* ended already: the shim's end follows, with its record */
		r = 0;
	if (r < 0)
		return r;
	c->state = info.state;
	c->state.pid = op->report.pid;
	c->shim = op->shim;
	r = container_attach(c, op->status_fd, err);
	if (r == 0) {
		op->shim = PROC_NONE;
		op->status_fd = -1;
		if (op->plan->names_version != op->base.host->names_version)
			container_rename(c); /* they changed meanwhile */
	} else {
		c->shim = PROC_NONE;
		container_set_phase(c, CONTAINER_STARTING);
	}
	return r;
}

static void on_report(struct start_op *op)
{
	op->report.text[sizeof op->report.text - 1] = '\0';
	if (!op->reported)
		err_say(&op->why, EIO, "start %s: teal-shim ended without a word", op->plan->id);
	else if (op->report.result == SHIM_FAILED)
		err_say(&op->why, op->report.code, "start %s: %s", op->plan->id, op->report.text);
	else if (!op->cancelled) {
		stop_polling(op); /* the container polls it from now on */
		if (fill_container(op, &op->why) == 0) {
			finish(op, 0);
			return;
		}
	}
	if (op->reported && op->report.result == SHIM_STARTED)
		proc_signal(&op->shim, SIGKILL);
	await_shim_end(op);
}

static void on_status(uv_poll_t *poll, int status, int events)
{
	struct start_op *op = poll->data;
	(void)status;
	(void)events;
	ssize_t n = read(op->status_fd, &op->report, sizeof op->report);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	op->reported = n == (ssize_t)sizeof op->report;
	on_report(op);
}

static int watch_status(struct start_op *op, struct err *err)
{
	uv_poll_t *poll = calloc(1, sizeof *poll);
	int r = poll ? uv_poll_init(op->base.host->loop, poll, op->status_fd) : UV_ENOMEM;
	if (r < 0) {
		free(poll);
		return uvx_err(err, r, "watch status pipe");
	}
	poll->data = op;
	op->status = poll;
	r = uv_poll_start(poll, UV_READABLE, on_status);
	return r < 0 ? uvx_err(err, r, "watch status pipe") : 0;
}

static void start_worked(void *arg, int result, const struct err *err)
{
	struct start_op *op = arg;
	if (result < 0) {
		op->why = *err;
		err_wrap(&op->why, "start %s", op->plan->id);
		clear_away(op);
		return;
	}
	if (op->cancelled || watch_status(op, &op->why) < 0) {
		proc_signal(&op->shim, SIGKILL);
		await_shim_end(op);
	}
}

void start_cancel(struct start_op *op)
{
	if (op->cancelled)
		return;
	op->cancelled = true;
	/* With its shim dies whatever it has begun; the report that ends then is what goes on from here. */
	if (op->status)
		proc_signal(&op->shim, SIGKILL);
}

static void cancel(struct rt_op *op)
{
	start_cancel(of_op(op));
}

static int new_op(struct rt_host *h, const struct rt_launch *launch, struct start_op **ret, struct err *err)
{
	struct start_op *op = calloc(1, sizeof *op);
	if (!op)
		return err_set(err, ENOMEM, "start %s", launch->id);
	op->shim = PROC_NONE;
	op->status_fd = -1;
	op->bundle = fs_join(h->containers_dir, launch->id, NULL);
	int r = op->bundle ? plan_new(launch, &op->plan, err) : err_set(err, ENOMEM, "start %s", launch->id);
	if (r == 0) {
		op->plan->names_version = h->names_version;
		r = strv_copy(h->names, &op->plan->names) < 0 ? err_set(err, ENOMEM, "start %s", launch->id)
							      : 0;
	}
	if (r < 0) {
		plan_free(op->plan);
		free(op->bundle);
		free(op);
		return r;
	}
	*ret = op;
	return 0;
}

static int claim_container(struct rt_host *h, const char *id, struct container **ret, struct err *err)
{
	char service[SPEC_NAME_MAX];
	uint32_t generation, replica;
	if (rt_id_parse(id, service, &generation, &replica) < 0)
		return err_say(err, EINVAL, "start: malformed id \"%s\"", id);
	struct container *c = container_find(h, id);
	if (c && (c->phase == CONTAINER_STARTING || c->phase == CONTAINER_RUNNING))
		return err_say(err, EALREADY, "start %s: it runs already", id);
	if (c && c->phase == CONTAINER_REMOVING)
		return err_say(err, EBUSY, "start %s: it is being removed", id);
	if (!c)
		c = container_new(h, id);
	if (!c)
		return err_set(err, ENOMEM, "start %s", id);
	*ret = c;
	return 0;
}

int container_start(struct rt_host *h, const struct rt_launch *launch, rt_started started, void *arg,
	struct rt_op **ret_op, struct err *err)
{
	struct container *c = NULL;
	struct start_op *op = NULL;
	int r = host_check(h->settings, &h->features, h->cgroups, launch->container, err);
	if (r == 0)
		r = new_op(h, launch, &op, err);
	if (r < 0)
		return r;
	bool fresh = !container_find(h, launch->id);
	r = claim_container(h, launch->id, &c, err);
	if (r == 0) {
		op->container = c;
		op->started = started;
		op->arg = arg;
		native_op_begin(h, &op->base, cancel);
		r = native_work(h, start_work, start_worked, op);
		if (r < 0) {
			native_op_end(&op->base);
			if (fresh)
				container_free(c);
			err_set(err, -r, "start %s", launch->id);
		}
	}
	if (r < 0) {
		plan_free(op->plan);
		free(op->bundle);
		free(op);
		return r;
	}
	c->destroy = false;
	c->start = op;
	container_set_phase(c, CONTAINER_STARTING);
	if (ret_op)
		*ret_op = &op->base.op;
	return 0;
}
