/* The verdict of a deployment, for people: one line of success with what to do next, or the whole story of a
 * failure. */
#pragma once
#include <stdint.h>

#include "agent/cli/term.h"
#include "base/buf.h"
#include "base/json.h"

struct result_view {
	const struct term *term;
	const char *self; /* how to call the CLI again: "teal --root DIR" */
	int64_t now_ms;
	int exit; /* what the command makes of it: an abort succeeds by a deployment that fails */
};
void result_render(const json_t *result, const struct result_view *v, struct buf *out);
/* What a deployment's verdict makes the process exit with. */
int result_exit(const json_t *result);
/* "  ~ environment.LOG_LEVEL  info → debug" for each changed key. */
void diff_render(const json_t *diff, const struct term *t, const char *indent, struct buf *out);
