/* Finds the containers of an agent that ran before: every bundle on disk is either running under a shim that
 * is proven to be its own, or ended, or a leftover. Then everything on the host that bears our tag and has no
 * bundle goes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/bundle.h"
#include "runtime/native/bundle_read.h"
#include "runtime/native/native.h"

#define RECORD_WAIT_MS 2000 /* for all of them together */

static int adopt_running(
	struct container *c, const struct bundle_info *info, struct proc *shim, struct err *err)
{
	c->state = info->state;
	c->shim = *shim;
	*shim = PROC_NONE;
	/* May have ended this moment: the shim's end follows. */
	proc_open(info->init_pid, info->init_start, &c->init, NULL);
	int r = container_attach(c, -1, err);
	if (r == 0 && info->address[0])
		r = network_restore(c->host->network, c->state.id, info->address);
	return r;
}

static void adopt_ended(struct container *c, const struct bundle_info *info, const char *dir)
{
	struct proc init = PROC_NONE;
	c->state = info->state;
	c->state.exit = (struct rt_exit){ .code = -1, .at_ms = clock_wall_ms() };
	bundle_read_exit(dir, &c->state.exit);
	/* A shim that was killed takes init along; one that the kernel has not got to yet is helped. */
	if (info->this_boot && info->init_pid > 0 &&
		proc_open(info->init_pid, info->init_start, &init, NULL) == 0)
		proc_signal(&init, SIGKILL);
	proc_close(&init);
	if (info->address[0])
		network_restore(c->host->network, c->state.id, info->address);
	container_set_phase(c, CONTAINER_ENDED);
}

/* A start that its agent never saw the end of has not happened. */
static void drop_half_made(struct rt_host *h, const char *id, struct proc *shim)
{
	OWN_FD int dir = -1;
	if (shim->pidfd >= 0)
		proc_signal(shim, SIGKILL);
	if (fs_open_dir(AT_FDCWD, h->containers_dir, &dir, NULL) == 0)
		fs_remove_tree(dir, id, NULL);
}

/* A shim without its init is writing down the end: a moment's work, unless the disk stands still. */
static bool await_record(const struct bundle_info *info, const struct proc *shim, int64_t deadline_ms)
{
	struct proc init = PROC_NONE;
	struct pollfd p = { .fd = shim->pidfd, .events = POLLIN };
	if (proc_open(info->init_pid, info->init_start, &init, NULL) == 0) {
		proc_close(&init);
		return false;
	}
	int64_t left = deadline_ms - clock_boot_ms();
	return poll(&p, 1, left > 0 ? (int)left : 0) == 1;
}

/* What a power cut may leave: the directory with files that are empty. It ran, so its end is worth telling.
 */
static void unreadable_info(const char *id, const char *dir, struct bundle_info *ret)
{
	OWN_FREE char *state = fs_join(dir, BUNDLE_STATE, NULL);
	*ret = (struct bundle_info){ .started = state && access(state, F_OK) == 0 };
	snprintf(ret->state.id, sizeof ret->state.id, "%.*s", RT_ID_MAX - 1, id);
}

static int adopt_one(
	struct rt_host *h, const char *id, int64_t deadline_ms, struct container **ret, struct err *err)
{
	OWN_FREE char *dir = fs_join(h->containers_dir, id, NULL);
	struct bundle_info info;
	struct proc shim = PROC_NONE;
	struct rt_exit exit;
	if (!dir)
		return err_set(err, ENOMEM, "adopt %s", id);
	bool alive = bundle_open_shim(dir, &shim) == 0;
	bool readable = bundle_read(dir, &info, NULL) == 0 && strcmp(info.state.id, id) == 0;
	if (!readable)
		unreadable_info(id, dir, &info);
	alive = alive && readable && !(info.started && await_record(&info, &shim, deadline_ms));
	bool ran = info.started || bundle_read_exit(dir, &exit) == 0;
	if (!ran) {
		drop_half_made(h, id, &shim);
		proc_close(&shim);
		return 0;
	}
	struct container *c = container_new(h, id);
	if (!c) {
		proc_close(&shim);
		return err_set(err, ENOMEM, "adopt %s", id);
	}
	int r = 0;
	if (alive)
		r = adopt_running(c, &info, &shim, err);
	else
		adopt_ended(c, &info, dir);
	proc_close(&shim);
	*ret = c;
	return r;
}

static void sweep_cgroups(struct rt_host *h)
{
	OWN_STRV char **ids = NULL;
	cgroups_list(h->cgroups, &ids);
	for (char **id = ids; id && *id; id++) {
		const struct container *c = container_find(h, *id);
		if (!c || c->phase != CONTAINER_RUNNING)
			cgroups_remove(h->cgroups, *id);
	}
}

int containers_adopt(
	struct rt_host *h, void (*seen)(void *arg, const struct rt_state *state), void *arg, struct err *err)
{
	int64_t deadline_ms = clock_boot_ms() + RECORD_WAIT_MS;
	OWN_DIR DIR *d = opendir(h->containers_dir);
	if (!d)
		return err_set(err, errno, "list %s", h->containers_dir);
	for (struct dirent *e; (e = readdir(d));) {
		char service[SPEC_NAME_MAX];
		uint32_t generation, replica;
		struct container *c = NULL;
		if (rt_id_parse(e->d_name, service, &generation, &replica) < 0 ||
			container_find(h, e->d_name))
			continue;
		int r = adopt_one(h, e->d_name, deadline_ms, &c, err);
		if (r < 0)
			return r;
		if (c)
			seen(arg, &c->state);
	}
	sweep_cgroups(h);
	network_sweep(h->network);
	return 0;
}
