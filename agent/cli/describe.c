/* describe: status, spec and last events on one page. */
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/human.h"
#include "agent/cli/page.h"
#include "agent/cli/stream.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

#define LAST_EVENTS 15

static int get(struct cli *c, const char *tail, json_t **ret, struct cli_fault *f)
{
	OWN_FREE char *path = cli_service_path(c->line.args[0], tail);
	return path ? cli_call(c, "GET", path, NULL, ret, f) : err_say(&f->err, 12, "out of memory");
}

/* The events of a service as an array, oldest first. */
static int collect(void *arg, const json_t *event)
{
	json_t *events = arg;
	json_array_append(events, (json_t *)event);
	if (json_array_size(events) > LAST_EVENTS)
		json_array_remove(events, 0);
	return 0;
}

static int get_all(struct cli *c, json_t *page, struct cli_fault *f)
{
	char tail[64];
	OWN_FREE char *path = NULL;
	json_t *status = NULL, *spec = NULL, *events = json_array();
	json_object_set_new(page, "events", events);
	int e = get(c, "", &status, f);
	if (e < 0)
		return e;
	json_object_set_new(page, "status", status);
	int64_t generation = json_int(status, "active", 0);
	if (c->line.opts.given & OPTION_BIT(GENERATION))
		generation = (int64_t)c->line.opts.generation;
	if (generation > 0) {
		snprintf(tail, sizeof tail, "/generations/%lld/spec", (long long)generation);
		e = get(c, tail, &spec, f);
		if (e < 0)
			return e;
	}
	json_object_set_new(page, "generation", json_integer(generation));
	json_object_set_new(page, "spec", spec ? spec : json_null());
	if (asprintf(&path, "/v1/events?service=%s&after=0", json_str(status, "service", "")) < 0)
		return -1;
	return stream_read(c, path, collect, events, f);
}

static void add_events(const json_t *events, struct buf *out)
{
	size_t i;
	json_t *event;
	json_array_foreach (events, i, event) {
		buf_adds(out, "    ");
		stream_event_line(event, clock_wall_ms(), out);
	}
}

int cli_describe(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *all = json_object();
	OWN_BUF struct buf out = { 0 };
	if (get_all(c, all, &f) < 0)
		return cli_report(c, c->line.args[0], &f);
	if (c->line.opts.json) {
		cli_print_json(c, all);
		return CLI_OK;
	}
	page_status(json_object_get(all, "status"), &c->term_out, clock_wall_ms(), &out);
	OWN_FREE char *spec = json_dumps(json_object_get(all, "spec"), JSON_INDENT(2) | JSON_ENCODE_ANY);
	buf_adds(&out, "\n");
	term_addf(&out, &c->term_out, STYLE_BOLD, "spec of generation %lld",
		(long long)json_int(all, "generation", 0));
	buf_addf(&out, "\n%s\n\n", spec ? spec : "");
	term_add(&out, &c->term_out, STYLE_BOLD, "last events");
	buf_adds(&out, "\n");
	add_events(json_object_get(all, "events"), &out);
	cli_print(c->out, &out);
	return CLI_OK;
}
