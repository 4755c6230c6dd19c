#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/api.h"
#include "agent/service.h"
#include "base/clock.h"
#include "base/fsx.h"
#include "base/log.h"
#include "base/own.h"
#include "base/parse.h"

static void container_exited(void *arg, const char *id, const struct rt_exit *exit)
{
	struct agent *a = arg;
	char name[SPEC_NAME_MAX];
	uint32_t number, replica;
	struct service *s = rt_id_parse(id, name, &number, &replica) == 0 ? service_find(a, name) : NULL;
	struct generation *g = s ? service_generation(s, number) : NULL;
	if (g && !a->closing)
		gen_exited(g, replica, exit);
}

static void proxy_up(void *arg, pid_t pid, bool adopted)
{
	struct agent *a = arg;
	struct event e = { .type = "proxy.up",
		.data = json_pack("{s:i, s:b}", "pid", (int)pid, "adopted", adopted) };
	events_add(a->events, &e, "proxy %s, pid %d", adopted ? "found" : "started", (int)pid);
}

static void proxy_down(void *arg, const struct err *why)
{
	struct agent *a = arg;
	struct event e = { .type = "proxy.down" };
	events_add(a->events, &e, "proxy is down: %s", why ? why->msg : "it ended");
}

static void on_signal(uv_signal_t *signal, int number);

/* One agent per state directory: the lock goes with the process. */
static int take_lock(struct agent *a, struct err *err)
{
	OWN_FREE char *path = fs_join(a->settings.state_dir, "lock", NULL);
	OWN_FD int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (fd < 0)
		return err_set(err, path ? errno : ENOMEM, "open %s/lock", a->settings.state_dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_say(err, EBUSY, "another teald runs on %s already",
						      a->settings.state_dir)
					    : err_set(err, errno, "lock %s", path);
	a->lock_fd = TAKE_FD(fd);
	return 0;
}

static int open_store(struct agent *a, struct err *err)
{
	OWN_FREE char *path = fs_join(a->settings.state_dir, "teal.db", NULL);
	if (!path)
		return err_set(err, ENOMEM, "open the state database");
	int r = store_open(path, &a->store, &a->note, err);
	if (r == 0 && a->note)
		log_error("%s", a->note);
	return r;
}

/* The unprivileged user of the proxy: the one that is configured, else teal-proxy, else nobody. */
static int proxy_user(const struct settings *s, struct px_config *ret, struct err *err)
{
	uint64_t uid;
	const struct passwd *pw = NULL;
	if (geteuid() != 0)
		return 0; /* rootless: it runs as we do */
	if (s->proxy_user && parse_u64(s->proxy_user, 0, UINT32_MAX - 1, &uid) == 0) {
		ret->uid = (uid_t)uid;
		ret->gid = (gid_t)uid;
		return 0;
	}
	pw = getpwnam(s->proxy_user ? s->proxy_user : "teal-proxy");
	if (!pw && s->proxy_user)
		return err_say(err, ENOENT, "proxy_user: there is no user %s", s->proxy_user);
	ret->uid = pw ? pw->pw_uid : 65534;
	ret->gid = pw ? pw->pw_gid : 65534;
	return 0;
}

static int open_proxy(struct agent *a, struct err *err)
{
	OWN_FREE char *program = fs_join(a->settings.libexec_dir, "teal-proxy", NULL);
	OWN_FREE char *socket_path = fs_join(a->settings.run_dir, "proxy.sock", NULL);
	struct px_config config = { .program = program,
		.socket_path = socket_path,
		.workers = a->settings.proxy_workers,
		.uid = geteuid(),
		.gid = getegid() };
	const struct px_events events = { .arg = a, .up = proxy_up, .down = proxy_down };
	if (!program || !socket_path)
		return err_set(err, ENOMEM, "start the proxy");
	int r = proxy_user(&a->settings, &config, err);
	return r < 0 ? r : px_open(a->loop, &config, &events, &a->proxy, err);
}

/* A socket's path is short; one below a long root is reached through a descriptor of its directory. */
static int short_path(const char *path, int *ret_dir, struct sockaddr_un *ret, struct err *err)
{
	const char *slash = strrchr(path, '/');
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) < sizeof ret->sun_path) {
		snprintf(ret->sun_path, sizeof ret->sun_path, "%s", path);
		return 0;
	}
	OWN_FREE char *dir = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	int r = dir ? fs_open_dir(AT_FDCWD, dir, ret_dir, err) : err_set(err, ENAMETOOLONG, "%s", path);
	if (r == 0)
		snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d%s", *ret_dir, slash);
	return r;
}

/* 0660: who may open it is root of this agent. The lock says that nobody else listens, so what lies there is
 * stale. */
static int listen_api(const struct settings *s, int *ret, struct err *err)
{
	struct sockaddr_un un;
	OWN_FD int dir = -1;
	int r = short_path(s->socket_path, &dir, &un, err);
	if (r < 0)
		return r;
	OWN_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, errno, "socket");
	unlink(un.sun_path);
	mode_t old = umask(0117);
	r = bind(fd, (struct sockaddr *)&un, sizeof un) < 0 || listen(fd, 64) < 0 ? -errno : 0;
	umask(old);
	if (r < 0)
		return err_set(err, -r, "listen on %s", s->socket_path);
	*ret = TAKE_FD(fd);
	return 0;
}

