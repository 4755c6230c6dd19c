/* What a container finds in /etc of its host: resolv.conf and hosts. Both are files of its bundle. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "runtime/native/network.h"
#include "runtime/native/plan.h"

#define ETC_RESOLV_CONF "resolv.conf"
#define ETC_HOSTS	"hosts"

struct etc_files {
	struct buf resolv_conf, hosts;
};

/* lease: NULL but for a private network. */
int etc_make(const struct launch_plan *p, const struct lease *lease, const char *hostname,
	struct etc_files *ret, struct err *err);
void etc_done(struct etc_files *f);
#define OWN_ETC __attribute__((cleanup(etc_done)))
/* Replaces the services' names in the hosts file of a bundle, in place: the container has that very file. */
int etc_rename(const char *bundle, const char *gateway, char *const *names, struct err *err);
