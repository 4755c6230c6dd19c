#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "base/proc.h"
#include "runtime/native/shim/shim.h"

#define FILTER_MAX_BYTES (64u * 1024)

static const uint64_t NS_FLAGS[NS_COUNT] = {
	[NS_USER] = CLONE_NEWUSER,
	[NS_MOUNT] = CLONE_NEWNS,
	[NS_PID] = CLONE_NEWPID,
	[NS_IPC] = CLONE_NEWIPC,
	[NS_UTS] = CLONE_NEWUTS,
	[NS_NET] = CLONE_NEWNET,
	[NS_TIME] = CLONE_NEWTIME,
	[NS_CGROUP] = 0, /* by the child itself, once it is in its cgroup */
};

int shim_run_steps(const struct shim_step *steps, unsigned n, struct shim *s, int *ret_step, struct err *err)
{
	for (unsigned i = 0; i < n; i++) {
		int r = steps[i].run(s, err);
		if (r < 0) {
			*ret_step = (int)i;
			return r;
		}
	}
	return 0;
}

int shim_read_bundle(struct shim *s, struct err *err)
{
	OWN_BUF struct buf filter = { 0 };
	int r = fs_open_dir(AT_FDCWD, s->bundle_path, &s->bundle_fd, err);
	if (r == 0)
		r = shim_config_read(s->bundle_fd, &s->config, err);
	if (r < 0 || !s->config.has_seccomp)
		return r;
	r = fs_read_file(s->bundle_fd, BUNDLE_SECCOMP, FILTER_MAX_BYTES, &filter, err);
	if (r < 0)
		return r;
	s->n_filter = filter.len / sizeof *s->filter;
	s->filter = (struct sock_filter *)(void *)buf_take(&filter);
	return s->n_filter > 0 ? 0 : err_say(err, EINVAL, BUNDLE_SECCOMP ": empty");
}

static int open_root(struct shim *s, struct err *err)
{
	s->root_fd = open(s->config.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return s->root_fd < 0 ? err_set(err, errno, "open root %s", s->config.root) : 0;
}

/* The descriptor stays open to the end, and so does the lock; a child does not inherit it. */
static int claim_bundle(struct shim *s, struct err *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = openat(s->bundle_fd, BUNDLE_CONFIG, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(err, errno, "open " BUNDLE_CONFIG);
	if (fcntl(fd, F_SETLK, &lock) < 0)
		return err_say(err, EBUSY, "the bundle is in use by another shim");
	s->started_ms = clock_wall_ms();
	return 0;
}

static int open_streams(struct shim *s, struct err *err)
{
	if (!s->config.log)
		return 0;
	int r = output_open(&s->config, &s->output, err);
	if (r < 0)
		return r;
	if (pipe2(s->out, O_CLOEXEC) < 0 || pipe2(s->err, O_CLOEXEC) < 0)
		return err_set(err, errno, "make pipes");
	fcntl(s->out[0], F_SETFL, O_NONBLOCK);
	fcntl(s->err[0], F_SETFL, O_NONBLOCK);
	return 0;
}

static int share_page(struct shim *s, struct err *err)
{
	void *page = mmap(NULL, sizeof *s->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return err_set(err, errno, "map shared page");
	s->shared = page;
	return 0;
}

static void become_child(struct shim *s, int sock)
{
	close(s->sock);
	s->sock = sock;
	own_close(&s->status_fd);
	own_close(&s->bundle_fd);
	own_close(&s->root_fd);
	init_main(s);
}

static int open_groups(struct shim *s, struct err *err)
{
	return group_open(&s->config, &s->group, err);
}

static int spawn_init(struct shim *s, struct err *err)
{
	int pair[2];
	uint64_t flags = 0;
	for (int i = 0; i < NS_COUNT; i++)
		flags |= s->config.ns[i] ? NS_FLAGS[i] : 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "make a socket pair");
	OWN_FD int theirs = pair[1];
	s->sock = pair[0];
	pid_t pid = group_fork(&s->group, flags, &s->init_pidfd);
	if (pid == 0)
		become_child(s, theirs);
	if (pid < 0)
		return err_set(err, errno, "make namespaces");
	s->init = pid;
	secrets_forget(&s->config);
	group_done(&s->group);
	own_close(&s->out[1]);
	own_close(&s->err[1]);
	return proc_start_time(s->init, &s->init_start_time) < 0
		       ? err_set(err, ESRCH, "read init's start time")
		       : 0;
}

static int write_map(pid_t pid, const char *file, const struct id_map *m, struct err *err)
{
	char path[64], text[64];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	snprintf(text, sizeof text, "%u %u %u", m->inside, m->outside, m->size);
	return fs_write_kernel(AT_FDCWD, path, text, err);
}

/* Nobody below a limit may go above it, so it goes up before there is a child; the soft ones stay. */
static int raise_limits(struct shim *s, struct err *err)
{
	for (size_t i = 0; i < s->config.n_rlimits; i++) {
		__rlimit_resource_t resource = (__rlimit_resource_t)s->config.rlimits[i].resource;
		struct rlimit now;
		if (getrlimit(resource, &now) < 0 || s->config.rlimits[i].limit.rlim_max <= now.rlim_max)
			continue;
		now.rlim_max = s->config.rlimits[i].limit.rlim_max;
		if (setrlimit(resource, &now) < 0)
			return err_set(err, errno, "raise rlimit %d", (int)resource);
	}
	return 0;
}

/* What the agent has must not be inherited; what it may not lower stays, unless it was asked for. */
static int set_oom_score(struct shim *s, struct err *err)
{
	char path[64], text[16];
	snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)s->init);
	snprintf(text, sizeof text, "%d", s->config.oom_score_adj);
	int r = fs_write_kernel(AT_FDCWD, path, text, err);
	return s->config.oom_score_adj ? r : 0;
}

