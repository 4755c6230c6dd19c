/* Watching deployments to their end: live view or lines on err, results on out with -o json. Survives an
 * agent that dies and comes back; Ctrl-C ends the watching, never the deployment. */
#pragma once
#include <stdint.h>

#include "agent/cli/cli.h"

struct follow;

struct follow *follow_new(struct cli *c); /* NULL: out of memory */
void follow_free(struct follow *f);	  /* accepts NULL */
static inline void own_follow(struct follow **f)
{
	follow_free(*f);
}
#define OWN_FOLLOW __attribute__((cleanup(own_follow)))

/* Watches this deployment too; answer is the 202's body, {"deployment":17,"after":100}. */
int follow_add(struct follow *f, const char *service, const json_t *answer);
/* How a result becomes an exit code; default result_exit. */
void follow_judge(struct follow *f, int (*judge)(const json_t *result));
/* Until all have ended, --timeout, or Ctrl-C. Returns the gravest exit code. With nothing to watch: 0. */
int follow_run(struct follow *f);
