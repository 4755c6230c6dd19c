/* What the API shows: the shapes of docs/api.md, made from the live objects and the records. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"
#include "config/config.h"

json_t *json_time(int64_t wall_ms)
{
	char text[UTC_LEN];
	return wall_ms ? json_string(format_utc(wall_ms, text)) : json_null();
}

static json_t *number_or_null(int64_t n)
{
	return n ? json_integer(n) : json_null();
}

static json_t *text_or_null(const char *text)
{
	json_t *j = text ? json_string(text) : NULL;
	return j ? j : json_null();
}

/* A point of the boot-time clock as people read it. */
static json_t *boot_time(int64_t boot_ms)
{
	return boot_ms ? json_time(clock_wall_ms() + boot_ms - clock_boot_ms()) : json_null();
}

json_t *view_deployment(const struct deployment *d)
{
	json_t *j =
		json_pack("{s:I, s:s, s:s, s:s, s:b, s:s, s:s, s:O, s:n}", "id", (json_int_t)d->id, "service",
			d->service->name, "kind", dep_kind_name(d->kind), "state", dep_traits[d->state].name,
			"done", 0, "by", d->by, "reason", d->reason, "steps", d->steps, "result");
	json_object_set_new(j, "from", number_or_null(d->from ? d->from->number : 0));
	json_object_set_new(j, "to", number_or_null(d->to ? d->to->number : 0));
	json_object_set_new(j, "source", text_or_null(d->source));
	json_object_set_new(j, "diff", d->diff ? json_incref(d->diff) : json_object());
	json_object_set_new(j, "created", json_time(d->created_ms));
	json_object_set_new(j, "since", json_time(d->since_ms));
	json_object_set_new(j, "until", boot_time(d->deadline_boot_ms));
	json_object_set_new(j, "seq", json_integer(events_last(d->service->agent->events)));
	return j;
}

static json_t *parsed(const char *text, json_t *otherwise)
{
	json_t *j = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
	if (!j)
		return otherwise;
	json_decref(otherwise);
	return j;
}

json_t *view_deployment_row(const struct row_deployment *r)
{
	enum dep_state state = DEP_IDLE;
	dep_state_by_key(r->state, &state);
	json_t *j = json_pack("{s:I, s:s, s:s, s:s, s:b}", "id", (json_int_t)r->id, "service", r->service,
		"kind", r->kind, "state", dep_traits[state].name, "done", (int)(r->done != 0));
	json_object_set_new(j, "from", number_or_null(r->from_generation));
	json_object_set_new(j, "to", number_or_null(r->to_generation));
	json_object_set_new(j, "by", text_or_null(r->by));
	json_object_set_new(j, "source", text_or_null(r->source));
	json_object_set_new(j, "created", json_time(r->created_ms));
	json_object_set_new(j, "since", json_time(r->since_ms));
	json_object_set_new(j, "until", json_null());
	json_object_set_new(j, "reason", text_or_null(r->reason));
	json_object_set_new(j, "diff", parsed(r->diff, json_object()));
	json_object_set_new(j, "steps", parsed(r->steps, json_array()));
	json_object_set_new(j, "result", parsed(r->result, json_null()));
	return j;
}

json_t *view_generation_row(const struct row_generation *r)
{
	OWN_JSON json_t *spec = parsed(r->spec, json_object());
	json_t *j = json_pack("{s:I, s:s, s:s, s:s, s:I}", "number", (json_int_t)r->number, "slot", r->slot,
		"digest", r->digest, "state", r->state, "took_ms", (json_int_t)r->took_ms);
	json_object_set_new(j, "image", text_or_null(r->image));
	json_object_set_new(j, "image_digest", text_or_null(r->image_digest));
	json_object_set_new(j, "created", json_time(r->created_ms));
	json_object_set_new(j, "since", json_time(r->since_ms));
	json_object_set_new(j, "by", text_or_null(r->by));
	json_object_set_new(j, "source", text_or_null(r->source));
	json_object_set_new(j, "result", text_or_null(r->result));
	json_object_set_new(j, "reason", text_or_null(r->reason));
	json_t *labels = json_object_get(spec, "labels");
	json_object_set_new(j, "labels", labels ? json_incref(labels) : json_object());
	return j;
}

json_t *view_held(const struct service *s)
{
	if (!s || !s->held_digest[0])
		return json_null();
	return json_pack("{s:s, s:i, s:o, s:s}", "digest", s->held_digest, "generation",
		(int)s->held_generation, "since", json_time(s->held_since_ms), "reason",
		s->held_reason ? s->held_reason : "");
}

/* --- plan --- */

static void note(json_t *notes, const char *text)
{
	json_array_append_new(notes, json_string(text));
}

