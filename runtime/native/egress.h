/* The way out of a private network: addresses are masqueraded, forwarding is on, and a filter that drops what
 * it forwards (Docker's) lets our bridge through. Inwards only answers pass; between containers nothing does.
 *
 * All of it is in the kernel's own tables, so that nothing on disk can disagree with it: the agent's table
 * teal-<tag>, rules with that comment in the filter of iptables, and, as a chain without rules in the table,
 * the fact that forwarding was off before us. Blocking, and one call at a time. */
#pragma once
#include <stdint.h>

#include "base/err.h"

struct egress {
	const char *tag, *bridge;
	uint32_t net; /* host byte order */
	unsigned prefix;
};

/* Makes it so, whatever of it is there already. */
int egress_ensure(const struct egress *e, struct err *err);
/* Takes it away; forwarding goes back to what it was when no other agent needs it. */
int egress_remove(const struct egress *e, struct err *err);
