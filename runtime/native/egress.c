#include "runtime/native/egress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/nft.h"

#define FORWARDING "/proc/sys/net/ipv4/ip_forward"
#define PREFIX	   "teal-"
#define MARK	   "forwarding-was-off"

/* What the host's rules say now that matters to us. */
struct found {
	bool table;	   /* ours */
	bool marked;	   /* … has the mark */
	bool other_marked; /* another agent's has */
	bool filter;	   /* there is iptables' FORWARD chain */
	json_t *stale;	   /* commands that remove our rules from it */
};

static void table_name(const struct egress *e, char ret[32])
{
	snprintf(ret, 32, PREFIX "%s", e->tag);
}

/* {"verb": {"what": {…}}} */
static json_t *command(const char *verb, const char *what, json_t *body)
{
	return json_pack("{s:{s:o}}", verb, what, body);
}

static json_t *table_json(const struct egress *e)
{
	char name[32];
	table_name(e, name);
	return json_pack("{s:s, s:s}", "family", "ip", "name", name);
}

static bool is_forward_of_iptables(const json_t *chain)
{
	return strcmp(json_str(chain, "family", ""), "ip") == 0 &&
	       strcmp(json_str(chain, "table", ""), "filter") == 0 &&
	       strcmp(json_str(chain, "name", ""), "FORWARD") == 0;
}

static int find_chains(const char *ours, struct found *ret, struct err *err)
{
	OWN_JSON json_t *rows = NULL;
	size_t i;
	json_t *row;
	int r = nft_run(json_pack("[o]", command("list", "chains", json_object())), &rows, err);
	if (r < 0)
		return r;
	json_array_foreach (rows, i, row) {
		const json_t *chain = json_object_get(row, "chain");
		const char *table = json_str(chain, "table", "");
		bool marked = strcmp(json_str(chain, "name", ""), MARK) == 0;
		ret->filter = ret->filter || is_forward_of_iptables(chain);
		if (strcmp(table, ours) == 0) {
			ret->table = true;
			ret->marked = ret->marked || marked;
		} else if (strncmp(table, PREFIX, strlen(PREFIX)) == 0) {
			ret->other_marked = ret->other_marked || marked;
		}
	}
	return 0;
}

static json_t *forward_json(void)
{
	return json_pack("{s:s, s:s, s:s}", "family", "ip", "table", "filter", "chain", "FORWARD");
}

static int find_stale(const char *ours, struct found *ret, struct err *err)
{
	OWN_JSON json_t *rows = NULL;
	size_t i;
	json_t *row;
	json_t *chain = json_pack("{s:s, s:s, s:s}", "family", "ip", "table", "filter", "name", "FORWARD");
	int r = nft_run(json_pack("[o]", command("list", "chain", chain)), &rows, err);
	if (r < 0)
		return r;
	json_array_foreach (rows, i, row) {
		const json_t *rule = json_object_get(row, "rule");
		if (!rule || strcmp(json_str(rule, "comment", ""), ours) != 0)
			continue;
		json_t *body = forward_json();
		json_object_set(body, "handle", json_object_get(rule, "handle"));
		json_array_append_new(ret->stale, command("delete", "rule", body));
	}
	return 0;
}

static int look(const struct egress *e, struct found *ret, struct err *err)
{
	char ours[32];
	table_name(e, ours);
	int r = find_chains(ours, ret, err);
	return r < 0 || !ret->filter ? r : find_stale(ours, ret, err);
}

static void add_chain(json_t *commands, const struct egress *e, const char *name, const char *type,
	const char *hook, int priority)
{
	char table[32];
	table_name(e, table);
	json_t *chain = json_pack("{s:s, s:s, s:s}", "family", "ip", "table", table, "name", name);
	if (type) {
		json_put_str(chain, "type", type);
		json_put_str(chain, "hook", hook);
		json_object_set_new(chain, "prio", json_integer(priority));
		json_put_str(chain, "policy", "accept");
	}
	json_array_append_new(commands, command("add", "chain", chain));
}

static json_t *match(const char *op, json_t *left, json_t *right)
{
	return json_pack("{s:{s:s, s:o, s:o}}", "match", "op", op, "left", left, "right", right);
}

static json_t *match_link(const char *op, const char *key, const char *link)
{
	return match(op, json_pack("{s:{s:s}}", "meta", "key", key), json_string(link));
}

