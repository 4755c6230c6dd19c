/* The composition root: owns the loop and joins store, driver, health, proxy and API with plain data and
 * callbacks. Private to agent/. */
#pragma once
#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

#include "agent/events.h"
#include "agent/http.h"
#include "agent/store.h"
#include "config/settings.h"
#include "health/health.h"
#include "proxy/client.h"
#include "runtime/driver.h"

struct service;

struct agent {
	uv_loop_t *loop;
	struct settings settings;
	char boot_id[37];
	int64_t started_ms;
	struct store *store;
	struct event_log *events;
	const struct rt_driver *driver;
	struct rt_host *host;
	struct hc_engine *health;
	struct px_client *proxy;
	struct http_server *api;
	LIST_HEAD(, api_wait) waits; /* requests that wait for the end of a deployment */
	struct service *services;    /* uthash by name */
	int lock_fd;		     /* held while we run: one agent per root */
	bool closing;
	uv_signal_t on_term, on_int;
	char *note; /* what status should say about our own state; NULL = nothing */
};

/* Opens everything under settings (taken over), recovers what was running, begins to serve. On failure
 * nothing is left open. The loop is the caller's. */
int agent_open(uv_loop_t *loop, struct settings *settings, struct agent **ret, struct err *err);
/* Lets go: containers, connections and (while there is a service) the proxy go on without us. closed runs
 * when all handles are closed and the agent is freed. */
void agent_close(struct agent *a, void (*closed)(void *arg), void *arg);
