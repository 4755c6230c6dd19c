#include "agent/cli/completion.h"

#include <errno.h>
#include <string.h>

#include "agent/cli/verbs.h"
#include "base/own.h"
#include "base/parse.h"

/* The first words of verbs: of "image ls" and "image rm" only the first row counts. */
static bool first_word(const struct cli_verb *v, char ret[32])
{
	size_t len = strcspn(v->name, " ");
	snprintf(ret, 32, "%.*s", (int)len, v->name);
	bool again = v > cli_verbs && strncmp(v[-1].name, v->name, len) == 0 && v[-1].name[len] == ' ';
	return !v->hidden && !(v->name[len] == ' ' && again);
}

/* Text inside single quotes; `special` characters get a backslash. */
static void quoted(struct buf *out, const char *text, const char *special)
{
	for (; *text; text++) {
		if (*text == '\'')
			buf_adds(out, "'\\''");
		else
			buf_addf(out, strchr(special, *text) ? "\\%c" : "%c", *text);
	}
}

static void bash_options(struct buf *out, uint32_t which)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct cli_option *o = &cli_option_table[id];
		if (!(which >> id & 1))
			continue;
		buf_addf(out, " --%s", o->name);
		if (o->letter)
			buf_addf(out, " -%c", o->letter);
	}
}

static const char bash_head[] =
	"# bash completion for teal\n"
	"_teal_live() {\n"
	"\tlocal i agent=()\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tcase ${COMP_WORDS[i]} in\n"
	"\t\t--root | --socket) agent+=(\"${COMP_WORDS[i]}\" \"${COMP_WORDS[i + 1]}\") ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\t\"${COMP_WORDS[0]}\" \"${agent[@]}\" __complete \"$1\" 2>/dev/null\n"
	"}\n"
	"_teal() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb= words= i\n"
	"\tCOMPREPLY=()\n"
	"\tcase $prev in\n"
	"\t--root | --socket) compopt -o default; return ;;\n"
	"\t-o | --output) COMPREPLY=($(compgen -W 'table json' -- \"$cur\")); return ;;\n"
	"\tesac\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tcase ${COMP_WORDS[i]} in\n"
	"\t\t--root | --socket | --output | -o) ((i++)) ;;\n"
	"\t\t-*) ;;\n"
	"\t\t*) verb=${COMP_WORDS[i]}; break ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\tcase $verb in\n";

static const char bash_tail[] = "\tesac\n"
				"\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
				"}\n"
				"complete -F _teal teal\n";

/* What follows the first word of a verb, as a statement that sets `words`. */
static void bash_arguments(struct buf *out, const struct cli_verb *v)
{
	static const char *const candidates[] = {
		[ARGUMENT_NONE] = "",
		[ARGUMENT_FILE] = "; compopt -o default",
		[ARGUMENT_SERVICE] = "; [[ $cur == -* ]] || words+=\" $(_teal_live services)\"",
		[ARGUMENT_SHELL] = "; words+=' bash zsh fish'",
		[ARGUMENT_VERB] = "; words+=\" $(_teal_live verbs)\"",
	};
	buf_adds(out, "words='");
	bash_options(out, v->options | OPTIONS_GLOBAL);
	buf_addf(out, "'%s ;;\n", candidates[v->completes]);
}

static void bash_script(struct buf *out)
{
	char word[32];
	buf_adds(out, bash_head);
	buf_adds(out, "\t'') words='");
	for (const struct cli_verb *v = cli_verbs; v->name; v++)
		if (first_word(v, word))
			buf_addf(out, " %s", word);
	bash_options(out, OPTIONS_GLOBAL);
	buf_adds(out, "' ;;\n");
	for (const struct cli_verb *v = cli_verbs; v->name; v++) {
		if (!first_word(v, word))
			continue;
		buf_addf(out, "\t%s) ", word);
		if (v->name[strlen(word)] == ' ')
			for (const struct cli_verb *w = v;
				w->name && strncmp(w->name, word, strlen(word)) == 0; w++)
				buf_addf(out, "words+=' %s'; ", w->name + strlen(word) + 1);
		else
			bash_arguments(out, v);
		if (v->name[strlen(word)] == ' ')
			buf_adds(out, ";;\n");
	}
	buf_adds(out, bash_tail);
}

