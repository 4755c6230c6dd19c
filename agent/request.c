/* Orders from people and machines, turned into deployments. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "config/config.h"

static const char *const verdict_names[] = {
	[VERDICT_NONE] = "none",
	[VERDICT_CREATE] = "create",
	[VERDICT_DEPLOY] = "deploy",
	[VERDICT_FLIP] = "flip",
	[VERDICT_HELD] = "held",
};

const char *verdict_name(enum verdict v)
{
	return verdict_names[v];
}

static bool flippable(const struct service *s, const struct generation *g)
{
	return g && g == s->standby && g->n > 0 && gen_ready(g) == g->n;
}

enum verdict service_judge(const struct service *s, const char *digest, bool force)
{
	if (!s)
		return VERDICT_CREATE;
	if (s->held_digest[0] && strcmp(s->held_digest, digest) == 0 && !force)
		return VERDICT_HELD;
	if (s->active && strcmp(s->active->digest, digest) == 0 && !force)
		return VERDICT_NONE;
	if (!force && s->standby && strcmp(s->standby->digest, digest) == 0 && flippable(s, s->standby))
		return VERDICT_FLIP;
	return s->active ? VERDICT_DEPLOY : VERDICT_CREATE;
}

void queued_free(struct queued *q)
{
	if (!q)
		return;
	spec_unref(q->spec);
	free(q->by);
	free(q->source);
	free(q);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static struct generation *new_generation(struct service *s, const struct apply *request)
{
	struct generation *g = gen_new(s, s->next_generation, service_free_slot(s), request->spec);
	if (!g)
		return NULL;
	s->next_generation++;
	memcpy(g->digest, request->digest, sizeof g->digest);
	memcpy(g->image_digest, request->image_digest, sizeof g->image_digest);
	g->by = copy(request->by);
	g->source = copy(request->source);
	return g;
}

/* d becomes the service's deployment and takes its first step, which records it: one commit between the order
 * and the flip. What can't be recorded fails as a deployment does, with its reason. */
static int64_t begin(struct service *s, struct deployment *d, enum dep_event ev)
{
	s->deployment = d;
	deployment_step(s, ev, NULL);
	return d->id;
}

static int start_deployment(
	struct service *s, const struct apply *request, int64_t id, int64_t *ret_id, struct err *err)
{
	bool flip = service_judge(s, request->digest, request->force) == VERDICT_FLIP;
	struct deployment *d = deployment_new(s, KIND_DEPLOY, request->by, request->source);
	struct generation *g = d ? (flip ? s->standby : new_generation(s, request)) : NULL;
	if (!g) {
		deployment_free(d);
		return err_set(err, ENOMEM, "%s", s->name);
	}
	d->id = id;
	d->from = s->active;
	d->to = g;
	d->diff = cfg_diff(s->active ? s->active->spec : NULL, request->spec);
	*ret_id = begin(s, d, flip ? DEP_EV_FLIP : DEP_EV_DEPLOY);
	return 0;
}

/* Ends a queued deployment that will never start. */
static void drop_queued(struct service *s, const char *why)
{
	struct queued *q = TAKE_PTR(s->queued);
	if (!q)
		return;
	struct deployment *d = deployment_new(s, KIND_DEPLOY, q->by, q->source);
	if (d) {
		struct err reason = { 0 };
		d->id = q->deployment;
		d->from = s->active;
		err_say(&reason, ECANCELED, "%s", why);
		deployment_fail(d, DEP_EV_ABORT, &reason);
		deployment_drop(d);
	}
	queued_free(q);
}

static char *request_text(const struct apply *request)
{
	OWN_JSON json_t *j = json_pack("{s:o, s:s, s:s, s:b}", "spec", cfg_to_json(request->spec), "digest",
		request->digest, "image_digest", request->image_digest, "force", request->force);
	return j ? json_canonical(j) : NULL;
}

int service_requeue(struct service *s, const struct row_deployment *row, struct err *err)
{
	OWN_JSON json_t *j = NULL;
	OWN_SPEC struct spec *spec = NULL;
	struct diag_list diags = { 0 };
	int r = row->request ? json_parse(row->request, strlen(row->request), "request", &j, err) : -EINVAL;
	OWN_FREE char *text = r == 0 ? json_canonical(json_object_get(j, "spec")) : NULL;
	r = text ? cfg_read(text, strlen(text), "request", NULL, &spec, &diags) : -EINVAL;
	diag_done(&diags);
	struct queued *q = r == 0 ? calloc(1, sizeof *q) : NULL;
	if (!q)
		return err_say(
			err, EUCLEAN, "%s: queued deployment %" PRId64 " can't be read", s->name, row->id);
	*q = (struct queued){ .deployment = row->id,
		.spec = TAKE_PTR(spec),
		.force = json_flag(j, "force", false),
		.by = copy(row->by),
		.source = copy(row->source) };
	snprintf(q->digest, sizeof q->digest, "%s", json_str(j, "digest", ""));
	snprintf(q->image_digest, sizeof q->image_digest, "%s", json_str(j, "image_digest", ""));
	queued_free(s->queued);
	s->queued = q;
	return 0;
}

