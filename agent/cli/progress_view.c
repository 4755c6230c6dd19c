#include <stdio.h>
#include <string.h>

#include "agent/cli/human.h"
#include "agent/cli/progress.h"
#include "agent/cli/result.h"

/* "generation 6 -> 7" */
static void change(const struct progress *p, const char *arrow, struct buf *out)
{
	if (p->from > 0 && p->to > 0 && p->from != p->to)
		buf_addf(out, "generation %lld %s %lld", (long long)p->from, arrow, (long long)p->to);
	else if (p->to > 0)
		buf_addf(out, "generation %lld", (long long)p->to);
	else if (p->from > 0)
		buf_addf(out, "generation %lld", (long long)p->from);
}

static void stamp(const struct progress *p, int64_t at_ms, struct buf *out)
{
	char when[HUMAN_MAX];
	buf_addf(out, "%s %s: ", human_clock(at_ms, when), p->service ? p->service : "?");
}

/* One line, cut to the terminal; `right` (a time) stands at a fixed column where it fits. */
static void block_line(const struct term *t, const char *left, const char *right, struct buf *out)
{
	OWN_BUF struct buf line = { 0 };
	unsigned width = !t->width ? 100 : t->width < 32 ? 32 : t->width;
	unsigned column = width < 84 ? width - 10 : 74;
	term_clip(&line, left, *right ? column : width - 1);
	if (*right) {
		unsigned used = term_columns(line.data ? line.data : "");
		buf_addf(&line, "%*s", used < column ? (int)(column - used) + 1 : 1, "");
		term_add(&line, t, STYLE_DIM, right);
	}
	buf_add(out, line.data, line.len);
	buf_adds(out, "\n");
}

#define DIFF_LINES 8

/* What changes from one generation to the next; all of a first one would be news. Each line begins with
 * `indent`. */
static void add_diff(
	const struct progress *p, const struct term *t, const char *indent, bool clip, struct buf *out)
{
	OWN_BUF struct buf text = { 0 };
	unsigned lines = 0;
	if (p->from <= 0 || json_object_size(p->diff) == 0)
		return;
	diff_render(p->diff, t, "", &text);
	for (char *line = text.data, *end; (end = strchr(line, '\n')) && lines < DIFF_LINES;
		line = end + 1, lines++) {
		OWN_BUF struct buf whole = { 0 };
		*end = '\0';
		buf_addf(&whole, "%s%s", indent, line);
		if (clip)
			block_line(t, whole.data, "", out);
		else
			buf_addf(out, "%s\n", whole.data);
	}
	if (json_object_size(p->diff) > DIFF_LINES)
		buf_addf(out, "%sand %zu more\n", indent, json_object_size(p->diff) - DIFF_LINES);
}

static void open_line(struct progress *p, struct buf *out)
{
	const char *base = p->source ? strrchr(p->source, '/') : NULL;
	stamp(p, p->since_ms, out);
	buf_addf(out, "%s %lld", p->kind ? p->kind : "deploy", (long long)p->id);
	if (p->source && *p->source)
		buf_addf(out, " %s", base ? base + 1 : p->source);
	if (p->from > 0 || p->to > 0)
		buf_adds(out, ": ");
	change(p, "->", out);
	buf_adds(out, "\n");
	const struct term plain = { .utf8 = false };
	OWN_BUF struct buf indent = { 0 };
	stamp(p, p->since_ms, &indent);
	buf_adds(&indent, "  ");
	add_diff(p, &plain, indent.data, false, out);
	p->opened = true;
}

void progress_lines(struct progress *p, struct buf *out)
{
	if (!p->opened && p->kind)
		open_line(p, out);
	for (size_t i = 0; i < p->n_steps; i++) {
		struct progress_step *s = &p->steps[i];
		char took[HUMAN_MAX];
		if (s->told || s->status == STEP_RUN)
			continue;
		s->told = true;
		stamp(p, s->at_ms, out);
		buf_addf(
			out, "%s %s%s", s->name, s->status == STEP_OK ? "ok" : "FAILED", *s->text ? " " : "");
		term_add_foreign(out, s->text);
		if (s->took_ms > 0)
			buf_addf(out, " (%s)", human_span(s->took_ms, took));
		buf_adds(out, "\n");
	}
}

