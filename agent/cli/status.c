/* status: all services as a table, or one on a page of its own; -w keeps looking. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/client.h"
#include "agent/cli/human.h"
#include "agent/cli/page.h"
#include "agent/cli/table.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

#define WATCH_MS 1000

static const struct {
	const char *state;
	enum term_style style;
} state_styles[] = {
	{ "serving", STYLE_GOOD },
	{ "deploying", STYLE_BUSY },
	{ "degraded", STYLE_BAD },
	{ "down", STYLE_BAD },
	{ "idle", STYLE_DIM },
};

static enum term_style state_style(const char *state)
{
	for (size_t i = 0; i < ARRAY_LEN(state_styles); i++)
		if (strcmp(state_styles[i].state, state) == 0)
			return state_styles[i].style;
	return STYLE_PLAIN;
}

const json_t *page_generation(const json_t *status, int64_t number)
{
	size_t i;
	json_t *g;
	json_array_foreach (json_object_get(status, "generations"), i, g)
		if (json_int(g, "number", -1) == number)
			return g;
	return NULL;
}

/* The row shows the generation that serves, or the first one while none does. */
static const json_t *main_generation(const json_t *status)
{
	const json_t *active = page_generation(status, json_int(status, "active", -1));
	return active ? active : json_array_get(json_object_get(status, "generations"), 0);
}

static void count_ready(const json_t *generation, size_t *ret_ready, size_t *ret_all)
{
	const json_t *replicas = json_object_get(generation, "replicas");
	size_t i;
	json_t *r;
	*ret_ready = 0;
	*ret_all = json_array_size(replicas);
	json_array_foreach (replicas, i, r)
		*ret_ready += json_flag(r, "ready", false);
}

static void health_cells(struct table *t, const json_t *generation)
{
	size_t ready, all;
	count_ready(generation, &ready, &all);
	if (all == 0) {
		table_cell(t, STYLE_PLAIN, NULL);
		table_cell(t, STYLE_PLAIN, NULL);
		return;
	}
	bool starting = strcmp(json_str(generation, "state", ""), "starting") == 0;
	table_cellf(t, STYLE_PLAIN, "%zu/%zu", ready, all);
	if (ready == all)
		table_cell(t, STYLE_GOOD, "ok");
	else
		table_cell(t, starting ? STYLE_BUSY : STYLE_BAD, starting ? "starting" : "failing");
}

/* ":80 :443" for addresses that mean every interface, else the whole address. */
static void listen_cell(struct table *t, const json_t *status)
{
	OWN_BUF struct buf text = { 0 };
	size_t i;
	json_t *l;
	json_array_foreach (json_object_get(status, "listeners"), i, l) {
		const char *address = json_str(l, "address", "");
		bool any = strncmp(address, "0.0.0.0:", 8) == 0;
		buf_addf(&text, "%s%s", i ? " " : "", any ? address + 7 : address);
	}
	table_cell(t, STYLE_PLAIN, text.data);
}

static int64_t connections(const json_t *status)
{
	int64_t sum = 0;
	size_t i;
	json_t *l;
	json_array_foreach (json_object_get(status, "listeners"), i, l)
		sum += json_int(l, "connections", 0);
	return sum;
}

/* A container that exited, or how often they had to be started again. */
static void note_trouble(const json_t *generation, struct buf *note)
{
	size_t i;
	json_t *r;
	json_array_foreach (json_object_get(generation, "replicas"), i, r) {
		const json_t *end = json_object_get(r, "exit");
		if (note->len == 0 && json_is_object(end) && !json_flag(r, "ready", false)) {
			page_exit(end, note);
			if (json_int(r, "restarts", 0) > 0)
				buf_addf(note, " x%lld", (long long)json_int(r, "restarts", 0));
		}
	}
}

static void note_cell(struct table *t, const json_t *status, const json_t *generation, int64_t now)
{
	OWN_BUF struct buf note = { 0 };
	const json_t *deployment = json_object_get(status, "deployment");
	const json_t *held = json_object_get(status, "held");
	int64_t standby = json_int(status, "standby", 0), until = 0;
	char age[HUMAN_MAX];
	note_trouble(generation, &note);
	if (note.len == 0 && json_is_object(deployment))
		buf_addf(&note, "%s: %s", json_str(deployment, "state", ""),
			json_str(deployment, "reason", ""));
	if (note.len == 0 && standby > 0) {
		buf_addf(&note, "%lld stands by", (long long)standby);
		if (human_parse_utc(json_str(status, "standby_until", NULL), &until) == 0 && until > now)
			buf_addf(&note, ", %s left", human_age(until - now, age));
	}
	if (json_is_object(held))
		buf_addf(&note, "%sspec of %lld held", note.len ? "; " : "",
			(long long)json_int(held, "generation", 0));
	table_cell(t, STYLE_DIM, note.data);
}

