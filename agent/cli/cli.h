/* The `teal` command: what every verb is given, and how it ends. A verb returns one of the exit codes below;
 * data goes to `out`, progress and messages to `err`, and with -o json `out` carries nothing but JSON. */
#pragma once
#include <stdio.h>

#include "agent/cli/options.h"
#include "agent/cli/term.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_ERROR = 1,
	CLI_CHANGES = 2, /* plan, --dry-run: something would change */
	CLI_FAILED = 3,	 /* the deployment failed or was reverted; the old generation serves */
	CLI_TIMEOUT = 4, /* waited long enough; it goes on in the agent */
	CLI_REFUSED = 5, /* held, busy, paused */
	CLI_USAGE = 64,
	CLI_BAD_SPEC = 65,
	CLI_NO_AGENT = 69,
	CLI_DENIED = 77,
	CLI_INTERRUPTED = 130,
};

struct cli {
	FILE *out, *err;
	struct term term_out, term_err;
	struct cli_line line;
	struct client *client; /* opened by the first call */
	char *socket;	       /* where the agent is looked for */
	char *self;	       /* how to call us again: "teal" or "teal --root DIR" */
};

/* Parses and runs one command line; returns the exit code. */
int cli_main(int argc, char **argv, FILE *out, FILE *err);

/* Why a call did not succeed. Zero-initialise; free with cli_fault_done. */
struct cli_fault {
	int exit;
	char code[24]; /* the API's error code, or "unreachable", "lost", "interrupted" */
	struct err err;
	json_t *detail; /* the API's error object; NULL when the agent never answered */
};
void cli_fault_done(struct cli_fault *f);
#define OWN_FAULT __attribute__((cleanup(cli_fault_done)))

/* One request. 0 with the JSON answer of a 2xx status (NULL pointer allowed), else negative with *f filled
 * in. */
int cli_call(struct cli *c, const char *method, const char *path, const json_t *body, json_t **ret,
	struct cli_fault *f);
/* The answer's text as it came, for -o json. */
int cli_call_raw(struct cli *c, const char *method, const char *path, struct buf *ret, json_t **ret_json,
	struct cli_fault *f);
/* Opens the client if that hasn't happened; 0 or negative with *f filled in. */
int cli_client(struct cli *c, struct cli_fault *f);
/* Turns a failed transport (r < 0) into a fault. */
void cli_fault_transport(int r, struct cli_fault *f);
/* Turns an answer that isn't a success into a fault; answer may be NULL. Returns -EPROTO. */
int cli_fault_answer(struct cli_fault *f, unsigned status, const json_t *answer);
/* "/v1/services/NAME" + tail, NAME percent-encoded. NULL: out of memory. Caller frees. */
char *cli_service_path(const char *service, const char *tail);

/* Says the fault: message and remedy on err, with -o json an object on out as well. Returns its exit code. */
int cli_report(struct cli *c, const char *service, const struct cli_fault *f);
/* The message and remedy alone, for a verb that has printed its object already. */
int cli_say_fault(struct cli *c, const char *service, const struct cli_fault *f);
/* "error: …" for what isn't an API answer; the same rules. Returns code. */
int cli_error(struct cli *c, int code, const struct err *err);
int cli_errorf(struct cli *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The {"changed":false,"comment":…,"service":…,"result":…,"exit":…} of something that never became a
 * deployment. */
json_t *cli_outcome(const char *service, const char *result, int code, const char *comment);

/* One compact JSON value and a newline on out. */
void cli_print_json(struct cli *c, const json_t *j);
void cli_print(FILE *to, const struct buf *b);
/* The graver of two exit codes, when several services are worked on at once. */
int cli_worse(int a, int b);
