/* teal-shim --exec: one more process in a running container, under the same limits and confinement. It and
 * everything that it starts is ended when it ends, when the caller closes the report pipe, or when the caller
 * dies. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/json.h"
#include "base/own.h"
#include "base/proc.h"
#include "runtime/native/shim/shim.h"

#define MAX_GROUPS 16

/* Opened before the container's mount namespace is joined: its cgroups can't be reached from there. */
struct tracking {
	int procs[MAX_GROUPS]; /* cgroup.procs to join; [0] is that of the group made for this exec */
	unsigned n;
	int parent, own; /* directories: the container's first group, and the one below it for this exec */
	char name[32];
};

static int find_init(struct shim *s, struct proc *ret, struct err *err)
{
	OWN_BUF struct buf text = { 0 };
	OWN_JSON json_t *j = NULL;
	int r = fs_read_file(s->bundle_fd, BUNDLE_STATE, 4096, &text, err);
	if (r == 0)
		r = json_parse(text.data, text.len, BUNDLE_STATE, &j, err);
	if (r < 0)
		return r;
	const json_t *init = json_object_get(j, "init");
	return proc_open(
		(pid_t)json_int(init, "pid", 0), (uint64_t)json_int(init, "start_time", 1), ret, err);
}

static int open_procs(const char *dir, int *ret, struct err *err)
{
	OWN_FREE char *path = fs_join(dir, "cgroup.procs", NULL);
	*ret = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	return *ret < 0 ? err_set(err, errno, "open %s/cgroup.procs", dir) : 0;
}

static int make_tracking(const struct shim_config *c, struct tracking *t, struct err *err)
{
	if (!c->cgroups)
		return 0;
	snprintf(t->name, sizeof t->name, "exec-%d", (int)getpid());
	int r = fs_open_dir(AT_FDCWD, c->cgroups[0], &t->parent, err);
	if (r < 0)
		return r;
	if (mkdirat(t->parent, t->name, 0755) < 0 && errno != EEXIST)
		return err_set(err, errno, "create cgroup %s", t->name);
	t->own = openat(t->parent, t->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t->procs[0] = t->own < 0 ? -1 : openat(t->own, "cgroup.procs", O_RDWR | O_CLOEXEC);
	if (t->procs[0] < 0)
		return err_set(err, errno, "open cgroup %s", t->name);
	t->n = 1;
	for (char **dir = c->cgroups + 1; r == 0 && *dir && t->n < MAX_GROUPS; dir++)
		r = open_procs(*dir, &t->procs[t->n++], err);
	return r;
}

static int join_tracking(const struct tracking *t, pid_t pid, struct err *err)
{
	char text[16];
	int len = snprintf(text, sizeof text, "%d", (int)pid);
	for (unsigned i = 0; i < t->n; i++)
		if (write(t->procs[i], text, (size_t)len) < 0)
			return err_set(err, errno, "join cgroup");
	return 0;
}

/* Signals every member; false when there was none. The list is read by this process, so the ids are ours. */
static bool kill_members(const struct tracking *t)
{
	char text[4096];
	bool any = false;
	ssize_t n = pread(t->procs[0], text, sizeof text - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		kill((pid_t)strtol(line, NULL, 10), SIGKILL);
		any = true;
	}
	return any;
}

/* Forks can outrun one pass, so passes go on until the group is empty; bounded, since a process in an
 * uninterruptible sleep would hold it for ever. */
static void end_tree(const struct tracking *t, pid_t leader)
{
	kill(leader, SIGKILL);
	if (t->n == 0)
		kill(-leader, SIGKILL);
	for (int pass = 0; t->n > 0 && pass < 500 && kill_members(t); pass++)
		poll(NULL, 0, 2);
}

static void drop_tracking(struct tracking *t)
{
	for (int i = 0;
		t->own >= 0 && i < 100 && unlinkat(t->parent, t->name, AT_REMOVEDIR) < 0 && errno == EBUSY;
		i++)
		poll(NULL, 0, 2);
	for (unsigned i = 0; i < t->n; i++)
		own_close(&t->procs[i]);
	own_close(&t->own);
	own_close(&t->parent);
}

static int join_namespaces(const struct shim_config *c, const struct proc *init, struct err *err)
{
	static const int FLAGS[NS_COUNT] = {
		[NS_USER] = CLONE_NEWUSER,
		[NS_MOUNT] = CLONE_NEWNS,
		[NS_PID] = CLONE_NEWPID,
		[NS_IPC] = CLONE_NEWIPC,
		[NS_UTS] = CLONE_NEWUTS,
		[NS_NET] = CLONE_NEWNET,
		[NS_CGROUP] = CLONE_NEWCGROUP,
	};
	int flags = 0;
	for (int i = 0; i < NS_COUNT; i++)
		flags |= c->ns[i] ? FLAGS[i] : 0;
	/* From here on this process can be seen from inside; it must not be readable from there. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || setns(init->pidfd, flags) < 0)
		return err_set(err, errno, "join the container");
	return 0;
}

static _Noreturn void run_command(const struct shim *s, char *const *argv, int sock)
{
	struct err err = { 0 };
	char go;
	/* The cgroup comes first: nothing of the command may run outside of it. */
	if (recv(sock, &go, 1, 0) == 1)
		confine_and_exec(s, argv, sock, &err);
	else
		err_say(&err, ECANCELED, "the shim has ended");
	report_failure(sock, 0, &err);
	report_failure(3, 0, &err);
	_exit(127);
}

static int start_command(
	struct shim *s, char *const *argv, const struct tracking *t, pid_t *ret, struct err *err)
{
	int pair[2];
	struct shim_report report;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "make a socket pair");
	OWN_FD int ours = pair[0], theirs = pair[1];
	pid_t pid = fork();
	if (pid < 0)
		return err_set(err, errno, "fork");
	if (pid == 0) {
		close(TAKE_FD(ours));
		run_command(s, argv, theirs);
	}
	own_close(&theirs);
	*ret = pid;
	int r = join_tracking(t, pid, err);
	if (r < 0)
		return r;
	send(ours, "", 1, MSG_NOSIGNAL);
	ssize_t n = recv(ours, &report, sizeof report, 0);
	if (n == (ssize_t)sizeof report) {
		report.text[sizeof report.text - 1] = '\0';
		return err_say(err, report.code, "%s", report.text);
	}
	return 0;
}

