/* Processes: a process is a pid with its start time (or a pidfd), never a bare pid, so that a recycled pid
 * is never taken for ours. Spawning reports exec failures with their errno. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct proc {
	pid_t pid;
	uint64_t start_time; /* field 22 of /proc/PID/stat, in clock ticks since boot */
	int pidfd;	     /* -1 when closed; readable when the process has ended */
};
#define PROC_NONE ((struct proc){ .pid = 0, .start_time = 0, .pidfd = -1 })

/* 0 with the start time; -ESRCH if there is no such process; another error if that could not be found out. */
int proc_start_time(pid_t pid, uint64_t *ret);
/* Opens pid if it still has this start time (0 = whatever it has now); -ESRCH if it is gone or somebody else.
 * Any other error says nothing about the process. */
int proc_open(pid_t pid, uint64_t start_time, struct proc *ret, struct err *err);
/* Signals through the pidfd; -ESRCH if it has ended. */
int proc_signal(const struct proc *p, int sig);
/* Closes the pidfd. Does not end the process. */
void proc_close(struct proc *p);

struct spawn_fd {
	int from, to; /* `from` in this process becomes `to` in the child */
};
struct spawn {
	const char *path; /* absolute, no PATH search */
	char *const *argv, *const *envp;
	const struct spawn_fd
		*fds; /* 0, 1 and 2 not named here become /dev/null; everything else is closed */
	unsigned n_fds;
	const char *cwd; /* NULL: "/" */
	uid_t uid;	 /* applied with gid when set_ids */
	gid_t gid;
	bool set_ids;
	bool new_session; /* setsid: survives its parent's terminal */
};
/* Starts a child; returns once its exec happened or failed (the error then names path and errno).
 * The caller reaps it with proc_reap. */
int proc_spawn(const struct spawn *how, struct proc *ret, struct err *err);
/* After the pidfd became readable: the wait status if it was our child, else -ECHILD (adopted: nothing to
 * reap). */
int proc_reap(const struct proc *p, int *ret_wstatus);
