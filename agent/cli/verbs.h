/* The verbs of `teal`, one row each. A handler is given the parsed line and returns the exit code. */
#pragma once
#include <stdint.h>

#include "agent/cli/cli.h"

enum cli_group { GROUP_SPEC, GROUP_DEPLOY, GROUP_SEE, GROUP_HOST, GROUP_HELP, GROUP_MAX };
extern const char *const cli_group_titles[GROUP_MAX];

/* What an argument of the verb is, for completion. */
enum cli_argument { ARGUMENT_NONE, ARGUMENT_FILE, ARGUMENT_SERVICE, ARGUMENT_SHELL, ARGUMENT_VERB };

struct cli_example {
	const char *line, *text;
};

struct cli_verb {
	const char *name; /* may be two words: "image ls" */
	enum cli_group group;
	const char *args; /* as shown: "FILE…" */
	unsigned char min_args, max_args;
	enum cli_argument completes;
	uint32_t options; /* OPTION_BITs beside the global ones */
	bool needs_agent;
	bool hidden;	   /* not shown in help */
	const char *help;  /* one line */
	const char *about; /* more, for `teal help VERB` and the man page; may be NULL */
	struct cli_example examples[3];
	int (*run)(struct cli *c);
};

#define ARGS_ANY 255
/* Ends with a row whose name is NULL. */
extern const struct cli_verb cli_verbs[];
/* By whole name ("image ls"); NULL if there is none. */
const struct cli_verb *cli_verb_find(const char *name);

int cli_validate(struct cli *c);
int cli_schema(struct cli *c);
int cli_explain(struct cli *c);
int cli_plan(struct cli *c);
int cli_apply(struct cli *c);
int cli_rollback(struct cli *c);
int cli_restart(struct cli *c);
int cli_promote(struct cli *c);
int cli_abort(struct cli *c);
int cli_wait(struct cli *c);
int cli_rm(struct cli *c);
int cli_status(struct cli *c);
int cli_describe(struct cli *c);
int cli_history(struct cli *c);
int cli_logs(struct cli *c);
int cli_events(struct cli *c);
int cli_image_ls(struct cli *c);
int cli_image_pull(struct cli *c);
int cli_image_load(struct cli *c);
int cli_image_import(struct cli *c);
int cli_image_inspect(struct cli *c);
int cli_image_rm(struct cli *c);
int cli_gc(struct cli *c);
int cli_doctor(struct cli *c);
int cli_version(struct cli *c);
int cli_completion(struct cli *c);
int cli_complete(struct cli *c);
int cli_help(struct cli *c);
