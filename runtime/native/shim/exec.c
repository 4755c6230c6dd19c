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

/* Opened before the container's mount namespace is joined: its cgroups can't be reached from there. */
struct tracking {
	struct group_set group; /* the container's, but the first of them is the one below it that is made for
			       this exec */
	int parent, own;	/* directories: the container's first group, and that one */
	int procs;		/* its cgroup.procs; -1: no cgroups */
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
	t->procs = t->own < 0 ? -1 : openat(t->own, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (t->procs < 0)
		return err_set(err, errno, "open cgroup %s", t->name);
	r = group_add(&t->group, t->parent, t->name, err);
	for (char **dir = c->cgroups + 1; r == 0 && *dir; dir++)
		r = group_add(&t->group, AT_FDCWD, *dir, err);
	return r;
}

/* Signals every member; false when there was none. The list is read by this process, so the ids are ours. */
static bool kill_members(const struct tracking *t)
{
	char text[4096];
	bool any = false;
	ssize_t n = pread(t->procs, text, sizeof text - 1, 0);
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
	if (t->procs < 0)
		kill(-leader, SIGKILL);
	for (int pass = 0; t->procs >= 0 && pass < 500 && kill_members(t); pass++)
		poll(NULL, 0, 2);
}

static void drop_tracking(struct tracking *t)
{
	for (int i = 0;
		t->own >= 0 && i < 100 && unlinkat(t->parent, t->name, AT_REMOVEDIR) < 0 && errno == EBUSY;
		i++)
		poll(NULL, 0, 2);
	group_done(&t->group);
	own_close(&t->procs);
	own_close(&t->own);
	own_close(&t->parent);
}

/* Before init can't be looked into any more. */
static int open_cgroupns(const struct shim_config *c, const struct proc *init, int *ret, struct err *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/cgroup", (int)init->pid);
	*ret = c->ns[NS_CGROUP] ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	return c->ns[NS_CGROUP] && *ret < 0 ? err_set(err, errno, "open cgroup namespace") : 0;
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
		[NS_TIME] = CLONE_NEWTIME,
	}; /* the cgroup namespace is for the command to join: its birth into the cgroup is seen from outside
	    */
	int flags = 0;
	for (int i = 0; i < NS_COUNT; i++)
		flags |= c->ns[i] ? FLAGS[i] : 0;
	/* From here on this process can be seen from inside; it must not be readable from there. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || setns(init->pidfd, flags) < 0)
		return err_set(err, errno, "join the container");
	return 0;
}

/* The cgroup comes first: nothing of the command may run outside of it. */
static _Noreturn void run_command(
	const struct shim *s, char *const *argv, const struct tracking *t, int cgroupns, int sock)
{
	struct err err = { 0 };
	int r = group_enter(&t->group, &err);
	if (r == 0 && s->config.ns[NS_CGROUP] && setns(cgroupns, CLONE_NEWCGROUP) < 0)
		r = err_set(&err, errno, "join the cgroup namespace");
	if (r == 0)
		confine_and_exec(s, argv, sock, &err);
	report_failure(sock, 0, &err);
	report_failure(3, 0, &err);
	_exit(127);
}

static int start_command(struct shim *s, char *const *argv, const struct tracking *t, int cgroupns,
	struct proc *ret, struct err *err)
{
	int pair[2];
	struct shim_report report;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "make a socket pair");
	OWN_FD int ours = pair[0], theirs = pair[1];
	pid_t pid = group_fork(&t->group, 0, &ret->pidfd);
	if (pid < 0)
		return err_set(err, errno, "fork");
	if (pid == 0) {
		close(TAKE_FD(ours));
		run_command(s, argv, t, cgroupns, theirs);
	}
	own_close(&theirs);
	ret->pid = pid;
	ssize_t n = recv(ours, &report, sizeof report, 0);
	if (n == (ssize_t)sizeof report) {
		report.text[sizeof report.text - 1] = '\0';
		return err_say(err, report.code, "%s", report.text);
	}
	return 0;
}

/* Until the command ends or nobody waits for it any more. */
static int attend_command(const struct shim *s, const struct proc *command, const struct tracking *t)
{
	int wstatus = 0;
	struct pollfd p[] = { { .fd = command->pidfd, .events = POLLIN }, { .fd = s->status_fd } };
	while (!p[0].revents && !(p[1].revents & (POLLERR | POLLHUP)))
		poll(p, 2, -1);
	end_tree(t, command->pid);
	waitpid(command->pid, &wstatus, 0);
	return wstatus;
}

static int exec_run(struct shim *s, char *const *argv, struct tracking *t, int *ret_wstatus, struct err *err)
{
	struct proc init = PROC_NONE, command = PROC_NONE;
	OWN_FD int cgroupns = -1;
	int r = find_init(s, &init, err);
	if (r == 0)
		r = make_tracking(&s->config, t, err);
	if (r == 0)
		r = open_cgroupns(&s->config, &init, &cgroupns, err);
	if (r == 0)
		r = join_namespaces(&s->config, &init, err);
	if (r == 0)
		r = start_command(s, argv, t, cgroupns, &command, err);
	if (r == 0)
		*ret_wstatus = attend_command(s, &command, t);
	else if (command.pid > 0)
		end_tree(t, command.pid);
	proc_close(&init);
	proc_close(&command);
	return r;
}

int exec_main(struct shim *s, char *const *argv)
{
	struct err err = { 0 };
	struct tracking t = { .group = GROUP_NONE, .parent = -1, .own = -1, .procs = -1 };
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
