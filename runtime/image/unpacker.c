#include "runtime/image/unpacker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/line.h"
#include "base/own.h"
#include "base/proc.h"

#define REPORT_MAX 4096u
#define TREE_FD	   3

int image_job_check(const struct image_job *job, struct err *err)
{
	struct pollfd p = { .fd = job ? job->cancel_fd : -1, .events = POLLIN };
	if (p.fd >= 0 && poll(&p, 1, 0) > 0)
		return err_say(err, ECANCELED, "cancelled");
	return 0;
}

static int spawn(const char *program, int archive_fd, int tree_fd, bool layer, struct proc *ret_child,
	int *ret_report, struct err *err)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(err, errno, "make a pipe");
	OWN_FD int reader = p[0], writer = p[1];
	char name[] = "teal-unpack", option[] = "--layer";
	char *argv[] = { name, layer ? option : NULL, NULL }, *envp[] = { NULL };
	const struct spawn_fd fds[] = {
		{ .from = archive_fd, .to = 0 },
		{ .from = writer, .to = 1 },
		{ .from = tree_fd, .to = TREE_FD },
	};
	const struct spawn how = {
		.path = program, .argv = argv, .envp = envp, .fds = fds, .n_fds = ARRAY_LEN(fds)
	};
	int r = proc_spawn(&how, ret_child, err);
	if (r == 0)
		*ret_report = TAKE_FD(reader);
	return r;
}

/* Until the child closes its end, or the work is to stop. */
static int read_report(int fd, const struct image_job *job, struct buf *report, struct err *err)
{
	struct pollfd p[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = job ? job->cancel_fd : -1, .events = POLLIN },
	};
	for (;;) {
		char *to = buf_room(report, REPORT_MAX);
		if (!to || report->len > REPORT_MAX)
			return err_say(err, EPROTO, "teal-unpack says too much");
		if (poll(p, ARRAY_LEN(p), -1) < 0 && errno != EINTR)
			return err_set(err, errno, "wait for teal-unpack");
		if (p[1].revents)
			return err_say(err, ECANCELED, "cancelled");
		ssize_t n = p[0].revents ? read(fd, to, REPORT_MAX) : -1;
		if (n == 0)
			return 0;
		if (n > 0)
			report->len += (size_t)n;
	}
}

static int reap(struct proc *child, struct err *err)
{
	int wstatus = 0;
	proc_reap(child, &wstatus);
	proc_close(child);
	if (WIFSIGNALED(wstatus))
		return err_say(err, EIO, "teal-unpack was killed by %s", strsignal(WTERMSIG(wstatus)));
	return 0;
}

static int take_digest(const json_t *j, const char *key, char ret[DIGEST_LEN])
{
	const char *text = json_str(j, key, "");
	if (!digest_valid(text))
		return -EPROTO;
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

/* Whoever took that process over could say anything: it is checked for form here, for truth by comparing. */
static int take_report(const struct buf *text, struct unpack_sum *ret, struct err *err)
{
	OWN_JSON json_t *j = NULL;
	struct unpack_sum sum = { 0 };
	int r = json_parse(text->data ? text->data : "", text->len, "teal-unpack's report", &j, err);
	if (r < 0)
		return r;
	int64_t code = json_int(j, "code", 0);
	if (code != 0) {
		char why[600];
		line_copy(why, sizeof why, json_str(j, "error", "unpacking failed"));
		return err_say(err, code > 0 && code < 4096 ? (int)code : EIO, "%s", why);
	}
	sum.size = (uint64_t)json_int(j, "size", 0);
	sum.bytes = (uint64_t)json_int(j, "bytes", 0);
	sum.entries = (uint64_t)json_int(j, "entries", 0);
	sum.left_out = (uint64_t)json_int(j, "left_out", 0);
	if (take_digest(j, "digest", sum.digest) < 0 || take_digest(j, "diff_id", sum.diff_id) < 0)
		return err_say(err, EPROTO, "teal-unpack's report is not one");
	*ret = sum;
	return 0;
}

int unpacker_run(const char *program, int archive_fd, int tree_fd, bool layer, const struct image_job *job,
	struct unpack_sum *ret, struct err *err)
{
	OWN_BUF struct buf report = { 0 };
	OWN_FD int fd = -1;
	struct proc child = PROC_NONE;
	int r = spawn(program, archive_fd, tree_fd, layer, &child, &fd, err);
	if (r < 0)
		return r;
	r = read_report(fd, job, &report, err);
	if (r < 0)
		proc_signal(&child, SIGKILL);
	int ended = reap(&child, r < 0 ? NULL : err);
	if (r < 0 || ended < 0)
		return r < 0 ? r : ended;
	return take_report(&report, ret, err);
}
