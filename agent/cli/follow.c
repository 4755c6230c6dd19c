#include "agent/cli/follow.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "agent/cli/client.h"
#include "agent/cli/live.h"
#include "agent/cli/progress.h"
#include "agent/cli/result.h"
#include "base/clock.h"
#include "base/own.h"

#define TICK_LIVE_MS	 100
#define TICK_LINES_MS	 1000
#define HEARTBEAT_MS	 10000
#define RESYNC_MS	 30000 /* ask again now and then: an event that never came must not hang us */
#define GIVE_UP_MS	 60000 /* without --timeout: how long an agent may be away */
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS	 1000

/* Why a stream ended, beside the client's negative errors. */
enum stream_end { STREAM_OVER = 0, STREAM_ALL_DONE = 1, STREAM_RESYNC, STREAM_TIMEOUT };

struct follow {
	struct cli *cli;
	struct progress *items;
	size_t n, cap;
	struct live live;
	int (*judge)(const json_t *result);
	int exit;
	int signal_fd;
	sigset_t old_mask;
	int64_t deadline_ms; /* boot time; 0 = none */
	int64_t stream_since_ms, heartbeat_ms;
	int64_t lost_since_ms; /* 0: connected */
	bool lost_said;
	int backoff_ms;
};

struct follow *follow_new(struct cli *c)
{
	struct follow *f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	f->cli = c;
	f->judge = result_exit;
	f->signal_fd = -1;
	live_init(&f->live, c);
	return f;
}

void follow_free(struct follow *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++)
		progress_done(&f->items[i]);
	free(f->items);
	free(f);
}

void follow_judge(struct follow *f, int (*judge)(const json_t *result))
{
	f->judge = judge;
}

int follow_add(struct follow *f, const char *service, const json_t *answer)
{
	if (vec_reserve(&f->items, &f->cap, f->n + 1, sizeof *f->items) < 0)
		return -ENOMEM;
	struct progress *p = &f->items[f->n];
	*p = (struct progress){ .id = json_int(answer, "deployment", 0),
		.seq = json_int(answer, "after", 0) };
	p->service = strdup(service);
	if (!p->service)
		return -ENOMEM;
	f->n++;
	return 0;
}

static bool all_done(const struct follow *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (!f->items[i].done)
			return false;
	return true;
}

/* From here on Ctrl-C is a descriptor that the client watches. */
static void signals_take(struct follow *f)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &f->old_mask);
	f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	client_interrupt(f->cli->client, f->signal_fd);
}

static void signals_return(struct follow *f)
{
	struct signalfd_siginfo info;
	client_interrupt(f->cli->client, -1);
	while (f->signal_fd >= 0 && read(f->signal_fd, &info, sizeof info) == sizeof info)
		; /* swallowed: it was answered by leaving the loop */
	own_close(&f->signal_fd);
	sigprocmask(SIG_SETMASK, &f->old_mask, NULL);
}

/* What the user is told of a deployment that ended: its steps, its verdict, and the object for programs. */
static void conclude(struct follow *f, struct progress *p)
{
	struct cli *c = f->cli;
	int code = p->result ? f->judge(p->result) : CLI_ERROR;
	f->exit = cli_worse(f->exit, code);
	live_conclude(&f->live, p, code);
	if (!c->line.opts.json)
		return;
	OWN_JSON json_t *o = p->result ? json_copy(p->result)
				       : cli_outcome(p->service, "error", code, "ended without a result");
	json_object_set_new(o, "exit", json_integer(code));
	cli_print_json(c, o);
}

static void fault_item(struct follow *f, struct progress *p, const struct cli_fault *fault)
{
	p->done = true;
	live_erase(&f->live);
	f->exit = cli_worse(f->exit, cli_report(f->cli, p->service, fault));
}

/* Lost or not there for now: worth another try. */
static bool is_away(const struct cli_fault *f)
{
	return strcmp(f->code, "lost") == 0 || strcmp(f->code, "unreachable") == 0;
}

