#include <stdlib.h>
#include <string.h>

#include "agent/cli/human.h"
#include "agent/cli/stream.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

#define FOLLOW_TAIL 100

struct logging {
	struct cli *c;
	int64_t last_ms;	     /* of the newest line shown; 0 = none yet */
	int64_t generation, replica; /* of the first line shown */
	bool prefix;		     /* more than one container writes */
};

static void add_number(
	struct buf *path, const struct cli *c, uint32_t option, const char *name, uint64_t value)
{
	if (c->line.opts.given & option)
		buf_addf(path, "&%s=%llu", name, (unsigned long long)value);
}

/* After a break the stream goes on behind the last line that was shown. */
static char *next_path(void *arg)
{
	const struct logging *l = arg;
	const struct cli_options *o = &l->c->line.opts;
	struct buf path = { 0 };
	OWN_FREE char *base = cli_service_path(l->c->line.args[0], "/logs");
	buf_addf(&path, "%s?follow=%d", base ? base : "", o->follow);
	add_number(&path, l->c, OPTION_BIT(GENERATION), "generation", o->generation);
	add_number(&path, l->c, OPTION_BIT(REPLICA), "replica", o->replica);
	if (l->last_ms > 0)
		buf_addf(&path, "&since_ms=%lld", (long long)l->last_ms + 1);
	else if (o->given & OPTION_BIT(SINCE))
		buf_addf(&path, "&since_ms=%lld", (long long)(clock_wall_ms() - (int64_t)o->since_ms));
	if (l->last_ms == 0 && (o->given & OPTION_BIT(LINES)))
		buf_addf(&path, "&tail=%llu", (unsigned long long)o->lines);
	else if (l->last_ms == 0 && o->follow && !(o->given & OPTION_BIT(SINCE)))
		buf_addf(&path, "&tail=%d", FOLLOW_TAIL);
	return buf_take(&path);
}

/* Once a second container has written, every line says which one it is of. */
static void watch_sources(struct logging *l, int64_t generation, int64_t replica)
{
	if (l->generation == 0) {
		l->generation = generation;
		l->replica = replica;
	}
	l->prefix = l->prefix || generation != l->generation || replica != l->replica;
}

static int show(void *arg, const json_t *line)
{
	struct logging *l = arg;
	struct cli *c = l->c;
	OWN_BUF struct buf out = { 0 };
	int64_t generation = json_int(line, "generation", 0), replica = json_int(line, "replica", 0);
	human_parse_utc(json_str(line, "at", NULL), &l->last_ms);
	if (c->line.opts.json) {
		cli_print_json(c, line);
		return 0;
	}
	watch_sources(l, generation, replica);
	if (l->prefix)
		term_addf(&out, &c->term_out, STYLE_DIM, "%lld/%lld %s ", (long long)generation,
			(long long)replica, term_sign(&c->term_out, SIGN_BAR));
	if (c->line.opts.timestamps)
		buf_addf(&out, "%s ", json_str(line, "at", ""));
	buf_addf(&out, "%s\n", json_str(line, "line", ""));
	cli_print(c->out, &out);
	return 0;
}

/* Do several containers match what was asked for? Then even the first line says whose it is. */
static int count_containers(struct cli *c, size_t *ret, struct cli_fault *f)
{
	OWN_JSON json_t *status = NULL;
	OWN_FREE char *path = cli_service_path(c->line.args[0], "");
	size_t i, k, n = 0;
	json_t *g, *r;
	int e = cli_call(c, "GET", path ? path : "/", NULL, &status, f);
	if (e < 0)
		return e;
	json_array_foreach (json_object_get(status, "generations"), i, g)
		json_array_foreach (json_object_get(g, "replicas"), k, r) {
			bool other_generation = (c->line.opts.given & OPTION_BIT(GENERATION)) &&
						json_int(g, "number", 0) != (int64_t)c->line.opts.generation;
			bool other_replica = (c->line.opts.given & OPTION_BIT(REPLICA)) &&
					     json_int(r, "replica", 0) != (int64_t)c->line.opts.replica;
			n += !other_generation && !other_replica;
		}
	*ret = n;
	return 0;
}

int cli_logs(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	struct logging l = { .c = c };
	size_t n = 0;
	if (count_containers(c, &n, &f) < 0)
		return cli_report(c, c->line.args[0], &f);
	l.prefix = n > 1;
	const struct stream_source source = { .path = next_path, .each = show, .arg = &l };
	OWN_FREE char *path = next_path(&l);
	int r = c->line.opts.follow ? stream_follow(c, &source, &f) : stream_read(c, path, show, &l, &f);
	return r < 0 ? cli_report(c, c->line.args[0], &f) : CLI_OK;
}