/* Until the command ends or nobody waits for it any more. */
static int attend_command(const struct shim *s, pid_t pid, const struct tracking *t)
{
	int wstatus = 0;
	OWN_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p[] = { { .fd = pidfd, .events = POLLIN }, { .fd = s->status_fd } };
	while (!p[0].revents && !(p[1].revents & (POLLERR | POLLHUP)))
		poll(p, 2, -1);
	end_tree(t, pid);
	waitpid(pid, &wstatus, 0);
	return wstatus;
}

static int exec_run(struct shim *s, char *const *argv, struct tracking *t, int *ret_wstatus, struct err *err)
{
	struct proc init = PROC_NONE;
	pid_t pid = 0;
	int r = find_init(s, &init, err);
	if (r == 0)
		r = make_tracking(&s->config, t, err);
	if (r == 0)
		r = join_namespaces(&s->config, &init, err);
	proc_close(&init);
	if (r == 0)
		r = start_command(s, argv, t, &pid, err);
	if (r == 0)
		*ret_wstatus = attend_command(s, pid, t);
	else if (pid > 0)
		end_tree(t, pid);
	return r;
}

int exec_main(struct shim *s, char *const *argv)
{
	struct err err = { 0 };
	struct tracking t = { .parent = -1, .own = -1 };
	struct shim_exec_report report = { .result = SHIM_STARTED };
	int wstatus = 0;
	int r = shim_read_bundle(s, &err);
	if (r == 0)
		r = exec_run(s, argv, &t, &wstatus, &err);
	drop_tracking(&t);
	report.wstatus = wstatus;
	if (r < 0) {
		report.result = SHIM_FAILED;
		report.code = err.code;
		snprintf(report.text, sizeof report.text, "%.*s", (int)sizeof report.text - 1, err.msg);
		if (s->status_fd < 0)
			fprintf(stderr, "teal-shim: %s\n", err.msg);
	}
	if (s->status_fd >= 0 && write(s->status_fd, &report, sizeof report) < 0)
		return 1;
	return r < 0 ? 1 : WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
}
