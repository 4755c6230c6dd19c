/* The probes of one replica: joins health, which knows no driver, to its container. */
#include <errno.h>
#include <string.h>

#include "agent/service.h"
#include "base/log.h"
#include "base/own.h"

void replica_check_stop(struct replica *r)
{
	if (r->check)
		r->answer = *hc_last(r->check);
	hc_stop(TAKE_PTR(r->check));
}

void replica_set_verdict(struct replica *r, enum hc_verdict verdict)
{
	bool was = r->verdict == HC_READY;
	r->verdict = verdict;
	if (was != (verdict == HC_READY))
		service_generation_event(r->gen->service, r->gen, GEN_EV_CHANGED, r, NULL);
}

static void on_verdict(void *arg, enum hc_verdict verdict, const struct hc_answer *answer)
{
	struct replica *r = arg;
	r->answer = *answer;
	replica_set_verdict(r, verdict);
}

static void on_answer(void *arg, const struct hc_answer *answer)
{
	((struct replica *)arg)->answer = *answer;
}

/* Health knows no driver: these three join its exec probes to the container. */
struct exec_probe {
	hc_exec_done done;
	void *check;
	struct rt_op *op;
};

static void exec_probe_done(void *arg, int result, int exit_code, const char *output, const struct err *why)
{
	OWN_FREE struct exec_probe *p = arg;
	p->done(p->check, result, exit_code, output, why);
}

static int exec_probe_run(void *arg, char *const *argv, uint32_t timeout_ms, hc_exec_done done, void *check,
	void **ret_op, struct err *err)
{
	struct replica *r = arg;
	struct agent *a = r->gen->service->agent;
	struct exec_probe *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(err, ENOMEM, "probe");
	p->done = done;
	p->check = check;
	int result = a->driver->exec(a->host, r->id, argv, timeout_ms, exec_probe_done, p, &p->op, err);
	if (result < 0)
		free(p);
	else
		*ret_op = p;
	return result;
}

static void exec_probe_cancel(void *op)
{
	rt_cancel(((struct exec_probe *)op)->op);
}

static const hc_exec_vtable exec_probe = { .run = exec_probe_run, .cancel = exec_probe_cancel };

void replica_check_start(struct replica *r, enum hc_verdict initial)
{
	struct generation *g = r->gen;
	struct hc_target target = { .health = &g->spec->container.health,
		.address = r->rt.address,
		.ports = r->rt.ports,
		.n_ports = r->rt.n_ports };
	struct hc_callbacks callbacks = { .arg = r, .changed = on_verdict, .answered = on_answer };
	struct err why = { 0 };
	/* An http or tcp check names a port of the container; with host networking that one has another
	 * number outside. */
	uint16_t mapped = target.health->port;
	for (size_t i = 0; i < g->spec->n_ports && i < r->rt.n_ports; i++)
		if (g->spec->ports[i].target == target.health->port)
			mapped = r->rt.ports[i];
	if (target.health->kind == SPEC_CHECK_HTTP || target.health->kind == SPEC_CHECK_TCP) {
		target.ports = &mapped;
		target.n_ports = 1;
	}
	r->verdict = initial;
	if (hc_start(g->service->agent->health, &target, &exec_probe, r, initial, &callbacks, &r->check,
		    &why) < 0) {
		log_error("%s: probe: %s", r->id, why.msg);
		snprintf(r->answer.text, sizeof r->answer.text, "%.399s", why.msg);
	}
}
