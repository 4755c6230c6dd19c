#include "agent/service.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/parse.h"
#include "config/config.h"

struct service *service_find(struct agent *a, const char *name)
{
	struct service *s;
	HASH_FIND_STR(a->services, name, s);
	return s;
}

struct service *service_new(struct agent *a, const char *name)
{
	struct service *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->agent = a;
	s->next_generation = 1;
	snprintf(s->name, sizeof s->name, "%s", name);
	LIST_INIT(&s->generations);
	LIST_INIT(&s->drains);
	HASH_ADD_STR(a->services, name, s);
	return s;
}

void services_name(struct agent *a)
{
	OWN_STRV char **names = NULL;
	for (struct service *s = a->services; s; s = s->hh.next)
		if (!s->removed)
			strv_add(&names, s->name);
	if (a->driver && a->driver->set_names && a->host)
		a->driver->set_names(a->host, names);
}

void service_free(struct service *s)
{
	if (!s)
		return;
	uvx_timer_cancel(&s->standby_over);
	deployment_free(TAKE_PTR(s->deployment));
	queued_free(TAKE_PTR(s->queued));
	while (!LIST_EMPTY(&s->generations))
		gen_free(LIST_FIRST(&s->generations));
	for (struct drain *d; (d = LIST_FIRST(&s->drains));) {
		LIST_REMOVE(d, link);
		free(d);
	}
	HASH_DEL(s->agent->services, s);
	free(s->bound);
	free(s->held_reason);
	free(s);
}

struct generation *service_generation(struct service *s, uint32_t number)
{
	struct generation *g;
	LIST_FOREACH (g, &s->generations, link)
		if (g->number == number)
			return g;
	return NULL;
}

const char *service_free_slot(const struct service *s)
{
	return s->active && strcmp(s->active->slot, "blue") == 0 ? "green" : "blue";
}

void service_store(struct service *s)
{
	struct row_service r = { .name = s->name,
		.next_generation = s->next_generation,
		.active = s->active ? s->active->number : 0,
		.standby = s->standby ? s->standby->number : 0,
		.standby_until_boot_ms = s->standby_until_boot_ms,
		.boot_id = s->agent->boot_id,
		.held_digest = s->held_digest[0] ? s->held_digest : NULL,
		.held_reason = s->held_reason,
		.held_generation = s->held_generation,
		.held_since_ms = s->held_since_ms };
	store_put_service(s->agent->store, &r);
}

void generation_store(struct generation *g)
{
	OWN_JSON json_t *spec = cfg_to_json(g->spec);
	OWN_FREE char *text = spec ? json_canonical(spec) : NULL;
	struct row_generation r = { .service = g->service->name,
		.number = g->number,
		.digest = g->digest,
		.image = g->spec->container.image,
		.image_digest = g->image_digest,
		.slot = (char *)(uintptr_t)g->slot,
		.state = (char *)(uintptr_t)gen_state_name(g->state),
		.spec = text,
		.created_ms = g->created_ms,
		.since_ms = g->since_ms,
		.by = g->by,
		.source = g->source,
		.result = g->result,
		.reason = g->reason,
		.took_ms = g->took_ms };
	store_put_generation(g->service->agent->store, &r);
}

static int spec_of_row(const struct row_generation *row, struct spec **ret, struct err *err)
{
	struct diag_list diags = { 0 };
	int r = cfg_read(row->spec, strlen(row->spec), "record", NULL, ret, &diags);
	if (r < 0)
		err_say(err, EUCLEAN, "%s: record of generation %d can't be read: %s", row->service,
			(int)row->number, diags.n ? diags.items[0].text : "damaged");
	diag_done(&diags);
	return r < 0 ? -EUCLEAN : 0;
}

void service_digest_of(struct service *s, uint32_t number, char ret[DIGEST_LEN])
{
	struct row_generation row = { 0 };
	OWN_SPEC struct spec *spec = NULL;
	ret[0] = '\0';
	if (store_generation(s->agent->store, s->name, number, &row, NULL) == 0 && row.image_digest &&
		spec_of_row(&row, &spec, NULL) == 0 && cfg_digest(spec, row.image_digest, ret) < 0)
		ret[0] = '\0';
	row_generation_done(&row);
}

static int generation_of_row(struct service *s, struct row_generation *row, const char *slot,
	struct generation **ret, struct err *err)
{
	struct diag_list diags = { 0 };
	OWN_SPEC struct spec *spec = NULL;
	int r = cfg_read(row->spec, strlen(row->spec), "record", NULL, &spec, &diags);
	if (r < 0)
		err_say(err, EUCLEAN, "%s: record of generation %d can't be read: %s", s->name,
			(int)row->number, diags.n ? diags.items[0].text : "damaged");
	diag_done(&diags);
	struct generation *g = r == 0 ? gen_new(s, (uint32_t)row->number, slot, spec) : NULL;
	if (!g)
		return r < 0 ? -EUCLEAN : err_set(err, ENOMEM, "%s", s->name);
	snprintf(g->image_digest, sizeof g->image_digest, "%s", row->image_digest ? row->image_digest : "");
	/* Made anew rather than read: a newer teal knows more keys, and an unchanged file must stay
	 * unchanged. */
	if (cfg_digest(spec, g->image_digest, g->digest) < 0)
		snprintf(g->digest, sizeof g->digest, "%s", row->digest);
	gen_state_by_name(row->state, &g->state);
	g->created_ms = row->created_ms;
	g->since_ms = row->since_ms;
	g->took_ms = row->took_ms;
	g->by = TAKE_PTR(row->by);
	g->source = TAKE_PTR(row->source);
	g->result = TAKE_PTR(row->result);
	g->reason = TAKE_PTR(row->reason);
	*ret = g;
	return 0;
}

