/* The command line as data: one row per option, one per verb (verbs.h). Parsing, help, man page and
 * completion all read these rows. Options may stand before or after the verb and between its arguments; `--`
 * ends them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum cli_option_id {
	OPTION_ROOT,
	OPTION_SOCKET,
	OPTION_OUTPUT,
	OPTION_QUIET,
	OPTION_HELP,
	OPTION_DETACH,
	OPTION_TIMEOUT,
	OPTION_DRY_RUN,
	OPTION_FORCE,
	OPTION_IMAGE,
	OPTION_PRUNE,
	OPTION_TO,
	OPTION_WATCH,
	OPTION_FOLLOW,
	OPTION_LINES,
	OPTION_SINCE,
	OPTION_TIMESTAMPS,
	OPTION_GENERATION,
	OPTION_REPLICA,
	OPTION_YES,
	OPTION_MAN,
	OPTION_MAX
};
#define OPTION_BIT(id) (1u << OPTION_##id)

struct cli_options {
	uint32_t given; /* OPTION_BITs seen on the command line */
	const char *root, *socket;
	bool json, quiet, help;
	bool detach, dry_run, force, prune, watch, follow, timestamps, yes, man;
	const char *image;
	uint64_t timeout_ms, since_ms;
	uint64_t to, lines, generation, replica;
};

enum cli_option_type {
	OPTION_TYPE_FLAG,     /* bool */
	OPTION_TYPE_TEXT,     /* const char * */
	OPTION_TYPE_NUMBER,   /* uint64_t, from 0 */
	OPTION_TYPE_ORDINAL,  /* uint64_t, from 1 */
	OPTION_TYPE_DURATION, /* uint64_t, milliseconds */
	OPTION_TYPE_FORMAT,   /* bool: table = false, json = true */
};

struct cli_option {
	const char *name;
	char letter;	 /* 0: only the long form */
	const char *arg; /* "DURATION"; NULL for flags */
	enum cli_option_type type;
	size_t offset; /* in struct cli_options */
	const char *help;
};
extern const struct cli_option cli_option_table[OPTION_MAX];
/* Accepted by every verb. */
#define OPTIONS_GLOBAL                                                                                       \
	(OPTION_BIT(ROOT) | OPTION_BIT(SOCKET) | OPTION_BIT(OUTPUT) | OPTION_BIT(QUIET) | OPTION_BIT(HELP))

struct cli_line {
	const struct cli_verb *verb; /* NULL: none was named */
	struct cli_options opts;
	const char **args; /* owned array of borrowed strings, NULL-terminated */
	size_t n_args;
};

/* 0, -ENOMEM, or -EINVAL with what is wrong with the line (and "did you mean") in err. On failure verb is set
 * if it was recognised, so that its usage can be shown. */
int cli_parse(int argc, char **argv, struct cli_line *ret, struct err *err);
void cli_line_done(struct cli_line *l);