static int map_ids(struct shim *s, struct err *err)
{
	if (!s->config.ns[NS_USER])
		return 0;
	int r = write_map(s->init, "uid_map", &s->config.uid_map, err);
	return r < 0 ? r : write_map(s->init, "gid_map", &s->config.gid_map, err);
}

static int clone_binds(struct shim *s, int userns, int *fds, unsigned *n, struct err *err)
{
	for (size_t i = 0; i < s->config.n_mounts; i++) {
		const struct mount_spec *m = &s->config.mounts[i];
		OWN_STRV char **own = NULL;
		uint64_t attributes;
		bool recursive;
		if (!mount_is_bind(m))
			continue;
		if (*n == FDPASS_MAX || !m->source)
			return err_say(err, E2BIG, "mount %s: too many mounts", m->target);
		if (tree_options(m->options, &attributes, &own, &recursive) < 0)
			return err_set(err, ENOMEM, "mount %s", m->target);
		int r = tree_clone(AT_FDCWD, m->source, recursive ? AT_RECURSIVE : 0, &fds[*n], err);
		if (r < 0)
			return r;
		++*n;
		if (m->mapped && userns >= 0 && tree_idmap(fds[*n - 1], userns, err) < 0)
			return err_wrap(err, "volume %s", m->source);
	}
	return 0;
}

static int clone_devices(struct shim *s, int *fds, unsigned *n, struct err *err)
{
	for (size_t i = 0; i < s->config.n_devices; i++) {
		if (*n == FDPASS_MAX)
			return err_say(err, E2BIG, "too many mounts and devices");
		int r = dev_clone_lent(&s->config.devices[i], &fds[*n], err);
		if (r < 0)
			return r;
		++*n;
	}
	return 0;
}

static int open_userns(struct shim *s, int *ret, struct err *err)
{
	char path[64];
	if (!s->config.ns[NS_USER])
		return 0;
	snprintf(path, sizeof path, "/proc/%d/ns/user", (int)s->init);
	*ret = open(path, O_RDONLY | O_CLOEXEC);
	return *ret < 0 ? err_set(err, errno, "open user namespace") : 0;
}

