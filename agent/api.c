#include "agent/api.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/api_private.h"
#include "agent/secrets.h"
#include "agent/service.h"
#include "base/clock.h"
#include "base/own.h"
#include "base/parse.h"
#include "config/config.h"

/* What an errno of ours means to a client; the words are in the message. */
static const struct {
	int code;
	unsigned status;
	const char *name;
} error_map[] = {
	{ ENOENT, 404, "not_found" },
	{ EPERM, 409, "held" },
	{ EBUSY, 409, "busy" },
	{ EADDRINUSE, 409, "conflict" },
	{ EACCES, 409, "conflict" },
	{ ENOTSUP, 422, "unsupported" },
	{ EINVAL, 400, "bad_request" },
};

void api_error(struct http_request *r, const struct err *why)
{
	for (size_t i = 0; i < ARRAY_LEN(error_map); i++) {
		if (error_map[i].code == why->code) {
			http_error(r, error_map[i].status, error_map[i].name, "%s", why->msg);
			return;
		}
	}
	http_error(r, 500, "internal", "%s", why->msg);
}

static void reply_accepted(struct http_request *r, int64_t id, int64_t after)
{
	http_reply(r, 202, json_pack("{s:I, s:I}", "deployment", (json_int_t)id, "after", (json_int_t)after));
}

static struct service *find_or_404(struct agent *a, struct http_request *r)
{
	const char *name = http_param(r, "service");
	struct service *s = service_find(a, name);
	if (!s)
		http_error(r, 404, "not_found", "there is no service %s", name);
	return s;
}

/* Who asks: the name they give, with the user the kernel vouches for. */
static void caller(struct http_request *r, char *ret, size_t size)
{
	const struct http_peer *peer = http_peer(r);
	const char *by = json_str(http_body(r), "by", NULL);
	if (by && *by)
		snprintf(ret, size, "%s", by);
	else
		snprintf(ret, size, "uid %u", (unsigned)peer->uid);
}

/* --- plan and apply: the image is resolved first --- */

struct wanted {
	struct agent *agent;
	struct http_request *request;
	struct apply apply;
	struct spec *spec;
	char by[128];
	void (*then)(struct wanted *w);
};

static void wanted_free(struct wanted *w)
{
	spec_unref(w->spec);
	free(w);
}

static json_t *diagnostics(const struct diag_list *d)
{
	json_t *list = json_array();
	for (size_t i = 0; i < d->n; i++) {
		const struct diag *x = &d->items[i];
		json_t *j = json_pack("{s:i, s:i, s:s}", "line", (int)x->line, "column", (int)x->column,
			"message", x->text);
		json_put_str(j, "hint", x->hint);
		json_array_append_new(list, j);
	}
	return list;
}

static struct spec *spec_of(struct http_request *r)
{
	const json_t *given = json_object_get(http_body(r), "spec");
	OWN_FREE char *text = json_is_object(given) ? json_canonical(given) : NULL;
	struct diag_list d = { 0 };
	struct spec *spec = NULL;
	if (!text) {
		http_error(r, 400, "bad_request", "the body needs a spec object");
		return NULL;
	}
	if (cfg_read(text, strlen(text), "spec", NULL, &spec, &d) < 0)
		http_reply(r, 422,
			json_pack("{s:{s:s, s:s, s:o}}", "error", "code", "bad_spec", "message",
				d.n ? d.items[0].text : "out of memory", "diagnostics", diagnostics(&d)));
	diag_done(&d);
	return spec;
}

static void on_resolved(void *arg, int result, const char digest[DIGEST_LEN], const struct err *why)
{
	struct wanted *w = arg;
	struct err failed = { 0 };
	if (result == 0) {
		memcpy(w->apply.image_digest, digest, sizeof w->apply.image_digest);
		if (cfg_digest(w->spec, digest, w->apply.digest) < 0)
			result = err_set(&failed, ENOMEM, "digest");
	}
	if (w->agent->closing)
		http_error(w->request, 503, "internal", "the agent is stopping");
	else if (result < 0)
		http_error(w->request, 422, "image", "%s",
			failed.code ? failed.msg
			: why	    ? why->msg
				    : strerror(-result));
	else
		w->then(w);
	wanted_free(w);
}

