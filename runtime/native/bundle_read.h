/* Reads what a bundle says about its container. Blocking, but files of a few kilobytes. */
#pragma once
#include "base/err.h"
#include "base/proc.h"
#include "runtime/driver.h"

struct bundle_info {
	bool started;	/* to the end; whether it still runs is for bundle_open_shim to tell */
	bool this_boot; /* the numbers of init mean something */
	pid_t init_pid;
	uint64_t init_start;
	char address[24];      /* as noted, "10.88.0.5/20"; "" if none */
	char gateway[16];      /* of a private network; "" if none */
	struct rt_state state; /* id, address, ports, userns, started_ms */
};

/* From config.json and, if it is there, state.json. */
int bundle_read(const char *dir, struct bundle_info *ret, struct err *err);
/* -ENOENT: no exit on record. */
int bundle_read_exit(const char *dir, struct rt_exit *ret);
/* The living shim of this bundle, by the lock that it holds; -ESRCH: there is none. */
int bundle_open_shim(const char *dir, struct proc *ret);