/* Asks for the picture of every open deployment. 0, or negative with the fault when the agent can't be asked.
 */
static int refresh(struct follow *f, struct cli_fault *fault)
{
	for (size_t i = 0; i < f->n; i++) {
		struct progress *p = &f->items[i];
		OWN_JSON json_t *picture = NULL;
		OWN_FREE char *path = NULL;
		if (p->done)
			continue;
		if (asprintf(&path, "/v1/deployments/%lld", (long long)p->id) < 0)
			return -ENOMEM;
		int e = cli_call(f->cli, "GET", path, NULL, &picture, fault);
		if (e < 0 && (is_away(fault) || fault->exit == CLI_INTERRUPTED))
			return e;
		if (e < 0) {
			fault_item(f, p, fault);
			cli_fault_done(fault);
			*fault = (struct cli_fault){ 0 };
			continue;
		}
		if (progress_load(p, picture) < 0)
			return -ENOMEM;
		if (p->done)
			conclude(f, p);
	}
	return 0;
}

static int on_line(void *arg, const char *line, size_t len)
{
	struct follow *f = arg;
	OWN_JSON json_t *event = json_loadb(line, len, 0, NULL);
	for (size_t i = 0; event && i < f->n; i++) {
		struct progress *p = &f->items[i];
		if (p->done)
			continue;
		if (progress_event(p, event) < 0)
			return -ENOMEM;
		if (p->done)
			conclude(f, p);
	}
	return all_done(f) ? STREAM_ALL_DONE : 0;
}

static int on_tick(void *arg)
{
	struct follow *f = arg;
	int64_t now = clock_boot_ms();
	live_update(&f->live, f->items, f->n);
	if (now - f->heartbeat_ms >= HEARTBEAT_MS) {
		f->heartbeat_ms = now;
		live_heartbeat(&f->live, f->items, f->n);
	}
	if (f->deadline_ms && now >= f->deadline_ms)
		return STREAM_TIMEOUT;
	return f->stream_since_ms && now - f->stream_since_ms >= RESYNC_MS ? STREAM_RESYNC : 0;
}

/* One stream serves all deployments; it starts where the oldest picture ends. */
static int stream_path(const struct follow *f, char **ret)
{
	const struct progress *only = NULL;
	int64_t after = INT64_MAX;
	size_t open = 0;
	for (size_t i = 0; i < f->n; i++) {
		if (f->items[i].done)
			continue;
		only = &f->items[i];
		after = only->seq < after ? only->seq : after;
		open++;
	}
	int r = open == 1 ? asprintf(ret, "/v1/events?service=%s&after=%lld&follow=1", only->service,
				    (long long)after)
			  : asprintf(ret, "/v1/events?after=%lld&follow=1", (long long)after);
	return r < 0 ? -ENOMEM : 0;
}

static int stream(struct follow *f, struct cli_fault *fault)
{
	const struct client_stream s = { .line = on_line,
		.tick = on_tick,
		.tick_ms = f->live.paints ? TICK_LIVE_MS : TICK_LINES_MS,
		.arg = f };
	OWN_FREE char *path = NULL;
	OWN_BUF struct buf body = { 0 };
	unsigned status = 0;
	if (stream_path(f, &path) < 0)
		return -ENOMEM;
	f->stream_since_ms = clock_boot_ms();
	int r = client_stream(f->cli->client, path, &s, &status, &body, &fault->err);
	f->stream_since_ms = 0;
	if (r < 0)
		cli_fault_transport(r, fault);
	return r;
}

