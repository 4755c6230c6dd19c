#include "agent/cli/plan.h"

#include <string.h>

#include "agent/cli/human.h"
#include "agent/cli/result.h"
#include "agent/cli/verbs.h"
#include "base/own.h"
#include "base/parse.h"

static int plan_exit(const json_t *plan)
{
	if (strcmp(json_str(plan, "action", ""), "held") == 0)
		return CLI_REFUSED;
	return json_flag(plan, "changes", false) ? CLI_CHANGES : CLI_OK;
}

static void add_headline(const json_t *plan, struct buf *out)
{
	const char *action = json_str(plan, "action", "");
	const char *service = json_str(plan, "service", "?");
	long long next = json_int(plan, "generation", 0), current = json_int(plan, "current", 0);
	if (strcmp(action, "none") == 0)
		buf_addf(out, "%s: nothing to do, generation %lld serves this spec", service, current);
	else if (strcmp(action, "create") == 0)
		buf_addf(out, "%s: new service, generation %lld", service, next);
	else if (strcmp(action, "flip") == 0)
		buf_addf(out, "%s: one flip, back to generation %lld which stands by (now %lld)", service,
			next, current);
	else if (strcmp(action, "held") == 0)
		buf_addf(out, "%s: refused, this spec is on hold; generation %lld serves", service, current);
	else
		buf_addf(out, "%s: generation %lld is replaced by %lld", service, current, next);
}

static void add_hold(const json_t *plan, struct buf *out)
{
	const json_t *held = json_object_get(plan, "held");
	if (!json_is_object(held))
		return;
	buf_addf(out, "  held   generation %lld: ", (long long)json_int(held, "generation", 0));
	term_add_foreign(out, json_str(held, "reason", ""));
	buf_adds(out, "\n");
}

static void add_cost(const json_t *plan, struct buf *out)
{
	long long starts = json_int(plan, "starts", 0), stops = json_int(plan, "stops", 0);
	const json_t *memory = json_object_get(plan, "memory_overlap_bytes");
	char size[FORMAT_MAX];
	if (starts == 0 && stops == 0)
		return;
	buf_addf(out, "  cost   starts %lld container%s", starts, starts == 1 ? "" : "s");
	if (stops > 0)
		buf_addf(out, ", later stops %lld", stops);
	buf_addf(out, "; %s; downtime: %s\n", json_str(plan, "order", "start-first"),
		json_str(plan, "downtime", "none"));
	if (json_is_integer(memory))
		buf_addf(out, "  memory up to %s%s\n",
			format_size_bytes((uint64_t)json_integer_value(memory), size),
			stops > 0 ? " while both run" : "");
}

void plan_render(const json_t *plan, const struct term *t, struct buf *out)
{
	size_t i;
	json_t *note;
	add_headline(plan, out);
	buf_adds(out, "\n");
	diff_render(json_object_get(plan, "diff"), t, "  ", out);
	add_hold(plan, out);
	add_cost(plan, out);
	json_array_foreach (json_object_get(plan, "notes"), i, note) {
		buf_adds(out, "  note   ");
		term_add_foreign(out, json_is_string(note) ? json_string_value(note) : "");
		buf_adds(out, "\n");
	}
}

static json_t *as_apply_object(const json_t *plan, const char *service, int code)
{
	OWN_BUF struct buf comment = { 0 };
	json_t *diff = json_object_get(plan, "diff");
	add_headline(plan, &comment);
	json_t *o = cli_outcome(service, code == CLI_REFUSED ? "refused" : "planned", code, comment.data);
	json_object_set_new(o, "changed", json_boolean(code == CLI_CHANGES));
	json_object_set(o, "diff", diff);
	json_object_set(o, "plan", (json_t *)plan);
	return o;
}

int plan_spec(struct cli *c, const struct loaded *spec, bool as_outcome)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *plan = NULL;
	OWN_JSON json_t *body = json_pack("{s:O,s:s}", "spec", spec->json, "source", spec->source);
	OWN_BUF struct buf text = { 0 };
	if (cli_call(c, "POST", "/v1/plan", body, &plan, &f) < 0)
		return cli_report(c, spec->spec->name, &f);
	int code = plan_exit(plan);
	if (c->line.opts.json) {
		OWN_JSON json_t *o =
			as_outcome ? as_apply_object(plan, spec->spec->name, code) : json_incref(plan);
		cli_print_json(c, o);
		return code;
	}
	plan_render(plan, &c->term_out, &text);
	if (!c->line.opts.quiet)
		cli_print(c->out, &text);
	return code;
}

int cli_plan(struct cli *c)
{
	OWN_LOADS struct load_list specs = { 0 };
	int code = load_specs(c, &specs);
	if (code != CLI_OK)
		return code;
	for (size_t i = 0; i < specs.n; i++)
		code = cli_worse(code, plan_spec(c, &specs.items[i], false));
	return code;
}