static json_t *plan_notes(const struct service *s, const struct spec *spec, enum verdict v)
{
	json_t *notes = json_array();
	bool stop_first = spec_stop_first(spec);
	if (v == VERDICT_FLIP)
		note(notes, "the standby generation has this very spec: one flip, nothing starts");
	if (v == VERDICT_DEPLOY && stop_first)
		note(notes, "stop-first: new connections wait in the proxy while the old generation stops "
			    "and the new one starts");
	if (v == VERDICT_DEPLOY && s->standby)
		note(notes, "the standby generation is retired when the new one starts: its slot is needed");
	if (v == VERDICT_HELD)
		note(notes, "this spec was rolled back and is on hold: change it, or apply with --force");
	if (spec->container.health.kind == SPEC_CHECK_NONE && spec->n_ports > 0)
		note(notes, "no healthcheck: a TCP connect to each port counts as healthy");
	if (spec->container.health.kind == SPEC_CHECK_NONE && spec->n_ports == 0)
		note(notes, "no healthcheck and no ports: a running process counts as healthy");
	return notes;
}

static json_t *memory_overlap(const struct service *s, const struct spec *spec, enum verdict v)
{
	if (v != VERDICT_DEPLOY && v != VERDICT_CREATE)
		return json_integer(0);
	if (spec->container.limits.memory_bytes == 0)
		return json_null();
	uint64_t sum = spec->container.limits.memory_bytes * spec->deploy.replicas;
	if (s && s->active && !spec_stop_first(spec))
		sum += s->active->spec->container.limits.memory_bytes * s->active->n;
	return json_integer((json_int_t)sum);
}

json_t *view_plan(struct agent *a, const struct apply *request)
{
	struct service *s = service_find(a, request->spec->name);
	const struct spec *spec = request->spec;
	const struct generation *now = s ? s->active : NULL;
	enum verdict v = service_judge(s, request->digest, false);
	bool starts = v == VERDICT_CREATE || v == VERDICT_DEPLOY;
	bool gap = v == VERDICT_DEPLOY && spec_stop_first(spec);
	int64_t next = v == VERDICT_NONE   ? now->number
		       : v == VERDICT_FLIP ? s->standby->number
		       : s		   ? s->next_generation
					   : 1;
	json_t *j = json_pack("{s:s, s:s, s:b, s:I, s:s, s:i, s:i, s:s, s:s}", "service", spec->name,
		"action", verdict_name(v), "changes", starts || v == VERDICT_FLIP, "generation",
		(json_int_t)next, "digest", request->digest, "starts",
		starts ? (int)spec->deploy.replicas : 0, "stops", starts && now ? (int)now->n : 0, "order",
		spec_stop_first(spec) ? "stop-first" : "start-first", "downtime",
		gap ? "new connections wait while the old generation stops and the new one starts" : "none");
	json_object_set_new(j, "current", number_or_null(now ? now->number : 0));
	json_object_set_new(
		j, "diff", v == VERDICT_NONE ? json_object() : cfg_diff(now ? now->spec : NULL, spec));
	json_object_set_new(j, "memory_overlap_bytes", memory_overlap(s, spec, v));
	json_object_set_new(j, "held", v == VERDICT_HELD ? view_held(s) : json_null());
	json_object_set_new(j, "notes", plan_notes(s, spec, v));
	return j;
}

/* --- status --- */

static json_t *exit_json(const struct replica *r)
{
	if (!r->has_exit)
		return json_null();
	return json_pack("{s:i, s:i, s:b, s:o}", "code", r->exit.code, "signal", r->exit.signal, "oom",
		r->exit.oom, "at", json_time(r->exit.at_ms));
}

static json_t *probe_json(const struct replica *r)
{
	const struct hc_answer *a = r->check ? hc_last(r->check) : &r->answer;
	if (a->at_ms == 0 && !a->text[0])
		return json_null();
	return json_pack("{s:b, s:s, s:o, s:i}", "ok", a->ok, "text", a->text, "at", json_time(a->at_ms),
		"took_us", (int)a->took_us);
}

static json_t *replica_json(const struct replica *r)
{
	char address[ADDRESS_MAX] = "";
	bool lives = r->state == REPLICA_RUNNING;
	json_t *ports = json_array();
	if (lives && r->rt.address.ss_family) {
		format_address(&r->rt.address, address);
		*strrchr(address, ':') = '\0';
	}
	for (size_t i = 0; lives && i < r->rt.n_ports; i++)
		json_array_append_new(ports, json_integer(r->rt.ports[i]));
	json_t *j = json_pack("{s:i, s:s, s:s, s:o, s:b, s:s, s:i, s:o, s:o}", "replica", (int)r->index, "id",
		r->id, "state", replica_state_name(r->state), "ports", ports, "ready",
		lives && r->verdict == HC_READY, "verdict", hc_verdict_name(r->verdict), "restarts",
		(int)r->restarts, "probe", probe_json(r), "exit", exit_json(r));
	json_object_set_new(j, "pid", number_or_null(lives ? r->rt.pid : 0));
	json_object_set_new(j, "address", text_or_null(address[0] ? address : NULL));
	json_object_set_new(j, "started", json_time(lives ? r->rt.started_ms : 0));
	json_object_set_new(j, "userns", json_boolean(lives && r->rt.userns));
	return j;
}

