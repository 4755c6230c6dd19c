/* A static program that tries, from inside a container, what a container must not be able to do, and writes
 * what came of it: one "key value" a line. It judges nothing; whoever runs it does. */
#pragma once

struct section {
	const char *name;
	void (*run)(void);
};

/* "key value", both by printf's rules. */
void say(const char *value, const char *key, ...) __attribute__((format(printf, 2, 3)));
/* The value of a call's result: "ok", or the name-less errno "E13". */
const char *outcome(long result);
/* Runs in a child, so that nothing it changes or breaks meets the next attempt: its outcome, "died 11" or
 * "hung". */
const char *attempt(long (*act)(long argument), long argument);

void probe_calls(void);	  /* every system call by every door */
void probe_rights(void);  /* identity, capabilities, namespaces, limits */
void probe_paths(void);	  /* files of the kernel, devices, descriptors */
void probe_sockets(void); /* families of addresses */
void probe_acts(void);	  /* what an attacker would do next */
void spy(void);		  /* what comes in from outside, until told that it is enough */
void spy_enough(void);
void probe_processes(void); /* how many there may be */
