/* Seccomp profiles, in the form of the OCI (linux.seccomp of config.json), and as the kernel's program. The
 * default profile is a table; others come with the spec. */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/* setting: "default", "unconfined" (*ret is NULL then) or a profile as JSON. caps: bit n = capability n; the
 * default profile opens what they are of use with. New reference. */
int seccomp_profile(const char *setting, uint64_t caps, json_t **ret, struct err *err);
/* The profile as struct sock_filter, one after the other. Whatever this can't express is refused, not skipped.
 * Takes milliseconds: keep the result. */
int seccomp_compile(const json_t *profile, struct buf *ret, struct err *err);

/* For the compiler: the number of a call on this machine; negative when it has none; SECCOMP_UNKNOWN for a name
 * that is no call anywhere. */
#define SECCOMP_UNKNOWN INT32_MIN
int seccomp_number(const char *name);
/* Native calls above it answer ENOSYS. */
extern const unsigned seccomp_newest;
