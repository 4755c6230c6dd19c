#include "agent/cli/help.h"

#include <string.h>

static void add_title(struct buf *out, const struct term *t, const char *title)
{
	buf_adds(out, "\n");
	term_add(out, t, STYLE_BOLD, title);
	buf_adds(out, "\n");
}

/* "  label    text", the text in its own column. */
static void add_row(struct buf *out, const char *label, unsigned width, const char *text)
{
	unsigned used = term_columns(label);
	buf_addf(out, "  %s%*s%s\n", label, used < width ? (int)(width - used) : 1, "", text);
}

#define PARAGRAPH_COLUMNS 88

/* Words filled into lines. */
static void add_paragraph(struct buf *out, const char *text)
{
	size_t column = 0;
	buf_adds(out, "\n");
	while (*text) {
		size_t len = strcspn(text, " ");
		if (column > 0)
			buf_adds(out, column + 1 + len > PARAGRAPH_COLUMNS ? "\n" : " ");
		column = column > 0 && column + 1 + len <= PARAGRAPH_COLUMNS ? column + 1 + len : len;
		buf_add(out, text, len);
		text += len + strspn(text + len, " ");
	}
	buf_adds(out, "\n");
}

static void option_label(struct buf *out, const struct cli_option *o)
{
	if (o->letter)
		buf_addf(out, "-%c, ", o->letter);
	buf_addf(out, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

static void add_options(struct buf *out, uint32_t which)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		OWN_BUF struct buf label = { 0 };
		if (!(which >> id & 1))
			continue;
		if (!cli_option_table[id].letter)
			buf_adds(&label, "    ");
		option_label(&label, &cli_option_table[id]);
		add_row(out, label.data, 26, cli_option_table[id].help);
	}
}

static void overview(struct buf *out, const struct term *t)
{
	buf_adds(out, "teal deploys immutable generations of a service, moves traffic to them when they are "
		      "healthy,\n"
		      "and goes back with one command.\n\n  teal [OPTIONS] VERB [ARGUMENTS]\n");
	for (int g = 0; g < GROUP_MAX; g++) {
		add_title(out, t, cli_group_titles[g]);
		for (const struct cli_verb *v = cli_verbs; v->name; v++) {
			OWN_BUF struct buf label = { 0 };
			if (v->hidden || v->group != (enum cli_group)g)
				continue;
			buf_addf(&label, "%s %s", v->name, v->args);
			add_row(out, label.data, 27, v->help);
		}
	}
	add_title(out, t, "Options of every verb");
	add_options(out, OPTIONS_GLOBAL);
	buf_adds(out, "\nMore about a verb: teal help VERB\n");
}

static void verb_page(struct buf *out, const struct term *t, const struct cli_verb *v)
{
	buf_addf(out, "%s: %s\n\n  teal %s%s%s%s\n", v->name, v->help, v->name,
		v->options ? " [OPTIONS]" : "", *v->args ? " " : "", v->args);
	if (v->about)
		add_paragraph(out, v->about);
	if (v->options) {
		add_title(out, t, "Options");
		add_options(out, v->options);
	}
	add_title(out, t, "Options of every verb");
	add_options(out, OPTIONS_GLOBAL);
	if (v->examples[0].line)
		add_title(out, t, "Examples");
	for (size_t i = 0; i < 3 && v->examples[i].line; i++)
		add_row(out, v->examples[i].line, 46, v->examples[i].text);
}

void help_page(struct buf *out, const struct term *t, const struct cli_verb *verb)
{
	if (verb)
		verb_page(out, t, verb);
	else
		overview(out, t);
}

/* scdoc reads _ and * as markup, and some characters at the start of a line. */
static void man_text(struct buf *out, const char *text)
{
	for (; *text; text++)
		buf_addf(out, strchr("_*\\`<#[", *text) ? "\\%c" : "%c", *text);
}

