/* Completion scripts for shells, written from the tables of verbs and options. */
#pragma once
#include "base/buf.h"
#include "base/err.h"

/* shell: "bash", "zsh" or "fish"; -EINVAL for another. */
int completion_script(const char *shell, struct buf *out, struct err *err);
