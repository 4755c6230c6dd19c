/* The agent's own settings: /etc/teal/teald.yaml or DIR/etc/teald.yaml, and where everything lives under a
 * root. All paths are absolute. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/diag.h"

enum userns_mode { USERNS_REQUIRED, USERNS_PREFERRED };

struct settings {
	char *root;	   /* NULL: the system's own paths */
	char *state_dir;   /* /var/lib/teal or ROOT/state: database, images, containers, logs */
	char *run_dir;	   /* /run/teal or ROOT/run: sockets */
	char *socket_path; /* RUN_DIR/teal.sock */
	char *libexec_dir; /* where teal-shim and teal-proxy are: beside the running binary, or TEAL_LIBEXEC
			    */
	char tag[8];	   /* six hex digits of sha256(state_dir): names host resources of this agent */
	bool system;	   /* true: no --root; resources are named "teal0" rather than by tag */

	/* keys of teald.yaml */
	enum userns_mode userns; /* `userns`: required (default) | preferred */
	char *network_pool;	 /* `network_pool`: IPv4 CIDR to cut addresses from; NULL: picked, avoiding
				    existing routes */
	uint32_t proxy_workers;	 /* `proxy_workers`: default: number of CPUs, at most 16 */
	char *proxy_user;	 /* `proxy_user`: name or uid; default teal-proxy if it exists, else nobody */
};

/* root NULL = system paths. file NULL = the default place, which may be absent; a named file must exist. */
int settings_load(
	const char *root, const char *file, struct settings *ret, struct diag_list *d, struct err *err);
void settings_done(struct settings *s);
/* The socket a CLI would use for this root (NULL = default). Caller frees. */
char *settings_socket_path(const char *root);
