#include <stdlib.h>

#include "agent/cli/human.h"
#include "agent/cli/stream.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

struct eventing {
	struct cli *c;
	int64_t seq;	  /* seen up to here */
	int64_t since_ms; /* older ones are not shown */
};

static char *next_path(void *arg)
{
	const struct eventing *e = arg;
	struct buf path = { 0 };
	buf_addf(&path, "/v1/events?after=%lld", (long long)e->seq);
	if (e->c->line.n_args > 0)
		buf_addf(&path, "&service=%s", e->c->line.args[0]);
	if (e->c->line.opts.follow)
		buf_adds(&path, "&follow=1");
	return buf_take(&path);
}

static int show(void *arg, const json_t *event)
{
	struct eventing *e = arg;
	OWN_BUF struct buf line = { 0 };
	int64_t at = INT64_MAX;
	e->seq = json_int(event, "seq", e->seq);
	human_parse_utc(json_str(event, "at", NULL), &at);
	if (at < e->since_ms)
		return 0;
	if (e->c->line.opts.json) {
		cli_print_json(e->c, event);
		return 0;
	}
	stream_event_line(event, clock_wall_ms(), &line);
	cli_print(e->c->out, &line);
	return 0;
}

int cli_events(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	struct eventing e = { .c = c };
	if (c->line.opts.given & OPTION_BIT(SINCE))
		e.since_ms = clock_wall_ms() - (int64_t)c->line.opts.since_ms;
	const struct stream_source source = { .path = next_path, .each = show, .arg = &e };
	OWN_FREE char *path = next_path(&e);
	int r = c->line.opts.follow ? stream_follow(c, &source, &f) : stream_read(c, path, show, &e, &f);
	return r < 0 ? cli_report(c, c->line.n_args ? c->line.args[0] : NULL, &f) : CLI_OK;
}