static void zsh_options(struct buf *out, uint32_t which)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct cli_option *o = &cli_option_table[id];
		if (!(which >> id & 1))
			continue;
		for (int form = 0; form < (o->letter ? 2 : 1); form++) {
			buf_adds(out, form ? " '-" : " '--");
			buf_addf(out, form ? "%.1s" : "%s", form ? &o->letter : o->name);
			buf_adds(out, "[");
			quoted(out, o->help, "[]:");
			buf_adds(out, "]");
			if (o->arg)
				buf_addf(out, ":%s:%s", o->arg,
					o->type == OPTION_TYPE_FORMAT ? "(table json)"
					: o->type == OPTION_TYPE_TEXT ? "_files"
								      : " ");
			buf_adds(out, "'");
		}
	}
}

static const char zsh_head[] = "#compdef teal\n"
			       "_teal_live() {\n"
			       "\tlocal -a names agent\n"
			       "\t[[ -n $opt_args[--root] ]] && agent=(--root $opt_args[--root])\n"
			       "\t[[ -n $opt_args[--socket] ]] && agent=(--socket $opt_args[--socket])\n"
			       "\tnames=(${(f)\"$(teal $agent __complete $1 2>/dev/null)\"})\n"
			       "\t_describe $1 names\n"
			       "}\n"
			       "_teal() {\n"
			       "\tlocal curcontext=$curcontext state line\n"
			       "\ttypeset -A opt_args\n"
			       "\t_arguments -C";

static void zsh_script(struct buf *out)
{
	static const char *const candidates[] = {
		[ARGUMENT_NONE] = "",
		[ARGUMENT_FILE] = " '*:file:_files'",
		[ARGUMENT_SERVICE] = " '*:service:_teal_live services'",
		[ARGUMENT_SHELL] = " '1:shell:(bash zsh fish)'",
		[ARGUMENT_VERB] = " '1:verb:_teal_live verbs'",
	};
	char word[32];
	buf_adds(out, zsh_head);
	zsh_options(out, OPTIONS_GLOBAL);
	buf_adds(out,
		" '1:verb:->verb' '*::argument:->argument'\n\tcase $state in\n\tverb)\n\t\tlocal -a verbs=(");
	for (const struct cli_verb *v = cli_verbs; v->name; v++)
		if (first_word(v, word)) {
			buf_addf(out, " '%s:", word);
			quoted(out, v->help, ":");
			buf_adds(out, "'");
		}
	buf_adds(out, ")\n\t\t_describe verb verbs ;;\n\targument)\n\t\tcase $line[1] in\n");
	for (const struct cli_verb *v = cli_verbs; v->name; v++) {
		if (!first_word(v, word))
			continue;
		buf_addf(out, "\t\t%s) _arguments", word);
		if (v->name[strlen(word)] == ' ') {
			buf_adds(out, " '1:what:(");
			for (const struct cli_verb *w = v;
				w->name && strncmp(w->name, word, strlen(word)) == 0; w++)
				buf_addf(out, "%s%s", w == v ? "" : " ", w->name + strlen(word) + 1);
			buf_adds(out, ")'");
		}
		zsh_options(out, v->options | OPTIONS_GLOBAL);
		buf_addf(out, "%s ;;\n", candidates[v->completes]);
	}
	buf_adds(out, "\t\tesac ;;\n\tesac\n}\n"
		      "[[ $funcstack[1] == _teal ]] && _teal \"$@\" || compdef _teal teal\n");
}

