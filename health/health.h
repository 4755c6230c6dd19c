/* Probes: is a replica ready? One check per replica, on the loop; HTTP by libcurl, TCP by connect, exec
 * through a callback (this folder knows no driver). A pure judge turns answers into a verdict:
 *
 * - starting or unready → ready after `successes` in a row
 * - ready → unready after `retries` failures in a row; failures within start_period don't count
 * - starting never becomes unready: how long to wait is for the deployment's deadline to say
 *
 * While starting, probes run at once and then after 10, 20, 40 … ms up to the interval; afterwards every
 * interval, give or take 5 %. A probe never overlaps the next one of its check. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/err.h"
#include "config/spec.h"

enum hc_verdict { HC_STARTING, HC_READY, HC_UNREADY };
const char *hc_verdict_name(enum hc_verdict v); /* "starting" | "ready" | "unready" */

struct hc_answer { /* the last probe's, kept for messages */
	bool ok;
	int64_t at_ms; /* wall clock; 0 = none yet */
	uint32_t took_us;
	uint32_t successes, failures; /* in a row, up to and with this one */
	char text[400]; /* "HTTP 503: {\"db\":\"down\"}", "connect 10.9.0.2:80: Connection refused";
			   printable, one line */
};

struct hc_target {
	const struct spec_health *health; /* borrowed for the life of the check */
	struct sockaddr_storage address;  /* the replica's; its port is ignored */
	const uint16_t *ports;
	size_t n_ports; /* copied. kind NONE: TCP to each; HTTP/TCP: ports[0] is health->port mapped */
};

/* Runs argv in the replica; the result must come through done exactly once, later, also after cancel. */
typedef void (*hc_exec_done)(
	void *check, int result, int exit_code, const char *output, const struct err *why);
typedef struct hc_exec_vtable {
	int (*run)(void *arg, char *const *argv, uint32_t timeout_ms, hc_exec_done done, void *check,
		void **ret_op, struct err *err);
	void (*cancel)(void *op); /* done still runs */
} hc_exec_vtable;

struct hc_engine; /* one per loop: the curl multi handle and its sockets */
struct hc_check;

int hc_engine_open(uv_loop_t *loop, struct hc_engine **ret, struct err *err);
/* All checks must have been stopped. closed runs once all is freed. */
void hc_engine_close(struct hc_engine *e, void (*closed)(void *arg), void *arg);

/* `changed` runs whenever the verdict changes, and never before hc_start returned; `answered` (may be NULL)
 * after every probe. initial: HC_STARTING, or HC_READY for a replica adopted as ready. kind NONE without
 * ports is ready at once. */
struct hc_callbacks {
	void *arg;
	void (*changed)(void *arg, enum hc_verdict verdict, const struct hc_answer *answer);
	void (*answered)(void *arg, const struct hc_answer *answer);
};
int hc_start(struct hc_engine *e, const struct hc_target *target, const hc_exec_vtable *exec, void *exec_arg,
	enum hc_verdict initial, const struct hc_callbacks *callbacks, struct hc_check **ret,
	struct err *err);
/* No callback after this returns. Accepts NULL. */
void hc_stop(struct hc_check *c);
const struct hc_answer *hc_last(const struct hc_check *c);
enum hc_verdict hc_verdict_of(const struct hc_check *c);