static int send_mounts(struct shim *s, struct err *err)
{
	int fds[FDPASS_MAX];
	unsigned n = MOUNTS_BIND;
	OWN_FD int userns = -1;
	memset(fds, -1, sizeof fds);
	int r = open_userns(s, &userns, err);
	if (r == 0)
		r = root_prepare(s, userns, &fds[MOUNTS_ROOT], err);
	if (r == 0)
		r = dev_clone(fds + MOUNTS_DEV, err);
	if (r == 0)
		r = clone_binds(s, userns, fds, &n, err);
	if (r == 0)
		r = clone_devices(s, fds, &n, err);
	if (r == 0) {
		r = fdpass_send(s->sock, &(char){ INIT_MOUNTS }, 1, fds, n);
		r = r < 0 ? err_set(err, -r, "send mounts") : 0;
	}
	for (unsigned i = 0; i < n; i++)
		own_close(&fds[i]);
	return r;
}

static int make_link(struct shim *s, struct err *err)
{
	if (!s->config.address)
		return 0;
	int r = link_create(&s->config, s->init, err);
	if (r < 0)
		return r;
	r = fdpass_send(s->sock, &(char){ INIT_NETWORK }, 1, NULL, 0);
	return r < 0 && r != -EPIPE ? err_set(err, -r, "announce the network") : 0;
}

/* The socket ends when the application has been started: its last holder closes it on exec. */
static int await_exec(struct shim *s, struct err *err)
{
	struct shim_report report;
	ssize_t n;
	do
		n = recv(s->sock, &report, sizeof report, 0);
	while (n < 0 && errno == EINTR);
	own_close(&s->sock);
	if (n == (ssize_t)sizeof report) {
		report.text[sizeof report.text - 1] = '\0';
		return err_say(err, report.code, "%s", report.text);
	}
	return n == 0 ? 0 : err_set(err, n < 0 ? errno : EPROTO, "await start");
}

static int commit_start(struct shim *s, struct err *err)
{
	return record_state(s, err);
}

static const struct shim_step STEPS[] = {
	{ "bundle", shim_read_bundle },
	{ "root", open_root },
	{ "claim", claim_bundle },
	{ "output", open_streams },
	{ "shared page", share_page },
	{ "cgroup", open_groups },
	{ "secrets", secrets_read },
	{ "limits", raise_limits },
	{ "namespaces", spawn_init },
	{ "oom score", set_oom_score },
	{ "id maps", map_ids },
	{ "mounts", send_mounts },
	{ "network", make_link },
	{ "exec", await_exec },
	{ "record", commit_start },
};

/* false: nobody reads any more. */
static bool tell(struct shim *s, const struct shim_report *report)
{
	if (s->status_fd < 0)
		return true;
	ssize_t n = write(s->status_fd, report, sizeof *report);
	return n == (ssize_t)sizeof *report;
}

static int end_init(struct shim *s)
{
	int wstatus = 0;
	if (s->init <= 0)
		return 0;
	kill(s->init, SIGKILL);
	waitpid(s->init, &wstatus, 0);
	return wstatus;
}

/* The child's own words say more than "the socket has ended". */
static void prefer_report(struct shim *s, struct err *err)
{
	struct shim_report report;
	if (s->sock < 0 || recv(s->sock, &report, sizeof report, MSG_DONTWAIT) != (ssize_t)sizeof report)
		return;
	report.text[sizeof report.text - 1] = '\0';
	err_say(err, report.code, "%s", report.text);
}

static int fail_start(struct shim *s, int step, struct err *err)
{
	struct shim_report report = { .result = SHIM_FAILED, .step = step };
	prefer_report(s, err);
	report.code = err->code;
	snprintf(report.text, sizeof report.text, "%.*s", (int)sizeof report.text - 1, err->msg);
	end_init(s);
	group_remove(&s->config);
	if (s->status_fd < 0)
		fprintf(stderr, "teal-shim: %s\n", err->msg);
	tell(s, &report);
	return 1;
}

