/* What would change: asked of the agent, shown to people. */
#pragma once
#include "agent/cli/cli.h"
#include "agent/cli/load.h"

/* Plans one spec and shows it; returns CLI_OK, CLI_CHANGES, CLI_REFUSED or an error's exit code. as_outcome:
 * the JSON object is that of apply (changed, comment, …) with the plan inside it. */
int plan_spec(struct cli *c, const struct loaded *spec, bool as_outcome);
void plan_render(const json_t *plan, const struct term *t, struct buf *out);
