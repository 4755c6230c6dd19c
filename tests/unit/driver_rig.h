/* A driver on a loop of its own, with a test image, and its operations made to look synchronous. Every wait
 * ends within RIG_PATIENCE_MS, or the test fails. */
#pragma once
#include "runtime/driver.h"

#define RIG_PATIENCE_MS 20000
#define RIG_EXITS_MAX	64

struct rig_exit {
	char id[RT_ID_MAX];
	struct rt_exit exit;
};

struct rig {
	uv_loop_t loop;
	const struct rt_driver *driver;
	struct settings settings;
	struct rt_host *host;
	char dir[64], digest[DIGEST_LEN];
	struct rig_exit exits[RIG_EXITS_MAX];
	unsigned n_exits;
};

struct rig_want {	/* what a test wants to differ from the plain container; zero is plain */
	const char *id; /* default "web.1.1" */
	char *const *argv;
	enum spec_network network;
	struct spec_limits limits;
	struct spec_logging logging;
	bool writable;
	char *user, *cwd;
	struct spec_pair *environment;
	size_t n_environment;
	struct spec_port *ports;
	size_t n_ports;
};
/* The strings of a test are never written to. */
#define ARGV(...) ((char *const *)(uintptr_t)(const char *const[]){ "inside", __VA_ARGS__, NULL })

struct rig_lines {
	char text[64][512];
	int64_t at_ms[64];
	unsigned n; /* may be more than are kept */
	bool ended;
	int result;
};

/* Fails the test on any error. */
void rig_open(struct rig *r, const char *driver);
void rig_close(struct rig *r);
/* Closes the driver only; its directory stays. */
void rig_leave(struct rig *r);
/* Closes and opens the driver as an agent's restart does; containers live on. */
void rig_reopen(struct rig *r);
int rig_adopt(struct rig *r, struct rt_state *states, unsigned max);

/* Runs the loop until *flag or the end of patience. */
void rig_run_until(struct rig *r, const bool *flag, const char *what);
int rig_start(struct rig *r, const struct rig_want *want, struct rt_state *ret, struct err *err);
void rig_start_ok(struct rig *r, const struct rig_want *want, struct rt_state *ret);
/* The exit of this container: the next one that was not asked for yet. */
struct rt_exit rig_await_exit(struct rig *r, const char *id);
int rig_stop(struct rig *r, const char *id, int sig, uint32_t grace_ms);
int rig_destroy(struct rig *r, const char *id);
int rig_exec(struct rig *r, const char *id, char *const *argv, uint32_t timeout_ms, int *ret_code,
	char output[4096], struct err *err);
/* All lines with this query; for `follow`, until the container has ended. */
void rig_logs(struct rig *r, const char *id, const struct rt_log_query *query, struct rig_lines *ret);
/* The same, but returns at once: ret fills while the loop runs, until ret->ended. */
void rig_follow(struct rig *r, const char *id, const struct rt_log_query *query, struct rig_lines *ret);
/* Waits until the container has said this line. */
void rig_await_line(struct rig *r, const char *id, const char *line);
/* "key=value" of the lines, or NULL. */
const char *rig_fact(const struct rig_lines *lines, const char *key);
