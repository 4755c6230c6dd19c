/* Everything about one service, as a page for people. */
#pragma once
#include <stdint.h>

#include "agent/cli/term.h"
#include "base/buf.h"
#include "base/json.h"

void page_status(const json_t *status, const struct term *t, int64_t now_ms, struct buf *out);
/* "exit 137 (OOM)", "killed by SIGSEGV" of {"code","signal","oom"}. */
void page_exit(const json_t *exit, struct buf *out);
/* The generation of this number among those that have containers; NULL if it has none. */
const json_t *page_generation(const json_t *status, int64_t number);
