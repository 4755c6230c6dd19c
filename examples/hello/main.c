/* Obeys these variables of its environment:
 *   PORT=8080          where to listen
 *   VERSION GREETING   words for the front page
 *   START_DELAY=S      wait that long before listening
 *   SLOW=MS            hold every answer back that long
 *   SICK=1             /healthz answers 503 from the start; SICK_AFTER=S: from then on
 *   CRASH=1            exit 42 at once; CRASH_AFTER=S: then
 *   IGNORE_TERM=1      do not end on SIGTERM */
#include "hello.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EXIT_CRASHED 42

int64_t clock_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *env_or(const char *name, const char *fallback)
{
	const char *text = getenv(name);

	return text ? text : fallback;
}

/* A number of the environment in ms, scaled from its unit; fallback when unset or unusable. */
static int64_t env_ms(const char *name, int64_t unit_ms, int64_t fallback)
{
	const char *text = getenv(name);
	char *end;

	if (!text || !*text)
		return fallback;
	double value = strtod(text, &end);
	return *end || value < 0 || value > 1e6 ? fallback : (int64_t)(value * (double)unit_ms);
}

static bool env_flag(const char *name)
{
	const char *text = getenv(name);

	return text && strcmp(text, "1") == 0;
}

static void settings_read(struct settings *s)
{
	*s = (struct settings){
		.port = (uint16_t)env_ms("PORT", 1, 8080),
		.start_delay_ms = env_ms("START_DELAY", 1000, 0),
		.slow_ms = env_ms("SLOW", 1, 0),
		.sick_after_ms = env_flag("SICK") ? 0 : env_ms("SICK_AFTER", 1000, -1),
		.crash_after_ms = env_flag("CRASH") ? 0 : env_ms("CRASH_AFTER", 1000, -1),
		.ignore_term = env_flag("IGNORE_TERM"),
	};
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool v6 = fd >= 0;

	if (!v6)
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, v6 ? (void *)&any : (void *)&any4, v6 ? sizeof(any) : sizeof(any4)) < 0 ||
		listen(fd, SOMAXCONN) < 0) {
		fprintf(stderr, "hello: listen on port %u: %s\n", port, strerror(errno));
		return -1;
	}
	return fd;
}

static int watch(int epoll_fd, int fd, void *tag)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = tag };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

/* Signals are blocked here, before the delay, so that a stop during it is seen. */
static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void handle_signal(struct app *app)
{
	struct signalfd_siginfo info;

	if (read(app->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (app->settings.ignore_term) {
		puts("hello: told to stop, but IGNORE_TERM=1");
		return;
	}
	puts("hello: told to stop, finishing what is under way");
	app->stopping = true;
	http_accept(app); /* who is in the queue already gets an answer */
	close(app->listen_fd);
	http_stop(app);
}

static int min_timeout(int a, int b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

/* Returns ms until the crash that was asked for, -1 for none; does not return when it is due. */
static int crash_if_due(const struct app *app)
{
	if (app->settings.crash_after_ms < 0)
		return -1;
	int64_t left = app->started_ms + app->settings.crash_after_ms - clock_now_ms();
	if (left > 0)
		return (int)left;
	fputs("hello: fatal: crashing, as the environment told me to\n", stderr);
	exit(EXIT_CRASHED);
}

static void serve(struct app *app)
{
	while (!app->stopping || app->conns) {
		struct epoll_event events[64];
		int timeout = min_timeout(http_run_due(app), crash_if_due(app));
		bool signalled = false;

		if (app->stopping && !app->conns)
			return;
		int n = epoll_wait(app->epoll_fd, events, 64, timeout);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &app->signal_fd)
				signalled = true;
			else if (events[i].data.ptr == &app->listen_fd)
				http_accept(app);
			else
				http_ready(app, events[i].data.ptr, events[i].events);
		}
		if (signalled) /* last: it closes connections that this batch may name */
			handle_signal(app);
	}
}

/* False: told to stop meanwhile. */
static bool start_delay_sleep(const struct app *app)
{
	struct pollfd told = { .fd = app->settings.ignore_term ? -1 : app->signal_fd, .events = POLLIN };

	return app->settings.start_delay_ms <= 0 || poll(&told, 1, (int)app->settings.start_delay_ms) == 0;
}

int main(void)
{
	struct app app = { .signal_fd = signals_open(), .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };

	setvbuf(stdout, NULL, _IOLBF, 0);
	settings_read(&app.settings);
	app.started_ms = clock_now_ms();
	if (!start_delay_sleep(&app))
		return 0;
	crash_if_due(&app);
	app.listen_fd = listen_on(app.settings.port);
	if (app.listen_fd < 0 || watch(app.epoll_fd, app.listen_fd, &app.listen_fd) < 0 ||
		watch(app.epoll_fd, app.signal_fd, &app.signal_fd) < 0)
		return 1;
	printf("hello: version %s, generation %s, listening on port %u\n", env_or("VERSION", "unknown"),
		env_or("TEAL_GENERATION", "unknown"), app.settings.port);
	serve(&app);
	puts("hello: done");
	return 0;
}
