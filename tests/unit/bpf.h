/* Runs a seccomp program as the kernel would, on a call that is never made. */
#pragma once
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The program's answer: SECCOMP_RET_… with its data. Fails the test on a malformed program. */
uint32_t bpf_run(const struct buf *program, const struct seccomp_data *call);
