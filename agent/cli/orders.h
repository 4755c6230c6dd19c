/* What apply, rollback, abort and rm share: from the agent's answer to an exit code. */
#pragma once
#include "agent/cli/cli.h"
#include "agent/cli/follow.h"

/* An answer to an order: a result that came at once is shown, a deployment is watched, or named with
 * --detach. */
int orders_answer(struct cli *c, struct follow *watching, const char *service, const json_t *answer);
/* Shows a verdict and gives its exit code. */
int orders_result(struct cli *c, const json_t *result);
/* Has the agent remove a service, and watches that. */
int orders_remove(struct cli *c, struct follow *watching, const char *service);
