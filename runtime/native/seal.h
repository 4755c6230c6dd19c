/* A program as a copy in memory that nobody can change any more, root of the host included. A container that
 * gets hold of its parent's program through /proc finds this copy, not the file that the next start would
 * run. */
#pragma once
#include "base/err.h"

/* The copy's descriptor, to be run as /proc/self/fd/N. */
int seal_program(const char *path, int *ret_fd, struct err *err);
