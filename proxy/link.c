#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "base/parse.h"
#include "proxy/client_impl.h"

#define HELLO_MS       2000  /* a proxy that lives answers in microseconds */
#define PULSE_MS       5000  /* how often it is asked how it is */
#define HUNG_MS	       10000 /* a request unanswered for so long: it hangs */
#define LOST_MS	       100   /* the process whose channel ended is most often about to end too */
#define QUIT_MS	       2000
#define RESTART_MS     500  /* between restarts once the immediate ones are used up … */
#define RESTARTS       10   /* … which are so many … */
#define RESTART_NEW_MS 1000 /* … and one more in this time */

static void link_start(struct px_client *c);

bool link_ready(const struct px_client *c)
{
	return c->state == LINK_UP || c->state == LINK_RESTORING;
}

static void link_drop_channel(struct px_client *c)
{
	channel_close(TAKE_PTR(c->channel));
	speak_fail(c);
}

static void on_restart(void *arg)
{
	link_start(arg);
}

static void link_start_later(struct px_client *c)
{
	uvx_timer_start(c->loop, RESTART_MS, on_restart, c, &c->timer);
}

/* At once, unless it has ended again and again: then slowly, but for ever. */
static void link_restart(struct px_client *c)
{
	int64_t now = clock_boot_ms(), earned = (now - c->credit_ms) / RESTART_NEW_MS;
	if (earned > 0) {
		c->credit = c->credit + earned > RESTARTS ? RESTARTS : c->credit + (unsigned)earned;
		c->credit_ms = now;
	}
	c->restarts++;
	if (c->credit > 0) {
		c->credit--;
		link_start(c);
	} else {
		link_start_later(c);
	}
}

static void describe_end(const struct px_client *c, struct err *why)
{
	int status;
	int pid = (int)c->process.pid;
	if (proc_reap(&c->process, &status) < 0)
		err_say(why, EPIPE, "teal-proxy (pid %d) ended", pid);
	else if (WIFSIGNALED(status))
		err_say(why, EPIPE, "teal-proxy (pid %d) was ended by %s", pid,
			signal_name(WTERMSIG(status)));
	else
		err_say(why, EPIPE, "teal-proxy (pid %d) exited with code %d", pid, WEXITSTATUS(status));
}

static void close_done(struct px_client *c)
{
	uvx_timer_cancel(&c->timer);
	uvx_timer_cancel(&c->announce);
	uvx_watch_stop(TAKE_PTR(c->watch));
	link_drop_channel(c);
	proc_close(&c->process);
	client_free(c);
}

static void on_process_ended(void *arg)
{
	struct px_client *c = arg;
	struct err why = { 0 };
	c->watch = NULL;
	describe_end(c, &why);
	if (c->closing) {
		close_done(c);
		return;
	}
	proc_close(&c->process);
	uvx_timer_cancel(&c->timer);
	uvx_timer_cancel(&c->announce);
	link_drop_channel(c);
	c->state = LINK_DOWN;
	link_restart(c);
	if (c->events.down)
		c->events.down(c->events.arg, &why);
}

void link_hung(struct px_client *c)
{
	proc_signal(&c->process, SIGKILL); /* its end, and the restart, come by the watch */
}

static void on_hello_late(void *arg)
{
	link_hung(arg);
}

static void link_greet(struct px_client *c, int fd, uint64_t patience_ms);

static void on_lost(void *arg)
{
	struct px_client *c = arg;
	int fd;
	if (connect_control(c->socket_path, &fd, NULL) < 0)
		link_hung(c);
	else
		link_greet(c, fd, HELLO_MS);
}

static void on_channel_ended(void *arg, const struct err *why)
{
	struct px_client *c = arg;
	(void)why; /* the end of the process says it better; a process that lives on is asked again */
	link_drop_channel(c);
	if (c->closing)
		return;
	c->state = LINK_LOST;
	uvx_timer_start(c->loop, LOST_MS, on_lost, c, &c->timer);
}

static int link_channel(struct px_client *c, int fd, struct err *err)
{
	struct channel_events events = { .arg = c, .message = speak_message, .ended = on_channel_ended };
	return channel_open(c->loop, fd, &events, &c->channel, err);
}

static void link_greet(struct px_client *c, int fd, uint64_t patience_ms)
{
	c->state = LINK_GREETING;
	uvx_timer_start(c->loop, patience_ms, on_hello_late, c, &c->timer);
	if (link_channel(c, fd, NULL) < 0)
		link_hung(c);
	else
		speak_hello(c);
}

static void on_pulse(void *arg)
{
	struct px_client *c = arg;
	if (speak_waiting_ms(c) > HUNG_MS) {
		link_hung(c);
		return;
	}
	speak_status(c);
	uvx_timer_start(c->loop, PULSE_MS, on_pulse, c, &c->timer);
}

void link_up(struct px_client *c)
{
	c->state = LINK_UP;
	uvx_timer_start(c->loop, PULSE_MS, on_pulse, c, &c->timer);
	if (c->events.up)
		c->events.up(c->events.arg, c->process.pid, c->adopted);
}

