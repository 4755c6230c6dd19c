/* Reads what a bundle says about its container. Blocking, but files of a few kilobytes. */
#pragma once
#include "base/err.h"
#include "runtime/driver.h"

struct bundle_info {
	bool running; /* it was started to the end; whether it still runs is for proc_open to tell */
	bool this_boot;
	pid_t shim_pid, init_pid;
	uint64_t shim_start, init_start;
	char address[24];      /* as noted, "10.88.0.5/20"; "" if none */
	struct rt_state state; /* id, address, ports, userns, started_ms */
};

/* From config.json and, if it is there, state.json. */
int bundle_read(const char *dir, struct bundle_info *ret, struct err *err);
/* -ENOENT: no exit on record. */
int bundle_read_exit(const char *dir, struct rt_exit *ret);