/* What it is doing now: the running step's text, or what the agent says it waits for. */
static const char *doing(const struct progress *p, const char **ret_step)
{
	const struct progress_step *last = p->n_steps ? &p->steps[p->n_steps - 1] : NULL;
	bool running = last && last->status == STEP_RUN;
	*ret_step = running ? last->name : "";
	return running && *last->text ? last->text : p->reason ? p->reason : "";
}

static int64_t elapsed(const struct progress *p, int64_t now_ms)
{
	const struct progress_step *last = p->n_steps ? &p->steps[p->n_steps - 1] : NULL;
	int64_t from = last && last->status == STEP_RUN ? last->at_ms : p->since_ms;
	return now_ms > from && from > 0 ? now_ms - from : 0;
}

void progress_heartbeat(const struct progress *p, int64_t now_ms, struct buf *out)
{
	const char *step, *text = doing(p, &step);
	if (p->done)
		return;
	stamp(p, now_ms, out);
	buf_addf(out, "%s%s", step, *step && *text ? " " : "");
	term_add_foreign(out, text);
	buf_addf(out, " (%llds)\n", (long long)(elapsed(p, now_ms) / 1000));
}

static void step_line(const struct progress *p, const struct progress_step *s, const struct term *t,
	int64_t now_ms, unsigned frame, struct buf *out)
{
	static const enum term_style styles[] = {
		[STEP_RUN] = STYLE_BUSY, [STEP_OK] = STYLE_GOOD, [STEP_FAIL] = STYLE_BAD
	};
	OWN_BUF struct buf left = { 0 };
	char took[HUMAN_MAX] = "";
	const char *sign = s->status == STEP_RUN ? term_spinner(t, frame)
						 : term_sign(t, s->status == STEP_OK ? SIGN_OK : SIGN_FAIL);
	const char *text = *s->text || s->status != STEP_RUN || !p->reason ? s->text : p->reason;
	buf_adds(&left, "  ");
	term_add(&left, t, styles[s->status], sign);
	buf_addf(&left, " %-8s ", s->name);
	term_add_foreign(&left, text);
	if (s->status != STEP_RUN)
		human_span(s->took_ms, took);
	else if (s->at_ms > 0 && now_ms - s->at_ms >= 1000)
		snprintf(took, sizeof took, "%llds", (long long)((now_ms - s->at_ms) / 1000));
	block_line(t, left.data, took, out);
}

static void block_title(const struct progress *p, const struct term *t, struct buf *out)
{
	OWN_BUF struct buf title = { 0 };
	term_add(&title, t, STYLE_BOLD, p->service ? p->service : "?");
	buf_adds(&title, "   ");
	if (p->kind && strcmp(p->kind, "deploy") != 0)
		buf_addf(&title, "%s   ", p->kind);
	change(p, term_sign(t, SIGN_ARROW), &title);
	block_line(t, title.data, "", out);
}

static void block_brief(
	const struct progress *p, const struct term *t, int64_t now_ms, unsigned frame, struct buf *out)
{
	OWN_BUF struct buf left = { 0 };
	char took[HUMAN_MAX];
	const char *step, *text = doing(p, &step);
	term_add(&left, t, STYLE_BUSY, term_spinner(t, frame));
	buf_addf(&left, " %-10s %-8s ", p->service ? p->service : "?", step);
	term_add_foreign(&left, text);
	snprintf(took, sizeof took, "%llds", (long long)(elapsed(p, now_ms) / 1000));
	block_line(t, left.data, took, out);
}

void progress_block(const struct progress *p, const struct term *t, int64_t now_ms, unsigned frame,
	bool brief, struct buf *out)
{
	if (brief) {
		block_brief(p, t, now_ms, frame, out);
		return;
	}
	block_title(p, t, out);
	add_diff(p, t, "  ", true, out);
	for (size_t i = 0; i < p->n_steps; i++)
		step_line(p, &p->steps[i], t, now_ms, frame, out);
	if (!p->done && (p->n_steps == 0 || p->steps[p->n_steps - 1].status != STEP_RUN)) {
		char none[] = "";
		struct progress_step wait = { .name = none, .text = p->reason ? p->reason : none };
		step_line(p, &wait, t, now_ms, frame, out);
	}
}
