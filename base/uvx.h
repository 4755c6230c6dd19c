/* Small helpers around libuv: process watches on pidfds, work on the thread pool, error conversion.
 * A callback runs exactly once, never before the call that takes it returned, never after its cancel
 * completed. */
#pragma once
#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "base/proc.h"

/* A libuv error (negative) as "<what>: <text>"; returns it. */
int uvx_err(struct err *err, int uv_code, const char *what);

/* Watches a process until it ends. Owns neither p's pidfd nor the process: close the pidfd after the
 * callback, or after the watch was stopped. The watch is gone when the callback runs. */
struct uvx_watch;
typedef void (*uvx_ended)(void *arg);
int uvx_watch_start(
	uv_loop_t *loop, int pidfd, uvx_ended ended, void *arg, struct uvx_watch **ret, struct err *err);
/* No callback after this returns. Accepts NULL. */
void uvx_watch_stop(struct uvx_watch *w);

/* A one-shot timer that frees itself. Cancelling NULL is fine; *t, NULL or a timer to be cancelled, must stay
 * where it is; it is nulled by both fire (before fn) and cancel. */
struct uvx_timer;
int uvx_timer_start(
	uv_loop_t *loop, uint64_t after_ms, void (*fn)(void *arg), void *arg, struct uvx_timer **t);
void uvx_timer_cancel(struct uvx_timer **t);

/* work() runs on a pool thread; done() on the loop, always, with what work() returned and its err. */
typedef int (*uvx_work_fn)(void *arg, struct err *err);
typedef void (*uvx_work_done)(void *arg, int result, const struct err *err);
int uvx_work(uv_loop_t *loop, uvx_work_fn work, uvx_work_done done, void *arg);

/* fn(arg) once what runs now has returned to the loop, in the order of the calls; for callbacks that must not
 * run before their call returned. */
int uvx_defer(uv_loop_t *loop, void (*fn)(void *arg), void *arg);
