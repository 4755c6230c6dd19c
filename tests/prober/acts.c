#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <netinet/in.h>

#include "prober.h"

#define FAMILIES 46

void probe_sockets(void)
{
	static const struct {
		const char *name;
		int type;
	} TYPES[] = { { "stream", SOCK_STREAM }, { "dgram", SOCK_DGRAM }, { "raw", SOCK_RAW } };
	for (int family = 0; family < FAMILIES; family++)
		for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
			int fd = socket(family, TYPES[i].type, 0);
			say(outcome(fd), "socket.%d.%s", family, TYPES[i].name);
			if (fd >= 0)
				close(fd);
		}
}

static long act_mount_tmpfs(long a)
{
	(void)a;
	return mount("none", "/tmp", "tmpfs", 0, NULL);
}
static long act_mount_proc(long a)
{
	(void)a;
	return mount("proc", "/tmp", "proc", 0, NULL);
}
static long act_bind(long a)
{
	(void)a;
	return mount("/proc", "/tmp", NULL, MS_BIND, NULL);
}
static long act_remount(long a)
{
	return mount(NULL, a ? "/proc/sys" : "/", NULL, MS_REMOUNT | MS_BIND, NULL);
}
static long act_umount(long a)
{
	return umount2(a ? "/proc/keys" : "/proc", MNT_DETACH);
}
static long act_open_tree(long a)
{
	(void)a;
	return syscall(SYS_open_tree, AT_FDCWD, "/", 1);
}
static long act_fsopen(long a)
{
	(void)a;
	return syscall(SYS_fsopen, "tmpfs", 0);
}
static long act_pivot(long a)
{
	(void)a;
	return syscall(SYS_pivot_root, ".", ".");
}
static long act_chroot(long a)
{
	(void)a;
	return chroot("/tmp");
}
static long act_unshare(long flag)
{
	return unshare((int)flag);
}
static long act_clone(long flag)
{
	long pid = syscall(SYS_clone, flag | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	return pid;
}
static long act_clone3(long flag)
{
	struct clone_args args = { .flags = (unsigned long long)flag, .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		_exit(0);
	return pid;
}
static long act_setns(long pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%ld/ns/mnt", pid);
	int fd = open(path, O_RDONLY);
	return fd < 0 ? -1 : setns(fd, 0);
}
static long act_traceme(long a)
{
	(void)a;
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}
static long act_attach(long pid)
{
	return ptrace(PTRACE_ATTACH, (pid_t)pid, NULL, NULL);
}
static long act_read_memory(long pid)
{
	char byte;
	struct iovec local = { &byte, 1 }, remote = { (void *)0x400000, 1 };
	return process_vm_readv((pid_t)pid, &local, 1, &remote, 1, 0);
}
static long act_hostname(long a)
{
	(void)a;
	return sethostname("prober", 6);
}
static long act_settime(long a)
{
	struct timeval now;
	(void)a;
	gettimeofday(&now, NULL);
	return settimeofday(&now, NULL);
}
static long act_adjtime(long a)
{
	struct timex t = { .modes = ADJ_TICK, .tick = 10000 };
	(void)a;
	return syscall(SYS_adjtimex, &t);
}
static long act_priority(long a)
{
	(void)a;
	return setpriority(PRIO_PROCESS, 0, -20);
}
static long act_fifo(long a)
{
	struct sched_param p = { .sched_priority = 1 };
	(void)a;
	return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &p);
}
static long act_rlimit(long a)
{
	struct rlimit r;
	(void)a;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_max += 1;
	return setrlimit(RLIMIT_NOFILE, &r);
}
static long act_oom(long a)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	(void)a;
	return fd < 0 ? -1 : write(fd, "-1000", 5);
}
static long act_terminal(long command)
{
	char c = 'x';
	return ioctl(0, (unsigned long)command, &c);
}
static long act_kill(long pid)
{
	return kill((pid_t)pid, SIGKILL);
}
static long act_chown(long id)
{
	int fd = open("/tmp/prober-owned", O_CREAT | O_RDWR, 0600);
	long r = fchown(fd, (uid_t)id, (gid_t)id);
	int error = errno;
	unlink("/tmp/prober-owned");
	errno = error;
	return r;
}
static long act_setuid(long id)
{
	return setresuid((uid_t)id, (uid_t)id, (uid_t)id);
}
static long act_bind_port(long port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return bind(fd, (struct sockaddr *)&at, sizeof at);
}
static long act_fifo_file(long a)
{
	(void)a;
	long r = mkfifo("/tmp/prober-fifo", 0600);
	if (r == 0)
		unlink("/tmp/prober-fifo");
	return r;
}
static long act_executable(long a)
{
	int fd = memfd_create("x", 0);
	(void)a;
	return fd < 0 ? -1
	       : mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}
