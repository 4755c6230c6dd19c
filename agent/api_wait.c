/* Requests that wait for a deployment to end. */
#include <inttypes.h>
#include <string.h>

#include "agent/api.h"
#include "agent/api_private.h"
#include "agent/service.h"
#include "base/own.h"
#include "base/parse.h"

struct api_wait {
	LIST_ENTRY(api_wait) link;
	struct agent *agent;
	struct http_request *request;
	int64_t id;
	struct event_tap *tap;
	struct uvx_timer *timer;
};

static json_t *deployment_json(struct agent *a, int64_t id, bool *ret_done, struct err *err)
{
	struct row_deployment row = { 0 };
	struct service *s, *next;
	HASH_ITER (hh, a->services, s, next) {
		if (s->deployment && s->deployment->id == id) {
			*ret_done = false;
			return view_deployment(s->deployment);
		}
	}
	if (store_deployment(a->store, id, &row, err) < 0)
		return NULL;
	json_t *j = view_deployment_row(&row);
	json_object_set_new(j, "seq", json_integer(events_last(a->events)));
	*ret_done = row.done != 0;
	row_deployment_done(&row);
	return j;
}

static void wait_over(void *arg)
{
	OWN_FREE struct api_wait *w = arg;
	bool done;
	struct err why = { 0 };
	json_t *j = deployment_json(w->agent, w->id, &done, &why);
	LIST_REMOVE(w, link);
	uvx_timer_cancel(&w->timer);
	events_untap(w->tap);
	if (j)
		http_reply(w->request, 200, j);
	else
		api_error(w->request, &why);
}

void api_answer_waits(struct agent *a)
{
	while (!LIST_EMPTY(&a->waits))
		wait_over(LIST_FIRST(&a->waits));
}

static void wait_event(void *arg, const json_t *event)
{
	struct api_wait *w = arg;
	if (json_int(event, "deployment", 0) == w->id &&
		strcmp(json_str(event, "type", ""), "deployment.done") == 0)
		uvx_timer_start(
			w->agent->loop, 0, wait_over, w, &w->timer); /* not while the tap list is walked */
}

void api_deployment(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	uint64_t id, wait_ms;
	bool done = false;
	struct err why = { 0 };
	if (api_query_number(r, "wait_ms", 60000, 0, &wait_ms) < 0)
		return;
	if (parse_u64(http_param(r, "id"), 1, INT64_MAX, &id) < 0) {
		http_error(r, 400, "bad_request", "\"%s\" is not a deployment number", http_param(r, "id"));
		return;
	}
	json_t *j = deployment_json(a, (int64_t)id, &done, &why);
	struct api_wait *w = j && !done && wait_ms > 0 ? calloc(1, sizeof *w) : NULL;
	if (w) {
		*w = (struct api_wait){ .agent = a, .request = r, .id = (int64_t)id };
		if (events_tap(a->events, NULL, wait_event, w, &w->tap) == 0 &&
			uvx_timer_start(a->loop, wait_ms, wait_over, w, &w->timer) == 0) {
			LIST_INSERT_HEAD(&a->waits, w, link);
			json_decref(j);
			return;
		}
		events_untap(w->tap);
		free(w);
	}
	if (j)
		http_reply(r, 200, j);
	else
		api_error(r, &why);
}