/* Keeps the container's output until its init has ended; returns init's wait status. */
static int attend(struct shim *s)
{
	struct pollfd p[] = {
		{ .fd = s->init_pidfd, .events = POLLIN },
		{ .fd = s->out[0], .events = POLLIN },
		{ .fd = s->err[0], .events = POLLIN },
	};
	int wstatus = 0;
	while (!p[0].revents) {
		if (poll(p, 3, -1) < 0)
			continue;
		for (int i = 1; i <= 2; i++)
			if (p[i].revents && output_read(s->output, p[i].fd, i == 2) == 0)
				p[i].fd = -1;
	}
	/* Nobody can write any more: what is left is in the pipes. */
	for (int i = 1; i <= 2; i++)
		while (p[i].fd >= 0 && output_read(s->output, p[i].fd, i == 2) > 0)
			;
	waitpid(s->init, &wstatus, 0);
	return wstatus;
}

static void describe_end(struct shim *s, int wstatus, struct shim_report *ret)
{
	int sig = WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : 0;
	*ret = (struct shim_report){ .result = SHIM_ENDED,
		.code = sig ? 128 + sig : WEXITSTATUS(wstatus),
		.signal = sig,
		.oom = group_oom(&s->config),
		.at_ms = clock_wall_ms() };
}

/* The agent hears of the end first and need not wait for the disk: from there on it may remove the bundle, or
 * make it anew for the next run, while this process still holds and writes the old directory. Nothing else of
 * it may be touched then, so the cgroups go before. */
static int finish(struct shim *s, int wstatus)
{
	struct err err = { 0 };
	struct shim_report report;
	describe_end(s, wstatus, &report);
	group_remove(&s->config);
	tell(s, &report);
	if (s->status_fd >= 0) /* a caller in the foreground has the exit code */
		record_exit(s, &report, &err);
	return report.code;
}

static int run(struct shim *s)
{
	struct shim_report report = {
		.result = SHIM_STARTED, .pid = s->init, .start_time = s->init_start_time
	};
	/* An agent that died meanwhile never learned of this start: as if it had not happened. */
	if (!tell(s, &report))
		kill(s->init, SIGKILL);
	own_close(&s->root_fd);
	free(TAKE_PTR(s->filter));
	malloc_trim(0);
	int wstatus = attend(s);
	return finish(s, s->shared->ended ? s->shared->wstatus : wstatus);
}

static int container_main(struct shim *s)
{
	struct err err = { 0 };
	int step = 0;
	int r = shim_run_steps(STEPS, ARRAY_LEN(STEPS), s, &step, &err);
	return r < 0 ? fail_start(s, step, &err) : run(s);
}

static void usage(void)
{
	fputs("usage: teal-shim [--report] --bundle DIR\n"
	      "       teal-shim --exec [--report] --bundle DIR -- COMMAND...\n"
	      "Runs the OCI bundle in DIR and ends with its exit code; --report: for teald, which reads "
	      "descriptor 3.\n",
		stderr);
}

int main(int argc, char **argv)
{
	struct shim s = { .bundle_fd = -1,
		.status_fd = -1,
		.root_fd = -1,
		.init_pidfd = -1,
		.group = GROUP_NONE,
		.sock = -1,
		.out = { -1, -1 },
		.err = { -1, -1 },
		.args = argv[0] };
	bool exec = false, report = false;
	int i = 1;
	s.args_len = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);
	for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--bundle") == 0 && i + 1 < argc) {
			s.bundle_path = argv[++i];
		} else if (strcmp(argv[i], "--exec") == 0) {
			exec = true;
		} else if (strcmp(argv[i], "--report") == 0) {
			report = true;
		} else {
			usage();
			return 64;
		}
	}
	if (!s.bundle_path || (exec && i + 1 >= argc)) {
		usage();
		return 64;
	}
	prctl(PR_SET_NAME, "teal-shim"); /* what runs is a descriptor without a name */
	signal(SIGPIPE, SIG_IGN);
	if (report) {
		s.status_fd = SHIM_STATUS_FD;
		fcntl(s.status_fd, F_SETFD, FD_CLOEXEC);
		signal(SIGHUP, SIG_IGN);
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
	}
	return exec ? exec_main(&s, argv + i + 1) : container_main(&s);
}