static long act_seccomp_off(long a)
{
	(void)a;
	return prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
}
static long act_raise_cap(long cap)
{
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}
static long act_call(long number)
{
	return syscall(number, 0, 0, 0, 0, 0);
}

static const struct {
	const char *name;
	long (*act)(long argument);
	long argument;
} ACTS[] = {
	{ "mount.tmpfs", act_mount_tmpfs, 0 },
	{ "mount.proc", act_mount_proc, 0 },
	{ "mount.bind", act_bind, 0 },
	{ "mount.remount_root", act_remount, 0 },
	{ "mount.remount_sysctls", act_remount, 1 },
	{ "mount.open_tree", act_open_tree, 0 },
	{ "mount.fsopen", act_fsopen, 0 },
	{ "umount.proc", act_umount, 0 },
	{ "umount.mask", act_umount, 1 },
	{ "pivot_root", act_pivot, 0 },
	{ "chroot", act_chroot, 0 },
	{ "unshare.mnt", act_unshare, CLONE_NEWNS },
	{ "unshare.cgroup", act_unshare, CLONE_NEWCGROUP },
	{ "unshare.uts", act_unshare, CLONE_NEWUTS },
	{ "unshare.ipc", act_unshare, CLONE_NEWIPC },
	{ "unshare.user", act_unshare, CLONE_NEWUSER },
	{ "unshare.pid", act_unshare, CLONE_NEWPID },
	{ "unshare.net", act_unshare, CLONE_NEWNET },
	{ "unshare.time", act_unshare, CLONE_NEWTIME },
	{ "clone.mnt", act_clone, CLONE_NEWNS },
	{ "clone.cgroup", act_clone, CLONE_NEWCGROUP },
	{ "clone.uts", act_clone, CLONE_NEWUTS },
	{ "clone.ipc", act_clone, CLONE_NEWIPC },
	{ "clone.user", act_clone, CLONE_NEWUSER },
	{ "clone.pid", act_clone, CLONE_NEWPID },
	{ "clone.net", act_clone, CLONE_NEWNET },
	{ "clone3.user", act_clone3, CLONE_NEWUSER },
	{ "setns.init", act_setns, 1 },
	{ "ptrace.traceme", act_traceme, 0 },
	{ "ptrace.init", act_attach, 1 },
	{ "memory.init", act_read_memory, 1 },
	{ "hostname", act_hostname, 0 },
	{ "time.set", act_settime, 0 },
	{ "time.tick", act_adjtime, 0 },
	{ "priority", act_priority, 0 },
	{ "realtime", act_fifo, 0 },
	{ "rlimit.raise", act_rlimit, 0 },
	{ "oom.exempt", act_oom, 0 },
	{ "terminal.push", act_terminal, TIOCSTI },
	{ "terminal.take", act_terminal, TIOCSCTTY },
	{ "kill.init", act_kill, 1 },
	{ "chown.inside", act_chown, 1000 },
	{ "chown.outside", act_chown, 70000 },
	{ "setuid.outside", act_setuid, 70000 },
	{ "port.low", act_bind_port, 80 },
	{ "fifo", act_fifo_file, 0 },
	{ "memory.executable", act_executable, 0 },
	{ "no_new_privs.off", act_seccomp_off, 0 },
	{ "ambient.chown", act_raise_cap, 0 },
	{ "ambient.sys_admin", act_raise_cap, 21 },
	{ "bpf", act_call, SYS_bpf },
	{ "perf", act_call, SYS_perf_event_open },
	{ "userfaultfd", act_call, SYS_userfaultfd },
	{ "io_uring", act_call, SYS_io_uring_setup },
	{ "keyctl", act_call, SYS_keyctl },
	{ "syslog", act_call, SYS_syslog },
	{ "kexec", act_call, SYS_kexec_load },
	{ "module", act_call, SYS_init_module },
	{ "swap", act_call, SYS_swapon },
};

void probe_acts(void)
{
	fflush(stdout);
	for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++) {
		const char *is = attempt(ACTS[i].act, ACTS[i].argument);
		say(is, "act.%s", ACTS[i].name);
		fflush(stdout);
	}
}

#define MOST_PROCESSES 2000

void probe_processes(void)
{
	static pid_t pids[MOST_PROCESSES];
	char text[32];
	int n = 0, error = 0;
	while (n < MOST_PROCESSES) {
		pid_t pid = fork();
		if (pid == 0)
			for (;;)
				pause();
		if (pid < 0) {
			error = errno;
			break;
		}
		pids[n++] = pid;
	}
	for (int i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
	snprintf(text, sizeof text, "%d E%d", n, error);
	say(text, "processes");
}