static json_t *generation_json(const struct generation *g)
{
	json_t *replicas = json_array();
	for (size_t i = 0; i < g->n; i++)
		json_array_append_new(replicas, replica_json(&g->replicas[i]));
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "number", (int)g->number, "slot",
		g->slot, "digest", g->digest, "image", g->spec->container.image, "image_digest",
		g->image_digest, "state", gen_state_name(g->state), "since", json_time(g->since_ms),
		"replicas", replicas);
}

static const char *service_state(const struct service *s)
{
	const struct deployment *d = s->deployment;
	if (d && d->kind != KIND_REMOVE && dep_traits[d->state].running)
		return "deploying";
	if (!s->active)
		return "idle";
	if (gen_ready(s->active) == 0)
		return "down";
	return gen_ready(s->active) < s->active->n ? "degraded" : "serving";
}

static json_t *listeners_json(const struct service *s)
{
	const struct generation *g = s->routed ? s->routed : s->active;
	json_t *list = json_array();
	for (size_t i = 0; g && i < g->spec->n_ports; i++) {
		const struct spec_port *p = &g->spec->ports[i];
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:i, s:s, s:i, s:b}", "name", p->name, "address",
				      p->published, "target", (int)p->target, "protocol", "tcp", "generation",
				      (int)g->number, "holding", s->holding));
	}
	return list;
}

struct status {
	struct agent *agent;
	char service[SPEC_NAME_MAX];
	json_t *json;
	unsigned waiting;
	void (*done)(void *arg, json_t *status);
	void *arg;
};

struct count {
	struct status *status;
	json_t *generation; /* borrowed from status->json, which lives longer */
};

static json_t *status_json(struct service *s)
{
	json_t *labels = json_object();
	const struct spec *spec = s->active ? s->active->spec : NULL;
	for (size_t i = 0; spec && i < spec->n_labels; i++)
		json_object_set_new(labels, spec->labels[i].key, json_string(spec->labels[i].value));
	json_t *j = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "service", s->name, "state", service_state(s),
		"held", view_held(s), "listeners", listeners_json(s), "labels", labels, "generations",
		json_array());
	json_object_set_new(j, "active", number_or_null(s->active ? s->active->number : 0));
	json_object_set_new(j, "standby", number_or_null(s->standby ? s->standby->number : 0));
	json_object_set_new(
		j, "standby_until", s->standby ? boot_time(s->standby_until_boot_ms) : json_null());
	json_object_set_new(j, "deployment", s->deployment ? view_deployment(s->deployment) : json_null());
	struct row_deployment last = { 0 };
	bool ended = store_last_deployment(s->agent->store, s->name, &last, NULL) == 0;
	json_object_set_new(j, "last", ended ? view_deployment_row(&last) : json_null());
	row_deployment_done(&last);
	return j;
}

static void status_part_done(struct status *st)
{
	if (--st->waiting > 0)
		return;
	st->done(st->arg, st->json);
	free(st);
}

static void counted(void *arg, int result, const struct px_counts *c)
{
	OWN_FREE struct count *count = arg;
	if (result == 0)
		json_object_set_new(count->generation, "connections",
			json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "active", (json_int_t)c->active,
				"total", (json_int_t)c->total, "connect_errors",
				(json_int_t)c->connect_errors, "resets", (json_int_t)c->resets, "retries",
				(json_int_t)c->retries, "bytes_in", (json_int_t)c->bytes_in, "bytes_out",
				(json_int_t)c->bytes_out));
	status_part_done(count->status);
}

static void status_tick(void *arg)
{
	status_part_done(arg);
}

void view_status(struct service *s, void (*done)(void *arg, json_t *status), void *arg)
{
	struct status *st = calloc(1, sizeof *st);
	struct generation *g;
	if (!st) {
		done(arg, NULL);
		return;
	}
	*st = (struct status){
		.agent = s->agent, .json = status_json(s), .waiting = 1, .done = done, .arg = arg
	};
	json_t *list = json_object_get(st->json, "generations");
	LIST_FOREACH (g, &s->generations, link) {
		json_t *j = generation_json(g);
		struct count *c = calloc(1, sizeof *c);
		json_array_append_new(list, j);
		json_object_set_new(j, "connections",
			json_pack("{s:i, s:i, s:i, s:i}", "active", 0, "total", 0, "connect_errors", 0,
				"resets", 0));
		if (!c)
			continue;
		*c = (struct count){ st, j };
		st->waiting++;
		if (px_count(s->agent->proxy, s->name, g->number, counted, c, NULL) < 0) {
			st->waiting--;
			free(c);
		}
	}
	if (uvx_defer(s->agent->loop, status_tick, st) < 0)
		status_tick(st);
}
