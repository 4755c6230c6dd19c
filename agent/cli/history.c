#include <string.h>

#include "agent/cli/human.h"
#include "agent/cli/table.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

static enum term_style result_style(const char *result)
{
	static const char *const bad[] = { "failed", "aborted", "reverted" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (strcmp(bad[i], result) == 0)
			return STYLE_BAD;
	return STYLE_PLAIN;
}

static void add_row(struct table *t, const struct term *term, const json_t *g, int64_t now)
{
	const char *state = json_str(g, "state", "?"), *result = json_str(g, "result", "");
	bool serves = strcmp(state, "active") == 0;
	int64_t created = 0;
	char when[HUMAN_MAX] = "", took[HUMAN_MAX] = "", image[HUMAN_IMAGE_MAX];
	if (human_parse_utc(json_str(g, "created", NULL), &created) == 0)
		human_when(created, now, when);
	if (json_int(g, "took_ms", 0) > 0)
		human_span(json_int(g, "took_ms", 0), took);
	table_row(t);
	table_cellf(t, serves ? STYLE_BOLD : STYLE_PLAIN, "%lld", (long long)json_int(g, "number", 0));
	table_cell(t, serves ? STYLE_GOOD : STYLE_PLAIN, state);
	table_cell(t, result_style(result), result);
	table_cell(t, STYLE_PLAIN, human_image(json_str(g, "image", ""), term->utf8, image));
	table_cell(t, STYLE_PLAIN, when);
	table_cell(t, STYLE_PLAIN, took);
	table_cell(t, STYLE_PLAIN, json_str(g, "by", NULL));
	table_cell(t, STYLE_DIM, json_str(g, "reason", NULL));
}

static int history_table(const struct cli *c, const json_t *answer, struct buf *out)
{
	static const struct table_column columns[] = {
		{ .name = "GEN", .right = true },
		{ .name = "STATE" },
		{ .name = "RESULT" },
		{ .name = "IMAGE" },
		{ .name = "WHEN" },
		{ .name = "TOOK", .right = true, .wide = true },
		{ .name = "BY" },
		{ .name = "NOTE", .cut = true },
	};
	OWN_TABLE struct table *t = table_new(columns, ARRAY_LEN(columns), &c->term_out);
	size_t i;
	json_t *g;
	json_array_foreach (json_object_get(answer, "generations"), i, g)
		add_row(t, &c->term_out, g, clock_wall_ms());
	return table_print(t, out);
}

int cli_history(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	OWN_BUF struct buf out = { 0 }, raw = { 0 };
	OWN_FREE char *path = cli_service_path(c->line.args[0], "/history");
	if (!path)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (cli_call_raw(c, "GET", path, &raw, &answer, &f) < 0)
		return cli_report(c, c->line.args[0], &f);
	int e = c->line.opts.json ? buf_addf(&out, "%s\n", raw.data) : history_table(c, answer, &out);
	if (e < 0)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	cli_print(c->out, &out);
	return CLI_OK;
}
