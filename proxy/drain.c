#include "base/own.h"
#include "proxy/control_impl.h"

void drain_start(struct control *c, struct generation *g, struct peer *peer, uint64_t timeout_ms)
{
	struct px_counts now;
	if (!g->drain.active) { /* a drain that goes on under a new agent keeps what it counted */
		px_gen_sum(g->gen, &now);
		g->drain =
			(struct drain){ .active = true, .closed_before = now.ended, .cut_before = now.cut };
		generation_order(c, g, GEN_DRAIN);
	}
	g->drain.peer = peer;
	g->drain.deadline = uv_now(c->loop) + timeout_ms;
}

void drain_cancel(struct control *c, struct generation *g)
{
	if (!g->drain.active)
		return;
	g->drain.active = false;
	generation_order(c, g, GEN_UNDRAIN);
}

static void drain_tell(struct generation *g, const char *op)
{
	struct px_counts counts;
	if (!g->drain.peer)
		return;
	generation_counts(g, &counts);
	channel_send(g->drain.peer->channel,
		json_pack("{s:s, s:s, s:I, s:o}", "op", op, "service", g->service->name, "generation",
			(json_int_t)g->gen->number, "counts", counts_to_json(&counts)),
		-1);
}

static bool drain_look(struct control *c, struct generation *g, bool settled, bool progress)
{
	struct drain *d = &g->drain;
	if (!d->active)
		return false;
	if (settled && px_gen_active(g->gen) == 0) {
		d->active = false;
		generation_order(c, g, GEN_UNDRAIN);
		drain_tell(g, "drained");
		return false;
	}
	if (!d->cutting && uv_now(c->loop) >= d->deadline) {
		d->cutting = true;
		generation_order(c, g, GEN_CUT);
	} else if (d->cutting && progress) {
		generation_order(
			c, g, GEN_CUT); /* those that were still looking for a backend at the deadline */
	}
	if (progress)
		drain_tell(g, "draining");
	return true;
}

bool drains_look(struct control *c, bool progress)
{
	struct generation *g;
	bool any = false;
	/* While a worker uses an older table, it may still begin connections to a generation that has none
	 * now. */
	bool settled = registry_applied(c) == c->version;
	for (struct service *s = c->services; s; s = s->hh.next)
		LIST_FOREACH (g, &s->generations, next)
			any |= drain_look(c, g, settled, progress);
	return any;
}

void drains_forget_peer(struct control *c, struct peer *peer)
{
	struct generation *g;
	for (struct service *s = c->services; s; s = s->hh.next)
		LIST_FOREACH (g, &s->generations, next)
			if (g->drain.peer == peer)
				g->drain.peer = NULL;
}
