/* A launch, copied, so that a worker thread can carry it out after the caller's call has returned. */
#pragma once
#include "runtime/driver.h"

struct launch_plan {
	char id[RT_ID_MAX];
	char *service, *slot;
	uint32_t generation, replica;
	char image_digest[DIGEST_LEN], spec_digest[DIGEST_LEN];
	char **entrypoint, **command, **env; /* env: "KEY=value" */
	char *working_dir, *user;
	char *seccomp; /* as in the spec */
	uint64_t caps; /* bit n = capability n */
	bool read_only;
	enum spec_network network;
	struct spec *spec;			/* referred to, if there is one; what `container` is of */
	const struct spec_container *container; /* what is not copied here */
	char *secrets_dir;
	char **names; /* of services, for /etc/hosts */
	uint32_t names_version;
	struct spec_limits limits;
	struct spec_logging logging;
	char *port_names[RT_PORTS_MAX];
	uint16_t ports[RT_PORTS_MAX]; /* targets; with network: host replaced by free ones */
	size_t n_ports;
};

int plan_new(const struct rt_launch *launch, struct launch_plan **ret, struct err *err);
/* The capabilities of a container: bit n = capability n. */
uint64_t plan_caps(const struct spec_container *c);
void plan_free(struct launch_plan *p); /* accepts NULL */
/* network: host: finds a free port for each target. */
int plan_pick_ports(struct launch_plan *p, struct err *err);