static void fish_options(struct buf *out, const char *word, uint32_t which)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct cli_option *o = &cli_option_table[id];
		if (!(which >> id & 1))
			continue;
		buf_adds(out, "complete -c teal");
		if (word)
			buf_addf(out, " -n '__fish_seen_subcommand_from %s'", word);
		buf_addf(out, " -l %s", o->name);
		if (o->letter)
			buf_addf(out, " -s %c", o->letter);
		if (o->type == OPTION_TYPE_FORMAT)
			buf_adds(out, " -x -a 'table json'");
		else if (o->arg)
			buf_adds(out, o->type == OPTION_TYPE_TEXT ? " -r" : " -x");
		buf_adds(out, " -d '");
		quoted(out, o->help, "");
		buf_adds(out, "'\n");
	}
}

static const char fish_head[] =
	"# fish completion for teal\n"
	"function __teal_live\n"
	"\tset -l words (commandline -opc)\n"
	"\tset -l agent\n"
	"\tfor i in (seq (count $words))\n"
	"\t\tif contains -- $words[$i] --root --socket; and test (count $words) -gt $i\n"
	"\t\t\tset agent $words[$i] $words[(math $i + 1)]\n"
	"\t\tend\n"
	"\tend\n"
	"\tteal $agent __complete $argv 2>/dev/null\n"
	"end\n"
	"complete -c teal -f\n";

static void fish_script(struct buf *out)
{
	static const char *const candidates[] = {
		[ARGUMENT_NONE] = NULL,
		[ARGUMENT_FILE] = "-F",
		[ARGUMENT_SERVICE] = "-a '(__teal_live services)'",
		[ARGUMENT_SHELL] = "-a 'bash zsh fish'",
		[ARGUMENT_VERB] = "-a '(__teal_live verbs)'",
	};
	char word[32];
	buf_adds(out, fish_head);
	fish_options(out, NULL, OPTIONS_GLOBAL);
	for (const struct cli_verb *v = cli_verbs; v->name; v++) {
		if (v->hidden)
			continue;
		if (first_word(v, word)) {
			buf_addf(out, "complete -c teal -n __fish_use_subcommand -a %s -d '", word);
			quoted(out, v->help, "");
			buf_adds(out, "'\n");
		}
		if (v->name[strlen(word)] == ' ')
			buf_addf(out, "complete -c teal -n '__fish_seen_subcommand_from %s' -a %s\n", word,
				v->name + strlen(word) + 1);
		else if (candidates[v->completes])
			buf_addf(out, "complete -c teal -n '__fish_seen_subcommand_from %s' %s\n", word,
				candidates[v->completes]);
		fish_options(out, word, v->options);
	}
}

static const struct {
	const char *shell;
	void (*write)(struct buf *out);
} scripts[] = { { "bash", bash_script }, { "zsh", zsh_script }, { "fish", fish_script } };

int completion_script(const char *shell, struct buf *out, struct err *err)
{
	static const char *const names[] = { "bash", "zsh", "fish", NULL };
	for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
		if (strcmp(scripts[i].shell, shell) == 0) {
			scripts[i].write(out);
			return 0;
		}
	const char *near = suggest(shell, names);
	return err_say(err, EINVAL, "no completion for `%s`: bash, zsh and fish have one%s%s%s", shell,
		near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
}

int cli_completion(struct cli *c)
{
	OWN_BUF struct buf script = { 0 };
	struct err err = { 0 };
	if (completion_script(c->line.args[0], &script, &err) < 0)
		return cli_error(c, CLI_USAGE, &err);
	cli_print(c->out, &script);
	return CLI_OK;
}

static void complete_services(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	size_t i;
	json_t *s;
	if (cli_call(c, "GET", "/v1/services", NULL, &answer, &f) < 0)
		return; /* completion never complains */
	json_array_foreach (json_object_get(answer, "services"), i, s)
		fprintf(c->out, "%s\n", json_str(s, "service", ""));
}

int cli_complete(struct cli *c)
{
	if (strcmp(c->line.args[0], "services") == 0)
		complete_services(c);
	if (strcmp(c->line.args[0], "verbs") == 0)
		for (const struct cli_verb *v = cli_verbs; v->name; v++)
			if (!v->hidden)
				fprintf(c->out, "%s\n", v->name);
	return CLI_OK;
}
