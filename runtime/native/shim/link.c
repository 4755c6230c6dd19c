/* rtnetlink by hand: six fixed messages. libnl would cost the static shim 300 kB and a cache of all links of
 * the host for what is one request to make the pair and one batch to configure its inner end. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/own.h"
#include "base/parse.h"
#include "runtime/native/shim/shim.h"

#define BATCH_SIZE 2048

struct batch {
	char bytes[BATCH_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	size_t len, message; /* message: where the current one starts */
	uint32_t count;
	bool full;
};

static void *reserve(struct batch *b, size_t len)
{
	size_t room = NLMSG_ALIGN(len);
	if (b->full || room > sizeof b->bytes - b->len) {
		b->full = true;
		return NULL;
	}
	void *at = b->bytes + b->len;
	memset(at, 0, room);
	b->len += room;
	struct nlmsghdr *h = (struct nlmsghdr *)(b->bytes + b->message);
	h->nlmsg_len = (uint32_t)(b->len - b->message);
	return at;
}

static void message_begin(struct batch *b, uint16_t type, uint16_t flags, const void *head, size_t head_len)
{
	b->message = b->len;
	struct nlmsghdr *h = reserve(b, sizeof *h);
	void *body = reserve(b, head_len);
	if (!body)
		return;
	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	h->nlmsg_seq = ++b->count;
	memcpy(body, head, head_len);
}

static void put(struct batch *b, uint16_t type, const void *bytes, size_t len)
{
	struct rtattr *a = len < BATCH_SIZE ? reserve(b, RTA_LENGTH(len)) : NULL;
	if (!a) {
		b->full = true;
		return;
	}
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), bytes, len);
}

static void put_u32(struct batch *b, uint16_t type, uint32_t value)
{
	put(b, type, &value, sizeof value);
}

static void put_text(struct batch *b, uint16_t type, const char *text)
{
	put(b, type, text, strlen(text) + 1);
}

static size_t nest_begin(struct batch *b, uint16_t type)
{
	size_t at = b->len;
	put(b, type, NULL, 0);
	return at;
}

static void nest_end(struct batch *b, size_t at)
{
	if (!b->full)
		((struct rtattr *)(b->bytes + at))->rta_len = (uint16_t)(b->len - at);
}

/* Sends the batch and reads one acknowledgement a message. */
static int converse(const struct batch *b, struct err *err)
{
	OWN_FD int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	char answer[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
	if (b->full)
		return err_set(err, EMSGSIZE, "netlink request");
	if (sock < 0 || send(sock, b->bytes, b->len, 0) < 0)
		return err_set(err, errno, "netlink");
	for (uint32_t acks = 0; acks < b->count;) {
		ssize_t n = recv(sock, answer, sizeof answer, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "netlink");
		uint32_t left = (uint32_t)n;
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			const struct nlmsgerr *e = NLMSG_DATA(h);
			if (e->error)
				return err_set(err, -e->error, "netlink");
			acks++;
		}
	}
	return 0;
}

static void put_link(
	struct batch *b, uint16_t type, uint16_t flags, unsigned index, const char *name, bool up)
{
	struct ifinfomsg head = {
		.ifi_index = (int)index, .ifi_flags = up ? IFF_UP : 0, .ifi_change = up ? IFF_UP : 0
	};
	message_begin(b, type, flags, &head, sizeof head);
	if (name)
		put_text(b, IFLA_IFNAME, name);
}

/* No link-local address: nobody talks IPv6 there, and its announcements are noise on the bridge. A message of
 * its own, since a new link does not take it and it must come before the link is up. */
static void put_no_ipv6(struct batch *b, unsigned index, const char *name)
{
	uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
	put_link(b, RTM_SETLINK, 0, index, name, false);
	size_t spec = nest_begin(b, IFLA_AF_SPEC);
	size_t inet6 = nest_begin(b, AF_INET6);
	put(b, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof mode);
	nest_end(b, inet6);
	nest_end(b, spec);
}

/* A kernel without IPv6 refuses its attributes. */
static bool has_ipv6(void)
{
	OWN_FD int sock = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return sock >= 0;
}

/* The inner end's hardware address follows from its IP address, as in other engines: when an address comes
 * back with another container, what the host has cached about its neighbour stays true. A stale entry would
 * swallow connections for half a minute. */
static void put_hardware_address(struct batch *b, const char *cidr)
{
	uint8_t mac[6] = { 0x02, 0x42 }; /* locally administered, unicast */
	char text[INET_ADDRSTRLEN];
	snprintf(text, sizeof text, "%.*s", (int)strcspn(cidr, "/"), cidr);
	if (inet_pton(AF_INET, text, mac + 2) == 1)
		put(b, IFLA_ADDRESS, mac, sizeof mac);
}

