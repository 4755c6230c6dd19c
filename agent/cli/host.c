/* Verbs about the host and the agent: doctor, version. */
#include <string.h>

#include "agent/cli/human.h"
#include "agent/cli/table.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

static const struct {
	const char *status, *shown;
	enum term_style style;
} check_styles[] = {
	{ "ok", "OK", STYLE_GOOD },
	{ "warn", "WARN", STYLE_BUSY },
	{ "fail", "FAIL", STYLE_BAD },
};
#define CHECK_FAIL 2

/* Index into check_styles; what we don't know counts as a failure. */
static size_t check_kind(const json_t *check)
{
	const char *status = json_str(check, "status", "");
	for (size_t i = 0; i < ARRAY_LEN(check_styles); i++)
		if (strcmp(check_styles[i].status, status) == 0)
			return i;
	return CHECK_FAIL;
}

static void check_line(const json_t *check, const struct term *t, struct buf *out)
{
	size_t kind = check_kind(check);
	const char *remedy = json_str(check, "remedy", NULL);
	term_addf(out, t, check_styles[kind].style, "%-4s", check_styles[kind].shown);
	buf_addf(out, "  %-22s ", json_str(check, "name", "?"));
	term_add_foreign(out, json_str(check, "detail", ""));
	buf_adds(out, "\n");
	if (kind > 0 && remedy && *remedy) {
		buf_addf(out, "%30s", "fix: ");
		term_add_foreign(out, remedy);
		buf_adds(out, "\n");
	}
}

int cli_doctor(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	OWN_BUF struct buf out = { 0 }, raw = { 0 };
	size_t i, counts[ARRAY_LEN(check_styles)] = { 0 };
	json_t *check;
	if (cli_call_raw(c, "GET", "/v1/doctor", &raw, &answer, &f) < 0)
		return cli_report(c, NULL, &f);
	json_array_foreach (json_object_get(answer, "checks"), i, check) {
		counts[check_kind(check)]++;
		if (!c->line.opts.json)
			check_line(check, &c->term_out, &out);
	}
	if (c->line.opts.json)
		buf_addf(&out, "%s\n", raw.data);
	else
		buf_addf(&out, "\n%zu ok, %zu to look at, %zu failed\n", counts[0], counts[1],
			counts[CHECK_FAIL]);
	cli_print(c->out, &out);
	return counts[CHECK_FAIL] > 0 ? CLI_ERROR : CLI_OK;
}

static void print_versions(struct cli *c, const json_t *agent)
{
	char up[HUMAN_MAX];
	fprintf(c->out, "teal %s (%s)\n", TEAL_VERSION, TEAL_COMMIT);
	if (agent)
		fprintf(c->out, "teald %s, pid %lld, up %s, state in %s\n", json_str(agent, "version", "?"),
			(long long)json_int(agent, "pid", 0), human_age(json_int(agent, "uptime_ms", 0), up),
			json_str(agent, "state_dir", "?"));
	fflush(c->out);
}

/* Our own version always; without an agent the exit code says so, which makes it a way to ask whether one is
 * there. */
int cli_version(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *agent = NULL;
	int e = cli_call(c, "GET", "/v1/version", NULL, &agent, &f);
	if (c->line.opts.json) {
		OWN_JSON json_t *o = json_pack("{s:{s:s,s:s},s:O?}", "client", "version", TEAL_VERSION,
			"commit", TEAL_COMMIT, "agent", agent);
		cli_print_json(c, o);
	} else {
		print_versions(c, agent);
	}
	return e < 0 ? cli_say_fault(c, NULL, &f) : CLI_OK;
}
