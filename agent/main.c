/* teald: reads its settings, opens the agent, runs the loop. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/log.h"
#include "base/own.h"

static const char usage[] = "usage: teald [--root DIR] [--config FILE] [--debug]\n"
			    "\n"
			    "The agent of teal, in the foreground. Ready when `teal version` answers.\n"
			    "\n"
			    "  --root DIR     keep state, sockets and images under DIR (also: TEAL_ROOT);\n"
			    "                 without it /var/lib/teal, /run/teal and /etc/teal\n"
			    "  --config FILE  settings; default DIR/etc/teald.yaml or /etc/teal/teald.yaml\n"
			    "  --debug        say more on stderr\n"
			    "  --version, --help\n";

struct options {
	const char *root, *config;
	enum log_level level;
};

/* 0: go on; else the exit code + 1. */
static int read_options(int argc, char **argv, struct options *ret)
{
	static const struct option longs[] = {
		{ "root", required_argument, NULL, 'r' },
		{ "config", required_argument, NULL, 'c' },
		{ "debug", no_argument, NULL, 'd' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	*ret = (struct options){ .root = getenv("TEAL_ROOT"), .level = LOG_INFO_ };
	for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
		switch (c) {
		case 'r': ret->root = optarg; break;
		case 'c': ret->config = optarg; break;
		case 'd': ret->level = LOG_DEBUG_; break;
		case 'V': printf("teald %s (%s)\n", TEAL_VERSION, TEAL_COMMIT); return 1;
		case 'h': fputs(usage, stdout); return 1;
		default: fputs(usage, stderr); return 65;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "teald: unexpected argument \"%s\"\n%s", argv[optind], usage);
		return 65;
	}
	return 0;
}

/* Every connection of the proxy and every watch costs a descriptor: take what the hard limit gives. */
static void raise_limits(void)
{
	struct rlimit lim;
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

/* The service manager's readiness protocol: one datagram (sd_notify(3)). */
static void notify_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	if (!path || strlen(path) >= sizeof un.sun_path || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(un.sun_path, path, strlen(path));
	if (un.sun_path[0] == '@')
		un.sun_path[0] = '\0';
	OWN_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd >= 0)
		sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&un, len);
}

static int load_settings(const struct options *o, struct settings *ret)
{
	struct diag_list diags = { 0 };
	struct err why = { 0 };
	OWN_BUF struct buf text = { 0 };
	int r = settings_load(o->root, o->config, ret, &diags, &why);
	diag_print(&diags, false, &text);
	if (text.len > 0)
		fputs(text.data, stderr);
	else if (r < 0)
		log_error("%s", why.msg);
	diag_done(&diags);
	return r;
}

static void nothing(void *arg)
{
	(void)arg;
}

static int run(struct settings *settings)
{
	uv_loop_t loop;
	struct agent *agent = NULL;
	struct err why = { 0 };
	if (uv_loop_init(&loop) < 0)
		return 1;
	int r = agent_open(&loop, settings, &agent, &why);
	if (r < 0) {
		log_error("%s", why.msg);
		if (agent)
			agent_close(agent, nothing, NULL);
	} else {
		log_info("ready on %s", agent->settings.socket_path);
		notify_ready();
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&loop) < 0)
		log_error("some handle was left open");
	return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options options;
	struct settings settings = { 0 };
	int stop = read_options(argc, argv, &options);
	if (stop)
		return stop - 1;
	log_open("teald", options.level);
	signal(SIGPIPE, SIG_IGN);
	umask(0077);
	raise_limits();
	if (load_settings(&options, &settings) < 0)
		return 1;
	return run(&settings);
}
