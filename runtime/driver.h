/* The one door through which images and containers come and go. Native (and later Docker) live behind it;
 * no caller may ask which one it has. Everything runs on one libuv loop.
 *
 * Contract, the same for every driver (tests/unit/driver_contract.c runs over each):
 *  - an operation that takes a `done` returns 0: done runs exactly once, never before the call has returned;
 *    or < 0: done never runs, nothing was changed, err says why.
 *  - rt_cancel(op): done runs with -ECANCELED (or the result, if that came first), never inside rt_cancel.
 *    An op is dead once its done has begun. Passing ret_op NULL is fine: the op can then not be cancelled.
 *  - all are idempotent: start of a running container is -EALREADY; stop and destroy of an absent one succeed.
 *  - `exited` runs once for each container that was running, whoever ended it, also for those found by `adopt`.
 *    It never runs before `started` of the same container.
 *  - containers outlive the agent: close() leaves them running, adopt() finds them again. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "config/settings.h"
#include "config/spec.h"

/* "web.7.1": service, generation, replica (from 1). Names are free of dots, so it reads back unambiguously. */
#define RT_ID_MAX 64
#define RT_PORTS_MAX 32

struct rt_host; /* an opened driver */
struct rt_op;   /* a running operation */

/* `why` is NULL on success and lives only as long as the callback runs. */
typedef void (*rt_done)(void *arg, int result, const struct err *why);

struct rt_launch { /* borrowed for the length of the call */
	char id[RT_ID_MAX];
	const char *service, *slot; /* slot: "blue" | "green" */
	uint32_t generation, replica;
	const struct spec_container *container;
	struct spec *spec;	 /* that `container` is of: a driver refers to it for as long as it needs that.
				    NULL: `container` outlives the operation */
	const char *secrets_dir; /* files named by the hex digits of the secrets' digests; NULL: no secrets */
	const struct spec_port *ports; /* targets the container is to listen on */
	size_t n_ports;
	const struct spec_pair *labels;
	size_t n_labels;
	char image_digest[DIGEST_LEN];
	char spec_digest[DIGEST_LEN];
};

struct rt_exit {
	int code;        /* exit code; 128 + signal when signalled; -1: unknown (its shim was killed) */
	int signal;      /* 0 = not signalled */
	bool oom;        /* the kernel killed something in it for want of memory */
	int64_t at_ms;   /* wall clock */
};

struct rt_state {
	char id[RT_ID_MAX];
	bool running;
	pid_t pid;                   /* the container's pid 1, seen from the host */
	int64_t started_ms;          /* wall clock */
	struct sockaddr_storage address; /* where the container's ports are reached from the host; port 0 */
	uint16_t ports[RT_PORTS_MAX];    /* real port of launch.ports[i]: the target, or with network: host the one picked */
	size_t n_ports;
	bool userns;                 /* false: root inside is root outside (userns: preferred on a host without) */
	struct rt_exit exit;         /* valid when !running */
};

typedef void (*rt_started)(void *arg, int result, const struct rt_state *state, const struct err *why);
/* output: the first 4 KiB of stdout and stderr, NUL-terminated. result -ETIMEDOUT: killed after timeout_ms. */
typedef void (*rt_exec_done)(void *arg, int result, int exit_code, const char *output, const struct err *why);
typedef void (*rt_image_done)(void *arg, int result, const char digest[DIGEST_LEN], const struct err *why);
/* One line without its newline; stream: "stdout" | "stderr". */
typedef void (*rt_log_line)(void *arg, int64_t at_ms, const char *stream, const char *text, size_t len);

struct rt_events {
	void *arg;
	void (*exited)(void *arg, const char *id, const struct rt_exit *exit);
};

struct rt_log_query {
	uint32_t tail;    /* at most this many last lines first; UINT32_MAX = all */
	int64_t since_ms; /* wall clock; 0 = no bound */
	bool follow;      /* go on with new lines until cancelled or the container has ended */
};

struct rt_driver {
	const char *name; /* "native" */

	int (*open)(uv_loop_t *loop, const struct settings *settings, const struct rt_events *events,
		struct rt_host **ret, struct err *err);
	/* Frees the host once every operation has ended (they are cancelled). Containers go on. */
	void (*close)(struct rt_host *h, void (*closed)(void *arg), void *arg);