static void resolve_then(struct agent *a, struct http_request *r, void (*then)(struct wanted *w))
{
	struct err why = { 0 };
	OWN_SPEC struct spec *spec = spec_of(r);
	if (!spec)
		return;
	if (a->driver->check(a->host, spec, &why) < 0) {
		api_error(r, &why);
		return;
	}
	struct wanted *w = calloc(1, sizeof *w);
	if (!w) {
		http_error(r, 500, "internal", "out of memory");
		return;
	}
	w->agent = a;
	w->request = r;
	w->spec = TAKE_PTR(spec);
	w->then = then;
	caller(r, w->by, sizeof w->by);
	w->apply = (struct apply){ .spec = w->spec,
		.force = json_flag(http_body(r), "force", false),
		.by = w->by,
		.source = json_str(http_body(r), "source", NULL) };
	if (a->driver->image_resolve(a->host, w->spec->container.image, on_resolved, w, NULL, &why) < 0) {
		http_error(r, 422, "image", "%s", why.msg);
		wanted_free(w);
	}
}

static void plan_resolved(struct wanted *w)
{
	http_reply(w->request, 200, view_plan(w->agent, &w->apply));
}

static void handle_plan(void *arg, struct http_request *r)
{
	resolve_then(arg, r, plan_resolved);
}

static void apply_resolved(struct wanted *w)
{
	struct err why = { 0 };
	int64_t id = 0, after = events_last(w->agent->events);
	json_t *result = NULL;
	if (secrets_keep(w->agent, w->spec, json_object_get(http_body(w->request), "secrets"), &why) < 0) {
		api_error(w->request, &why);
		return;
	}
	int done = service_apply(w->agent, &w->apply, &id, &result, &why);
	if (done == 0) {
		reply_accepted(w->request, id, after);
	} else if (done == 1) {
		http_reply(w->request, 200, result);
	} else if (why.code == EPERM) {
		struct service *s = service_find(w->agent, w->spec->name);
		http_reply(w->request, 409,
			json_pack("{s:{s:s, s:s, s:o}}", "error", "code", "held", "message", why.msg, "held",
				view_held(s)));
	} else {
		api_error(w->request, &why);
	}
}

static void handle_apply(void *arg, struct http_request *r)
{
	const char *name = json_str(json_object_get(http_body(r), "spec"), "name", "");
	if (strcmp(name, http_param(r, "service")) != 0)
		http_error(r, 400, "bad_request", "the spec is of %s, the path says %s",
			*name ? name : "nobody", http_param(r, "service"));
	else
		resolve_then(arg, r, apply_resolved);
}

/* --- the other orders --- */

typedef int (*order_fn)(struct service *s, const char *by, int64_t *ret_id, struct err *err);

static void order(struct agent *a, struct http_request *r, order_fn fn)
{
	struct service *s = find_or_404(a, r);
	struct err why = { 0 };
	char by[128];
	int64_t id = 0, after = events_last(a->events);
	if (!s)
		return;
	caller(r, by, sizeof by);
	if (fn(s, by, &id, &why) < 0)
		api_error(r, &why);
	else
		reply_accepted(r, id, after);
}

static void handle_rollback(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	struct service *s = find_or_404(a, r);
	struct err why = { 0 };
	char by[128];
	int64_t id = 0, after = events_last(a->events), to = json_int(http_body(r), "to", 0);
	if (!s)
		return;
	caller(r, by, sizeof by);
	if (to < 0 || to > UINT32_MAX)
		http_error(r, 400, "bad_request", "to: no such generation");
	else if (service_rollback(s, (uint32_t)to, by, &id, &why) < 0)
		api_error(r, &why);
	else
		reply_accepted(r, id, after);
}

static void handle_promote(void *arg, struct http_request *r)
{
	order(arg, r, service_promote);
}

static void handle_restart(void *arg, struct http_request *r)
{
	order(arg, r, service_restart);
}

static void handle_abort(void *arg, struct http_request *r)
{
	order(arg, r, service_abort);
}

static void handle_remove(void *arg, struct http_request *r)
{
	order(arg, r, service_remove);
}

/* --- what there is --- */

static void handle_version(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:I, s:s, s:o}", "version", TEAL_VERSION, "commit",
		TEAL_COMMIT, "api", 1, "pid", (int)getpid(), "uptime_ms",
		(json_int_t)(clock_boot_ms() - a->started_ms), "state_dir", a->settings.state_dir, "proxy",
		px_status(a->proxy));
	json_put_str(j, "root", a->settings.root);
	json_put_str(j, "note", a->note);
	json_put_str(j, "driver", a->driver->name);
	http_reply(r, 200, j);
}

static void handle_health(void *arg, struct http_request *r)
{
	(void)arg;
	http_reply(r, 200, json_pack("{s:b}", "ok", 1));
}

