/* Verbs that give an order about a service and watch it: rollback, abort, rm; and wait, which only watches.
 */
#include "agent/cli/orders.h"

#include <string.h>

#include "agent/cli/identity.h"
#include "agent/cli/result.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

int orders_result(struct cli *c, const json_t *result)
{
	OWN_BUF struct buf text = { 0 };
	int code = result_exit(result);
	const struct result_view view = {
		.term = &c->term_err, .self = c->self, .now_ms = clock_wall_ms(), .exit = code
	};
	result_render(result, &view, &text);
	if (!c->line.opts.quiet || code != CLI_OK)
		cli_print(c->err, &text);
	if (c->line.opts.json)
		cli_print_json(c, result);
	return code;
}

static int detached(struct cli *c, const char *service, const json_t *answer)
{
	long long id = json_int(answer, "deployment", 0);
	char comment[128];
	snprintf(comment, sizeof comment, "%s: deployment %lld started", service, id);
	if (!c->line.opts.quiet)
		fprintf(c->err, "%s\n  watch it: %s wait %s\n", comment, c->self, service);
	if (c->line.opts.json) {
		OWN_JSON json_t *o = cli_outcome(service, "started", CLI_OK, comment);
		json_object_set_new(o, "changed", json_true());
		json_object_set_new(o, "deployment", json_integer(id));
		cli_print_json(c, o);
	}
	return CLI_OK;
}

int orders_answer(struct cli *c, struct follow *watching, const char *service, const json_t *answer)
{
	if (!json_object_get(answer, "deployment"))
		return orders_result(c, answer);
	if (c->line.opts.detach)
		return detached(c, service, answer);
	return follow_add(watching, service, answer) < 0 ? cli_errorf(c, CLI_ERROR, "out of memory") : CLI_OK;
}

/* Sends one order about one service and watches what it started. */
static int order(struct cli *c, const char *tail, json_t *body, int (*judge)(const json_t *result))
{
	const char *service = c->line.args[0];
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	OWN_FREE char *path = cli_service_path(service, tail);
	OWN_FOLLOW struct follow *watching = follow_new(c);
	if (!path || !body || !watching)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (judge)
		follow_judge(watching, judge);
	if (cli_call(c, "POST", path, body, &answer, &f) < 0)
		return cli_report(c, service, &f);
	int code = orders_answer(c, watching, service, answer);
	return cli_worse(code, follow_run(watching));
}

static json_t *order_body(void)
{
	char by[IDENTITY_MAX];
	return json_pack("{s:s}", "by", identity(by));
}

int cli_rollback(struct cli *c)
{
	OWN_JSON json_t *body = order_body();
	if (c->line.opts.given & OPTION_BIT(TO))
		json_object_set_new(body, "to", json_integer((json_int_t)c->line.opts.to));
	return order(c, "/rollback", body, NULL);
}

int cli_restart(struct cli *c)
{
	OWN_JSON json_t *body = order_body();
	return order(c, "/restart", body, NULL);
}

int cli_promote(struct cli *c)
{
	OWN_JSON json_t *body = order_body();
	return order(c, "/promote", body, NULL);
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
	OWN_JSON json_t *body = order_body();
	return order(c, "/abort", body, judge_abort);
}

int orders_remove(struct cli *c, struct follow *watching, const char *service)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	OWN_FREE char *path = cli_service_path(service, "");
	if (!path || cli_call(c, "DELETE", path, NULL, &answer, &f) < 0)
		return cli_report(c, service, &f);
	return orders_answer(c, watching, service, answer);
}

int cli_rm(struct cli *c)
{
	OWN_FOLLOW struct follow *watching = follow_new(c);
	int code = CLI_OK;
	if (!watching)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	for (size_t i = 0; i < c->line.n_args; i++)
		code = cli_worse(code, orders_remove(c, watching, c->line.args[i]));
	return cli_worse(code, follow_run(watching));
}

/* Nothing runs: the verdict of what ran last, or that nothing ever did. */
static int last_verdict(struct cli *c, const char *service, const json_t *status)
{
	const json_t *result = json_object_get(json_object_get(status, "last"), "result");
	if (json_is_object(result))
		return orders_result(c, result);
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
