/* A command in a running container: teal-shim --exec runs it, the first of its output is kept. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/bundle.h"
#include "runtime/native/native.h"

#define OUTPUT_MAX  4096u
#define END_WITH_MS 5000u /* for the shim to end the command's whole tree, before it is killed itself */

struct exec_op {
	struct native_op base;
	char *bundle, **argv;
	rt_exec_done done;
	void *arg;
	uint32_t timeout_ms;
	struct proc shim;
	struct uvx_watch *watch;
	struct uvx_timer *timer;
	uv_poll_t *poll; /* of output_fd */
	int output_fd, status_fd;
	int ended_by; /* 0, ETIMEDOUT or ECANCELED */
	char output[OUTPUT_MAX];
	size_t len;
};

static int make_pipe(int *ret_reader, int *ret_writer, struct err *err)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(err, errno, "make pipe");
	fcntl(p[0], F_SETFL, O_NONBLOCK); /* ours only: the command must find an ordinary one */
	*ret_reader = p[0];
	*ret_writer = p[1];
	return 0;
}

static int spawn(struct exec_op *op, int output, int status, struct err *err)
{
	OWN_STRV char **argv = NULL;
	const char *head[] = { op->base.host->shim_path, "--exec", "--report", "--bundle", op->bundle, "--" };
	char *envp[] = { NULL };
	for (size_t i = 0; i < ARRAY_LEN(head); i++)
		strv_add(&argv, head[i]);
	for (char **a = op->argv; *a; a++)
		strv_add(&argv, *a);
	if (strv_len(argv) != ARRAY_LEN(head) + strv_len(op->argv))
		return err_set(err, ENOMEM, "exec");
	struct spawn_fd fds[] = { { output, 1 }, { output, 2 }, { status, SHIM_STATUS_FD } };
	struct spawn how = { .path = native_shim(op->base.host),
		.argv = argv,
		.envp = envp,
		.fds = fds,
		.n_fds = ARRAY_LEN(fds),
		.new_session = true };
	return proc_spawn(&how, &op->shim, err);
}

static int exec_work(void *arg, struct err *err)
{
	struct exec_op *op = arg;
	OWN_FD int output = -1, status = -1;
	int r = make_pipe(&op->output_fd, &output, err);
	if (r == 0)
		r = make_pipe(&op->status_fd, &status, err);
	return r < 0 ? r : spawn(op, output, status, err);
}

static void poll_closed(uv_handle_t *handle)
{
	free(handle);
}

static void finish(struct exec_op *op, int result, int exit_code, const struct err *why)
{
	OWN_FREE struct exec_op *mine = op;
	OWN_FREE char *bundle = op->bundle;
	OWN_STRV char **argv = op->argv;
	uvx_timer_cancel(&op->timer);
	if (op->poll) {
		uv_poll_stop(op->poll);
		uv_close((uv_handle_t *)op->poll, poll_closed);
	}
	own_close(&op->output_fd);
	own_close(&op->status_fd);
	proc_close(&op->shim);
	op->output[op->len] = '\0';
	native_op_end(&op->base);
	op->done(op->arg, result, exit_code, op->output, why);
}

/* Keeps what fits and reads on: the command must not stand still for want of a reader. False at the end. */
static bool take_output(struct exec_op *op)
{
	char more[4096];
	ssize_t n = read(op->output_fd, more, sizeof more);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	size_t room = sizeof op->output - 1 - op->len, take = (size_t)n < room ? (size_t)n : room;
	memcpy(op->output + op->len, more, take);
	op->len += take;
	return true;
}

static void drain_output(struct exec_op *op)
{
	for (int i = 0; i < 64; i++) {
		size_t before = op->len;
		if (!take_output(op) || op->len == before)
			return;
	}
}

static void on_output(uv_poll_t *poll, int status, int events)
{
	struct exec_op *op = poll->data;
	(void)status;
	(void)events;
	if (!take_output(op))
		uv_poll_stop(poll);
}

