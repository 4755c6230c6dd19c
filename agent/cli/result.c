#include "agent/cli/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/human.h"
#include "base/own.h"

/* How each result reads. {s} service, {g} generation, {p} previous. */
static const struct verdict {
	const char *result;
	bool good;
	const char *text;
	bool took; /* say how long it took … */
	bool flip; /* … and how long the flip */
} verdicts[] = {
	{ "deployed", true, "{s} serves generation {g}{p}", true, true },
	{ "unchanged", true, "{s} is up to date at generation {g}", false, false },
	{ "rolled_back", true, "{s} is back on generation {g}{p}", false, true },
	{ "removed", true, "{s} is removed", true, false },
	{ "reverted", false, "Deployment reverted. ", false, false },
	{ "aborted", false, "Deployment aborted. ", false, false },
	{ "failed", false, "Deployment failed. ", false, false },
};

static const struct verdict *verdict_of(const json_t *r)
{
	const char *name = json_str(r, "result", "");
	for (size_t i = 0; i < ARRAY_LEN(verdicts); i++)
		if (strcmp(verdicts[i].result, name) == 0)
			return &verdicts[i];
	return NULL;
}

int result_exit(const json_t *r)
{
	const struct verdict *v = verdict_of(r);
	return (int)json_int(r, "exit", v ? (v->good ? CLI_OK : CLI_FAILED) : CLI_ERROR);
}

/* A value of the diff: strings as they are, anything else as JSON. */
static void add_value(struct buf *out, const json_t *v)
{
	OWN_FREE char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	term_add_foreign(out, json_is_string(v) ? json_string_value(v) : text ? text : "");
}

void diff_render(const json_t *diff, const struct term *t, const char *indent, struct buf *out)
{
	const char *key;
	json_t *pair;
	json_object_foreach ((json_t *)diff, key, pair) {
		const json_t *old = json_array_get(pair, 0), *new = json_array_get(pair, 1);
		bool had = old && !json_is_null(old), has = new && !json_is_null(new);
		buf_adds(out, indent);
		term_add(out, t,
			!had  ? STYLE_GOOD
			: has ? STYLE_BUSY
			      : STYLE_BAD,
			!had  ? "+"
			: has ? "~"
			      : "-");
		buf_adds(out, " ");
		term_add_foreign(out, key);
		buf_adds(out, "  ");
		if (had)
			add_value(out, old);
		if (had && has)
			buf_addf(out, " %s ", term_sign(t, SIGN_ARROW));
		if (has)
			add_value(out, new);
		buf_adds(out, "\n");
	}
}

static void add_phrase(struct buf *out, const char *phrase, const json_t *r)
{
	long long generation = json_int(r, "generation", 0), previous = json_int(r, "previous", 0);
	for (const char *p = phrase; *p; p++) {
		if (strncmp(p, "{s}", 3) == 0)
			buf_adds(out, json_str(r, "service", "?"));
		else if (strncmp(p, "{g}", 3) == 0)
			buf_addf(out, "%lld", generation);
		else if (strncmp(p, "{p}", 3) == 0 && previous > 0 && previous != generation)
			buf_addf(out, " (was %lld)", previous);
		if (*p == '{')
			p += 2;
		else
			buf_add(out, p, 1);
	}
}

static void add_serves(struct buf *out, const json_t *r)
{
	long long serves = json_int(r, "serves", 0);
	const char *service = json_str(r, "service", "?");
	bool reverted = strcmp(json_str(r, "result", ""), "reverted") == 0;
	if (serves <= 0)
		buf_addf(out, "Nothing serves %s.", service);
	else if (reverted)
		buf_addf(out, "%s serves generation %lld again.", service, serves);
	else
		buf_addf(out, "%s still serves generation %lld; no traffic was moved.", service, serves);
}

static void add_headline(
	struct buf *out, const struct verdict *v, const json_t *r, const struct term *t, bool good)
{
	char span[HUMAN_MAX];
	int64_t flip_us = json_int(r, "flip_us", 0);
	bool as_usual = v && v->good == good;
	if (as_usual)
		add_phrase(out, v->text, r);
	else
		buf_adds(out, json_str(r, "comment", "ended"));
	if (as_usual && !good)
		add_serves(out, r);
	if (as_usual && v->took)
		buf_addf(out, " after %s", human_span(json_int(r, "duration_ms", 0), span));
	if (as_usual && v->flip && flip_us > 0)
		buf_addf(out, "; the flip took %s", human_micros(flip_us, t->utf8, span));
}

/* A labelled row of the failure block: the label once, further lines under it. */
static void add_label(struct buf *out, const struct term *t, const char *label)
{
	buf_adds(out, "  ");
	term_addf(out, t, STYLE_BOLD, "%-6s", label);
	buf_adds(out, " ");
}