static void add_rule(json_t *commands, const struct egress *e, const char *chain, json_t *expressions)
{
	char table[32];
	table_name(e, table);
	json_array_append_new(commands, command("add", "rule",
						json_pack("{s:s, s:s, s:s, s:o}", "family", "ip", "table",
							table, "chain", chain, "expr", expressions)));
}

static void add_masquerade(json_t *commands, const struct egress *e)
{
	char net[INET_ADDRSTRLEN];
	struct in_addr in = { .s_addr = htonl(e->net) };
	inet_ntop(AF_INET, &in, net, sizeof net);
	json_t *source =
		match("==", json_pack("{s:{s:s, s:s}}", "payload", "protocol", "ip", "field", "saddr"),
			json_pack("{s:{s:s, s:i}}", "prefix", "addr", net, "len", (int)e->prefix));
	add_chain(commands, e, "postrouting", "nat", "postrouting", 100);
	add_rule(commands, e, "postrouting",
		json_pack("[o, o, {s:n}]", source, match_link("!=", "oifname", e->bridge), "masquerade"));
}

static void add_filter(json_t *commands, const struct egress *e)
{
	json_t *answers = match("in", json_pack("{s:{s:s}}", "ct", "key", "state"),
		json_pack("[s, s]", "established", "related"));
	add_chain(commands, e, "forward", "filter", "forward", 0);
	add_rule(commands, e, "forward",
		json_pack("[o, o, {s:n}]", match_link("==", "iifname", e->bridge),
			match_link("==", "oifname", e->bridge), "drop"));
	add_rule(commands, e, "forward",
		json_pack("[o, o, {s:n}]", match_link("==", "oifname", e->bridge), answers, "accept"));
	add_rule(commands, e, "forward",
		json_pack("[o, {s:n}]", match_link("==", "oifname", e->bridge), "drop"));
}

/* Both directions; what may really come in is decided by our own filter. */
static void add_passage(json_t *commands, const struct egress *e)
{
	static const char *const KEYS[] = { "iifname", "oifname" };
	char comment[32];
	table_name(e, comment);
	for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
		json_t *rule = forward_json();
		json_object_set_new(rule, "expr",
			json_pack("[o, {s:n}]", match_link("==", KEYS[i], e->bridge), "accept"));
		json_put_str(rule, "comment", comment);
		json_array_append_new(commands, command("insert", "rule", rule));
	}
}

static bool forwarding_is_off(void)
{
	OWN_BUF struct buf text = { 0 };
	return fs_read_kernel(AT_FDCWD, FORWARDING, &text, NULL) == 0 && text.data &&
	       strcmp(text.data, "0") == 0;
}

/* In one transaction: packets never meet half of it. */
static int replace(const struct egress *e, struct found *f, struct err *err)
{
	json_t *commands = json_array();
	json_array_extend(commands, f->stale);
	if (f->filter)
		add_passage(commands, e);
	json_array_append_new(commands, command("add", "table", table_json(e)));
	json_array_append_new(commands, command("delete", "table", table_json(e)));
	json_array_append_new(commands, command("add", "table", table_json(e)));
	add_masquerade(commands, e);
	add_filter(commands, e);
	/* Off before any of us: whoever of us goes last turns it off again. */
	if (f->marked || f->other_marked || forwarding_is_off())
		add_chain(commands, e, MARK, NULL, NULL, 0);
	return nft_run(commands, NULL, err);
}

int egress_ensure(const struct egress *e, struct err *err)
{
	OWN_JSON json_t *stale = json_array();
	struct found f = { .stale = stale };
	int r = look(e, &f, err);
	if (r == 0)
		r = replace(e, &f, err);
	if (r == 0 && forwarding_is_off())
		r = fs_write_kernel(AT_FDCWD, FORWARDING, "1", err);
	return r < 0 ? err_wrap(err, "private network: the way out") : 0;
}

int egress_remove(const struct egress *e, struct err *err)
{
	OWN_JSON json_t *stale = json_array();
	struct found f = { .stale = stale };
	int r = nft_program() ? look(e, &f, err) : 0;
	if (r < 0 || (!f.table && json_array_size(stale) == 0))
		return r;
	if (f.marked && !f.other_marked)
		r = fs_write_kernel(AT_FDCWD, FORWARDING, "0", err);
	json_t *commands = json_incref(stale);
	if (f.table)
		json_array_append_new(commands, command("delete", "table", table_json(e)));
	int removed = nft_run(commands, NULL, err);
	return removed < 0 ? removed : r;
}