static int read_report(struct exec_op *op, int *ret_code, struct err *err)
{
	struct shim_exec_report report;
	if (op->ended_by == ETIMEDOUT)
		return err_say(err, ETIMEDOUT, "exec: killed after %u ms", op->timeout_ms);
	if (op->ended_by)
		return err_say(err, op->ended_by, "exec: cancelled");
	if (op->status_fd < 0 || read(op->status_fd, &report, sizeof report) != (ssize_t)sizeof report)
		return err_say(err, EIO, "exec: teal-shim ended without a word");
	report.text[sizeof report.text - 1] = '\0';
	if (report.result == SHIM_FAILED)
		return err_say(err, report.code ? report.code : EIO, "exec: %s", report.text);
	*ret_code =
		WIFSIGNALED(report.wstatus) ? 128 + WTERMSIG(report.wstatus) : WEXITSTATUS(report.wstatus);
	return 0;
}

static void on_shim_ended(void *arg)
{
	struct exec_op *op = arg;
	struct err err = { 0 };
	int wstatus, code = -1;
	op->watch = NULL;
	proc_reap(&op->shim, &wstatus);
	drain_output(op);
	int r = read_report(op, &code, &err);
	finish(op, r, code, r < 0 ? &err : NULL);
}

static void on_overdue(void *arg)
{
	struct exec_op *op = arg;
	proc_signal(&op->shim, SIGKILL);
}

/* The shim ends the command and all that it started when the status pipe loses its reader. */
static void end_early(struct exec_op *op, int why)
{
	if (op->ended_by)
		return;
	op->ended_by = why;
	own_close(&op->status_fd);
	if (op->watch)
		uvx_timer_start(op->base.host->loop, END_WITH_MS, on_overdue, op, &op->timer);
}

static void on_timeout(void *arg)
{
	end_early(arg, ETIMEDOUT);
}

static void exec_cancel(struct rt_op *op)
{
	end_early(CONTAINER_OF(CONTAINER_OF(op, struct native_op, op), struct exec_op, base), ECANCELED);
}

static int watch_output(struct exec_op *op)
{
	uv_poll_t *poll = calloc(1, sizeof *poll);
	int r = poll ? uv_poll_init(op->base.host->loop, poll, op->output_fd) : UV_ENOMEM;
	if (r < 0) {
		free(poll);
		return r;
	}
	poll->data = op;
	op->poll = poll;
	return uv_poll_start(poll, UV_READABLE, on_output);
}

static void exec_worked(void *arg, int result, const struct err *err)
{
	struct exec_op *op = arg;
	uv_loop_t *loop = op->base.host->loop;
	struct err why = { 0 };
	if (result < 0) {
		why = *err;
		err_wrap(&why, "exec");
		finish(op, result, -1, &why);
		return;
	}
	watch_output(op); /* without it the output is what fits into the pipe */
	result = uvx_watch_start(loop, op->shim.pidfd, on_shim_ended, op, &op->watch, &why);
	if (result < 0) {
		proc_signal(&op->shim, SIGKILL);
		finish(op, result, -1, &why);
	} else if (op->ended_by) {
		own_close(&op->status_fd);
		uvx_timer_start(loop, END_WITH_MS, on_overdue, op, &op->timer);
	} else if (op->timeout_ms) {
		uvx_timer_start(loop, op->timeout_ms, on_timeout, op, &op->timer);
	}
}

int container_exec(struct rt_host *h, const char *id, char *const *argv, uint32_t timeout_ms,
	rt_exec_done done, void *arg, struct rt_op **ret_op, struct err *err)
{
	struct container *c = container_find(h, id);
	if (!c || c->phase != CONTAINER_RUNNING)
		return err_say(err, ENOENT, "exec: container %s does not run", id);
	struct exec_op *op = argv[0] ? calloc(1, sizeof *op) : NULL;
	if (!op)
		return err_set(err, argv[0] ? ENOMEM : EINVAL, "exec in %s", id);
	op->shim = PROC_NONE;
	op->output_fd = op->status_fd = -1;
	op->done = done;
	op->arg = arg;
	op->timeout_ms = timeout_ms;
	op->bundle = fs_join(h->containers_dir, id, NULL);
	int r = op->bundle ? strv_copy(argv, &op->argv) : -ENOMEM;
	native_op_begin(h, &op->base, exec_cancel);
	if (r == 0)
		r = native_work(h, exec_work, exec_worked, op);
	if (r < 0) {
		native_op_end(&op->base);
		free(op->bundle);
		strv_free(op->argv);
		free(op);
		return err_set(err, -r, "exec in %s", id);
	}
	if (ret_op)
		*ret_op = &op->base.op;
	return 0;
}
