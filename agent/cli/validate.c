/* Verbs about specs, which need no agent: validate, schema, explain. */
#include "agent/cli/load.h"
#include "agent/cli/verbs.h"
#include "config/config.h"

int cli_validate(struct cli *c)
{
	OWN_LOADS struct load_list specs = { 0 };
	int code = load_specs(c, &specs);
	if (code != CLI_OK)
		return code;
	for (size_t i = 0; i < specs.n; i++) {
		if (c->line.opts.json)
			cli_print_json(c, specs.items[i].json);
		else if (!c->line.opts.quiet)
			fprintf(c->err, "%s: ok, service %s\n", specs.items[i].path,
				specs.items[i].spec->name);
	}
	return CLI_OK;
}

int cli_schema(struct cli *c)
{
	OWN_JSON json_t *schema = cfg_schema();
	if (!schema)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	json_dumpf(schema, c->out, JSON_INDENT(2));
	fputc('\n', c->out);
	return CLI_OK;
}

int cli_explain(struct cli *c)
{
	OWN_BUF struct buf page = { 0 };
	struct err err = { 0 };
	if (cfg_explain(c->line.n_args ? c->line.args[0] : "", &page, &err) < 0)
		return cli_error(c, CLI_ERROR, &err);
	cli_print(c->out, &page);
	return CLI_OK;
}