static void add_probe(struct buf *out, const struct term *t, const json_t *failure)
{
	const char *probe = json_str(failure, "probe", NULL);
	int64_t replica = json_int(failure, "replica", 0);
	if (!probe || !*probe)
		return;
	add_label(out, t, "probe");
	term_add_foreign(out, probe);
	if (replica > 0)
		buf_addf(out, "  (replica %lld)", (long long)replica);
	buf_adds(out, "\n");
}

static void add_log(struct buf *out, const struct term *t, const json_t *failure, int64_t generation)
{
	const json_t *log = json_object_get(failure, "log");
	size_t i, n = json_array_size(log);
	json_t *line;
	if (n == 0)
		return;
	add_label(out, t, "log");
	buf_addf(out, "last %zu line%s of generation %lld", n, n == 1 ? "" : "s", (long long)generation);
	if (json_int(failure, "replica", 0) > 0)
		buf_addf(out, ", replica %lld", (long long)json_int(failure, "replica", 0));
	buf_adds(out, "\n");
	json_array_foreach (log, i, line) {
		int64_t at = 0;
		char when[HUMAN_MAX];
		buf_adds(out, "         ");
		term_add(out, t, STYLE_DIM, term_sign(t, SIGN_BAR));
		if (human_parse_utc(json_str(line, "at", NULL), &at) == 0)
			buf_addf(out, " %s", human_clock(at, when));
		buf_adds(out, " ");
		term_add_foreign(out, json_str(line, "line", ""));
		buf_adds(out, "\n");
	}
}

/* The agent writes "teal logs web"; the user may have to say which agent. */
static void add_try(struct buf *out, const struct term *t, const json_t *failure, const char *self)
{
	const json_t *tries = json_object_get(failure, "try");
	size_t i;
	json_t *line;
	json_array_foreach (tries, i, line) {
		const char *text = json_string_value(line);
		if (i == 0)
			add_label(out, t, "try");
		else
			buf_adds(out, "         ");
		if (text && strncmp(text, "teal ", 5) == 0)
			buf_adds(out, self);
		term_add_foreign(out, text && strncmp(text, "teal ", 5) == 0 ? text + 4 : text ? text : "");
		buf_adds(out, "\n");
	}
}

static void add_failure(struct buf *out, const json_t *r, const struct term *t, const char *self)
{
	const json_t *failure = json_object_get(r, "failure");
	if (!json_is_object(failure))
		return;
	const char *step = json_str(failure, "step", "");
	buf_adds(out, "\n");
	add_label(out, t, "why");
	buf_addf(out, "%s%s", step, *step ? ": " : "");
	term_add_foreign(out, json_str(failure, "reason", "unknown"));
	buf_adds(out, "\n");
	add_probe(out, t, failure);
	add_log(out, t, failure, json_int(r, "generation", 0));
	add_try(out, t, failure, self);
}

static void add_warnings(struct buf *out, const json_t *r, const struct term *t)
{
	size_t i;
	json_t *w;
	json_array_foreach (json_object_get(r, "warnings"), i, w) {
		buf_adds(out, "  ");
		term_add(out, t, STYLE_BUSY, "warning:");
		buf_adds(out, " ");
		term_add_foreign(out, json_is_string(w) ? json_string_value(w) : "");
		buf_adds(out, "\n");
	}
}

static void add_next(struct buf *out, const json_t *r, const struct term *t, const char *self)
{
	const char *service = json_str(r, "service", "?");
	if (strcmp(json_str(r, "result", ""), "deployed") != 0)
		return;
	buf_adds(out, "  ");
	if (json_int(r, "previous", 0) > 0)
		term_addf(out, t, STYLE_DIM, "undo: %s rollback %s      ", self, service);
	term_addf(out, t, STYLE_DIM, "more: %s status %s", self, service);
	buf_adds(out, "\n");
}

void result_render(const json_t *r, const struct result_view *view, struct buf *out)
{
	const struct verdict *v = verdict_of(r);
	const struct term *t = view->term;
	bool good = view->exit == CLI_OK;
	char when[HUMAN_MAX];
	if (t->live) {
		term_add(out, t, good ? STYLE_GOOD : STYLE_BAD, term_sign(t, good ? SIGN_OK : SIGN_FAIL));
		buf_adds(out, " ");
	} else {
		buf_addf(out, "%s ", human_clock(view->now_ms, when));
	}
	add_headline(out, v, r, t, good);
	buf_adds(out, "\n");
	add_warnings(out, r, t);
	if (!good)
		add_failure(out, r, t, view->self);
	else if (t->live)
		add_next(out, r, t, view->self);
}
