#include "runtime/native/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/fsx.h"
#include "base/json.h"
#include "base/own.h"
#include "base/parse.h"
#include "runtime/native/egress.h"
#include "runtime/native/link.h"
#include "runtime/native/nft.h"

/* Where an agent without `network_pool` looks for a free net: 10.88.0.0/13 in nets of /20. */
#define RANGE_BASE  0x0A580000u
#define RANGE_COUNT 128u
#define POOL_PREFIX 20u

struct holder {
	char id[64];
	uint32_t address; /* 0: free slot */
};

struct network {
	pthread_mutex_t lock; /* all below */
	char *file;
	char tag[8], bridge[IFNAMSIZ];
	uint32_t base; /* 0: no pool chosen yet */
	unsigned prefix;
	bool configured; /* by `network_pool`: not ours to change */
	uint32_t last;	 /* given out last; the search goes on after it, so that an address rests before it is
			    used again */
	uint32_t rules;	 /* the host's packet filter as we last left it; 0: never */
	struct holder *holders;
	size_t n, cap;
};

static int parse_cidr(const char *text, uint32_t *ret_address, unsigned *ret_prefix)
{
	char address[INET_ADDRSTRLEN];
	struct in_addr in;
	uint64_t prefix;
	const char *slash = strchr(text, '/');
	if (!slash || (size_t)(slash - text) >= sizeof address || parse_u64(slash + 1, 8, 30, &prefix) < 0)
		return -EINVAL;
	snprintf(address, sizeof address, "%.*s", (int)(slash - text), text);
	if (inet_pton(AF_INET, address, &in) != 1)
		return -EINVAL;
	*ret_address = ntohl(in.s_addr);
	*ret_prefix = (unsigned)prefix;
	return 0;
}

static void format_ip(uint32_t address, char text[INET_ADDRSTRLEN])
{
	struct in_addr in = { .s_addr = htonl(address) };
	inet_ntop(AF_INET, &in, text, INET_ADDRSTRLEN);
}

static uint32_t mask_of(unsigned prefix)
{
	return UINT32_MAX << (32 - prefix);
}

static int set_pool(struct network *n, const char *cidr)
{
	uint32_t base;
	unsigned prefix;
	int r = parse_cidr(cidr, &base, &prefix);
	if (r < 0)
		return r;
	n->base = base & mask_of(prefix);
	n->prefix = prefix;
	return 0;
}

static void load_pool(struct network *n)
{
	OWN_BUF struct buf text = { 0 };
	OWN_JSON json_t *j = NULL;
	if (fs_read_file(AT_FDCWD, n->file, 4096, &text, NULL) == 0 &&
		json_parse(text.data, text.len, n->file, &j, NULL) == 0)
		set_pool(n, json_str(j, "pool", ""));
}

static int save_pool(struct network *n, struct err *err)
{
	char address[INET_ADDRSTRLEN], text[64];
	format_ip(n->base, address);
	int len = snprintf(text, sizeof text, "{\"pool\":\"%s/%u\"}\n", address, n->prefix);
	return fs_write_durable(AT_FDCWD, n->file, text, (size_t)len, 0600, err);
}

int network_open(const struct settings *settings, struct network **ret, struct err *err)
{
	struct network *n = calloc(1, sizeof *n);
	if (!n)
		return err_set(err, ENOMEM, "open network");
	pthread_mutex_init(&n->lock, NULL);
	snprintf(n->tag, sizeof n->tag, "%s", settings->tag);
	if (settings->system)
		snprintf(n->bridge, sizeof n->bridge, "teal0");
	else
		snprintf(n->bridge, sizeof n->bridge, "teal-%s", settings->tag);
	n->file = fs_join(settings->state_dir, "network.json", NULL);
	n->configured = settings->network_pool != NULL;
	if (!n->file || (n->configured && set_pool(n, settings->network_pool) < 0)) {
		int code = n->file ? EINVAL : ENOMEM;
		network_close(n);
		return err_set(
			err, code, "network_pool %s", settings->network_pool ? settings->network_pool : "");
	}
	if (!n->configured)
		load_pool(n);
	*ret = n;
	return 0;
}

