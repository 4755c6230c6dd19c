/* The child: sets the container up from inside, starts the application, and stays as its pid 1. */
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/native/shim/shim.h"

#define CHILD_STEPS_FROM 100 /* steps of the child, as numbered in reports */

void report_failure(int sock, int step, const struct err *err)
{
	struct shim_report r = { .result = SHIM_FAILED, .code = err->code, .step = step };
	snprintf(r.text, sizeof r.text, "%.*s", (int)sizeof r.text - 1, err->msg);
	send(sock, &r, sizeof r, MSG_NOSIGNAL);
}

static int await(struct shim *s, char wanted, struct err *err)
{
	char message = 0;
	unsigned n_fds = 0;
	int fds[FDPASS_MAX];
	int r = fdpass_recv(s->sock, &message, 1, fds, &n_fds);
	if (r == 0)
		return err_say(err, ECANCELED, "the shim has ended");
	if (r < 0)
		return err_set(err, -r, "receive from the shim");
	if (message != wanted)
		return err_say(err, EPROTO, "unexpected message from the shim");
	if (n_fds > 0) {
		memcpy(s->mounts, fds, n_fds * sizeof *fds);
		s->n_mounts = n_fds;
	}
	return 0;
}

/* By the time of the message the id maps are written. The death signal comes after
 * the change of identity, which clears it; a shim that died before shows as the end of the socket. */
static int take_identity(struct shim *s, struct err *err)
{
	int r = group_enter(&s->group, err);
	if (r == 0)
		r = await(s, INIT_MOUNTS, err);
	if (r < 0)
		return r;
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_set(err, errno, "become root of the container");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_set(err, errno, "tie to the shim");
	if (s->config.ns[NS_CGROUP] && unshare(CLONE_NEWCGROUP) < 0)
		return err_set(err, errno, "make a cgroup namespace");
	return 0;
}

static int mount_everything(struct shim *s, struct err *err)
{
	if (s->n_mounts < MOUNTS_BIND)
		return err_say(err, EPROTO, "the shim sent no mounts");
	return mounts_apply(s, s->mounts[MOUNTS_ROOT], s->mounts + MOUNTS_BIND, s->n_mounts - MOUNTS_BIND,
		s->mounts + MOUNTS_DEV, err);
}

static int name_host(struct shim *s, struct err *err)
{
	const char *name = s->config.hostname;
	if (name && s->config.ns[NS_UTS] && sethostname(name, strlen(name)) < 0)
		return err_set(err, errno, "set hostname %s", name);
	return 0;
}

static int join_network(struct shim *s, struct err *err)
{
	if (!s->config.ns[NS_NET])
		return 0;
	int r = s->config.address ? await(s, INIT_NETWORK, err) : 0;
	return r < 0 ? r : link_configure(&s->config, err);
}

static _Noreturn void run_application(struct shim *s)
{
	struct err err = { 0 };
	if ((s->out[1] >= 0 && dup2(s->out[1], 1) < 0) || (s->err[1] >= 0 && dup2(s->err[1], 2) < 0))
		err_set(&err, errno, "connect output");
	else
		confine_and_exec(s, s->config.argv, s->sock, &err);
	/* confine_and_exec may have moved the socket to 3 and closed the rest; both are the same socket. */
	report_failure(s->sock, CHILD_STEPS_FROM + 99, &err);
	report_failure(3, CHILD_STEPS_FROM + 99, &err);
	_exit(127);
}

static void reap(struct shim *s, pid_t app)
{
	int wstatus;
	for (pid_t pid; (pid = waitpid(-1, &wstatus, WNOHANG)) > 0;) {
		if (pid != app)
			continue;
		s->shared->wstatus = wstatus;
		__atomic_store_n(&s->shared->ended, 1, __ATOMIC_RELEASE);
		_exit(WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus));
	}
}

/* All signals are blocked, so the kernel queues them for pid 1 too; each is for the application. */
static _Noreturn void serve(struct shim *s, pid_t app)
{
	sigset_t all;
	sigfillset(&all);
	for (;;) {
		int sig = sigwaitinfo(&all, NULL);
		if (sig == SIGCHLD)
			reap(s, app);
		else if (sig > 0)
			kill(app, sig);
	}
}

/* No path of the host in its command line, from before the application can look. */
static void take_name(struct shim *s)
{
	memset(s->args, 0, s->args_len);
	snprintf(s->args, s->args_len, "teal-init");
	prctl(PR_SET_NAME, "teal-init");
}

/* pid 1 keeps no descriptor but the null device, and no right but to signal. */
static void shed_everything(void)
{
	struct err ignored;
	for (int fd = 1; fd <= 2; fd++)
		dup2(0, fd);
	syscall(SYS_close_range, 3, ~0U, 0);
	confine_init(&ignored);
}

static int start_application(struct shim *s, struct err *err)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	take_name(s);
	pid_t app = fork();
	if (app < 0)
		return err_set(err, errno, "fork");
	if (app == 0)
		run_application(s);
	shed_everything();
	serve(s, app);
}

static const struct shim_step STEPS[] = {
	{ "identity", take_identity },
	{ "mounts", mount_everything },
	{ "hostname", name_host },
	{ "network", join_network },
	{ "application", start_application },
};

void init_main(struct shim *s)
{
	struct err err = { 0 };
	int step = 0;
	shim_run_steps(STEPS, ARRAY_LEN(STEPS), s, &step, &err);
	report_failure(s->sock, CHILD_STEPS_FROM + step, &err);
	_exit(127);
}
