/* Private networks: one bridge an agent and an address for each container. Everything may block (netlink) and
 * may be called from several threads. Which addresses are taken is told by the bundles on disk
 * (network_restore), so that no crash can lose or double one; STATE/network.json keeps the pool only. */
#pragma once
#include <net/if.h>
#include <netinet/in.h>

#include "base/err.h"
#include "config/settings.h"

struct network;

struct lease {
	char address[INET_ADDRSTRLEN + 3]; /* "10.88.0.5/20" */
	char gateway[INET_ADDRSTRLEN];
	char bridge[IFNAMSIZ], veth[IFNAMSIZ];
};

int network_open(const struct settings *settings, struct network **ret, struct err *err);
void network_close(struct network *n); /* leaves the bridge as it is; accepts NULL */
/* An address for this container; makes the bridge if need be. The same id gets the same address again. */
int network_acquire(struct network *n, const char *id, struct lease *ret, struct err *err);
/* A container found on disk holds this address ("10.88.0.5/20"). */
int network_restore(struct network *n, const char *id, const char *address);
/* Gives the address back, removes the container's link if it is still there, and the bridge after the last
 * one. */
void network_release(struct network *n, const char *id);
/* Removes links with our tag that no id holds, and the bridge if nobody does. After all network_restore
 * calls. */
void network_sweep(struct network *n);