/* Ports of the bridge that are isolated talk to the host alone, not to each other: who can reach whom is the
 * proxy's to decide, by listeners. Only a link that is in a bridge already takes it. */
static void put_isolated(struct batch *b, const char *name)
{
	uint8_t on = 1;
	put_link(b, RTM_NEWLINK, 0, 0, name, true);
	size_t info = nest_begin(b, IFLA_LINKINFO);
	put_text(b, IFLA_INFO_SLAVE_KIND, "bridge");
	size_t data = nest_begin(b, IFLA_INFO_SLAVE_DATA);
	put(b, IFLA_BRPORT_ISOLATED, &on, sizeof on);
	nest_end(b, data);
	nest_end(b, info);
}

/* The pair in one request: the outer end in the bridge, the inner end born in the container's
 * namespace. Moving a link there afterwards takes ten times as long. */
int link_create(const struct shim_config *c, pid_t peer, struct err *err)
{
	struct batch b = { 0 };
	struct ifinfomsg inner = { 0 };
	unsigned bridge = if_nametoindex(c->bridge);
	if (bridge == 0)
		return err_set(err, errno, "bridge %s", c->bridge);
	put_link(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, c->veth, false);
	put_u32(&b, IFLA_MASTER, bridge);
	size_t info = nest_begin(&b, IFLA_LINKINFO);
	put_text(&b, IFLA_INFO_KIND, "veth");
	size_t data = nest_begin(&b, IFLA_INFO_DATA);
	size_t nest = nest_begin(&b, VETH_INFO_PEER);
	void *body = reserve(&b, sizeof inner);
	if (body)
		memcpy(body, &inner, sizeof inner);
	put_text(&b, IFLA_IFNAME, "eth0");
	put_hardware_address(&b, c->address);
	put_u32(&b, IFLA_NET_NS_PID, (uint32_t)peer);
	nest_end(&b, nest);
	nest_end(&b, data);
	nest_end(&b, info);
	if (has_ipv6())
		put_no_ipv6(&b, 0, c->veth);
	put_isolated(&b, c->veth);
	int r = converse(&b, err);
	return r < 0 ? err_wrap(err, "create link %s in %s", c->veth, c->bridge) : 0;
}

static int put_address(struct batch *b, unsigned index, const char *cidr)
{
	char text[INET_ADDRSTRLEN];
	const char *slash = strchr(cidr, '/');
	struct in_addr address;
	uint64_t prefix;
	if (!slash || (size_t)(slash - cidr) >= sizeof text || parse_u64(slash + 1, 1, 32, &prefix) < 0)
		return -EINVAL;
	snprintf(text, sizeof text, "%.*s", (int)(slash - cidr), cidr);
	if (inet_pton(AF_INET, text, &address) != 1)
		return -EINVAL;
	struct ifaddrmsg head = {
		.ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)prefix, .ifa_index = index
	};
	message_begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
	put(b, IFA_LOCAL, &address, sizeof address);
	put(b, IFA_ADDRESS, &address, sizeof address);
	return 0;
}

static int put_default_route(struct batch *b, unsigned index, const char *gateway)
{
	struct in_addr address;
	struct rtmsg head = { .rtm_family = AF_INET,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_BOOT,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST };
	if (inet_pton(AF_INET, gateway, &address) != 1)
		return -EINVAL;
	message_begin(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
	put(b, RTA_GATEWAY, &address, sizeof address);
	put_u32(b, RTA_OIF, index);
	return 0;
}

int link_configure(const struct shim_config *c, struct err *err)
{
	struct batch b = { 0 };
	put_link(&b, RTM_SETLINK, 0, 1, NULL,
		true); /* the loopback device is the first of every network namespace */
	if (c->address) {
		unsigned index = if_nametoindex("eth0");
		if (index == 0)
			return err_set(err, errno, "find eth0");
		if (put_address(&b, index, c->address) < 0)
			return err_set(err, EINVAL, "address %s", c->address);
		if (has_ipv6())
			put_no_ipv6(&b, index, NULL);
		put_link(&b, RTM_SETLINK, 0, index, NULL, true);
		if (put_default_route(&b, index, c->gateway) < 0)
			return err_set(err, EINVAL, "gateway %s", c->gateway);
	}
	int r = converse(&b, err);
	return r < 0 ? err_wrap(err, "configure network") : 0;
}
