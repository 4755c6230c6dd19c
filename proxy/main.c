/* teal-proxy: the data plane. Unprivileged; never binds a socket itself: listeners arrive from the agent. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/own.h"
#include "base/parse.h"
#include "proxy/confine.h"
#include "proxy/control.h"
#include "proxy/wire.h"

#define FD_RESERVE  400 /* listeners, pipes, control, libraries */
#define WORKERS_MAX 64

struct options {
	uint64_t workers, uid, gid;
	bool set_ids;
};

static int options_parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "workers", required_argument, NULL, 'w' },
		{ "uid", required_argument, NULL, 'u' }, { "gid", required_argument, NULL, 'g' }, { 0 } };
	int opt, r = 0;
	while (r == 0 && (opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'w': r = parse_u64(optarg, 1, WORKERS_MAX, &o->workers); break;
		case 'u': r = parse_u64(optarg, 1, UINT32_MAX - 1, &o->uid); break;
		case 'g': r = parse_u64(optarg, 1, UINT32_MAX - 1, &o->gid); break;
		default: r = -EINVAL;
		}
	}
	o->set_ids = o->uid != 0;
	return r;
}

/* Here and not before exec: the program may lie where only root can read it. */
static int privileges_drop(const struct options *o)
{
	uid_t uid = (uid_t)o->uid;
	gid_t gid = (gid_t)o->gid;
	if (o->set_ids &&
		(setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno
												    : 0;
}

/* It outlives its agent and its agent's terminal; splice() has no MSG_NOSIGNAL. */
static void signals_ignore(void)
{
	static const int ignored[] = { SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU };
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		signal(ignored[i], SIG_IGN);
}

/* Two descriptors per connection. */
static unsigned budget(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return 256;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	rlim_t n = l.rlim_cur > 2 * FD_RESERVE ? (l.rlim_cur - FD_RESERVE) / 2 : l.rlim_cur / 4;
	return n > 1000000 ? 1000000 : (unsigned)n;
}

/* Sanitizers look at files and start threads of their own when they have found something. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINED false
#else
#define CONFINED true
#endif

static int serve_start(uv_loop_t *loop, const struct options *o, struct err *err)
{
	struct control *control = NULL;
	struct control_config config = {
		.listen_fd = WIRE_FD, .workers = (unsigned)o->workers, .max_connections = budget()
	};
	if (uv_loop_init(loop) < 0)
		return err_set(err, ENOMEM, "loop");
	int r = CONFINED ? confine_files(err) : 0;
	if (r == 0)
		r = control_open(loop, &config, &control, err);
	return r == 0 && CONFINED ? confine_calls(err) : r;
}

int main(int argc, char **argv)
{
	struct options options = { .workers = 1 };
	struct err err = { 0 };
	uv_loop_t loop;
	log_open("teal-proxy", LOG_INFO_);
	signals_ignore();
	if (options_parse(argc, argv, &options) < 0) {
		log_error("usage: teal-proxy --workers N [--uid UID --gid GID] 3<control-socket");
		return 64;
	}
	int r = privileges_drop(&options);
	if (r < 0) {
		log_error("drop privileges: %s", strerror(-r));
		return 1;
	}
	if (serve_start(&loop, &options, &err) < 0) {
		log_error("start: %s", err.msg);
		return 1;
	}
	return uv_run(&loop, UV_RUN_DEFAULT);
}
