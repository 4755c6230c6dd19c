/* What teal-unpack shuts itself into before it reads the first byte. As root: a user namespace whose ids are
 * nobody's, in which an idmapped clone of the directory shows and takes the image's owners; so an owner can
 * be set, and yet no file of the host is this process's. Then no network, no other file, few system calls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/image/unpack/unpack.h"

/* Ids of the host that this process is, above those of all containers: image ids from 0 on. */
#define FIRST_ID 0x70000000u
#define IDS	 0x08000000u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true /* their shadow memory and their system calls are no part of the plan */
#else
#define SANITIZED false
#endif

static int write_map(pid_t pid, const char *file, unsigned outside, unsigned n, struct err *err)
{
	char path[64], map[64];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	snprintf(map, sizeof map, "0 %u %u", outside, n);
	return fs_write_kernel(AT_FDCWD, path, map, err);
}

static int open_userns(pid_t pid, int *ret, struct err *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
	int r = write_map(pid, "uid_map", FIRST_ID, IDS, err);
	if (r == 0)
		r = write_map(pid, "gid_map", FIRST_ID, IDS, err);
	if (r < 0)
		return r;
	*ret = open(path, O_RDONLY | O_CLOEXEC);
	return *ret < 0 ? err_set(err, errno, "open user namespace") : 0;
}

/* A child that only waits, in a new user namespace: somebody has to hold it while its ids are written. */
static int make_userns(int *ret, struct err *err)
{
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return err_set(err, errno, "make a user namespace");
	int r = open_userns(pid, ret, err);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

static int map_tree(int userns, int *tree_fd, struct err *err)
{
	OWN_FD int tree = open_tree(*tree_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID |
					       MOUNT_ATTR_NOEXEC,
		.userns_fd = (uint64_t)userns };
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
		return err_set(err, errno, "map the owners of the directory");
	/* A descriptor for reading: one of the mount itself can't be searched. */
	int fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open the directory");
	close(*tree_fd);
	*tree_fd = fd;
	return 0;
}

static int become_nobody(int *tree_fd, struct err *err)
{
	OWN_FD int userns = -1;
	int r = make_userns(&userns, err);
	if (r == 0)
		r = map_tree(userns, tree_fd, err);
	if (r < 0)
		return r;
	if (setns(userns, CLONE_NEWUSER) < 0)
		return err_set(err, errno, "enter the user namespace");
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_set(err, errno, "become its root");
	return 0;
}

/* Of all of root's powers those that writing a tree needs: owners, and entries in directories of others. */
static int limit_caps(struct err *err)
{
	static const cap_value_t kept[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
		CAP_SETFCAP };
	cap_t caps = cap_init();
	int r = 0;
	if (!caps || cap_set_flag(caps, CAP_PERMITTED, ARRAY_LEN(kept), kept, CAP_SET) < 0 ||
		cap_set_flag(caps, CAP_EFFECTIVE, ARRAY_LEN(kept), kept, CAP_SET) < 0 ||
		cap_set_proc(caps) < 0)
		r = err_set(err, errno, "drop capabilities");
	cap_free(caps);
	return r;
}

#define LANDLOCK_ALL ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif

/* The directory and nothing else. Kernels that can't (before 5.19 a rule could not allow links between
 * directories) do without: there is the changed root as well. */
static int restrict_files(int tree_fd, struct err *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 2)
		return 0;
	struct landlock_ruleset_attr ruleset = { .handled_access_fs =
							 LANDLOCK_ALL | LANDLOCK_ACCESS_FS_REFER };
	struct landlock_path_beneath_attr below = { .allowed_access = ruleset.handled_access_fs,
		.parent_fd = tree_fd };
	OWN_FD int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof ruleset, 0);
	if (fd < 0 || syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0 ||
		syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_set(err, errno, "restrict file access");
	return 0;
}

static const int ALLOWED[] = { SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(pwrite64), SCMP_SYS(close),
	SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(newfstatat), SCMP_SYS(fstat), SCMP_SYS(statx),
	SCMP_SYS(lseek), SCMP_SYS(mkdirat), SCMP_SYS(mknodat), SCMP_SYS(mknod), SCMP_SYS(unlinkat),
	SCMP_SYS(linkat), SCMP_SYS(symlinkat), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64), SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(fchmod), SCMP_SYS(fchmodat),
	SCMP_SYS(utimensat), SCMP_SYS(ftruncate), SCMP_SYS(fsetxattr), SCMP_SYS(flistxattr),
	SCMP_SYS(fremovexattr), SCMP_SYS(fcntl), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield),
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(exit), SCMP_SYS(exit_group),
	SCMP_SYS(restart_syscall), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(tgkill) };

static int add_rules(scmp_filter_ctx ctx)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(ALLOWED); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, ALLOWED[i], 0);
	/* Memory, but no code: nothing of the archive can be loaded. */
	static const int maps[] = { SCMP_SYS(mmap), SCMP_SYS(mprotect) };
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(maps); i++)
		r = seccomp_rule_add(
			ctx, SCMP_ACT_ALLOW, maps[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* Threads, no processes: clone3's flags are out of a filter's sight, so glibc is sent to clone. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

static int restrict_calls(struct err *err)
{
	scmp_filter_ctx ctx = SANITIZED ? NULL : seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return SANITIZED ? 0 : err_set(err, ENOMEM, "restrict system calls");
	int r = add_rules(ctx);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r < 0 ? err_set(err, -r, "restrict system calls") : 0;
}

static int limit_memory(struct err *err)
{
	struct rlimit data = { UNPACK_MAX_MEMORY, UNPACK_MAX_MEMORY };
	struct rlimit none = { 0, 0 };
	if (!SANITIZED && setrlimit(RLIMIT_DATA, &data) < 0)
		return err_set(err, errno, "limit memory");
	return setrlimit(RLIMIT_CORE, &none) < 0 ? err_set(err, errno, "limit memory") : 0;
}

/* Kernels and hosts that have no user namespaces for us: then root, with few capabilities and one directory.
 */
static bool is_refusal(const struct err *why)
{
	return why->code == EPERM || why->code == EINVAL || why->code == ENOSYS || why->code == ENOSPC;
}

static int leave_host(int *tree_fd, struct err *err)
{
	struct err why = { 0 };
	if (become_nobody(tree_fd, &why) < 0 && !is_refusal(&why))
		return err_say(err, why.code, "%s", why.msg);
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return err_set(err, errno, "leave the network");
	if (fchdir(*tree_fd) < 0 || chroot(".") < 0)
		return err_set(err, errno, "change the root");
	return limit_caps(err);
}

int sandbox_enter(int *tree_fd, bool *ret_flat, struct err *err)
{
	bool root = geteuid() == 0;
	int r = root ? leave_host(tree_fd, err) : 0;
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = err_set(err, errno, "give up new privileges");
	if (r == 0)
		r = restrict_files(*tree_fd, err);
	if (r == 0)
		r = limit_memory(err);
	/* Changing ids has cleared it; what is half made by then, the agent's next start sweeps away. */
	if (r == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		r = err_set(err, errno, "follow the agent's end");
	if (r == 0)
		r = restrict_calls(err);
	if (r == 0)
		*ret_flat = !root;
	return r < 0 ? err_wrap(err, "teal-unpack's sandbox") : 0;
}
