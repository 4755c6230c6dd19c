/* A generation at run time: its replicas, their probes and restarts. Tells its service what happened; decides
 * nothing about deployments. Private to agent/. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "agent/agent.h"
#include "base/uvx.h"

enum gen_state {
	GEN_PENDING,  /* numbered, nothing runs */
	GEN_STARTING, /* containers start and are probed */
	GEN_READY,    /* proven, not serving yet */
	GEN_ACTIVE,   /* serves */
	GEN_DRAINING, /* served; its connections end */
	GEN_STANDBY,  /* runs without connections: a rollback is a flip */
	GEN_RETIRING, /* being stopped and removed */
	GEN_RETIRED,  /* only its record is left */
	GEN_FAILED,   /* never served; only its record and logs are left */
	GEN_STATE_MAX
};
const char *gen_state_name(enum gen_state s);
int gen_state_by_name(const char *name, enum gen_state *ret);

enum replica_state {
	REPLICA_NONE,
	REPLICA_STARTING,
	REPLICA_RUNNING,
	REPLICA_BACKOFF, /* ended; starts again when its timer fires */
	REPLICA_EXITED,	 /* ended, and the restart policy leaves it so */
	REPLICA_STOPPING,
	REPLICA_STATE_MAX
};
const char *replica_state_name(enum replica_state s);
struct replica;
/* How it ended: "exited with code 1", "was ended by SIGKILL"; returns text. */
#define REPLICA_EXIT_TEXT 64
char *replica_exit_text(const struct replica *r, char text[REPLICA_EXIT_TEXT]);

struct replica {
	struct generation *gen;
	uint32_t index; /* from 1 */
	char id[RT_ID_MAX];
	enum replica_state state;
	struct rt_state rt;
	bool start_pending; /* a start was asked for and has not been answered */
	struct rt_op *starting;
	struct hc_check *check;
	enum hc_verdict verdict;
	struct hc_answer answer;     /* the last one, kept when the check is gone */
	uint32_t restarts, failures; /* in all; in a row (for the back-off) */
	struct uvx_timer *backoff;
	bool has_exit;
	struct rt_exit exit;
};

struct generation {
	struct service *service;
	LIST_ENTRY(generation) link;
	uint32_t number;
	const char *slot; /* "blue" | "green" */
	char digest[DIGEST_LEN], image_digest[DIGEST_LEN];
	struct spec *spec;
	enum gen_state state;
	int64_t created_ms, since_ms, took_ms;
	char *by, *source, *result, *reason;

	struct replica *replicas;
	size_t n;
	bool wanted;	   /* its replicas are to run */
	bool strict;	   /* unproven: a container that ends is a failure, not something to restart */
	bool announced;	   /* "all started" was told since gen_start */
	unsigned stopping; /* replicas on their way out, during gen_destroy */
	bool destroying;
	bool start_again;    /* gen_start came during the destroy: it begins when that is over */
	enum gen_state last; /* what it becomes after RETIRING: retired or failed */
};

enum gen_event {
	GEN_EV_STARTED,	     /* every replica's command runs */
	GEN_EV_START_FAILED, /* one could not be started (strict only); why says it */
	GEN_EV_EXITED,	     /* one ended unasked */
	GEN_EV_CHANGED,	     /* some replica became ready or unready, or got another address */
	GEN_EV_GONE,	     /* gen_destroy is complete */
};

/* Refs the spec; joins the service's list. NULL: out of memory. */
struct generation *gen_new(struct service *service, uint32_t number, const char *slot, struct spec *spec);
/* No destroy may be under way: free it from GONE on. */
void gen_free(struct generation *g);
void gen_set_state(struct generation *g, enum gen_state state);

/* Starts every replica that doesn't run. Told by STARTED or START_FAILED, never before this returned. */
void gen_start(struct generation *g, bool strict);
/* Probes every running replica that isn't probed yet. */
void gen_check(struct generation *g);
/* From now on a container that ends is restarted as its policy says. */
void gen_proven(struct generation *g);
/* Takes a container that was found running, or ended, at the start of the agent. */
void gen_adopt(struct generation *g, uint32_t replica, const struct rt_state *state, bool was_ready);
/* After all were adopted, for a proven generation: starts what ought to run. rebooted: everything, whatever
 * the policy. */
void gen_recover(struct generation *g, bool rebooted);
/* The driver says that a container ended. */
void gen_exited(struct generation *g, uint32_t replica, const struct rt_exit *exit);
/* Stops and removes every container; GONE follows, also when there was none. Again while it runs: nothing. */
void gen_destroy(struct generation *g);
/* Cancels probes, timers and starts, leaves the containers as they are. For the end of the agent. */
void gen_let_go(struct generation *g);

/* Whether some container of it may exist. */
bool gen_exists(const struct generation *g);
unsigned gen_ready(const struct generation *g);
unsigned gen_running(const struct generation *g);

/* --- probe.c --- */
void replica_check_start(struct replica *r, enum hc_verdict initial);
void replica_check_stop(struct replica *r);
/* Tells the service when readiness changes. */
void replica_set_verdict(struct replica *r, enum hc_verdict verdict);

/* The replica to talk about in a failure message: exited first, then unready, then starting. NULL when all
 * are well. */
const struct replica *gen_sickest(const struct generation *g);