static int enqueue(struct service *s, const struct apply *request, int64_t *ret_id, struct err *err)
{
	struct deployment *d = deployment_new(s, KIND_DEPLOY, request->by, request->source);
	struct queued *q = calloc(1, sizeof *q);
	int r = d && q ? 0 : err_set(err, ENOMEM, "%s", s->name);
	if (r == 0) {
		snprintf(d->reason, sizeof d->reason, "waits for the deployment that is under way");
		d->request = request_text(request);
		store_begin(s->agent->store);
		deployment_store(d);
		r = store_commit(s->agent->store, err);
	}
	if (r == 0) {
		*q = (struct queued){ .deployment = d->id,
			.spec = spec_ref(request->spec),
			.force = request->force,
			.by = copy(request->by),
			.source = copy(request->source) };
		memcpy(q->digest, request->digest, sizeof q->digest);
		memcpy(q->image_digest, request->image_digest, sizeof q->image_digest);
		*ret_id = d->id;
		drop_queued(s, "superseded by a newer spec");
		s->queued = TAKE_PTR(q);
	}
	deployment_free(d);
	free(q);
	return r;
}

void service_dequeue(struct service *s)
{
	struct queued *q = TAKE_PTR(s->queued);
	if (!q || s->deployment) {
		s->queued = q;
		return;
	}
	struct apply request = { .spec = q->spec, .force = q->force, .by = q->by, .source = q->source };
	struct err why = { 0 };
	int64_t id;
	memcpy(request.digest, q->digest, sizeof request.digest);
	memcpy(request.image_digest, q->image_digest, sizeof request.image_digest);
	if (start_deployment(s, &request, q->deployment, &id, &why) < 0)
		log_error("%s: queued deployment: %s", s->name, why.msg);
	queued_free(q);
}

static int refuse_removing(const struct service *s, struct err *err)
{
	return err_say(err, EBUSY, "%s is being removed", s->name);
}

/* While a deployment runs: before the flip a newer spec replaces it; later it waits for its end. */
static int supersede(struct service *s, const struct apply *request, int64_t *ret_id, struct err *err)
{
	struct deployment *d = s->deployment;
	struct err why = { 0 };
	if (s->removed)
		return refuse_removing(s, err);
	int r = enqueue(s, request, ret_id, err);
	if (r == 0 && dep_traits[d->state].supersedable && !d->failing) {
		err_say(&why, ECANCELED, "superseded by a newer spec");
		deployment_step(s, DEP_EV_ABORT, &why);
	}
	return r;
}

static int held_error(const struct service *s, struct err *err)
{
	return err_say(err, EPERM,
		"%s: this spec is that of generation %u, which is on hold: %s. Change the spec, or apply it "
		"with --force",
		s->name, s->held_generation, s->held_reason ? s->held_reason : "rolled back");
}

int service_apply(
	struct agent *a, const struct apply *request, int64_t *ret_id, json_t **ret_result, struct err *err)
{
	struct service *s = service_find(a, request->spec->name);
	bool fresh = !s;
	int64_t id;
	if (!s && !(s = service_new(a, request->spec->name)))
		return err_set(err, ENOMEM, "%s", request->spec->name);
	if (fresh)
		services_name(a);
	struct deployment *d = s->deployment;
	if (d && !d->failing && d->to && strcmp(d->to->digest, request->digest) == 0 && !s->queued &&
		!request->force) {
		*ret_id = d->id; /* the same again: join the one that is under way */
		return 0;
	}
	int r;
	if (d) {
		if (service_judge(s, request->digest, request->force) == VERDICT_HELD)
			return held_error(s, err);
		return supersede(s, request, ret_id, err);
	}
	switch (service_judge(s, request->digest, request->force)) {
	case VERDICT_HELD: return held_error(s, err);
	case VERDICT_NONE: *ret_result = result_unchanged(s, s->active); return 1;
	case VERDICT_CREATE:
	case VERDICT_DEPLOY:
	case VERDICT_FLIP: break;
	}
	r = service_bind(s, request->spec, err);
	if (r == 0)
		r = start_deployment(s, request, 0, &id, err);
	if (r == 0)
		*ret_id = id;
	else if (fresh) {
		px_forget(a->proxy, s->name);
		service_free(s);
		services_name(a);
	}
	return r;
}

int service_restart(struct service *s, const char *by, int64_t *ret_id, struct err *err)
{
	struct generation *g = s->active;
	if (!g)
		return err_say(err, ENOENT, "%s: nothing serves", s->name);
	if (s->deployment)
		return err_say(
			err, EBUSY, "%s: deployment %" PRId64 " is under way", s->name, s->deployment->id);
	struct apply request = { .spec = g->spec, .force = true, .by = by, .source = g->source };
	memcpy(request.digest, g->digest, sizeof request.digest);
	memcpy(request.image_digest, g->image_digest, sizeof request.image_digest);
	return start_deployment(s, &request, 0, ret_id, err);
}