static int link_spawn(struct px_client *c, struct err *err)
{
	char workers[16], uid[16], gid[16];
	OWN_FD int control = -1;
	bool drop = geteuid() == 0 && c->config.uid != 0;
	int r = listen_control(c->socket_path, &control, err);
	if (r < 0)
		return r;
	snprintf(workers, sizeof workers, "%u", c->config.workers ? c->config.workers : 1);
	snprintf(uid, sizeof uid, "%u", (unsigned)c->config.uid);
	snprintf(gid, sizeof gid, "%u", (unsigned)c->config.gid);
	const char *argv[] = { c->program, "--workers", workers, drop ? "--uid" : NULL, uid, "--gid", gid,
		NULL };
	char *envp[] = { NULL };
	struct spawn_fd fds[] = { { control, WIRE_FD }, { STDERR_FILENO, STDERR_FILENO } };
	struct spawn how = { .path = c->program,
		.argv = (char *const *)(uintptr_t)argv,
		.envp = envp,
		.fds = fds,
		.n_fds = ARRAY_LEN(fds),
		.new_session = true };
	return proc_spawn(&how, &c->process, err);
}

static int link_watch(struct px_client *c, struct err *err)
{
	return uvx_watch_start(c->loop, c->process.pidfd, on_process_ended, c, &c->watch, err);
}

static void process_discard(struct px_client *c)
{
	int status;
	proc_signal(&c->process, SIGKILL);
	proc_reap(&c->process, &status);
	proc_close(&c->process);
}

static int link_try_start(struct px_client *c, struct err *err)
{
	int fd;
	int r = link_spawn(c, err);
	if (r < 0)
		return r;
	c->adopted = false;
	r = link_watch(c, err);
	if (r < 0) {
		process_discard(c);
		return r;
	}
	r = connect_control(c->socket_path, &fd, err);
	if (r < 0) {
		link_hung(c);
		return r;
	}
	link_greet(c, fd, HUNG_MS);
	return 0;
}

static void link_start(struct px_client *c)
{
	struct err why = { 0 };
	if (link_try_start(c, &why) == 0 || c->watch)
		return;
	link_start_later(c);
	if (c->events.down)
		c->events.down(c->events.arg, &why);
}

/* Who listens on the control socket; only something that is called as we are, so that nobody else is ever
 * killed. */
static int peer_process(int fd, struct proc *ret, struct err *err)
{
	struct ucred who = { 0 };
	socklen_t len = sizeof who;
	OWN_BUF struct buf name = { 0 };
	char path[64];
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return err_set(err, errno, "control socket");
	snprintf(path, sizeof path, "/proc/%d/comm", (int)who.pid);
	int r = fs_read_kernel(AT_FDCWD, path, &name, err);
	if (r < 0)
		return r;
	if (strcmp(name.data, "teal-proxy") != 0)
		return err_say(err, ESRCH, "process %d is no teal-proxy", (int)who.pid);
	return proc_open(who.pid, 0, ret, err);
}

static int adopt_state(struct px_client *c, int fd, struct err *err)
{
	int64_t deadline = clock_boot_ms() + HELLO_MS;
	json_t *hello = json_pack("{s:s, s:s, s:i}", "op", "hello", "version", TEAL_VERSION, "seq", 0);
	int r = wire_send_now(fd, hello, err);
	for (bool more = true; r == 0 && more;) {
		OWN_JSON json_t *msg = NULL;
		OWN_FD int passed = -1;
		r = wire_recv_now(fd, deadline, &msg, &passed, err);
		if (r == 0)
			r = speak_adopt(c, msg, &passed, err);
		more = r == 0 && json_flag(msg, "more", false);
	}
	return r;
}

static void wait_for_end(const struct proc *p)
{
	struct pollfd poll_fd = { .fd = p->pidfd, .events = POLLIN };
	poll(&poll_fd, 1, QUIT_MS);
}

static void on_announce(void *arg)
{
	struct px_client *c = arg;
	if (c->state == LINK_UP && c->events.up)
		c->events.up(c->events.arg, c->process.pid, c->adopted);
}

static int link_adopt(struct px_client *c, struct err *err)
{
	OWN_FD int fd = -1;
	int r = connect_control(c->socket_path, &fd, err);
	if (r == 0)
		r = peer_process(fd, &c->process, err);
	if (r < 0)
		return r;
	r = adopt_state(c, fd, err);
	if (r == 0)
		r = link_watch(c, err);
	if (r == 0)
		r = link_channel(c, TAKE_FD(fd), err);
	if (r < 0) { /* it hangs: its connections are lost already, its listening sockets are not ours to get
		      */
		uvx_watch_stop(TAKE_PTR(c->watch));
		proc_signal(&c->process, SIGKILL);
		wait_for_end(&c->process);
		proc_close(&c->process);
		return r;
	}
	c->adopted = true;
	c->state = LINK_UP;
	uvx_timer_start(c->loop, PULSE_MS, on_pulse, c, &c->timer);
	return uvx_timer_start(c->loop, 0, on_announce, c, &c->announce);
}

int link_open(struct px_client *c, struct err *err)
{
	TAILQ_INIT(&c->requests);
	c->process = PROC_NONE;
	c->credit = RESTARTS;
	c->credit_ms = clock_boot_ms();
	if (link_adopt(c, err) == 0)
		return 0;
	*err = (struct err){ 0 };
	return link_try_start(c, err);
}

static void on_quit_late(void *arg)
{
	link_hung(arg);
}

static void on_closed(void *arg)
{
	close_done(arg);
}

void link_close(struct px_client *c, bool stop_proxy)
{
	c->closing = true;
	uvx_timer_cancel(&c->announce);
	if (!stop_proxy || !c->watch) {
		if (stop_proxy)
			unlink(c->socket_path);
		uvx_timer_start(c->loop, 0, on_closed, c, &c->timer);
		return;
	}
	unlink(c->socket_path);
	if (link_ready(c))
		speak_quit(c);
	else
		link_hung(c);
	uvx_timer_start(c->loop, QUIT_MS, on_quit_late, c, &c->timer);
}
