#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"

int proc_start_time(pid_t pid, uint64_t *ret)
{
	OWN_BUF struct buf stat = { 0 };
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int r = fs_read_kernel(AT_FDCWD, path, &stat, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	/* The name in parentheses may hold anything; the fields after the last one are numbers. */
	char *p = strrchr(stat.data, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -ESRCH;
	*ret = strtoull(p + 1, NULL, 10);
	return 0;
}

int proc_open(pid_t pid, uint64_t start_time, struct proc *ret, struct err *err)
{
	uint64_t now = 0;
	OWN_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int r = fd < 0 ? -errno : proc_start_time(pid, &now);
	/* EINVAL, ENOENT: the number belongs to a thread of another process by now. */
	bool another = r == -EINVAL || r == -ENOENT || (r == 0 && start_time && now != start_time);
	if (another || r == -ESRCH)
		return err_say(err, ESRCH, "process %d is gone", (int)pid);
	if (r < 0)
		return err_set(err, -r, "open process %d", (int)pid);
	*ret = (struct proc){ .pid = pid, .start_time = now, .pidfd = TAKE_FD(fd) };
	return 0;
}

int proc_signal(const struct proc *p, int sig)
{
	if (p->pidfd < 0)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, p->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

void proc_close(struct proc *p)
{
	if (p->pidfd >= 0)
		close(p->pidfd);
	*p = PROC_NONE;
}

int proc_reap(const struct proc *p, int *ret_wstatus)
{
	siginfo_t info = { 0 };
	if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG) < 0)
		return -errno;
	if (info.si_pid == 0)
		return -EAGAIN;
	*ret_wstatus = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
	return 0;
}

/* In the child: nothing of the parent's signal state may reach the new program. */
static void reset_signals(void)
{
	const char as_at_birth[64] = {
		0
	}; /* the kernel's struct sigaction: default action, no flags, empty mask */
	sigset_t none;
	/* Not by the library: it keeps two signals to itself, which may have come to us ignored. */
	for (int s = 1; s < 65; s++)
		syscall(SYS_rt_sigaction, s, as_at_birth, NULL, 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool is_target(const struct spawn *how, int fd)
{
	for (unsigned i = 0; i < how->n_fds; i++)
		if (how->fds[i].to == fd)
			return true;
	return false;
}

/* In the child: everything that is still needed moves above every target first, so that no dup2 overwrites
 * it, or meets it in its own place and leaves its CLOEXEC flag on. The agent may run with 0, 1 or 2 closed.
 */
static int place_fds(const struct spawn *how, int *report)
{
	int above = 3, moved[16];
	if (how->n_fds > ARRAY_LEN(moved))
		return -E2BIG;
	for (unsigned i = 0; i < how->n_fds; i++)
		above = how->fds[i].to >= above ? how->fds[i].to + 1 : above;
	int moved_report = fcntl(*report, F_DUPFD_CLOEXEC, above);
	if (moved_report < 0)
		return -errno;
	*report = moved_report;
	for (unsigned i = 0; i < how->n_fds; i++)
		if ((moved[i] = fcntl(how->fds[i].from, F_DUPFD_CLOEXEC, above)) < 0)
			return -errno;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || (null = fcntl(null, F_DUPFD_CLOEXEC, above)) < 0)
		return -errno;
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	for (unsigned i = 0; i < how->n_fds; i++)
		if (dup2(moved[i], how->fds[i].to) < 0)
			return -errno;
	/* What the caller did not name must not reach the new program, whatever flags it was opened with. */
	for (int fd = 3; fd < above; fd++)
		if (!is_target(how, fd))
			close(fd);
	return syscall(SYS_close_range, above, ~0U, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

static int drop_ids(const struct spawn *how)
{
	if (!how->set_ids)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(how->gid, how->gid, how->gid) < 0 ||
		setresuid(how->uid, how->uid, how->uid) < 0)
		return -errno;
	return 0;
}

static _Noreturn void child_exec(const struct spawn *how, int report)
{
	reset_signals();
	if (how->new_session)
		setsid();
	int r = place_fds(how, &report);
	if (r == 0)
		r = drop_ids(how);
	if (r == 0 && chdir(how->cwd ? how->cwd : "/") < 0)
		r = -errno;
	if (r == 0) {
		execve(how->path, how->argv, how->envp);
		r = -errno;
	}
	while (write(report, &r, sizeof r) < 0 && errno == EINTR)
		;
	_exit(127);
}

/* The report pipe closes on exec: end of file means it worked, four bytes are the errno. */
static int await_exec(int fd)
{
	int r = 0;
	ssize_t n;
	do
		n = read(fd, &r, sizeof r);
	while (n < 0 && errno == EINTR);
	return n == sizeof r ? r : 0;
}

int proc_spawn(const struct spawn *how, struct proc *ret, struct err *err)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(err, errno, "start %s: pipe", how->path);
	OWN_FD int reader = p[0], writer = p[1];
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* our handlers must not run in the child */
	pid_t pid = fork();
	if (pid == 0)
		child_exec(how, writer);
	int fork_errno = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return err_set(err, fork_errno, "start %s: fork", how->path);
	close(TAKE_FD(writer));
	struct proc child = PROC_NONE;
	int opened = proc_open(pid, 0, &child, err); /* a zombie still opens: it is ours to reap */
	int r = await_exec(reader);
	if (r == 0 && opened == 0) {
		*ret = child;
		return 0;
	}
	if (opened < 0)
		kill(pid, SIGKILL);
	proc_close(&child);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r < 0 ? err_set(err, -r, "start %s", how->path) : opened;
}
