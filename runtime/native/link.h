/* The agent's rtnetlink, by libnl: the only file that knows it. Blocking. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Makes the bridge with this address, or sees that it is there. mac: kept fixed, since a bridge otherwise
 * takes another one with every container that comes or goes, and its neighbours' tables are wrong for a
 * while. */
int link_make_bridge(
	const char *name, uint32_t gateway, unsigned prefix, const uint8_t mac[6], struct err *err);
/* Absent is success. */
int link_delete(const char *name, struct err *err);
bool link_exists(const char *name);
/* Is any address or route of this host, other than those of `except`, within or around net/prefix? <0: can't
 * tell. */
int link_net_taken(uint32_t net, unsigned prefix, const char *except, struct err *err);
/* Names of the links that begin with prefix. */
int link_list(const char *prefix, char ***ret);
