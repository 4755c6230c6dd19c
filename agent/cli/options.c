#include "agent/cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/verbs.h"
#include "base/buf.h"
#include "base/own.h"
#include "base/parse.h"

#define AT(member) offsetof(struct cli_options, member)

const struct cli_option cli_option_table[OPTION_MAX] = {
	[OPTION_ROOT] = { "root", 0, "DIR", OPTION_TYPE_TEXT, AT(root),
		"talk to the agent that was started with this --root (or set TEAL_ROOT)" },
	[OPTION_SOCKET] = { "socket", 0, "PATH", OPTION_TYPE_TEXT, AT(socket),
		"talk to the agent on this socket" },
	[OPTION_OUTPUT] = { "output", 'o', "FORMAT", OPTION_TYPE_FORMAT, AT(json),
		"table (for people, the default) or json (for programs)" },
	[OPTION_QUIET] = { "quiet", 'q', NULL, OPTION_TYPE_FLAG, AT(quiet),
		"no progress and no summary, only data and errors" },
	[OPTION_HELP] = { "help", 'h', NULL, OPTION_TYPE_FLAG, AT(help), "show help" },
	[OPTION_DETACH] = { "detach", 'd', NULL, OPTION_TYPE_FLAG, AT(detach),
		"return as soon as the agent has taken the order" },
	[OPTION_TIMEOUT] = { "timeout", 0, "DURATION", OPTION_TYPE_DURATION, AT(timeout_ms),
		"stop waiting after this long and exit 4; the agent goes on" },
	[OPTION_DRY_RUN] = { "dry-run", 0, NULL, OPTION_TYPE_FLAG, AT(dry_run),
		"only say what would change; exit 2 if anything would" },
	[OPTION_FORCE] = { "force", 0, NULL, OPTION_TYPE_FLAG, AT(force),
		"deploy a held or unchanged spec again" },
	[OPTION_IMAGE] = { "image", 0, "REF", OPTION_TYPE_TEXT, AT(image),
		"use this image instead of the one in the file" },
	[OPTION_PRUNE] = { "prune", 0, NULL, OPTION_TYPE_FLAG, AT(prune),
		"with a directory: remove services whose file is gone from it" },
	[OPTION_TO] = { "to", 0, "N", OPTION_TYPE_ORDINAL, AT(to), "go back to this generation" },
	[OPTION_WATCH] = { "watch", 'w', NULL, OPTION_TYPE_FLAG, AT(watch), "keep showing, until Ctrl-C" },
	[OPTION_FOLLOW] = { "follow", 'f', NULL, OPTION_TYPE_FLAG, AT(follow), "go on with what comes" },
	[OPTION_LINES] = { "lines", 'n', "N", OPTION_TYPE_NUMBER, AT(lines),
		"begin with the last N (default: all there are; 100 with -f)" },
	[OPTION_SINCE] = { "since", 0, "DURATION", OPTION_TYPE_DURATION, AT(since_ms),
		"only what is younger than this, such as 10m" },
	[OPTION_TIMESTAMPS] = { "timestamps", 't', NULL, OPTION_TYPE_FLAG, AT(timestamps),
		"show when each line was written" },
	[OPTION_GENERATION] = { "generation", 'g', "N", OPTION_TYPE_ORDINAL, AT(generation),
		"only this generation" },
	[OPTION_REPLICA] = { "replica", 'r', "N", OPTION_TYPE_ORDINAL, AT(replica), "only this replica" },
	[OPTION_YES] = { "yes", 'y', NULL, OPTION_TYPE_FLAG, AT(yes),
		"accepted for scripts; nothing is ever asked" },
	[OPTION_MAN] = { "man", 0, NULL, OPTION_TYPE_FLAG, AT(man),
		"write the manual page's source (scdoc)" },
};
_Static_assert(OPTION_MAX <= 32, "the options of a verb are bits of a uint32_t");

/* A command line while it is read. */
struct reader {
	int argc, at;
	char **argv;
	struct cli_line *line;
	const char *group; /* first word of a two-word verb, until the second one came */
	struct err *err;
};

