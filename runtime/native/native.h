/* Inside the native driver: the host, its containers, and what its files call of each other. */
#pragma once
#include <sys/queue.h>

#include "base/buf.h"
#include "base/proc.h"
#include "base/uvx.h"
#include "runtime/driver.h"
#include "runtime/image/store.h"
#include "runtime/native/cgroup.h"
#include "runtime/native/filters.h"
#include "runtime/native/host.h"
#include "runtime/native/network.h"
#include "runtime/op.h"

extern const struct rt_driver native_driver;

enum container_phase {
	CONTAINER_STARTING, /* a start runs; its end decides */
	CONTAINER_RUNNING,
	CONTAINER_ENDED,
	CONTAINER_REMOVING, /* on a worker; gone afterwards */
};

/* Waits for a container's end (stop) or removal (destroy). */
struct waiter {
	STAILQ_ENTRY(waiter) next;
	rt_done done;
	void *arg;
};
STAILQ_HEAD(waiters, waiter);

struct container {
	LIST_ENTRY(container) link;
	struct rt_host *host;
	enum container_phase phase;
	struct rt_state state;
	struct proc shim, init;
	struct uvx_watch *watch; /* of the shim; of init once the shim was lost */
	int status_fd;		 /* the shim's, or -1: adopted */
	uv_poll_t *status;	 /* tells of the end before the shim's own end does */
	struct uvx_timer *grace;
	struct start_op *start; /* while STARTING */
	bool destroy;		/* remove as soon as it has ended */
	struct waiters on_end, on_gone;
};

/* A shim whose container has ended, while it writes the record of that: only to be buried. */
struct lingerer {
	LIST_ENTRY(lingerer) link;
	struct proc shim;
	struct uvx_watch *watch;
};

struct rt_host {
	uv_loop_t *loop;
	const struct settings *settings;
	struct rt_events events;
	struct image_store *images;
	struct cgroups *cgroups;
	struct network *network;
	struct host_features features;
	char *shim_path, *containers_dir, *logs_dir;
	int shim_fd;	    /* a sealed copy of it, or -1: not possible here */
	char shim_exec[32]; /* its path */
	char **names; /* of services, for /etc/hosts */
	uint32_t names_version;
	struct filters filters;
	LIST_HEAD(, container) containers;
	LIST_HEAD(, native_op) ops;
	LIST_HEAD(, lingerer) lingerers;
	unsigned work; /* jobs on worker threads */
	bool closing;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* Every operation that runs: what close() has to cancel and wait for. */
struct native_op {
	struct rt_op op;
	LIST_ENTRY(native_op) link;
	struct rt_host *host;
};
void native_op_begin(struct rt_host *h, struct native_op *op, void (*cancel)(struct rt_op *op));
void native_op_end(struct native_op *op);
/* uvx_work that close() waits for. */
int native_work(struct rt_host *h, uvx_work_fn work, uvx_work_done done, void *arg);
void native_check_closed(struct rt_host *h);
/* What is run as the shim: the sealed copy, or the file where there can't be one. */
const char *native_shim(const struct rt_host *h);

/* container.c */
struct container *container_find(struct rt_host *h, const char *id);
struct container *container_new(struct rt_host *h, const char *id);
void container_free(struct container *c); /* unlinks; no waiters may be left */
/* The one place where a phase changes. */
void container_set_phase(struct container *c, enum container_phase phase);
/* It runs: watches the shim from now on. status_fd: -1 if there is none; taken over on success. */
int container_attach(struct container *c, int status_fd, struct err *err);
/* The names of services in its /etc/hosts become the host's. */
void container_rename(struct container *c);
void lingerer_free(struct lingerer *l);
int container_stop(struct rt_host *h, const char *id, int sig, uint32_t grace_ms, rt_done done, void *arg,
	struct err *err);
int container_destroy(struct rt_host *h, const char *id, rt_done done, void *arg, struct err *err);
/* The host closes: whoever waits for its end hears -ECANCELED; the container goes on. */
void container_abandon(struct container *c);
void container_start_ended(struct container *c, bool running);

/* start.c */
int container_start(struct rt_host *h, const struct rt_launch *launch, rt_started started, void *arg,
	struct rt_op **ret_op, struct err *err);
void start_cancel(struct start_op *op);

/* exec.c, logs.c, adopt.c, doctor.c, images.c */
int container_exec(struct rt_host *h, const char *id, char *const *argv, uint32_t timeout_ms,
	rt_exec_done done, void *arg, struct rt_op **ret_op, struct err *err);
int container_logs(struct rt_host *h, const char *id, const struct rt_log_query *query, rt_log_line line,
	rt_done end, void *arg, struct rt_op **ret_op, struct err *err);
void logs_cancel(struct rt_op *op);
/* Followers of its log read what is left and end. */
void logs_container_ended(struct rt_host *h, const char *id);
int logs_remove(struct rt_host *h, const char *service, uint32_t generation, struct err *err);
int containers_adopt(
	struct rt_host *h, void (*seen)(void *arg, const struct rt_state *state), void *arg, struct err *err);
json_t *host_doctor(struct rt_host *h);
int images_resolve(struct rt_host *h, const char *ref, rt_image_done done, void *arg, struct rt_op **ret_op,
	struct err *err);
int images_fetch(struct rt_host *h, const char *ref, const char *digest, rt_image_done done, void *arg,
	struct rt_op **ret_op, struct err *err);
bool images_present(struct rt_host *h, const char *digest);
json_t *images_list(struct rt_host *h);
int images_inspect(struct rt_host *h, const char *digest, json_t **ret, struct err *err);
int images_keep(struct rt_host *h, const char *digest, struct err *err);
int images_remove(struct rt_host *h, const char *digest, rt_done done, void *arg, struct err *err);