static void service_row(struct table *t, const struct term *term, const json_t *status, int64_t now)
{
	const json_t *g = main_generation(status);
	const char *state = json_str(status, "state", "?");
	int64_t since = 0;
	char age[HUMAN_MAX] = "", image[HUMAN_IMAGE_MAX];
	table_row(t);
	table_cell(t, STYLE_BOLD, json_str(status, "service", "?"));
	table_cell(t, state_style(state), state);
	if (g)
		table_cellf(t, STYLE_PLAIN, "%lld", (long long)json_int(g, "number", 0));
	else
		table_cell(t, STYLE_PLAIN, NULL);
	table_cell(t, STYLE_PLAIN, json_str(g, "slot", NULL));
	table_cell(t, STYLE_PLAIN, human_image(json_str(g, "image", ""), term->utf8, image));
	health_cells(t, g);
	table_cellf(t, STYLE_PLAIN, "%lld", (long long)connections(status));
	listen_cell(t, status);
	if (human_parse_utc(json_str(g, "since", NULL), &since) == 0)
		human_age(now - since, age);
	table_cell(t, STYLE_PLAIN, age);
	note_cell(t, status, g, now);
}

static int table_of_services(const struct cli *c, const json_t *answer, struct buf *out)
{
	static const struct table_column columns[] = {
		{ .name = "SERVICE" },
		{ .name = "STATE" },
		{ .name = "GEN", .right = true },
		{ .name = "SLOT", .wide = true },
		{ .name = "IMAGE" },
		{ .name = "READY" },
		{ .name = "HEALTH", .wide = true },
		{ .name = "CONNS", .right = true, .wide = true },
		{ .name = "LISTEN" },
		{ .name = "AGE", .right = true },
		{ .name = "NOTE", .cut = true },
	};
	OWN_TABLE struct table *t = table_new(columns, ARRAY_LEN(columns), &c->term_out);
	const json_t *services = json_object_get(answer, "services");
	size_t i;
	json_t *s;
	if (json_array_size(services) == 0)
		return buf_adds(out, "no services\n");
	json_array_foreach (services, i, s)
		service_row(t, &c->term_out, s, clock_wall_ms());
	return table_print(t, out);
}

/* One look: the text to show, or the API's own object. */
static int look(struct cli *c, const char *path, struct buf *out, struct cli_fault *f)
{
	OWN_BUF struct buf raw = { 0 };
	OWN_JSON json_t *answer = NULL;
	int e = cli_call_raw(c, "GET", path, &raw, &answer, f);
	if (e < 0)
		return e;
	if (c->line.opts.json)
		e = buf_addf(out, "%s\n", raw.data);
	else if (c->line.n_args > 0)
		page_status(answer, &c->term_out, clock_wall_ms(), out);
	else
		e = table_of_services(c, answer, out);
	if (e < 0) {
		f->exit = CLI_ERROR;
		err_set(&f->err, ENOMEM, "show the status");
	}
	return e;
}

/* Shows again whenever something changed; a terminal is repainted from the top. */
static int keep_looking(struct cli *c, const char *path)
{
	OWN_BUF struct buf before = { 0 };
	bool repaint = c->term_out.live && !c->line.opts.json;
	for (;;) {
		OWN_FAULT struct cli_fault f = { 0 };
		OWN_BUF struct buf now = { 0 };
		term_measure(c->out, &c->term_out);
		if (look(c, path, &now, &f) < 0)
			return cli_report(c, c->line.n_args ? c->line.args[0] : NULL, &f);
		bool same = before.data && strcmp(before.data, now.data) == 0;
		if (!same && repaint)
			fputs("\033[H\033[2J", c->out);
		if (!same)
			cli_print(c->out, &now);
		buf_done(&before);
		before = now;
		now = (struct buf){ 0 };
		client_sleep(c->client, WATCH_MS);
	}
}

int cli_status(struct cli *c)
{
	const char *service = c->line.n_args ? c->line.args[0] : NULL;
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_BUF struct buf out = { 0 };
	OWN_FREE char *path = service ? cli_service_path(service, "") : strdup("/v1/services");
	if (!path)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (c->line.opts.watch)
		return keep_looking(c, path);
	if (look(c, path, &out, &f) < 0)
		return cli_report(c, service, &f);
	cli_print(c->out, &out);
	return CLI_OK;
}
