/* What the application may do, fixed for good just before it starts. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"
#include "runtime/native/shim/shim.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int set_caps(uint64_t set, struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)set, .permitted = (uint32_t)set },
		{ .effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32) },
	};
	if (syscall(SYS_capset, &head, data) < 0)
		return err_set(err, errno, "set capabilities");
	return 0;
}

static int bound_caps(uint64_t set, struct err *err)
{
	for (int cap = 0; cap < 64; cap++) {
		if (set & (UINT64_C(1) << cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno == EINVAL)
				break; /* past the newest capability of this kernel */
			return err_set(err, errno, "drop capability %d", cap);
		}
	}
	return 0;
}

static int set_rlimits(const struct shim_config *c, struct err *err)
{
	for (size_t i = 0; i < c->n_rlimits; i++)
		if (setrlimit((__rlimit_resource_t)c->rlimits[i].resource, &c->rlimits[i].limit) < 0)
			return err_set(err, errno, "set rlimit %d", c->rlimits[i].resource);
	return 0;
}

static int set_user(const struct shim_config *c, struct err *err)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(c->n_groups, c->groups) < 0 ||
		setresgid(c->gid, c->gid, c->gid) < 0 || setresuid(c->uid, c->uid, c->uid) < 0)
		return err_set(err, errno, "become user %u:%u", c->uid, c->gid);
	return 0;
}

/* A directory that getcwd can't name would be one outside of the root. */
static int enter_cwd(const struct shim_config *c, struct err *err)
{
	const char *cwd = c->cwd ? c->cwd : "/";
	if (chdir(cwd) < 0)
		return err_set(err, errno, "working directory %s", cwd);
	OWN_FREE char *real = getcwd(NULL, 0);
	if (!real || real[0] != '/')
		return err_say(err, EACCES, "working directory %s: not inside the container", cwd);
	return 0;
}

static int load_filter(const struct shim *s, struct err *err)
{
	struct sock_fprog program = { .len = (unsigned short)s->n_filter, .filter = s->filter };
	if (s->n_filter == 0)
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return err_set(err, errno, "load seccomp filter");
	return 0;
}

static void reset_signals(void)
{
	const char as_at_birth[64] = {
		0
	}; /* the kernel's struct sigaction; the C library would skip two signals */
	sigset_t none;
	for (int sig = 1; sig < 65; sig++)
		syscall(SYS_rt_sigaction, sig, as_at_birth, NULL, 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static const char *find_env(char *const *env, const char *key)
{
	size_t n = strlen(key);
	for (; env && *env; env++)
		if (strncmp(*env, key, n) == 0 && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

/* execvp over the container's PATH. A file that is there but may not be run is reported before one that is
 * absent. */
static int exec_search(const struct shim_config *c, char *const *argv)
{
	char full[4096];
	int worst = ENOENT;
	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, c->env);
		return -errno;
	}
	const char *path = find_env(c->env, "PATH");
	for (const char *dir = path ? path : DEFAULT_PATH; dir;
		dir = strchr(dir, ':') ? strchr(dir, ':') + 1 : NULL) {
		int len = (int)strcspn(dir, ":");
		if (snprintf(full, sizeof full, "%.*s/%s", len ? len : 1, len ? dir : ".", argv[0]) >=
			(int)sizeof full)
			continue;
		execve(full, argv, c->env);
		if (errno != ENOENT && errno != ENOTDIR)
			worst = errno;
		if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
			break;
	}
	return -worst;
}

static int exec_failed(const struct shim_config *c, const char *command, int r, struct err *err)
{
	struct stat st;
	if (r == -ENOENT && strchr(command, '/') && stat(command, &st) == 0)
		return err_say(err, ENOENT, "run %s: its interpreter or dynamic loader is not in the image",
			command);
	if (r == -ENOENT && !strchr(command, '/'))
		return err_set(err, ENOENT, "run %s: not found in PATH=%s", command,
			find_env(c->env, "PATH") ? find_env(c->env, "PATH") : DEFAULT_PATH);
	return err_set(err, -r, "run %s", command);
}

/* All but the report socket, which becomes 3. */
static int close_rest(int report_fd, struct err *err)
{
	if (report_fd != 3 && dup3(report_fd, 3, O_CLOEXEC) < 0)
		return err_set(err, errno, "keep the report socket");
	if (syscall(SYS_close_range, 4, ~0U, 0) < 0)
		return err_set(err, errno, "close descriptors (needs Linux 5.9)");
	return 0;
}

/* The order matters: descriptors are gone before anything that the image names is looked at; the bounding set
 * and the user while still privileged, the working directory as that user, capabilities after it, the filter
 * last. */
int confine_and_exec(const struct shim *s, char *const *argv, int report_fd, struct err *err)
{
	const struct shim_config *c = &s->config;
	setsid();
	reset_signals();
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING,
		NULL); /* absent in some kernels; nothing is lost then */
	umask(c->umask);
	int r = close_rest(report_fd, err);
	if (r == 0)
		r = set_rlimits(c, err);
	if (r == 0)
		r = bound_caps(c->caps, err);
	if (r == 0)
		r = set_user(c, err);
	if (r == 0)
		r = enter_cwd(c, err);
	if (r == 0)
		r = set_caps(c->caps, err);
	if (r < 0)
		return r;
	if (c->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "set no_new_privs");
	r = load_filter(s, err);
	return r < 0 ? r : exec_failed(c, argv[0], exec_search(c, argv), err);
}

int confine_init(struct err *err)
{
	const uint64_t kept = UINT64_C(1) << CAP_KILL;
	int r = bound_caps(0, err);
	if (r == 0)
		r = set_caps(kept, err);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = err_set(err, errno, "set no_new_privs");
	return r;
}
