/* Verbs that give one order about a service and watch it: rollback, abort, rm; and wait, which only watches.
 */
#include <string.h>

#include "agent/cli/follow.h"
#include "agent/cli/identity.h"
#include "agent/cli/result.h"
#include "agent/cli/verbs.h"
#include "base/own.h"

static json_t *order_body(void)
{
	char by[IDENTITY_MAX];
	return json_pack("{s:s}", "by", identity(by));
}

int cli_rollback(struct cli *c)
{
	const char *service = c->line.args[0];
	OWN_FREE char *path = cli_service_path(service, "/rollback");
	OWN_JSON json_t *body = order_body();
	if (!path || !body)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (c->line.opts.given & OPTION_BIT(TO))
		json_object_set_new(body, "to", json_integer((json_int_t)c->line.opts.to));
	return follow_order(c, "POST", path, service, body, NULL);
}

/* An abort has done what it should when the deployment did not come through. */
static int judge_abort(const json_t *result)
{
	const char *name = json_str(result, "result", "");
	bool ended =
		strcmp(name, "aborted") == 0 || strcmp(name, "reverted") == 0 || strcmp(name, "failed") == 0;
	return ended ? CLI_OK : CLI_ERROR;
}

int cli_abort(struct cli *c)
{
	const char *service = c->line.args[0];
	OWN_FREE char *path = cli_service_path(service, "/abort");
	OWN_JSON json_t *body = order_body();
	if (!path || !body)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	return follow_order(c, "POST", path, service, body, judge_abort);
}

static int remove_one(struct cli *c, const char *service, struct follow *watching)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	OWN_FREE char *path = cli_service_path(service, "");
	if (!path || cli_call(c, "DELETE", path, NULL, &answer, &f) < 0)
		return cli_report(c, service, &f);
	if (c->line.opts.detach)
		return follow_detached(c, service, answer);
	return follow_add(watching, service, answer) < 0 ? cli_errorf(c, CLI_ERROR, "out of memory") : CLI_OK;
}

int cli_rm(struct cli *c)
{
	OWN_FOLLOW struct follow *watching = follow_new(c);
	int code = CLI_OK;
	if (!watching)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	for (size_t i = 0; i < c->line.n_args; i++)
		code = cli_worse(code, remove_one(c, c->line.args[i], watching));
	return cli_worse(code, follow_run(watching));
}

/* Nothing runs: the verdict of what ran last, or that nothing ever did. */
static int last_verdict(struct cli *c, const char *service, const json_t *status)
{
	const json_t *result = json_object_get(json_object_get(status, "last"), "result");
	if (json_is_object(result))
		return follow_result(c, result);
	char comment[160];
	snprintf(comment, sizeof comment, "%s: no deployment runs", service);
	if (c->line.opts.json) {
		OWN_JSON json_t *o = cli_outcome(service, "unchanged", CLI_OK, comment);
		cli_print_json(c, o);
	} else if (!c->line.opts.quiet) {
		fprintf(c->err, "%s\n", comment);
	}
	return CLI_OK;
}

int cli_wait(struct cli *c)
{
	const char *service = c->line.args[0];
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *status = NULL;
	OWN_FREE char *path = cli_service_path(service, "");
	if (!path || cli_call(c, "GET", path, NULL, &status, &f) < 0)
		return cli_report(c, service, &f);
	const json_t *running = json_object_get(status, "deployment");
	if (!json_is_object(running))
		return last_verdict(c, service, status);
	OWN_JSON json_t *handle = json_pack("{s:I}", "deployment", (json_int_t)json_int(running, "id", 0));
	OWN_FOLLOW struct follow *watching = follow_new(c);
	if (!watching || follow_add(watching, service, handle) < 0)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	return follow_run(watching);
}
