/* What the spec limits or lends, in the words of the runtime specification; and whether this host can. */
#pragma once
#include "base/err.h"
#include "base/json.h"
#include "config/spec.h"

/* -ENOTSUP naming the key, for limits above those of the agent and devices that are none. No side effects. */
int limits_check(const struct spec_container *c, struct err *err);
/* process.rlimits, linux.resources, linux.devices; new references. */
json_t *limits_rlimits(const struct spec_container *c);
json_t *limits_resources(const struct spec_limits *l);
int limits_devices(const struct spec_container *c, json_t **ret, struct err *err);
/* cpu.shares that stand for so many CPUs: 1024 a CPU, as everybody counts. */
uint64_t limits_cpu_shares(uint32_t cpu_milli);