static void status_ready(void *arg, json_t *status)
{
	if (status)
		http_reply(arg, 200, status);
	else
		http_error(arg, 500, "internal", "out of memory");
}

static void handle_service(void *arg, struct http_request *r)
{
	struct service *s = find_or_404(arg, r);
	if (s)
		view_status(s, status_ready, r);
}

struct listing {
	struct http_request *request;
	json_t *services;
	unsigned waiting;
};

static void listing_part(void *arg, json_t *status)
{
	struct listing *l = arg;
	if (status)
		json_array_append_new(l->services, status);
	if (--l->waiting > 0)
		return;
	http_reply(l->request, 200, json_pack("{s:o}", "services", l->services));
	free(l);
}

static int by_name(struct service *a, struct service *b)
{
	return strcmp(a->name, b->name);
}

static void handle_services(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	struct service *s, *next;
	struct listing *l = calloc(1, sizeof *l);
	if (!l) {
		http_error(r, 500, "internal", "out of memory");
		return;
	}
	*l = (struct listing){ .request = r, .services = json_array(), .waiting = 1 };
	HASH_SORT(a->services, by_name);
	HASH_ITER (hh, a->services, s, next) {
		l->waiting++;
		view_status(s, listing_part, l);
	}
	listing_part(l, NULL);
}

static void add_generation(void *arg, const struct row_generation *row)
{
	json_array_append_new(arg, view_generation_row(row));
}

static void handle_history(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	struct err why = { 0 };
	if (!find_or_404(a, r))
		return;
	json_t *list = json_array();
	if (store_generations(a->store, http_param(r, "service"), add_generation, list, &why) < 0) {
		json_decref(list);
		api_error(r, &why);
		return;
	}
	http_reply(r, 200, json_pack("{s:s, s:o}", "service", http_param(r, "service"), "generations", list));
}

static void handle_spec(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	struct row_generation row = { 0 };
	struct err why = { 0 };
	uint64_t n;
	if (parse_u64(http_param(r, "number"), 1, UINT32_MAX, &n) < 0) {
		http_error(r, 400, "bad_request", "\"%s\" is not a generation", http_param(r, "number"));
	} else if (store_generation(a->store, http_param(r, "service"), (int64_t)n, &row, &why) < 0) {
		api_error(r, &why);
	} else {
		http_reply(r, 200, json_loads(row.spec, 0, NULL));
		row_generation_done(&row);
	}
}

static void handle_doctor(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	http_reply(r, 200, json_pack("{s:o}", "checks", a->driver->doctor(a->host)));
}

const struct http_route api_routes[] = {
	{ "GET", "/healthz", handle_health, "the agent's loop turns" },
	{ "GET", "/readyz", handle_health, "state is loaded" },
	{ "GET", "/v1/version", handle_version, "who answers" },
	{ "POST", "/v1/plan", handle_plan, "what apply would do" },
	{ "GET", "/v1/services", handle_services, "status of all services" },
	{ "GET", "/v1/services/{service}", handle_service, "status of one" },
	{ "DELETE", "/v1/services/{service}", handle_remove, "remove a service" },
	{ "POST", "/v1/services/{service}/apply", handle_apply, "bring it to a spec" },
	{ "POST", "/v1/services/{service}/rollback", handle_rollback, "back to an earlier generation" },
	{ "POST", "/v1/services/{service}/promote", handle_promote, "let it go on" },
	{ "POST", "/v1/services/{service}/restart", handle_restart, "the same spec, made anew" },
	{ "POST", "/v1/services/{service}/abort", handle_abort, "end the running deployment" },
	{ "GET", "/v1/services/{service}/history", handle_history, "its generations" },
	{ "GET", "/v1/services/{service}/generations/{number}/spec", handle_spec, "the spec of one" },
	{ "GET", "/v1/services/{service}/logs", api_logs, "output of its containers" },
	{ "GET", "/v1/deployments/{id}", api_deployment, "one deployment; waits with wait_ms" },
	{ "GET", "/v1/events", api_events, "what happened, and what happens" },
	{ "GET", "/v1/images", api_images, "images in the store" },
	{ "POST", "/v1/images", api_image_fetch, "bring an image here and keep it" },
	{ "GET", "/v1/images/{digest}", api_image, "everything about one" },
	{ "DELETE", "/v1/images/{digest}", api_image_remove, "remove one" },
	{ "POST", "/v1/gc", api_gc, "remove what nothing needs" },
	{ "GET", "/v1/doctor", handle_doctor, "what this host can do" },
	{ NULL, NULL, NULL, NULL },
};