static void man_options(struct buf *out, uint32_t which)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct cli_option *o = &cli_option_table[id];
		if (!(which >> id & 1))
			continue;
		buf_adds(out, "*");
		if (o->letter)
			buf_addf(out, "-%c*, *", o->letter);
		buf_addf(out, "--%s*", o->name);
		if (o->arg)
			buf_addf(out, " _%s_", o->arg);
		buf_adds(out, "\n\t");
		man_text(out, o->help);
		buf_adds(out, "\n\n");
	}
}

static void man_verb(struct buf *out, const struct cli_verb *v)
{
	/* scdoc takes headings as they are */
	buf_addf(out, "## teal %s%s%s", v->name, *v->args ? " " : "", v->args);
	buf_adds(out, "\n\n");
	man_text(out, v->help);
	buf_adds(out, ".\n\n");
	if (v->about) {
		man_text(out, v->about);
		buf_adds(out, "\n\n");
	}
	man_options(out, v->options);
	for (size_t i = 0; i < 3 && v->examples[i].line; i++)
		buf_addf(out, "```\n# %s\n%s\n```\n\n", v->examples[i].text, v->examples[i].line);
}

static const char man_head[] =
	"teal(1)\n\n# NAME\n\nteal - deploy immutable generations of services, and go back\n\n"
	"# SYNOPSIS\n\n*teal* \\[_OPTIONS_] _VERB_ \\[_ARGUMENTS_]\n\n"
	"# DESCRIPTION\n\n"
	"*teal* is the command line of the agent *teald*(8). It reads a service's spec, has the agent start "
	"a new\n"
	"generation of the service beside the running one, and watches it: health, flip, drain, standby.\n"
	"Data goes to standard output, progress and messages to standard error. A terminal gets a live "
	"view,\n"
	"anything else one line per step. With *-o json* standard output has one JSON object for each "
	"service.\n\n"
	"# OPTIONS\n\n";

static const char man_tail[] =
	"# EXIT STATUS\n\n"
	"*0*\n\tdone, or nothing to do\n\n*1*\n\terror\n\n*2*\n\tthere are changes (plan, --dry-run)\n\n"
	"*3*\n\tthe deployment failed or was reverted: the old generation serves\n\n"
	"*4*\n\ttimed out waiting; the deployment goes on in the agent\n\n*5*\n\trefused: held or busy\n\n"
	"*64*\n\twrong usage\n\n*65*\n\tbad spec\n\n*69*\n\tthe agent is not reachable\n\n*77*\n\tnot "
	"permitted\n\n"
	"*130*\n\tinterrupted; the deployment goes on in the agent\n\n"
	"# ENVIRONMENT\n\n*TEAL\\_ROOT*\n\tthe default of --root\n\n"
	"*NO\\_COLOR*, *CLICOLOR\\_FORCE*, *TERM*, *CI*\n\tcolours and live view off (on)\n\n"
	"# FILES\n\n_/run/teal/teal.sock_\n\tthe agent's socket; _DIR/run/teal.sock_ with --root\n\n"
	"# SEE ALSO\n\n*teald*(8)\n";

void help_man(struct buf *out)
{
	buf_adds(out, man_head);
	man_options(out, OPTIONS_GLOBAL);
	buf_adds(out, "# VERBS\n\n");
	for (const struct cli_verb *v = cli_verbs; v->name; v++)
		if (!v->hidden)
			man_verb(out, v);
	buf_adds(out, man_tail);
}

int cli_help(struct cli *c)
{
	OWN_BUF struct buf page = { 0 }, name = { 0 };
	const struct cli_verb *verb = NULL;
	if (c->line.opts.man) {
		help_man(&page);
		cli_print(c->out, &page);
		return CLI_OK;
	}
	for (size_t i = 0; i < c->line.n_args; i++)
		buf_addf(&name, "%s%s", i ? " " : "", c->line.args[i]);
	if (name.len > 0 && !(verb = cli_verb_find(name.data)))
		return cli_errorf(c, CLI_USAGE, "no verb `%s`; `teal help` lists them", name.data);
	help_page(&page, &c->term_out, verb);
	cli_print(c->out, &page);
	return CLI_OK;
}
