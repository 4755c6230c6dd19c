/* Seccomp profiles: one table, from which both the OCI section of config.json and the kernel's program are
 * made. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/* linux.seccomp of the default profile; new reference, NULL when out of memory. */
json_t *seccomp_profile_json(void);
/* The same as a program: struct sock_filter, one after the other. Takes milliseconds: keep the result. */
int seccomp_compile(struct buf *ret, struct err *err);
