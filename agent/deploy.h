/* A deployment as a pure table: (state, event) → next state. No I/O, clock or memory in here.
 * Each state has one entry action, which is idempotent: after a crash the agent enters the recorded state
 * again. agent/deployment.c applies a step: write the intent, make it durable, then act; the action's end is
 * the next event.
 *
 * Two paths lead to the flip. start-first: the old generation serves untouched until the new one is proven.
 * stop-first ("held"): the proxy holds new connections while the old one stops; failing there means bringing
 * it back. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum dep_state {
	DEP_IDLE,
	DEP_PULLING,	   /* the image is being made present */
	DEP_HOLDING,	   /* stop-first: new connections wait, the old generation drains and stops */
	DEP_STARTING,	   /* containers of the new generation start */
	DEP_PROBING,	   /* … and must become ready */
	DEP_AWAITING,	   /* proven; waits for somebody to promote it */
	DEP_HELD_STARTING, /* the same two with the old generation stopped */
	DEP_HELD_PROBING,
	DEP_FLIPPING,  /* every listener of the service moves to the new generation */
	DEP_SETTLING,  /* the old one drains; a rollback is one flip */
	DEP_ABORTING,  /* the new one is destroyed; the old one was never touched */
	DEP_REVERTING, /* the old one serves again (started again if it was stopped), then the new one is
			  destroyed */
	DEP_REMOVING,  /* the whole service goes */
	DEP_STATE_MAX
};

enum dep_event {
	DEP_EV_DEPLOY, /* new generation, by the whole way */
	DEP_EV_FLIP,   /* the target runs and is ready: straight to the flip */
	DEP_EV_REMOVE,
	DEP_EV_DONE,	  /* the state's action succeeded */
	DEP_EV_DONE_HOLD, /* … and this deployment is stop-first (only of pulling) */
	DEP_EV_DONE_GATE, /* … and this deployment waits to be promoted (only of probing) */
	DEP_EV_PROMOTE,	  /* by the user */
	DEP_EV_FAILED,	  /* the state's action failed */
	DEP_EV_DEADLINE,
	DEP_EV_NEW_DIED, /* a container of the new generation ended */
	DEP_EV_BAD,	 /* the new generation is in trouble while it bakes */
	DEP_EV_ABORT,	 /* by the user, or superseded by a newer spec */
	DEP_EV_ROLLBACK,
	DEP_EV_RESUME,	 /* the agent started again and found this state recorded */
	DEP_EV_REBOOTED, /* … after the host restarted: no container of ours lives */
	DEP_EVENT_MAX
};

enum dep_verdict {
	DEP_UNEXPECTED = 0, /* a hole in the table: refuse and say so */
	DEP_IGNORE,	    /* nothing to do: it is happening already, or too late to matter */
	DEP_REFUSE,	    /* an order that makes no sense now: tell whoever gave it */
	DEP_GO,		    /* enter `next` and run its action */
};

struct dep_cell {
	uint8_t verdict, next;
};

enum dep_action {
	DEP_ACT_FINISH,
	DEP_ACT_PULL,
	DEP_ACT_HOLD,
	DEP_ACT_START,
	DEP_ACT_PROBE,
	DEP_ACT_AWAIT,
	DEP_ACT_FLIP,
	DEP_ACT_SETTLE,
	DEP_ACT_ABORT,
	DEP_ACT_REVERT,
	DEP_ACT_REMOVE,
};

struct dep_trait {
	const char *name; /* what users see; the held states share the names of the others */
	const char *key;  /* what the store records: unique */
	enum dep_action action;
	bool running;	    /* a deployment is under way */
	bool old_untouched; /* the old generation must serve, with all its containers, undisturbed */
	bool new_may_exist; /* containers of the new generation may exist */
	bool flipped;	    /* new connections go to the new generation */
	bool supersedable;  /* a newer spec may replace this deployment */
};

extern const struct dep_trait dep_traits[DEP_STATE_MAX];

struct dep_cell dep_next(enum dep_state state, enum dep_event event);
/* By trait key; -EINVAL for an unknown one. */
int dep_state_by_key(const char *key, enum dep_state *ret);
const char *dep_event_name(enum dep_event event);
