#include "agent/cli/page.h"

#include <string.h>

#include "agent/cli/human.h"
#include "base/parse.h"

static void add_label(struct buf *out, const struct term *t, const char *label)
{
	term_addf(out, t, STYLE_BOLD, "%-11s", label);
	buf_adds(out, " ");
}

void page_exit(const json_t *end, struct buf *out)
{
	int64_t sig = json_int(end, "signal", 0);
	if (sig > 0)
		buf_addf(out, "killed by %s", signal_name((int)sig));
	else
		buf_addf(out, "exit %lld", (long long)json_int(end, "code", 0));
	if (json_flag(end, "oom", false))
		buf_adds(out, " (OOM)");
}

/* ", 3m ago" */
static void add_ago(struct buf *out, const char *at, int64_t now)
{
	int64_t then;
	char age[HUMAN_MAX];
	if (human_parse_utc(at, &then) == 0)
		buf_addf(out, ", %s ago", human_age(now - then, age));
}

static void add_head(const json_t *s, const struct term *t, int64_t now, struct buf *out)
{
	int64_t active = json_int(s, "active", 0), standby = json_int(s, "standby", 0), until = 0;
	char age[HUMAN_MAX];
	add_label(out, t, "service");
	buf_addf(out, "%s\n", json_str(s, "service", "?"));
	add_label(out, t, "state");
	buf_adds(out, json_str(s, "state", "?"));
	if (active > 0)
		buf_addf(out, ", generation %lld serves", (long long)active);
	if (standby > 0)
		buf_addf(out, ", %lld stands by", (long long)standby);
	if (human_parse_utc(json_str(s, "standby_until", NULL), &until) == 0 && until > now)
		buf_addf(out, " for another %s", human_age(until - now, age));
	buf_adds(out, "\n");
}

static void add_held(const json_t *s, const struct term *t, int64_t now, struct buf *out)
{
	const json_t *held = json_object_get(s, "held");
	if (!json_is_object(held))
		return;
	add_label(out, t, "held");
	buf_addf(out, "the spec of generation %lld: ", (long long)json_int(held, "generation", 0));
	term_add_foreign(out, json_str(held, "reason", ""));
	add_ago(out, json_str(held, "since", NULL), now);
	buf_adds(out, "\n");
}

static void add_deployment(const json_t *s, const struct term *t, int64_t now, struct buf *out)
{
	const json_t *d = json_object_get(s, "deployment");
	int64_t until = 0;
	char age[HUMAN_MAX];
	if (!json_is_object(d))
		return;
	add_label(out, t, "deployment");
	buf_addf(out, "%lld: %s, %s: ", (long long)json_int(d, "id", 0), json_str(d, "kind", ""),
		json_str(d, "state", ""));
	term_add_foreign(out, json_str(d, "reason", ""));
	if (human_parse_utc(json_str(d, "until", NULL), &until) == 0 && until > now)
		buf_addf(out, " (at most %s more)", human_age(until - now, age));
	buf_adds(out, "\n");
}

static void add_listeners(const json_t *s, const struct term *t, struct buf *out)
{
	size_t i;
	json_t *l;
	json_array_foreach (json_object_get(s, "listeners"), i, l) {
		add_label(out, t, i == 0 ? "listeners" : "");
		buf_addf(out, "%s  %s %s %lld  %s, %lld connections\n", json_str(l, "name", "?"),
			json_str(l, "address", "?"), term_sign(t, SIGN_ARROW),
			(long long)json_int(l, "target", 0), json_str(l, "protocol", "tcp"),
			(long long)json_int(l, "connections", 0));
	}
}

static void add_replica(const json_t *r, const struct term *t, int64_t now, struct buf *out)
{
	const json_t *probe = json_object_get(r, "probe"), *end = json_object_get(r, "exit");
	bool ready = json_flag(r, "ready", false);
	char took[HUMAN_MAX];
	buf_adds(out, "    ");
	term_add(out, t, ready ? STYLE_GOOD : STYLE_BAD, term_sign(t, ready ? SIGN_OK : SIGN_FAIL));
	buf_addf(out, " replica %lld  %s, %s", (long long)json_int(r, "replica", 0),
		json_str(r, "state", "?"), json_str(r, "verdict", ready ? "ready" : "not ready"));
	if (json_int(r, "pid", 0) > 0)
		buf_addf(out, ", pid %lld", (long long)json_int(r, "pid", 0));
	if (json_str(r, "address", NULL))
		buf_addf(out, ", %s", json_str(r, "address", ""));
	if (json_int(r, "restarts", 0) > 0)
		buf_addf(out, ", restarted %lld times", (long long)json_int(r, "restarts", 0));
	buf_adds(out, "\n");
	if (json_is_object(probe)) {
		buf_adds(out, "                 probe: ");
		term_add_foreign(out, json_str(probe, "text", ""));
		if (json_int(probe, "took_us", -1) >= 0)
			buf_addf(out, " in %s", human_micros(json_int(probe, "took_us", 0), t->utf8, took));
		add_ago(out, json_str(probe, "at", NULL), now);
		buf_adds(out, "\n");
	}
	if (json_is_object(end)) {
		buf_adds(out, "                 ended: ");
		page_exit(end, out);
		add_ago(out, json_str(end, "at", NULL), now);
		buf_adds(out, "\n");
	}
}

static void add_generation(const json_t *g, const struct term *t, int64_t now, struct buf *out)
{
	const json_t *n = json_object_get(g, "connections");
	size_t i;
	json_t *r;
	buf_adds(out, "\n");
	term_addf(out, t, STYLE_BOLD, "generation %lld", (long long)json_int(g, "number", 0));
	buf_addf(out, "  %s, %s", json_str(g, "slot", "?"), json_str(g, "state", "?"));
	add_ago(out, json_str(g, "since", NULL), now);
	buf_addf(out, "\n    image   %s\n", json_str(g, "image", "?"));
	if (json_str(g, "image_digest", NULL))
		buf_addf(out, "            %s\n", json_str(g, "image_digest", ""));
	buf_addf(out, "    spec    %s\n", json_str(g, "digest", "?"));
	if (json_is_object(n))
		buf_addf(out, "    traffic %lld open, %lld in all, %lld failed connects, %lld resets\n",
			(long long)json_int(n, "active", 0), (long long)json_int(n, "total", 0),
			(long long)json_int(n, "connect_errors", 0), (long long)json_int(n, "resets", 0));
	json_array_foreach (json_object_get(g, "replicas"), i, r)
		add_replica(r, t, now, out);
}

static void add_labels(const json_t *s, const struct term *t, struct buf *out)
{
	json_t *labels = json_object_get(s, "labels"), *value;
	const char *key, *label = "labels";
	json_object_foreach (labels, key, value) {
		add_label(out, t, label);
		term_add_foreign(out, key);
		buf_adds(out, "=");
		term_add_foreign(out, json_is_string(value) ? json_string_value(value) : "");
		buf_adds(out, "\n");
		label = "";
	}
}

void page_status(const json_t *s, const struct term *t, int64_t now, struct buf *out)
{
	size_t i;
	json_t *g;
	add_head(s, t, now, out);
	add_deployment(s, t, now, out);
	add_held(s, t, now, out);
	add_listeners(s, t, out);
	add_labels(s, t, out);
	json_array_foreach (json_object_get(s, "generations"), i, g)
		add_generation(g, t, now, out);
}
