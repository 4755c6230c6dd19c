/* Help for people and the manual page, from the tables of verbs and options. */
#pragma once
#include "agent/cli/term.h"
#include "agent/cli/verbs.h"
#include "base/buf.h"

/* The overview (verb NULL), or one verb's page. */
void help_page(struct buf *out, const struct term *t, const struct cli_verb *verb);
/* teal(1) in scdoc's language. */
void help_man(struct buf *out);
