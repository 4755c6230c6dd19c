/* The default seccomp profile: what an ordinary server program calls; everything else is refused with EPERM.
 * Left out on purpose, though Docker allows them: ptrace, process_vm_*, name_to_handle_at, memfd_secret,
 * pidfd_getfd, clock_adjtime, chroot, modify_ldt, remap_file_pages, process_madvise, kcmp, and device nodes
 * by mknod. Some of them come back with the capability that they are for. Included by seccomp.c only. */
#pragma once
#include <linux/capability.h>

static const char *const ALLOWED[] = { "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl",
	"bind", "brk", "capget", "capset", "chdir", "chmod", "chown", "clock_getres", "clock_gettime",
	"clock_nanosleep", "close", "close_range", "connect", "copy_file_range", "creat", "dup", "dup2",
	"dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd",
	"eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64",
	"fallocate", "fchdir", "fchmod", "fchmodat", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr",
	"flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate",
	"futex", "futimesat", "get_mempolicy", "get_robust_list", "get_thread_area", "getcpu", "getcwd",
	"getdents", "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getitimer", "getpeername",
	"getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresuid",
	"getrlimit", "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid",
	"getxattr", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel",
	"io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit", "ioctl", "ioprio_get",
	"ioprio_set", "kill", "lchown", "lgetxattr", "link", "linkat", "listen", "listxattr", "llistxattr",
	"lremovexattr", "lseek", "lsetxattr", "lstat", "madvise", "mbind", "membarrier", "memfd_create",
	"mincore", "mkdir", "mkdirat", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mq_getsetattr",
	"mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "mremap", "msgctl", "msgget",
	"msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap", "nanosleep", "newfstatat", "open",
	"openat", "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc",
	"pkey_free", "pkey_mprotect", "poll", "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64",
	"pselect6", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv",
	"recvfrom", "recvmmsg", "recvmsg", "removexattr", "rename", "renameat", "renameat2",
	"restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
	"rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo",
	"sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
	"sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
	"sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget",
	"semop", "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_mempolicy",
	"set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsuid", "setgid",
	"setgroups", "setitimer", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
	"setrlimit", "setsid", "setsockopt", "setuid", "setxattr", "shmat", "shmctl", "shmdt", "shmget",
	"shutdown", "sigaltstack", "signalfd", "signalfd4", "splice", "stat", "statfs", "statx", "symlink",
	"symlinkat", "sync", "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create",
	"timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create",
	"timerfd_gettime", "timerfd_settime", "times", "tkill", "truncate", "umask", "uname", "unlink",
	"unlinkat", "utime", "utimensat", "utimes", "vfork", "vmsplice", "wait4", "waitid", "write",
	"writev" };

/* The newest call that these tables were made with in mind: above it a program is told that the kernel lacks
 * the call (ENOSYS), as it would be on an older kernel, rather than that it is forbidden. */
#define NEWEST_SYSCALL 470

/* Younger than the libseccomp of some supported systems, so with their numbers, which are the same on every
 * architecture. */
static const struct {
	const char *name;
	int number;
	bool allowed;
} YOUNG[] = {
	{ "epoll_pwait2", 441, true },
	{ "quotactl_fd", 443, false },
	{ "landlock_create_ruleset", 444, true },
	{ "landlock_add_rule", 445, true },
	{ "landlock_restrict_self", 446, true },
	{ "memfd_secret", 447, false },
	{ "process_mrelease", 448, true },
	{ "futex_waitv", 449, true },
	{ "set_mempolicy_home_node", 450, true },
	{ "cachestat", 451, true },
	{ "fchmodat2", 452, true },
	{ "map_shadow_stack", 453, true },
	{ "futex_wake", 454, true },
	{ "futex_wait", 455, true },
	{ "futex_requeue", 456, true },
	{ "statmount", 457, true },
	{ "listmount", 458, true },
	{ "lsm_get_self_attr", 459, false },
	{ "lsm_set_self_attr", 460, false },
	{ "lsm_list_modules", 461, false },
	{ "mseal", 462, true },
	{ "setxattrat", 463, true },
	{ "getxattrat", 464, true },
	{ "listxattrat", 465, true },
	{ "removexattrat", 466, true },
	{ "open_tree_attr", 467, false },
	{ "file_getattr", 468, true },
	{ "file_setattr", 469, false },
	{ "listns", 470, false },
#if defined(__x86_64__)
	/* Not called by programs: the kernel puts them in when the host traces one, and newer ones ask no
	 * filter. */
	{ "uretprobe", 335, true },
	{ "uprobe", 336, true },
#endif
};