int service_revive(struct service *s, uint32_t number, struct generation **ret, struct err *err)
{
	struct row_generation row = { 0 };
	int r = store_generation(s->agent->store, s->name, number, &row, err);
	if (r < 0)
		return r;
	const char *slot = strcmp(row.slot, "green") == 0 ? "green" : "blue";
	bool lives = strcmp(row.state, gen_state_name(GEN_RETIRED)) != 0 &&
		     strcmp(row.state, gen_state_name(GEN_FAILED)) != 0;
	r = generation_of_row(s, &row, lives ? slot : service_free_slot(s), ret, err);
	row_generation_done(&row);
	return r;
}

static void commit(struct service *s)
{
	struct err why = { 0 };
	if (store_commit(s->agent->store, &why) < 0)
		log_error("%s: %s", s->name, why.msg);
}

void service_retire(struct service *s, struct generation *g, enum gen_state last)
{
	if (s->standby == g) {
		s->standby = NULL;
		uvx_timer_cancel(&s->standby_over);
	}
	g->last = last;
	gen_set_state(g, GEN_RETIRING);
	store_begin(s->agent->store);
	service_store(s);
	generation_store(g);
	commit(s);
	gen_destroy(g);
}

static void retired(struct service *s, struct generation *g)
{
	gen_set_state(g, g->last);
	if (s->routed == g)
		s->routed = NULL;
	store_begin(s->agent->store);
	generation_store(g);
	commit(s);
	gen_free(g);
	service_prune(s);
}

static void standby_over(void *arg)
{
	struct service *s = arg;
	struct generation *g = s->standby;
	if (!g)
		return;
	struct event e = { .service = s->name, .generation = g->number, .type = "generation.state" };
	events_add(s->agent->events, &e, "%s: generation %u has stood by long enough and is retired", s->name,
		g->number);
	service_retire(s, g, GEN_RETIRED);
}

void service_set_standby(struct service *s, struct generation *g, int64_t until_boot_ms)
{
	int64_t left = until_boot_ms - clock_boot_ms();
	s->standby = g;
	s->standby_until_boot_ms = until_boot_ms;
	gen_set_state(g, GEN_STANDBY);
	uvx_timer_start(s->agent->loop, left > 0 ? (uint64_t)left : 0, standby_over, s, &s->standby_over);
}

void service_replica_event(struct service *s, struct replica *r, const char *type)
{
	char how[REPLICA_EXIT_TEXT];
	struct event e = { .service = s->name, .generation = r->gen->number, .type = type };
	if (s->deployment)
		e.deployment = s->deployment->id;
	if (strcmp(type, "replica.exited") != 0) {
		e.data = json_pack("{s:s, s:i}", "id", r->id, "pid", (int)r->rt.pid);
		events_add(s->agent->events, &e, "%s: started, pid %d", r->id, (int)r->rt.pid);
		return;
	}
	e.data = json_pack("{s:s, s:i, s:i, s:b}", "id", r->id, "code", r->exit.code, "signal",
		r->exit.signal, "oom", r->exit.oom);
	events_add(s->agent->events, &e, "%s: %s", r->id, replica_exit_text(r, how));
}

static void readiness_event(struct service *s, struct generation *g, struct replica *r)
{
	bool ready = r->verdict == HC_READY;
	if (r->state != REPLICA_RUNNING || (!ready && r->verdict != HC_UNREADY))
		return;
	struct event e = { .service = s->name,
		.generation = g->number,
		.deployment = s->deployment ? s->deployment->id : 0,
		.type = ready ? "replica.ready" : "replica.unready" };
	events_add(s->agent->events, &e, "%s: %s (%s)", r->id, ready ? "ready" : "unready", r->answer.text);
}

void service_generation_event(
	struct service *s, struct generation *g, enum gen_event ev, struct replica *r, const struct err *why)
{
	struct deployment *d = s->deployment;
	if (s->agent->closing)
		return;
	if (ev == GEN_EV_CHANGED || ev == GEN_EV_EXITED) {
		if (ev == GEN_EV_CHANGED)
			readiness_event(s, g, r);
		if (s->routed == g && g->wanted)
			service_route_again(s);
	}
	if (ev == GEN_EV_STARTED && !g->strict)
		gen_check(g);
	if (ev == GEN_EV_GONE && g->state == GEN_RETIRING) {
		retired(s, g);
		if (d && d->state == DEP_REMOVING)
			action_generation_event(d, NULL, ev, NULL, NULL);
		return;
	}
	if (d && (g == d->to || g == d->from || d->kind == KIND_REMOVE))
		action_generation_event(d, g, ev, r, why);
}