void network_close(struct network *n)
{
	if (!n)
		return;
	pthread_mutex_destroy(&n->lock);
	free(n->holders);
	free(n->file);
	free(n);
}

static struct holder *find_holder(struct network *n, const char *id)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->holders[i].address && strcmp(n->holders[i].id, id) == 0)
			return &n->holders[i];
	return NULL;
}

static bool is_held(const struct network *n, uint32_t address)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->holders[i].address == address)
			return true;
	return false;
}

static bool is_idle(const struct network *n)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->holders[i].address)
			return false;
	return true;
}

static int hold(struct network *n, const char *id, uint32_t address)
{
	size_t i = 0;
	while (i < n->n && n->holders[i].address)
		i++;
	if (i == n->n && vec_reserve(&n->holders, &n->cap, n->n + 1, sizeof *n->holders) < 0)
		return -ENOMEM;
	n->n = i == n->n ? n->n + 1 : n->n;
	snprintf(n->holders[i].id, sizeof n->holders[i].id, "%s", id);
	n->holders[i].address = address;
	return 0;
}

static void hash_of(const char *a, const char *b, uint8_t *bytes, size_t len)
{
	OWN_BUF struct buf text = { 0 };
	char digest[DIGEST_LEN];
	buf_addf(&text, "%s %s", a, b);
	digest_of(text.data ? text.data : "", text.len, digest);
	for (size_t i = 0; i < len; i++) {
		unsigned byte = 0;
		sscanf(digest + DIGEST_HEX + 2 * i, "%2x", &byte);
		bytes[i] = (uint8_t)byte;
	}
}

/* Starts at a place of the agent's own, so that agents that begin at the same moment don't pick the same. */
static int choose_pool(struct network *n, struct err *err)
{
	uint8_t first = 0;
	if (strcmp(n->bridge, "teal0") != 0)
		hash_of(n->tag, "pool", &first, 1);
	for (uint32_t i = 0; i < RANGE_COUNT; i++) {
		uint32_t base = RANGE_BASE + (((first + i) % RANGE_COUNT) << (32 - POOL_PREFIX));
		int taken = link_net_taken(base, POOL_PREFIX, n->bridge, err);
		if (taken < 0)
			return taken;
		if (taken)
			continue;
		n->base = base;
		n->prefix = POOL_PREFIX;
		return save_pool(n, err);
	}
	return err_say(err, EADDRNOTAVAIL,
		"private network: every net of 10.88.0.0/13 meets a route of this host; "
		"set network_pool in teald.yaml");
}

static int make_bridge(struct network *n, struct err *err)
{
	uint8_t mac[6] = { 0x02, 't', 'l' };
	int r = 0;
	if (link_exists(n->bridge) && n->base)
		return 0;
	/* Another agent or the administrator may have taken the net while our bridge was away. */
	int taken = n->base ? link_net_taken(n->base, n->prefix, n->bridge, err) : 1;
	if (taken < 0)
		return taken;
	if (taken && n->configured)
		return err_say(err, EADDRINUSE, "private network: network_pool meets a route of this host");
	if (taken && n->base && !is_idle(n))
		return err_say(
			err, EADDRINUSE, "private network: a route of this host meets the addresses in use");
	if (taken)
		r = choose_pool(n, err);
	hash_of(n->tag, "mac", mac + 3, 3);
	return r < 0 ? r : link_make_bridge(n->bridge, n->base + 1, n->prefix, mac, err);
}

static struct egress egress_of(const struct network *n)
{
	return (struct egress){ .tag = n->tag, .bridge = n->bridge, .net = n->base, .prefix = n->prefix };
}

/* Once, and again when somebody has changed the host's rules: they may have lost ours, or got a filter that
 * ours must be let through. */
static int ensure_egress(struct network *n, struct err *err)
{
	struct egress e = egress_of(n);
	if (n->rules && n->rules == nft_generation())
		return 0;
	int r = egress_ensure(&e, err);
	if (r == 0)
		n->rules = nft_generation();
	return r;
}

/* After the last container. The rules go first: as long as there may be some, there is a bridge to tell. */
static void make_idle(struct network *n)
{
	struct egress e = egress_of(n);
	if (!link_exists(n->bridge))
		return;
	egress_remove(&e, NULL);
	link_delete(n->bridge, NULL);
	n->rules = 0;
}

