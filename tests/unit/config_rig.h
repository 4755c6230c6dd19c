/* What the tests of config/ share: reading text, faults as text, and specs made at random from the rows. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"

/* Reads text as the file "spec.yaml" in /srv; what diag_print says about it comes back in `faults` (freed by
 * the caller; "" if nothing). NULL: refused. */
struct spec *rig_read(const char *text, char **ret_faults);
/* The same for a spec that must be good; fails the test otherwise. */
struct spec *rig_read_good(const char *text);
/* Canonical form as text; caller frees. */
char *rig_canonical(const struct spec *s);

/* Deterministic random numbers, the same on every machine. */
struct rig_random {
	uint64_t state;
};
uint32_t rig_random(struct rig_random *r, uint32_t below);

/* A valid spec in YAML: any keys, in any of their forms, with values of their types and ranges. */
void rig_make_spec(struct rig_random *r, struct buf *out);
/* One change of the kind that typing errors and broken tools make; the result may still be valid. */
void rig_break_spec(struct rig_random *r, const char *text, struct buf *out);
