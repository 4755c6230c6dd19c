#include "agent/deploy.h"

#include <errno.h>
#include <string.h>

#include "base/own.h"

const struct dep_trait dep_traits[] = {
	[DEP_IDLE] = { "idle", "idle", DEP_ACT_FINISH, .old_untouched = true },
	[DEP_PULLING] = { "pulling", "pulling", DEP_ACT_PULL, .running = true, .old_untouched = true,
		.supersedable = true },
	[DEP_HOLDING] = { "holding", "holding", DEP_ACT_HOLD, .running = true },
	[DEP_STARTING] = { "starting", "starting", DEP_ACT_START, .running = true, .old_untouched = true,
		.new_may_exist = true, .supersedable = true },
	[DEP_PROBING] = { "probing", "probing", DEP_ACT_PROBE, .running = true, .old_untouched = true,
		.new_may_exist = true, .supersedable = true },
	[DEP_AWAITING] = { "awaiting_promotion", "awaiting", DEP_ACT_AWAIT, .running = true,
		.old_untouched = true, .new_may_exist = true, .supersedable = true },
	[DEP_HELD_STARTING] = { "starting", "held_starting", DEP_ACT_START, .running = true,
		.new_may_exist = true },
	[DEP_HELD_PROBING] = { "probing", "held_probing", DEP_ACT_PROBE, .running = true,
		.new_may_exist = true },
	[DEP_FLIPPING] = { "flipping", "flipping", DEP_ACT_FLIP, .running = true, .new_may_exist = true },
	[DEP_SETTLING] = { "settling", "settling", DEP_ACT_SETTLE, .running = true, .new_may_exist = true,
		.flipped = true },
	[DEP_ABORTING] = { "aborting", "aborting", DEP_ACT_ABORT, .running = true, .old_untouched = true,
		.new_may_exist = true },
	[DEP_REVERTING] = { "reverting", "reverting", DEP_ACT_REVERT, .running = true,
		.new_may_exist = true },
	[DEP_REMOVING] = { "removing", "removing", DEP_ACT_REMOVE, .running = true, .new_may_exist = true },
};
_Static_assert(ARRAY_LEN(dep_traits) == DEP_STATE_MAX, "every state has its traits");

#define GO(state)                                                                                            \
	{                                                                                                    \
		DEP_GO, state                                                                                \
	}
#define IGNORED                                                                                              \
	{                                                                                                    \
		DEP_IGNORE, 0                                                                                \
	}
#define REFUSED                                                                                              \
	{                                                                                                    \
		DEP_REFUSE, 0                                                                                \
	}