	/* Can this host run it? -ENOTSUP naming the limit or mode and the remedy. No side effects. */
	int (*check)(struct rt_host *h, const struct spec *s, struct err *err);

	/* The digest that a reference means now, without fetching it where that can be told (plan). */
	int (*image_resolve)(struct rt_host *h, const char *ref, rt_image_done done, void *arg, struct rt_op **ret_op,
		struct err *err);
	/* Makes the image present, complete and durable; gives its digest. With a digest (it may be NULL): that image of
	 * the reference's source, whatever a tag means by now; -ESTALE if it can't be had any more. */
	int (*image_fetch)(struct rt_host *h, const char *ref, const char *digest, rt_image_done done, void *arg,
		struct rt_op **ret_op, struct err *err);
	bool (*image_present)(struct rt_host *h, const char *digest);
	/* Array of {"digest","reference","size","created_ms","kept"}; new reference. */
	json_t *(*image_list)(struct rt_host *h);
	/* The same of one, and what is recorded beside: "config", "layers" … New reference; -ENOENT. */
	int (*image_inspect)(struct rt_host *h, const char *digest, json_t **ret, struct err *err);
	/* It was asked for by hand: "kept" from here on. */
	int (*image_keep)(struct rt_host *h, const char *digest, struct err *err);
	int (*image_remove)(struct rt_host *h, const char *digest, rt_done done, void *arg, struct err *err);

	/* Creates and starts; started means that exec of the command has happened. A failed start leaves nothing but logs.
	 * A container that ran before and ended is started afresh (new writable layer, same id). */
	int (*start)(struct rt_host *h, const struct rt_launch *launch, rt_started started, void *arg, struct rt_op **ret_op,
		struct err *err);
	/* Sends sig, SIGKILL after grace_ms; done when it has ended. */
	int (*stop)(struct rt_host *h, const char *id, int sig, uint32_t grace_ms, rt_done done, void *arg, struct err *err);
	/* Ends it at once if it runs, removes everything of it but its logs. */
	int (*destroy)(struct rt_host *h, const char *id, rt_done done, void *arg, struct err *err);
	/* Removes the logs of a generation (of all generations: 0). */
	int (*logs_remove)(struct rt_host *h, const char *service, uint32_t generation, struct err *err);
	int (*exec)(struct rt_host *h, const char *id, char *const *argv, uint32_t timeout_ms, rt_exec_done done, void *arg,
		struct rt_op **ret_op, struct err *err);
	/* What is known of a container; -ENOENT. */
	int (*inspect)(struct rt_host *h, const char *id, struct rt_state *ret, struct err *err);
	/* Calls seen for every container of this agent that exists, running or ended (with its exit), during the call.
	 * Once, at start. Bounded in time: what can't be read is reported as ended with code -1. */
	int (*adopt)(struct rt_host *h, void (*seen)(void *arg, const struct rt_state *state), void *arg, struct err *err);
	/* Works for ended and destroyed containers too, as long as their logs are kept. end: no more lines. */
	int (*logs)(struct rt_host *h, const char *id, const struct rt_log_query *query, rt_log_line line, rt_done end, void *arg,
		struct rt_op **ret_op, struct err *err);
	/* Names that containers find in /etc/hosts, for the address where this host's listeners are reached: those
	 * that run now and those that come. NULL: the driver has no names. */
	void (*set_names)(struct rt_host *h, char *const *names);
	/* Rows of {"name","status":"ok|warn|fail","detail","remedy"} about this host, for `teal doctor`; new reference. */
	json_t *(*doctor)(struct rt_host *h);
};

void rt_cancel(struct rt_op *op); /* NULL is fine */
/* No line of a log operation comes from here on (end may), until it is let go on: for readers who can't keep up. */
void rt_pause(struct rt_op *op, bool paused);
/* NULL for an unknown name. */
const struct rt_driver *rt_driver_by_name(const char *name);

/* "web.7.1" from its parts, and back (0 or -EINVAL). */
void rt_id_format(char ret[RT_ID_MAX], const char *service, uint32_t generation, uint32_t replica);
int rt_id_parse(const char *id, char service[SPEC_NAME_MAX], uint32_t *ret_generation, uint32_t *ret_replica);
