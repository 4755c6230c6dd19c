#include "agent/cli/progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/human.h"
#include "base/own.h"

static void step_done(struct progress_step *s)
{
	free(s->name);
	free(s->text);
}

void progress_done(struct progress *p)
{
	for (size_t i = 0; i < p->n_steps; i++)
		step_done(&p->steps[i]);
	free(p->steps);
	free(p->service);
	free(p->kind);
	free(p->source);
	free(p->reason);
	json_decref(p->result);
	*p = (struct progress){ 0 };
}

/* Replaces an owned text; a NULL value leaves it. */
static int set_text(char **to, const char *value)
{
	if (!value)
		return 0;
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static enum step_status status_of(const char *name)
{
	return strcmp(name, "ok") == 0 ? STEP_OK : strcmp(name, "fail") == 0 ? STEP_FAIL : STEP_RUN;
}

static int step_set(struct progress_step *s, const json_t *step)
{
	s->status = status_of(json_str(step, "status", "run"));
	s->took_ms = json_int(step, "took_ms", 0);
	human_parse_utc(json_str(step, "at", NULL), &s->at_ms);
	if (!s->name && set_text(&s->name, json_str(step, "step", "?")) < 0)
		return -ENOMEM;
	return set_text(&s->text, json_str(step, "text", ""));
}

/* Steps come in order; the same name again is the same step going on, unless that one has ended. */
static int step_put(struct progress *p, const json_t *step)
{
	const char *name = json_str(step, "step", "?");
	if (p->n_steps > 0) {
		struct progress_step *last = &p->steps[p->n_steps - 1];
		if (last->status == STEP_RUN && strcmp(last->name, name) == 0)
			return step_set(last, step);
	}
	if (vec_reserve(&p->steps, &p->cap_steps, p->n_steps + 1, sizeof *p->steps) < 0)
		return -ENOMEM;
	p->steps[p->n_steps] = (struct progress_step){ 0 };
	return step_set(&p->steps[p->n_steps++], step);
}

static int finish(struct progress *p, const json_t *result)
{
	p->done = true;
	json_decref(p->result);
	p->result = json_is_object(result) ? json_deep_copy(result) : NULL;
	return 0;
}

static int load_steps(struct progress *p, const json_t *steps)
{
	size_t i;
	json_t *step;
	json_array_foreach (steps, i, step) {
		int e = i < p->n_steps ? step_set(&p->steps[i], step) : step_put(p, step);
		if (e < 0)
			return e;
	}
	return 0;
}

int progress_load(struct progress *p, const json_t *d)
{
	p->from = json_int(d, "from", p->from);
	p->to = json_int(d, "to", p->to);
	p->seq = json_int(d, "seq", p->seq);
	human_parse_utc(json_str(d, "created", json_str(d, "since", NULL)), &p->since_ms);
	if (set_text(&p->service, json_str(d, "service", NULL)) < 0 ||
		set_text(&p->kind, json_str(d, "kind", NULL)) < 0 ||
		set_text(&p->source, json_str(d, "source", NULL)) < 0 ||
		set_text(&p->reason, json_str(d, "reason", NULL)) < 0)
		return -ENOMEM;
	int e = load_steps(p, json_object_get(d, "steps"));
	if (e == 0 && json_flag(d, "done", false))
		e = finish(p, json_object_get(d, "result"));
	return e;
}

int progress_event(struct progress *p, const json_t *event)
{
	int64_t seq = json_int(event, "seq", 0);
	const char *type = json_str(event, "type", "");
	if (json_int(event, "deployment", -1) != p->id || (seq > 0 && seq <= p->seq))
		return 0;
	p->seq = seq > p->seq ? seq : p->seq;
	if (strcmp(type, "deployment.step") == 0)
		return step_put(p, json_object_get(event, "data"));
	if (strcmp(type, "deployment.done") == 0)
		return finish(p, json_object_get(event, "data"));
	if (strcmp(type, "deployment.state") == 0) {
		const json_t *data = json_object_get(event, "data");
		return set_text(&p->reason, json_str(data, "reason", json_str(data, "to", NULL)));
	}
	return 0;
}

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

/* One line, cut to the terminal; `right` (a time) stands at a fixed column where it fits. */
static void block_line(const struct term *t, const char *left, const char *right, struct buf *out)
{
	OWN_BUF struct buf line = { 0 };
	unsigned width = t->width ? t->width : 100, column = width < 84 ? width - 10 : 74;
	term_clip(&line, left, *right && column > 20 ? column : width - 1);
	if (*right) {
		unsigned used = term_columns(line.data ? line.data : "");
		buf_addf(&line, "%*s", used < column ? (int)(column - used) + 1 : 1, "");
		term_add(&line, t, STYLE_DIM, right);
	}
	buf_add(out, line.data, line.len);
	buf_adds(out, "\n");
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
	for (size_t i = 0; i < p->n_steps; i++)
		step_line(p, &p->steps[i], t, now_ms, frame, out);
	if (!p->done && (p->n_steps == 0 || p->steps[p->n_steps - 1].status != STEP_RUN)) {
		char none[] = "";
		struct progress_step wait = { .name = none, .text = p->reason ? p->reason : none };
		step_line(p, &wait, t, now_ms, frame, out);
	}
}