/* The agent is away: say so once, wait a little longer each time. STREAM_OVER to try again. */
static int wait_for_agent(struct follow *f)
{
	int64_t now = clock_boot_ms();
	if (!f->lost_since_ms) {
		f->lost_since_ms = now;
		f->backoff_ms = BACKOFF_FIRST_MS;
	}
	if (!f->lost_said && now - f->lost_since_ms >= 2 * BACKOFF_FIRST_MS) {
		f->lost_said = true;
		live_note(&f->live,
			"the agent went away; the deployment goes on when it is back (still waiting)");
	}
	if (!f->deadline_ms && now - f->lost_since_ms >= GIVE_UP_MS)
		return -ECONNREFUSED;
	for (int64_t until = now + f->backoff_ms; now < until; now = clock_boot_ms()) {
		if (client_sleep(f->cli->client,
			    (int)(until - now < TICK_LIVE_MS ? until - now : TICK_LIVE_MS)) < 0)
			return -EINTR;
		if (on_tick(f) == STREAM_TIMEOUT)
			return STREAM_TIMEOUT;
	}
	f->backoff_ms = f->backoff_ms * 2 < BACKOFF_MAX_MS ? f->backoff_ms * 2 : BACKOFF_MAX_MS;
	return STREAM_OVER;
}

static void agent_is_back(struct follow *f)
{
	if (f->lost_said)
		live_note(&f->live, "the agent is back");
	f->lost_said = false;
	f->lost_since_ms = 0;
}

/* Until everything is done (STREAM_ALL_DONE), or why not. */
static int watch(struct follow *f, struct cli_fault *fault)
{
	for (;;) {
		cli_fault_done(fault);
		*fault = (struct cli_fault){ 0 };
		int r = refresh(f, fault);
		if (r == 0) {
			agent_is_back(f);
			if (all_done(f))
				return STREAM_ALL_DONE;
			live_update(&f->live, f->items, f->n);
			r = stream(f, fault);
			if (r == STREAM_RESYNC)
				continue;
		}
		if (r > 0 || r == -EINTR || r == -ENOMEM)
			return r;
		if (r < 0 && !is_away(fault))
			return r;
		r = wait_for_agent(f);
		if (r != STREAM_OVER)
			return r;
	}
}

/* One object for each deployment that we stopped watching. */
static void leave_open(struct follow *f, int code, const char *why)
{
	OWN_BUF struct buf names = { 0 };
	for (size_t i = 0; i < f->n; i++) {
		struct progress *p = &f->items[i];
		char comment[160];
		if (p->done)
			continue;
		buf_addf(&names, "%s%s wait %s", names.len ? "; " : "", f->cli->self, p->service);
		if (!f->cli->line.opts.json)
			continue;
		snprintf(comment, sizeof comment, "%s: %s; deployment %lld goes on in the agent", p->service,
			why, (long long)p->id);
		OWN_JSON json_t *o = cli_outcome(p->service, "running", code, comment);
		json_object_set_new(o, "changed", json_true());
		json_object_set_new(o, "deployment", json_integer(p->id));
		cli_print_json(f->cli, o);
	}
	f->exit = cli_worse(f->exit, code);
	fprintf(f->cli->err, "%s: the deployment goes on in the agent\n  watch it again: %s\n", why,
		names.data ? names.data : "");
}

int follow_run(struct follow *f)
{
	struct cli *c = f->cli;
	OWN_FAULT struct cli_fault fault = { 0 };
	char limit[64];
	if (f->n == 0)
		return f->exit;
	if (cli_client(c, &fault) < 0)
		return cli_report(c, f->items[0].service, &fault);
	if (c->line.opts.given & OPTION_BIT(TIMEOUT))
		f->deadline_ms = clock_boot_ms() + (int64_t)c->line.opts.timeout_ms;
	f->heartbeat_ms = clock_boot_ms();
	signals_take(f);
	int r = watch(f, &fault);
	signals_return(f);
	live_erase(&f->live);
	if (r == STREAM_TIMEOUT) {
		snprintf(limit, sizeof limit, "not over within --timeout (%llu ms)",
			(unsigned long long)c->line.opts.timeout_ms);
		leave_open(f, CLI_TIMEOUT, limit);
	} else if (r == -EINTR) {
		leave_open(f, CLI_INTERRUPTED, "stopped watching");
	} else if (r < 0) {
		leave_open(f, CLI_NO_AGENT, fault.err.msg[0] ? fault.err.msg : "the agent stays away");
	}
	return f->exit;
}