/* By argument: allowed only if (argument & mask) == value. Rows of the same call are alternatives. Families
 * that the list lacks were the way into several kernels: AF_ALG and AF_VSOCK above all. */
static const struct {
	const char *name;
	unsigned argument;
	uint64_t mask, value;
} CONDITIONAL[] = {
	{ "clone", 0, 0x7E020000, 0 }, /* no new namespaces */
	{ "personality", 0, UINT64_MAX, 0x0 },
	{ "personality", 0, UINT64_MAX, 0x8 },
	{ "personality", 0, UINT64_MAX, 0x20000 },
	{ "personality", 0, UINT64_MAX, 0x20008 },
	{ "personality", 0, UINT64_MAX, 0xffffffff },
	{ "socket", 0, UINT64_MAX, AF_UNIX },
	{ "socket", 0, UINT64_MAX, AF_INET },
	{ "socket", 0, UINT64_MAX, AF_INET6 },
	{ "socket", 0, UINT64_MAX, AF_NETLINK },
	{ "socketpair", 0, UINT64_MAX, AF_UNIX },
	/* mkfifo() and the like: everything but devices */
	{ "mknod", 1, S_IFMT, S_IFIFO },
	{ "mknod", 1, S_IFMT, S_IFREG },
	{ "mknod", 1, S_IFMT, S_IFSOCK },
	{ "mknod", 1, S_IFMT, 0 },
	{ "mknodat", 2, S_IFMT, S_IFIFO },
	{ "mknodat", 2, S_IFMT, S_IFREG },
	{ "mknodat", 2, S_IFMT, S_IFSOCK },
	{ "mknodat", 2, S_IFMT, 0 },
};

/* What `cap_add` opens besides the capability itself, which would be of no use without. */
static const struct {
	int capability;
	const char *names[20];
} PRIVILEGED[] = {
	{ CAP_BPF, { "bpf" } },
	{ CAP_DAC_READ_SEARCH, { "name_to_handle_at", "open_by_handle_at" } },
	{ CAP_MKNOD, { "mknod", "mknodat" } },
	{ CAP_PERFMON, { "perf_event_open" } },
	{ CAP_SYSLOG, { "syslog" } },
	{ CAP_SYS_ADMIN,
		{ "clone", "clone3", "fanotify_init", "fanotify_mark", "fsconfig", "fsmount", "fsopen",
			"fspick", "mount", "mount_setattr", "move_mount", "open_tree", "quotactl",
			"setdomainname", "sethostname", "setns", "umount2", "unshare" } },
	{ CAP_SYS_BOOT, { "reboot" } },
	{ CAP_SYS_CHROOT, { "chroot" } },
	{ CAP_SYS_NICE, { "migrate_pages", "move_pages" } },
	{ CAP_SYS_PACCT, { "acct" } },
	{ CAP_SYS_PTRACE, { "kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev",
				  "ptrace" } },
	{ CAP_SYS_RAWIO, { "ioperm", "iopl" } },
	{ CAP_SYS_TIME, { "clock_adjtime", "clock_settime", "settimeofday" } },
	{ CAP_SYS_TTY_CONFIG, { "vhangup" } },
};