static const struct dep_cell table[DEP_STATE_MAX][DEP_EVENT_MAX] = {
	[DEP_IDLE] = {
		[DEP_EV_DEPLOY] = GO(DEP_PULLING),
		[DEP_EV_FLIP] = GO(DEP_FLIPPING),
		[DEP_EV_REMOVE] = GO(DEP_REMOVING),
		[DEP_EV_NEW_DIED] = IGNORED,
		[DEP_EV_ABORT] = REFUSED,
		[DEP_EV_ROLLBACK] = REFUSED, /* becomes DEPLOY or FLIP before it gets here */
		[DEP_EV_RESUME] = IGNORED,
		[DEP_EV_REBOOTED] = IGNORED,
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_PULLING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_STARTING),
		[DEP_EV_DONE_HOLD] = GO(DEP_HOLDING),
		[DEP_EV_FAILED] = GO(DEP_ABORTING),
		[DEP_EV_DEADLINE] = GO(DEP_ABORTING),
		[DEP_EV_ABORT] = GO(DEP_ABORTING),
		[DEP_EV_ROLLBACK] = GO(DEP_ABORTING),
		[DEP_EV_RESUME] = GO(DEP_PULLING),
		[DEP_EV_REBOOTED] = GO(DEP_PULLING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_HOLDING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_HELD_STARTING),
		[DEP_EV_FAILED] = GO(DEP_REVERTING),
		[DEP_EV_DEADLINE] = GO(DEP_REVERTING),
		[DEP_EV_ABORT] = GO(DEP_REVERTING),
		[DEP_EV_ROLLBACK] = GO(DEP_REVERTING),
		[DEP_EV_RESUME] = GO(DEP_HOLDING),
		[DEP_EV_REBOOTED] = GO(DEP_REVERTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_STARTING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_PROBING),
		[DEP_EV_FAILED] = GO(DEP_ABORTING),
		[DEP_EV_DEADLINE] = GO(DEP_ABORTING),
		[DEP_EV_NEW_DIED] = GO(DEP_ABORTING),
		[DEP_EV_ABORT] = GO(DEP_ABORTING),
		[DEP_EV_ROLLBACK] = GO(DEP_ABORTING),
		[DEP_EV_RESUME] = GO(DEP_STARTING),
		[DEP_EV_REBOOTED] = GO(DEP_ABORTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_PROBING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_FLIPPING),
		[DEP_EV_DONE_GATE] = GO(DEP_AWAITING),
		[DEP_EV_FAILED] = GO(DEP_ABORTING),
		[DEP_EV_DEADLINE] = GO(DEP_ABORTING),
		[DEP_EV_NEW_DIED] = GO(DEP_ABORTING),
		[DEP_EV_ABORT] = GO(DEP_ABORTING),
		[DEP_EV_ROLLBACK] = GO(DEP_ABORTING),
		[DEP_EV_RESUME] = GO(DEP_PROBING),
		[DEP_EV_REBOOTED] = GO(DEP_ABORTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_AWAITING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_PROMOTE] = GO(DEP_FLIPPING),
		[DEP_EV_FAILED] = GO(DEP_ABORTING),
		[DEP_EV_DEADLINE] = GO(DEP_ABORTING),
		[DEP_EV_NEW_DIED] = GO(DEP_ABORTING),
		[DEP_EV_ABORT] = GO(DEP_ABORTING),
		[DEP_EV_ROLLBACK] = GO(DEP_ABORTING),
		[DEP_EV_RESUME] = GO(DEP_AWAITING),
		[DEP_EV_REBOOTED] = GO(DEP_ABORTING),
	},
	[DEP_HELD_STARTING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_HELD_PROBING),
		[DEP_EV_FAILED] = GO(DEP_REVERTING),
		[DEP_EV_DEADLINE] = GO(DEP_REVERTING),
		[DEP_EV_NEW_DIED] = GO(DEP_REVERTING),
		[DEP_EV_ABORT] = GO(DEP_REVERTING),
		[DEP_EV_ROLLBACK] = GO(DEP_REVERTING),
		[DEP_EV_RESUME] = GO(DEP_HELD_STARTING),
		[DEP_EV_REBOOTED] = GO(DEP_REVERTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_HELD_PROBING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_FLIPPING),
		[DEP_EV_FAILED] = GO(DEP_REVERTING),
		[DEP_EV_DEADLINE] = GO(DEP_REVERTING),
		[DEP_EV_NEW_DIED] = GO(DEP_REVERTING),
		[DEP_EV_ABORT] = GO(DEP_REVERTING),
		[DEP_EV_ROLLBACK] = GO(DEP_REVERTING),
		[DEP_EV_RESUME] = GO(DEP_HELD_PROBING),
		[DEP_EV_REBOOTED] = GO(DEP_REVERTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_FLIPPING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_SETTLING),
		[DEP_EV_FAILED] = GO(DEP_REVERTING),
		[DEP_EV_DEADLINE] = GO(DEP_REVERTING),
		[DEP_EV_NEW_DIED] = GO(DEP_REVERTING),
		[DEP_EV_ABORT] = GO(DEP_REVERTING),
		[DEP_EV_ROLLBACK] = GO(DEP_REVERTING),
		[DEP_EV_RESUME] = GO(DEP_FLIPPING),
		[DEP_EV_REBOOTED] = GO(DEP_REVERTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_SETTLING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_IDLE),
		[DEP_EV_DEADLINE] = GO(DEP_IDLE), /* the drain's own limit has passed long ago */
		[DEP_EV_NEW_DIED] = IGNORED,      /* the restart policy's business, and the bake's */
		[DEP_EV_BAD] = GO(DEP_REVERTING),
		[DEP_EV_ABORT] = GO(DEP_REVERTING),
		[DEP_EV_ROLLBACK] = GO(DEP_REVERTING),
		[DEP_EV_RESUME] = GO(DEP_SETTLING),
		[DEP_EV_REBOOTED] = GO(DEP_IDLE),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_ABORTING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_IDLE),
		[DEP_EV_DEADLINE] = GO(DEP_IDLE), /* the removal goes on by itself */
		[DEP_EV_NEW_DIED] = IGNORED,
		[DEP_EV_ABORT] = IGNORED,
		[DEP_EV_ROLLBACK] = IGNORED,
		[DEP_EV_RESUME] = GO(DEP_ABORTING),
		[DEP_EV_REBOOTED] = GO(DEP_ABORTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_REVERTING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = REFUSED,
		[DEP_EV_DONE] = GO(DEP_IDLE),
		[DEP_EV_DEADLINE] = GO(DEP_IDLE),
		[DEP_EV_NEW_DIED] = IGNORED,
		[DEP_EV_ABORT] = IGNORED,
		[DEP_EV_ROLLBACK] = IGNORED,
		[DEP_EV_RESUME] = GO(DEP_REVERTING),
		[DEP_EV_REBOOTED] = GO(DEP_REVERTING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
	[DEP_REMOVING] = {
		[DEP_EV_DEPLOY] = REFUSED,
		[DEP_EV_FLIP] = REFUSED,
		[DEP_EV_REMOVE] = IGNORED,
		[DEP_EV_DONE] = GO(DEP_IDLE),
		[DEP_EV_DEADLINE] = GO(DEP_IDLE),
		[DEP_EV_NEW_DIED] = IGNORED,
		[DEP_EV_ABORT] = REFUSED,
		[DEP_EV_ROLLBACK] = REFUSED,
		[DEP_EV_RESUME] = GO(DEP_REMOVING),
		[DEP_EV_REBOOTED] = GO(DEP_REMOVING),
		[DEP_EV_PROMOTE] = REFUSED,
	},
};

static const char *const event_names[] = {
	[DEP_EV_DEPLOY] = "deploy",
	[DEP_EV_FLIP] = "flip",
	[DEP_EV_REMOVE] = "remove",
	[DEP_EV_DONE] = "done",
	[DEP_EV_DONE_HOLD] = "done, stop-first",
	[DEP_EV_DONE_GATE] = "done, waits to be promoted",
	[DEP_EV_PROMOTE] = "promoted",
	[DEP_EV_FAILED] = "failed",
	[DEP_EV_DEADLINE] = "deadline",
	[DEP_EV_NEW_DIED] = "a container of the new generation ended",
	[DEP_EV_BAD] = "trouble during the bake",
	[DEP_EV_ABORT] = "abort",
	[DEP_EV_ROLLBACK] = "rollback",
	[DEP_EV_RESUME] = "agent restarted",
	[DEP_EV_REBOOTED] = "host restarted",
};
_Static_assert(ARRAY_LEN(event_names) == DEP_EVENT_MAX, "every event has its name");

struct dep_cell dep_next(enum dep_state state, enum dep_event event)
{
	return table[state][event];
}

int dep_state_by_key(const char *key, enum dep_state *ret)
{
	for (int s = 0; s < DEP_STATE_MAX; s++) {
		if (strcmp(dep_traits[s].key, key) == 0) {
			*ret = (enum dep_state)s;
			return 0;
		}
	}
	return -EINVAL;
}

const char *dep_event_name(enum dep_event event)
{
	return event_names[event];
}
