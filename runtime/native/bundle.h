/* What the agent and the shim agree on: the files of a bundle, the annotations of its config.json, and the
 * one record that a shim sends to whoever started it. Plain definitions; both sides include it. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

/* OCI runtime-spec, written by the agent before the shim starts. The shim holds a POSIX write lock on it as
 * long as it lives, which costs no disk and can't lie: F_GETLK names the shim of a bundle, if there is one.
 */
#define BUNDLE_CONFIG  "config.json"
#define BUNDLE_SECCOMP "seccomp.bpf" /* linux.seccomp compiled: struct sock_filter, one after the other */
#define BUNDLE_STATE   "state.json"  /* it was started to the end, and its init; the shim's */
#define BUNDLE_EXIT    "exit.json"   /* how it ended, durable; the shim's */
#define BUNDLE_UPPER   "upper"	     /* writable layer, when root.readonly is false */
#define BUNDLE_WORK    "work"
#define BUNDLE_LOWER   "lower" /* where the image is attached while the overlay is made */
#define BUNDLE_SKEL    "skel"  /* mount points that the image lacks */
#define BUNDLE_SKEL_AT "skel.at"

/* Annotations: strings, all optional to the shim. */
#define NOTE_ID		   "teal.id"
#define NOTE_TAG	   "teal.tag"
#define NOTE_SERVICE	   "teal.service"
#define NOTE_GENERATION	   "teal.generation"
#define NOTE_REPLICA	   "teal.replica"
#define NOTE_SLOT	   "teal.slot"
#define NOTE_IMAGE_DIGEST  "teal.image_digest"
#define NOTE_SPEC_DIGEST   "teal.spec_digest"
#define NOTE_CGROUPS	   "teal.cgroups" /* directories to join, colon separated; made by the agent */
#define NOTE_NETWORK	   "teal.network" /* private | host | none */
#define NOTE_ADDRESS	   "teal.address" /* private: "10.88.0.5/20" */
#define NOTE_GATEWAY	   "teal.gateway" /* private: "10.88.0.1" */
#define NOTE_BRIDGE	   "teal.bridge"  /* private: the host's bridge */
#define NOTE_VETH	   "teal.veth"	  /* private: name of the host's end */
/* "yes": a time namespace as well. An annotation, because the runc of Debian 12 refuses the namespace. */
#define NOTE_TIME	   "teal.time_namespace"
#define NOTE_PORTS	   "teal.ports"	  /* "3000,3001": real ports, in the order of the spec */
#define NOTE_LOG	   "teal.log" /* path of the current log file; without it output goes to the shim's own */
#define NOTE_LOG_MAX_SIZE  "teal.log_max_size" /* bytes of one file */
#define NOTE_SECRETS	   "teal.secrets" /* NAME=FILE, a line each: values to be put into /run/secrets */
#define NOTE_LOG_MAX_FILES "teal.log_max_files"

#define SHIM_STATUS_FD 3 /* the status pipe: FAILED and nothing else, or STARTED and then ENDED */

enum shim_result { SHIM_FAILED, SHIM_STARTED, SHIM_ENDED };

struct shim_report {
	uint32_t result;     /* enum shim_result */
	int32_t code;	     /* failed: errno; ended: exit code */
	int32_t step;	     /* failed: row of the step table */
	int32_t pid;	     /* started: the container's pid 1 */
	uint64_t start_time; /* started: of that process */
	int32_t signal, oom; /* ended: by which signal, and was it for want of memory */
	int64_t at_ms;	     /* ended: when, wall clock */
	char text[232];	     /* failed: "mount /proc: Operation not permitted" */
};
_Static_assert(sizeof(struct shim_report) <= 512, "one atomic write to a pipe");

/* teal-shim --exec: what it sends instead. */
struct shim_exec_report {
	uint32_t result; /* SHIM_STARTED: it ran, wstatus is valid */
	int32_t code;
	int32_t wstatus;
	char text[232];
};
