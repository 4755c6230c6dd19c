/* Runs a command in the replica, by whatever runs containers. Its answer comes exactly once even after a
 * cancel, so the probe, not the check, is what it refers to. */
#include <errno.h>
#include <stdlib.h>

#include "base/parse.h"
#include "health/check.h"

struct exec_probe {
	struct hc_engine *engine;
	struct hc_check *check; /* NULL: cancelled */
	void *op;
};

static void on_done(void *arg, int result, int exit_code, const char *output, const struct err *why)
{
	struct exec_probe *p = arg;
	struct hc_engine *e = p->engine;
	struct hc_check *c = p->check;
	free(p);
	if (c) {
		char limit[FORMAT_MAX];
		const char *said = output ? output : "";
		c->probe = NULL;
		if (result == -ETIMEDOUT)
			hc_check_answer(c, false, "%s: no end within %s: %.2000s", c->health->exec[0],
				format_duration_ms(c->health->timeout_ms, limit), said);
		else if (result < 0)
			hc_check_answer(c, false, "%s: %s", c->health->exec[0], why ? why->msg : "failed");
		else
			hc_check_answer(
				c, exit_code == 0, "exit %d%s%.2000s", exit_code, *said ? ": " : "", said);
	}
	hc_engine_unref(e);
}

static int exec_start(struct hc_check *c, struct err *err)
{
	struct exec_probe *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(err, ENOMEM, "%s", c->health->exec[0]);
	p->engine = c->engine;
	p->check = c;
	int r = c->exec->run(c->exec_arg, c->health->exec, c->health->timeout_ms, on_done, p, &p->op, err);
	if (r < 0) {
		free(p);
		return r;
	}
	c->engine->refs++;
	c->probe = p;
	return 0;
}

static void exec_cancel(struct hc_check *c)
{
	struct exec_probe *p = c->probe;
	c->probe = NULL;
	p->check = NULL;
	c->exec->cancel(p->op);
}

const struct hc_probe_kind hc_probe_exec = { .start = exec_start, .cancel = exec_cancel };
