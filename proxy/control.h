/* The control thread of teal-proxy: what the agents told it, turned into routing tables for the workers.
 * Keeps all of it while no agent is there, and gives it back, descriptors included, to the one that comes. */
#pragma once
#include <uv.h>

#include "base/err.h"

struct control;

struct control_config {
	int listen_fd; /* SOCK_SEQPACKET, listening, non-blocking */
	unsigned workers;
	unsigned max_connections;
};

int control_open(uv_loop_t *loop, const struct control_config *config, struct control **ret, struct err *err);