static const char *verb_label(const struct reader *r)
{
	return r->line->verb ? r->line->verb->name : "teal";
}

static bool option_allowed(const struct cli_line *line, int id)
{
	uint32_t allowed = OPTIONS_GLOBAL | (line->verb ? line->verb->options : 0);
	return allowed >> id & 1;
}

/* What was meant: a name that begins like this, else one that is spelled like this. */
static const char *nearest(const char *text, const char *const *names)
{
	size_t len = strlen(text);
	for (size_t i = 0; len > 1 && names[i]; i++)
		if (strncmp(names[i], text, len) == 0)
			return names[i];
	return suggest(text, names);
}

static int option_unknown(struct reader *r, const char *text, size_t len)
{
	const char *names[OPTION_MAX + 1];
	size_t n = 0;
	for (int id = 0; id < OPTION_MAX; id++)
		if (option_allowed(r->line, id))
			names[n++] = cli_option_table[id].name;
	names[n] = NULL;
	char shown[64];
	snprintf(shown, sizeof shown, "%.*s", (int)len, text);
	const char *near = shown[0] == '-' && shown[1] == '-' ? nearest(shown + 2, names) : NULL;
	return err_say(r->err, EINVAL, "%s has no option %s%s%s%s", verb_label(r), shown,
		near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

static const char *const option_wants[] = {
	[OPTION_TYPE_FLAG] = "nothing",
	[OPTION_TYPE_TEXT] = "something",
	[OPTION_TYPE_NUMBER] = "a number from 0",
	[OPTION_TYPE_ORDINAL] = "a number from 1",
	[OPTION_TYPE_DURATION] = "a duration, such as 500ms, 90s or 1m30s",
	[OPTION_TYPE_FORMAT] = "table or json",
};

static int store_format(const char *text, bool *ret)
{
	if (strcmp(text, "json") != 0 && strcmp(text, "table") != 0)
		return -EINVAL;
	*ret = text[0] == 'j';
	return 0;
}

static int option_store(struct reader *r, int id, const char *value)
{
	const struct cli_option *o = &cli_option_table[id];
	void *to = (char *)&r->line->opts + o->offset;
	int e = 0;
	switch (o->type) {
	case OPTION_TYPE_FLAG: *(bool *)to = true; break;
	case OPTION_TYPE_TEXT:
		*(const char **)to = value;
		e = *value ? 0 : -EINVAL;
		break;
	case OPTION_TYPE_NUMBER: e = parse_u64(value, 0, INT32_MAX, to); break;
	case OPTION_TYPE_ORDINAL: e = parse_u64(value, 1, INT32_MAX, to); break;
	case OPTION_TYPE_DURATION: e = parse_duration_ms(value, to); break;
	case OPTION_TYPE_FORMAT: e = store_format(value, to); break;
	}
	if (e < 0)
		return err_say(r->err, EINVAL, "--%s %s: must be %s", o->name, value, option_wants[o->type]);
	r->line->opts.given |= 1u << id;
	return 0;
}

/* Value of an option: what is glued to it, or the next word. */
static int option_take(struct reader *r, int id, const char *glued)
{
	const struct cli_option *o = &cli_option_table[id];
	if (!o->arg) {
		if (glued)
			return err_say(r->err, EINVAL, "--%s takes no value", o->name);
		return option_store(r, id, NULL);
	}
	if (!glued && r->at >= r->argc)
		return err_say(r->err, EINVAL, "--%s needs a value: %s", o->name, o->arg);
	return option_store(r, id, glued ? glued : r->argv[r->at++]);
}

static int read_long(struct reader *r, const char *word)
{
	size_t len = strcspn(word + 2, "=");
	for (int id = 0; id < OPTION_MAX; id++) {
		const char *name = cli_option_table[id].name;
		if (option_allowed(r->line, id) && strlen(name) == len && strncmp(word + 2, name, len) == 0)
			return option_take(r, id, word[2 + len] ? word + 2 + len + 1 : NULL);
	}
	return option_unknown(r, word, len + 2);
}

static int read_letter(struct reader *r, char letter, const char *rest, bool *ret_used_rest)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		if (cli_option_table[id].letter != letter || !option_allowed(r->line, id))
			continue;
		*ret_used_rest = cli_option_table[id].arg != NULL;
		return option_take(r, id, *ret_used_rest && *rest ? rest : NULL);
	}
	char word[] = { '-', letter, '\0' };
	return option_unknown(r, word, 2);
}