static int open_api(struct agent *a, struct err *err)
{
	OWN_FD int fd = -1;
	int r = listen_api(&a->settings, &fd, err);
	if (r < 0)
		return r;
	return http_open(a->loop, TAKE_FD(fd), api_routes, a, &a->api, err);
}

static int open_signals(struct agent *a, struct err *err)
{
	uv_signal_init(a->loop, &a->on_term);
	uv_signal_init(a->loop, &a->on_int);
	a->on_term.data = a->on_int.data = a;
	int r = uv_signal_start(&a->on_term, on_signal, SIGTERM);
	if (r == 0)
		r = uv_signal_start(&a->on_int, on_signal, SIGINT);
	return r < 0 ? uvx_err(err, r, "watch signals") : 0;
}

static int open_parts(struct agent *a, struct err *err)
{
	const struct rt_events events = { .arg = a, .exited = container_exited };
	int r;
	a->driver = rt_driver_by_name("native");
	if ((r = fs_mkdirs(a->settings.state_dir, 0700, err)) < 0 ||
		(r = fs_mkdirs(a->settings.run_dir, 0755, err)) < 0 || (r = take_lock(a, err)) < 0 ||
		(r = open_store(a, err)) < 0 || (r = events_open(a->loop, a->store, &a->events, err)) < 0 ||
		(r = a->driver->open(a->loop, &a->settings, &events, &a->host, err)) < 0 ||
		(r = hc_engine_open(a->loop, &a->health, err)) < 0 || (r = open_proxy(a, err)) < 0 ||
		(r = agent_recover(a, err)) < 0 || (r = open_api(a, err)) < 0)
		return r;
	return 0;
}

int agent_open(uv_loop_t *loop, struct settings *settings, struct agent **ret, struct err *err)
{
	struct agent *a = calloc(1, sizeof *a);
	if (!a)
		return err_set(err, ENOMEM, "start");
	a->loop = loop;
	a->settings = *settings;
	*settings = (struct settings){ 0 };
	a->lock_fd = -1;
	a->started_ms = clock_boot_ms();
	LIST_INIT(&a->waits);
	clock_boot_id(a->boot_id);
	int r = open_signals(a, err);
	if (r == 0)
		r = open_parts(a, err);
	*ret = a; /* also on failure: agent_close takes apart what there is */
	return r;
}

/* --- the end: each part closes when the one before it has --- */

struct closing {
	struct agent *agent;
	void (*closed)(void *arg);
	void *arg;
	unsigned handles;
};

static void all_closed(struct closing *c)
{
	struct agent *a = c->agent;
	struct service *s, *next;
	HASH_ITER (hh, a->services, s, next)
		service_free(s);
	events_close(a->events);
	store_close(a->store);
	if (a->lock_fd >= 0)
		close(a->lock_fd);
	settings_done(&a->settings);
	free(a->note);
	void (*closed)(void *arg) = c->closed;
	void *arg = c->arg;
	free(a);
	free(c);
	closed(arg);
}

static void signal_closed(uv_handle_t *h)
{
	struct closing *c = h->data;
	if (--c->handles == 0)
		all_closed(c);
}

static void close_signals(void *arg)
{
	struct closing *c = arg;
	c->handles = 2;
	c->agent->on_term.data = c->agent->on_int.data = c;
	uv_close((uv_handle_t *)&c->agent->on_term, signal_closed);
	uv_close((uv_handle_t *)&c->agent->on_int, signal_closed);
}

static void close_health(void *arg)
{
	struct closing *c = arg;
	if (c->agent->health)
		hc_engine_close(c->agent->health, close_signals, c);
	else
		close_signals(c);
}

static void close_driver(void *arg)
{
	struct closing *c = arg;
	if (c->agent->host)
		c->agent->driver->close(c->agent->host, close_health, c);
	else
		close_health(c);
}

/* The proxy is needed as long as a listener is ours; without one it would idle on for nobody. */
static bool proxy_idle(const struct agent *a)
{
	struct service *s, *next;
	HASH_ITER (hh, a->services, s, next)
		if (s->n_bound > 0)
			return false;
	return true;
}

static void close_proxy(void *arg)
{
	struct closing *c = arg;
	if (c->agent->proxy)
		px_close(c->agent->proxy, proxy_idle(c->agent), close_driver, c);
	else
		close_driver(c);
}

void agent_close(struct agent *a, void (*closed)(void *arg), void *arg)
{
	struct closing *c = calloc(1, sizeof *c);
	struct service *s, *next;
	struct generation *g;
	if (!c)
		_exit(1); /* nothing is lost: the next start recovers */
	*c = (struct closing){ .agent = a, .closed = closed, .arg = arg };
	a->closing = true;
	HASH_ITER (hh, a->services, s, next) {
		uvx_timer_cancel(&s->standby_over);
		if (s->deployment) {
			uvx_timer_cancel(&s->deployment->deadline);
			uvx_timer_cancel(&s->deployment->settled);
		}
		LIST_FOREACH (g, &s->generations, link)
			gen_let_go(g);
	}
	if (a->api) {
		unlink(a->settings.socket_path);
		api_answer_waits(a);
		http_close(a->api, close_proxy, c);
	} else {
		close_proxy(c);
	}
}

static void nothing(void *arg)
{
	(void)arg;
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct agent *a = signal->data;
	if (a->closing)
		return;
	log_info("%s: stopping; containers and connections go on", signal_name(number));
	agent_close(a, nothing, NULL);
}