struct previous {
	struct service *service;
	uint32_t below, found;
};

/* Newest first: the first generation below the active one that once served and isn't on hold. */
static void consider_previous(void *arg, const struct row_generation *r)
{
	struct previous *p = arg;
	bool served = r->result && (strcmp(r->result, "deployed") == 0 || strcmp(r->result, "reverted") == 0);
	if (p->found || r->number >= p->below || !served)
		return;
	if (r->digest && strcmp(r->digest, p->service->held_digest) == 0)
		return;
	p->found = (uint32_t)r->number;
}

static int find_target(struct service *s, uint32_t to, uint32_t *ret, struct err *err)
{
	struct previous p = { .service = s, .below = s->active->number };
	if (to == s->active->number)
		return err_say(err, EINVAL, "%s: generation %u serves already", s->name, to);
	if (to == 0) {
		int r = store_generations(s->agent->store, s->name, consider_previous, &p, err);
		if (r < 0)
			return r;
		to = p.found;
	}
	if (to == 0)
		return err_say(err, ENOENT,
			"%s: there is no earlier generation that served; see `teal history %s`", s->name,
			s->name);
	*ret = to;
	return 0;
}

/* A rollback while a deployment runs means that deployment: back to what served before it. */
static int rollback_running(struct service *s, uint32_t to, const char *by, int64_t *ret_id, struct err *err)
{
	struct deployment *d = s->deployment;
	struct err why = { 0 };
	if (s->removed)
		return refuse_removing(s, err);
	if (to && !(d->from && d->from->number == to))
		return err_say(err, EBUSY,
			"%s: deployment %" PRId64 " is under way; wait for its end, or abort it", s->name,
			d->id);
	if (!d->from)
		return err_say(err, ENOENT,
			"%s: nothing served before generation %u; use `teal abort` or `teal rm`", s->name,
			d->to->number);
	drop_queued(s, "a rollback was asked for");
	err_say(&why, ECANCELED, "rolled back by %s", by);
	*ret_id = d->id;
	deployment_step(s, DEP_EV_ROLLBACK, &why);
	return 0;
}

int service_rollback(struct service *s, uint32_t to, const char *by, int64_t *ret_id, struct err *err)
{
	struct generation *g = NULL;
	uint32_t target = 0;
	if (s->deployment)
		return rollback_running(s, to, by, ret_id, err);
	if (!s->active)
		return err_say(err, ENOENT, "%s: nothing serves", s->name);
	int r = find_target(s, to, &target, err);
	if (r < 0)
		return r;
	bool warm = s->standby && s->standby->number == target && flippable(s, s->standby);
	if ((g = service_generation(s, target)) == NULL)
		r = service_revive(s, target, &g, err);
	else if (g->state == GEN_RETIRING)
		r = err_say(
			err, EBUSY, "%s: generation %u is just being removed; try again", s->name, target);
	if (r < 0)
		return r;
	if (!gen_exists(g)) /* retired until now: from here on its record must say that it lives again */
		gen_set_state(g, GEN_PENDING);
	struct deployment *d = deployment_new(s, KIND_ROLLBACK, by, NULL);
	if (!d)
		return err_set(err, ENOMEM, "%s", s->name);
	d->from = s->active;
	d->to = g;
	d->diff = cfg_diff(s->active->spec, g->spec);
	*ret_id = begin(s, d, warm ? DEP_EV_FLIP : DEP_EV_DEPLOY);
	return 0;
}

int service_abort(struct service *s, const char *by, int64_t *ret_id, struct err *err)
{
	struct deployment *d = s->deployment;
	struct err why = { 0 };
	if (!d)
		return err_say(err, ENOENT, "%s: no deployment is under way", s->name);
	if (d->state == DEP_SETTLING && !d->from)
		return err_say(err, EBUSY,
			"%s: generation %u serves and nothing served before it; use `teal rm`", s->name,
			d->to->number);
	drop_queued(s, "aborted");
	*ret_id = d->id;
	err_say(&why, ECANCELED, "aborted by %s", by);
	if (!deployment_step(s, DEP_EV_ABORT, &why) && !d->failing)
		return err_say(err, EBUSY, "%s: %s can't be aborted", s->name, dep_kind_name(d->kind));
	return 0;
}

int service_remove(struct service *s, const char *by, int64_t *ret_id, struct err *err)
{
	struct deployment *d = s->deployment;
	if (d && d->kind == KIND_REMOVE) {
		*ret_id = d->id;
		return 0;
	}
	if (d)
		return err_say(err, EBUSY,
			"%s: deployment %" PRId64 " is %s; end it with `teal abort %s` first", s->name, d->id,
			dep_traits[d->state].name, s->name);
	drop_queued(s, "the service is removed");
	d = deployment_new(s, KIND_REMOVE, by, NULL);
	if (!d)
		return err_set(err, ENOMEM, "%s", s->name);
	d->from = s->active;
	*ret_id = begin(s, d, DEP_EV_REMOVE);
	return 0;
}
