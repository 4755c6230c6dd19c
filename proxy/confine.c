#include "proxy/confine.h"

#include <errno.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"

/* The rights of each Landlock version, those younger than our headers by number. Unhandled ones stay allowed,
 * so each is named; connecting is what the proxy is for. */
static const struct {
	int abi;
	uint64_t fs, net, scope;
} landlock_rights[] = {
	{ 1, (1u << 13) - 1, 0, 0 }, { 2, 1u << 13, 0, 0 }, /* refer */
	{ 3, 1u << 14, 0, 0 },				    /* truncate */
	{ 4, 0, 1u << 0, 0 },				    /* bind TCP */
	{ 5, 1u << 15, 0, 0 },				    /* ioctl on devices */
	{ 6, 0, 0, 1u << 0 | 1u << 1 },			    /* abstract unix sockets and signals of others */
};

int confine_files(struct err *err)
{
	struct {
		uint64_t fs, net, scope;
	} handled = { 0 };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0) /* a kernel without it: the user's own rights have to do */
		return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : err_set(err, errno, "Landlock");
	for (size_t i = 0; i < ARRAY_LEN(landlock_rights); i++) {
		if (landlock_rights[i].abi > abi)
			break;
		handled.fs |= landlock_rights[i].fs;
		handled.net |= landlock_rights[i].net;
		handled.scope |= landlock_rights[i].scope;
	}
	size_t size = abi < 4 ? sizeof handled.fs : abi < 6 ? 2 * sizeof handled.fs : sizeof handled;
	OWN_FD int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
	if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		return err_set(err, errno, "Landlock");
	return 0;
}

/* What the workers, the control channel and the libraries under them call. */
static const int allowed[] = {
	/* connections */
	SCMP_SYS(accept4),
	SCMP_SYS(connect),
	SCMP_SYS(shutdown),
	SCMP_SYS(close),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendto),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(splice),
	SCMP_SYS(pipe2),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(ioctl),
	SCMP_SYS(fcntl),
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	/* loops */
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	/* memory; mmap and mprotect are below */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(brk),
	SCMP_SYS(madvise),
	SCMP_SYS(getrandom),
	/* about itself, and its end */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(geteuid),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list), /* threads that were only just started register themselves */
	SCMP_SYS(tgkill),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
};

/* Nothing but an intruder calls these: the end, and the agent's restart, is better than an error. All others
 * fail with ENOSYS, which a library that learns new calls knows how to take. */
static const int deadly[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(mount),
	SCMP_SYS(pivot_root),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(keyctl),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
};

static int rules_add(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t n)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = seccomp_rule_add(filter, action, calls[i], 0);
	return r;
}

static int rules_with_arguments(scmp_filter_ctx filter)
{
	static const int families[] = { AF_INET, AF_INET6 }, maps[] = { SCMP_SYS(mmap), SCMP_SYS(mprotect) };
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(families); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
			SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]),
			SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM));
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(maps); i++)
		r = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, maps[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

static void filter_release(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

int confine_calls(struct err *err)
{
	OWN(filter_release) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	if (!filter)
		return err_set(err, ENOMEM, "seccomp filter");
	int r = rules_add(filter, SCMP_ACT_ALLOW, allowed, ARRAY_LEN(allowed));
	if (r == 0)
		r = rules_add(filter, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_LEN(deadly));
	if (r == 0)
		r = rules_with_arguments(filter);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = seccomp_attr_set(
			filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: these calls are the hot path */
	if (r == 0)
		r = seccomp_load(filter);
	return r < 0 ? err_set(err, -r, "seccomp filter") : 0;
}
