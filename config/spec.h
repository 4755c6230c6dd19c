/* The typed spec of one service: what a file says, after validation, with every default filled in.
 * Immutable and reference-counted; plain data that every other folder may read. Times in ms, sizes in bytes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SPEC_NAME_MAX 41 /* a DNS label of at most 40 characters, and its NUL */

enum spec_network { SPEC_NETWORK_PRIVATE, SPEC_NETWORK_HOST, SPEC_NETWORK_NONE };
enum spec_restart { SPEC_RESTART_ON_FAILURE, SPEC_RESTART_ALWAYS, SPEC_RESTART_NO };
enum spec_order { SPEC_ORDER_START_FIRST, SPEC_ORDER_STOP_FIRST };
enum spec_promote { SPEC_PROMOTE_AUTO, SPEC_PROMOTE_MANUAL };
enum spec_protocol { SPEC_PROTOCOL_TCP };
enum spec_proxy_protocol { SPEC_PROXY_NONE, SPEC_PROXY_V1, SPEC_PROXY_V2 };
enum spec_check { SPEC_CHECK_NONE, SPEC_CHECK_HTTP, SPEC_CHECK_TCP, SPEC_CHECK_EXEC };

struct spec_pair {
	char *key, *value;
};

struct spec_port {
	char *name;			 /* "http"; default: the target number as text */
	char *published;		 /* canonical address, "0.0.0.0:8080" */
	struct sockaddr_storage address; /* `published`, parsed */
	uint16_t target;
	enum spec_protocol protocol;
	enum spec_proxy_protocol proxy_protocol;
};

struct spec_health {
	enum spec_check kind; /* NONE: no healthcheck in the file (then: TCP connect to each target port) */
	char *http_path;
	uint16_t port;			 /* http, tcp; default: the first port's target */
	uint16_t status_min, status_max; /* http; inclusive */
	char *http_host;		 /* Host header; NULL: the address */
	char **exec;			 /* argv */
	uint32_t interval_ms, timeout_ms, start_period_ms;
	uint32_t successes, retries;
};

struct spec_limits { /* 0 = no limit asked for */
	uint32_t cpu_milli;
	uint64_t memory_bytes;
	uint32_t pids;
	uint32_t reserved_cpu_milli; /* what is to be left for it when others want it too */
	uint64_t reserved_memory_bytes;
};

enum spec_volume_type { SPEC_VOLUME_NAMED, SPEC_VOLUME_BIND, SPEC_VOLUME_TMPFS };
enum spec_access { SPEC_ACCESS_SHARED, SPEC_ACCESS_EXCLUSIVE };

struct spec_volume {
	enum spec_volume_type type;
	char *source; /* name, or absolute path; NULL: tmpfs */
	char *target; /* absolute */
	enum spec_access access;
	bool read_only;
	uint64_t size_bytes; /* tmpfs; 0 = the kernel's own */
};

/* Its value is not in the canonical form, only the digest of it. */
struct spec_secret {
	char *source; /* file name below /run/secrets */
	char *file;   /* until it has been read; then NULL */
	char *digest; /* "sha256:…" */
	char *value;  /* of value_len bytes; NULL in an agent, which keeps values as files */
	size_t value_len;
};

struct spec_logging {
	uint64_t max_size_bytes; /* of one file */
	uint32_t max_files;
};

/* What one container of a generation runs. A service has exactly one today; more come with `containers:`. */
struct spec_container {
	char *image; /* as written, rootfs: made absolute; after resolution see spec.image_digest */
	char **entrypoint, **command;  /* argv = entrypoint + command; both empty: the image's own */
	struct spec_pair *environment; /* sorted by key, env_file merged in beneath */
	size_t n_environment;
	char *working_dir; /* NULL: the image's, else "/" */
	char *user;	   /* "uid", "uid:gid" or names of the image's passwd; NULL: the image's, else root */
	enum spec_restart restart;
	int stop_signal;
	uint32_t stop_grace_ms;
	bool read_only;
	char *seccomp;		    /* "default", "unconfined" or a profile as JSON */
	uint64_t cap_add, cap_drop; /* bit n = capability n */
	enum spec_network network;
	struct spec_health health;
	struct spec_limits limits;
	struct spec_logging logging;
	char *hostname;		       /* NULL: from service, generation and replica */
	char **dns;		       /* NULL: the host's */
	struct spec_pair *extra_hosts; /* name, address */
	size_t n_extra_hosts;
	struct spec_volume *volumes;
	size_t n_volumes;
	struct spec_secret *secrets;
	size_t n_secrets;
	uint64_t shm_bytes;	   /* 0 = the default */
	struct spec_pair *ulimits; /* "nofile", "4096:8192": soft and hard, -1 for none */
	size_t n_ulimits;
	struct spec_pair *sysctls;
	size_t n_sysctls;
	char **devices; /* paths */
	int32_t oom_score_adj;
};

/* What counts as trouble while the new generation bakes. Rates in thousandths of a percent; 0 = not looked
 * at. */
struct spec_revert {
	uint32_t exits; /* containers that end; 0 = not looked at */
	bool unready;
	uint32_t connect_errors, resets; /* above the old generation's */
	uint32_t min_samples;		 /* connections before a rate means anything */
};

struct spec_deploy {
	uint32_t replicas;
	enum spec_order order;
	uint32_t healthy_deadline_ms, min_healthy_ms, drain_timeout_ms, standby_ms;
	enum spec_promote promote;
	uint32_t promote_timeout_ms;
	char *preview; /* canonical address where the new generation answers while it waits to be promoted; or
			  NULL */
	struct sockaddr_storage preview_address; /* `preview`, parsed */
	uint32_t confirm_ms;			 /* 0: no confirmation asked for */
	uint32_t bake_ms;
	bool auto_revert;
	struct spec_revert revert;
	uint32_t history; /* retired generations whose records and images are kept */
};

struct spec {
	char name[SPEC_NAME_MAX];
	struct spec_container container;
	struct spec_port *ports;
	size_t n_ports;
	struct spec_pair *labels;
	size_t n_labels;
	struct spec_deploy deploy;
	unsigned refs;
};

/* The old generation has to stop before the new one starts: by `order`, or for what only one may use. */
bool spec_stop_first(const struct spec *s);

struct spec *spec_ref(struct spec *s);
void spec_unref(struct spec *s); /* accepts NULL */
void own_spec(struct spec **s);
#define OWN_SPEC __attribute__((cleanup(own_spec)))
