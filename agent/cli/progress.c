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
	json_decref(p->diff);
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
	json_decref(p->diff);
	p->diff = json_incref(json_object_get(d, "diff"));
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
