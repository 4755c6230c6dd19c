#include <errno.h>
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/identity.h"
#include "agent/cli/load.h"
#include "agent/cli/orders.h"
#include "agent/cli/plan.h"
#include "agent/cli/verbs.h"
#include "base/own.h"

/* How long an agent that vanished in the middle of the order may take to come back. */
#define RETRIES	       100
#define RETRY_PAUSE_MS 100

/* Sends one spec. The connection may break after the agent took the order: asking again is safe, because the
 * same spec means the same generation. With --force it would mean another one, so then the user has to look.
 */
static int send_spec(struct cli *c, const struct loaded *spec, json_t **ret, struct cli_fault *f)
{
	char by[IDENTITY_MAX];
	OWN_FREE char *path = cli_service_path(spec->spec->name, "/apply");
	OWN_JSON json_t *body = json_pack("{s:O,s:b,s:s,s:s}", "spec", spec->json, "force",
		c->line.opts.force, "by", identity(by), "source", spec->source);
	if (!path || !body || (spec->secrets && json_object_set(body, "secrets", spec->secrets) < 0))
		return err_set(&f->err, ENOMEM, "apply");
	int e = cli_call(c, "POST", path, body, ret, f);
	bool lost = e < 0 && strcmp(f->code, "lost") == 0 && !c->line.opts.force;
	for (int i = 0; lost && i < RETRIES; i++) {
		client_sleep(c->client, RETRY_PAUSE_MS);
		cli_fault_done(f);
		*f = (struct cli_fault){ 0 };
		e = cli_call(c, "POST", path, body, ret, f);
		lost = e < 0 && f->exit == CLI_NO_AGENT;
	}
	return e;
}

static int apply_one(struct cli *c, const struct loaded *spec, struct follow *watching)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	const char *service = spec->spec->name;
	if (send_spec(c, spec, &answer, &f) < 0)
		return cli_report(c, service, &f);
	return orders_answer(c, watching, service, answer);
}

/* Where the service's newest generation came from; "" if nobody said. */
static int source_of(struct cli *c, const char *service, char **ret, struct cli_fault *f)
{
	OWN_JSON json_t *history = NULL;
	OWN_FREE char *path = cli_service_path(service, "/history");
	int e = path ? cli_call(c, "GET", path, NULL, &history, f) : err_set(&f->err, ENOMEM, "history");
	if (e < 0)
		return e;
	const json_t *newest = json_array_get(json_object_get(history, "generations"), 0);
	*ret = strdup(json_str(newest, "source", ""));
	return *ret ? 0 : -ENOMEM;
}

static bool is_described(const struct load_list *specs, const char *service)
{
	for (size_t i = 0; i < specs->n; i++)
		if (strcmp(specs->items[i].spec->name, service) == 0)
			return true;
	return false;
}

/* Was it deployed from a file directly in one of these directories? */
static bool came_from(char *const *dirs, const char *source)
{
	const char *slash = strrchr(source, '/');
	for (size_t i = 0; slash && dirs && dirs[i]; i++) {
		size_t len = strlen(dirs[i]);
		if ((size_t)(slash - source) == len && strncmp(source, dirs[i], len) == 0)
			return true;
	}
	return false;
}

static int plan_removal(struct cli *c, const char *service)
{
	char comment[128];
	snprintf(comment, sizeof comment, "%s: would be removed, its file is gone", service);
	OWN_JSON json_t *o = cli_outcome(service, "planned", CLI_CHANGES, comment);
	json_object_set_new(o, "changed", json_true());
	if (c->line.opts.json)
		cli_print_json(c, o);
	else if (!c->line.opts.quiet)
		fprintf(c->out, "%s\n", comment);
	return CLI_CHANGES;
}

static int prune(struct cli *c, const struct load_list *specs, struct follow *watching)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	int code = CLI_OK;
	size_t i;
	json_t *s;
	if (cli_call(c, "GET", "/v1/services", NULL, &answer, &f) < 0)
		return cli_report(c, NULL, &f);
	json_array_foreach (json_object_get(answer, "services"), i, s) {
		const char *service = json_str(s, "service", "");
		OWN_FREE char *source = NULL;
		if (is_described(specs, service))
			continue;
		if (source_of(c, service, &source, &f) < 0)
			return cli_worse(code, cli_report(c, service, &f));
		if (came_from(specs->dirs, source))
			code = cli_worse(code, c->line.opts.dry_run ? plan_removal(c, service)
								    : orders_remove(c, watching, service));
	}
	return code;
}

int cli_apply(struct cli *c)
{
	OWN_LOADS struct load_list specs = { 0 };
	int code = load_specs(c, &specs);
	if (code != CLI_OK)
		return code;
	if (c->line.opts.prune && !specs.dirs)
		return cli_errorf(
			c, CLI_USAGE, "--prune needs a directory: only its services can be told from others");
	OWN_FOLLOW struct follow *watching = follow_new(c);
	if (!watching)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	for (size_t i = 0; i < specs.n; i++)
		code = cli_worse(code, c->line.opts.dry_run ? plan_spec(c, &specs.items[i], true)
							    : apply_one(c, &specs.items[i], watching));
	if (c->line.opts.prune)
		code = cli_worse(code, prune(c, &specs, watching));
	return cli_worse(code, follow_run(watching));
}