static int pick(struct network *n, uint32_t *ret)
{
	uint32_t count =
		~mask_of(n->prefix); /* the last one is the broadcast address, 0 the net, 1 the gateway */
	uint32_t at = n->last > n->base && n->last < n->base + count ? n->last - n->base : 1;
	for (uint32_t i = 0; i + 2 < count; i++) {
		at = at + 1 >= count ? 2 : at + 1;
		if (!is_held(n, n->base + at)) {
			*ret = n->last = n->base + at;
			return 0;
		}
	}
	return -EADDRNOTAVAIL;
}

static void name_veth(const struct network *n, const char *id, char ret[IFNAMSIZ])
{
	uint8_t h[4];
	hash_of(n->tag, id, h, sizeof h);
	snprintf(ret, IFNAMSIZ, "t%.6s%02x%02x%02x%02x", n->tag, h[0], h[1], h[2], h[3]);
}

static int acquire(struct network *n, const char *id, struct lease *ret, struct err *err)
{
	struct holder *held = find_holder(n, id);
	uint32_t address = held ? held->address : 0;
	char ip[INET_ADDRSTRLEN];
	int r = make_bridge(n, err);
	if (r == 0)
		r = ensure_egress(n, err);
	if (r < 0)
		return r;
	if (!address && pick(n, &address) < 0)
		return err_say(err, EADDRNOTAVAIL, "private network: all addresses of the pool are in use");
	if (!held && hold(n, id, address) < 0)
		return err_set(err, ENOMEM, "private network");
	format_ip(address, ip);
	snprintf(ret->address, sizeof ret->address, "%s/%u", ip, n->prefix);
	format_ip(n->base + 1, ret->gateway);
	snprintf(ret->bridge, sizeof ret->bridge, "%s", n->bridge);
	name_veth(n, id, ret->veth);
	return 0;
}

int network_acquire(struct network *n, const char *id, struct lease *ret, struct err *err)
{
	char veth[IFNAMSIZ];
	name_veth(n, id, veth);
	if (link_exists(veth)) /* of a run before this one: the kernel takes its time */
		link_delete(veth, NULL);
	pthread_mutex_lock(&n->lock);
	int r = acquire(n, id, ret, err);
	pthread_mutex_unlock(&n->lock);
	return r;
}

int network_restore(struct network *n, const char *id, const char *address)
{
	uint32_t ip;
	unsigned prefix;
	int r = parse_cidr(address, &ip, &prefix);
	if (r < 0)
		return r;
	pthread_mutex_lock(&n->lock);
	if (!find_holder(n, id))
		r = hold(n, id, ip);
	if (!n->base) { /* network.json is lost, the containers are not */
		n->base = ip & mask_of(prefix);
		n->prefix = prefix;
	}
	pthread_mutex_unlock(&n->lock);
	return r;
}

/* The kernel removes a link with its namespace, but some time after; what is here to be waited for is waited
 * for. */
void network_release(struct network *n, const char *id)
{
	char veth[IFNAMSIZ];
	name_veth(n, id, veth);
	link_delete(veth, NULL); /* slow, so outside of the lock; the address is free only after it */
	pthread_mutex_lock(&n->lock);
	struct holder *h = find_holder(n, id);
	if (h) {
		h->address = 0;
		if (is_idle(n))
			make_idle(n);
	}
	pthread_mutex_unlock(&n->lock);
}

static bool is_ours(struct network *n, const char *link)
{
	char veth[IFNAMSIZ];
	for (size_t i = 0; i < n->n; i++) {
		name_veth(n, n->holders[i].id, veth);
		if (n->holders[i].address && strcmp(veth, link) == 0)
			return true;
	}
	return false;
}

void network_sweep(struct network *n)
{
	char prefix[16];
	OWN_STRV char **links = NULL;
	pthread_mutex_lock(&n->lock);
	snprintf(prefix, sizeof prefix, "t%.6s", n->tag);
	if (link_list(prefix, &links) == 0)
		for (char **l = links; l && *l; l++)
			if (!is_ours(n, *l))
				link_delete(*l, NULL);
	if (is_idle(n))
		make_idle(n);
	pthread_mutex_unlock(&n->lock);
}