/* "-fn100" is -f -n 100. */
static int read_letters(struct reader *r, const char *word)
{
	for (const char *p = word + 1; *p; p++) {
		bool used_rest = false;
		int e = read_letter(r, *p, p + 1, &used_rest);
		if (e < 0)
			return e;
		if (used_rest)
			break;
	}
	return 0;
}

static bool is_group(const char *word)
{
	size_t len = strlen(word);
	for (const struct cli_verb *v = cli_verbs; v->name; v++)
		if (strncmp(v->name, word, len) == 0 && v->name[len] == ' ')
			return true;
	return false;
}

static int verb_unknown(struct reader *r, const char *name)
{
	size_t n = 0;
	while (cli_verbs[n].name)
		n++;
	OWN_FREE const char **names = calloc(n + 1, sizeof *names);
	if (!names)
		return err_set(r->err, ENOMEM, "read the command line");
	for (size_t i = 0, k = 0; i < n; i++)
		if (!cli_verbs[i].hidden)
			names[k++] = cli_verbs[i].name;
	const char *near = nearest(name, names);
	return err_say(r->err, EINVAL, "no verb `%s`%s%s%s", name, near ? "; did you mean `" : "",
		near ? near : "", near ? "`?" : "");
}

static int read_verb(struct reader *r, const char *word)
{
	if (!r->group && is_group(word)) {
		r->group = word;
		return 0;
	}
	OWN_BUF struct buf name = { 0 };
	if (r->group)
		buf_addf(&name, "%s ", r->group);
	if (buf_adds(&name, word) < 0)
		return err_set(r->err, ENOMEM, "read the command line");
	r->line->verb = cli_verb_find(name.data);
	return r->line->verb ? 0 : verb_unknown(r, name.data);
}

static int read_word(struct reader *r, const char *word, bool *options_end)
{
	if (!*options_end && strcmp(word, "--") == 0) {
		*options_end = true;
		return 0;
	}
	if (!*options_end && word[0] == '-' && word[1] == '-')
		return read_long(r, word);
	if (!*options_end && word[0] == '-' && word[1])
		return read_letters(r, word);
	if (!r->line->verb)
		return read_verb(r, word);
	r->line->args[r->line->n_args++] = word;
	return 0;
}

static int check_arguments(struct reader *r)
{
	const struct cli_line *l = r->line;
	if (l->opts.help)
		return 0;
	if (r->group && !l->verb)
		return err_say(r->err, EINVAL, "%s needs a second word; see `teal help`", r->group);
	if (!l->verb)
		return 0;
	if (l->n_args < l->verb->min_args)
		return err_say(r->err, EINVAL, "%s needs %s", l->verb->name, l->verb->args);
	if (l->n_args > l->verb->max_args)
		return err_say(r->err, EINVAL, "%s takes %s%s; `%s` is too much", l->verb->name,
			l->verb->max_args ? "only " : "no arguments", l->verb->max_args ? l->verb->args : "",
			l->args[l->verb->max_args]);
	if (l->opts.root && l->opts.socket)
		return err_say(r->err, EINVAL, "--root and --socket both name an agent: give one of them");
	return 0;
}

int cli_parse(int argc, char **argv, struct cli_line *ret, struct err *err)
{
	struct reader r = { .argc = argc, .at = 1, .argv = argv, .line = ret, .err = err };
	bool options_end = false;
	ret->args = calloc((size_t)argc + 1, sizeof *ret->args);
	if (!ret->args)
		return err_set(err, ENOMEM, "read the command line");
	while (r.at < argc) {
		int e = read_word(&r, argv[r.at++], &options_end);
		if (e < 0)
			return e;
	}
	return check_arguments(&r);
}

void cli_line_done(struct cli_line *l)
{
	free(l->args);
	l->args = NULL;
	l->n_args = 0;
}
