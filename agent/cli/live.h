/* Where progress is shown: a block that is repainted in place on a terminal, lines elsewhere, nothing with
 * -q. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "agent/cli/cli.h"
#include "agent/cli/progress.h"

struct live {
	struct cli *cli;
	bool paints;	  /* a terminal that repaints */
	unsigned painted; /* lines of the block that is on the screen now */
	unsigned frame;
};

void live_init(struct live *l, struct cli *c);
/* Shows what changed in the open ones. */
void live_update(struct live *l, struct progress *items, size_t n);
/* A sign of life for each open one, where nothing is repainted. */
void live_heartbeat(struct live *l, const struct progress *items, size_t n);
/* The last word about one: its steps and its verdict. code: what the command makes of it. */
void live_conclude(struct live *l, struct progress *p, int code);
/* A message that isn't part of the picture. */
void live_note(struct live *l, const char *text);
/* Takes the block off the screen. */
void live_erase(struct live *l);
