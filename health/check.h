/* What the files of health/ share: the engine, one check, and what a kind of probe has to offer. */
#pragma once
#include "health/health.h"
#include "health/judge.h"

struct hc_curl; /* probe_http.c's: the curl multi handle on the loop */

struct hc_engine {
	uv_loop_t *loop;
	struct hc_curl *curl;
	size_t checks;	 /* not stopped yet */
	size_t refs;	 /* everything that has to go before the engine can: checks, probes, handles */
	uint32_t random; /* state of the jitter */
	void (*closed)(void *arg);
	void *closed_arg;
};
void hc_engine_unref(struct hc_engine *e);

struct hc_check {
	struct hc_engine *engine;
	const struct hc_probe_kind *kind;
	const struct spec_health *health;
	struct sockaddr_storage address;
	uint16_t *ports;
	size_t n_ports;
	const hc_exec_vtable *exec;
	void *exec_arg;
	struct hc_callbacks callbacks;

	struct hc_judge judge;
	struct hc_answer last;
	uv_timer_t timer; /* until the next probe */
	int64_t began_ms; /* boot-time clock */
	uint32_t probes;  /* how many have been answered */
	uint64_t probe_began_ns;
	void *probe; /* the running one, its kind's; NULL between probes */
	bool stopped;
};

/* One way to ask. start sets c->probe and leads to exactly one hc_check_answer, later, unless cancel comes
 * first. Both leave c->probe NULL when the probe is over. */
struct hc_probe_kind {
	int (*start)(struct hc_check *c, struct err *err);
	void (*cancel)(struct hc_check *c);
};
extern const struct hc_probe_kind hc_probe_http, hc_probe_tcp, hc_probe_exec;

/* The probe's outcome, in words. The check may be stopped when it returns. */
void hc_check_answer(struct hc_check *c, bool ok, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

int hc_curl_open(struct hc_engine *e, struct hc_curl **ret, struct err *err);
void hc_curl_close(struct hc_curl *h);

/* The check's address with this port. */
struct sockaddr_storage hc_address(const struct hc_check *c, uint16_t port);
