#include "runtime/native/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/route.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"

static void own_sock(struct nl_sock **s)
{
	if (*s)
		nl_socket_free(*s);
}
static void own_link(struct rtnl_link **l)
{
	if (*l)
		rtnl_link_put(*l);
}
static void own_addr(struct rtnl_addr **a)
{
	if (*a)
		rtnl_addr_put(*a);
}
static void own_nladdr(struct nl_addr **a)
{
	if (*a)
		nl_addr_put(*a);
}
static void own_cache(struct nl_cache **c)
{
	if (*c)
		nl_cache_free(*c);
}
#define OWN_SOCK   OWN(own_sock)
#define OWN_LINK   OWN(own_link)
#define OWN_ADDR   OWN(own_addr)
#define OWN_NLADDR OWN(own_nladdr)
#define OWN_CACHE  OWN(own_cache)

/* libnl's own error numbers as the errno that they stand for. */
static int from_nl(struct err *err, int nl, const char *what, const char *on)
{
	static const struct {
		int nl, code;
	} CODES[] = { { NLE_EXIST, EEXIST }, { NLE_OBJ_NOTFOUND, ENODEV }, { NLE_NODEV, ENODEV },
		{ NLE_PERM, EPERM }, { NLE_NOMEM, ENOMEM }, { NLE_BUSY, EBUSY },
		{ NLE_OPNOTSUPP, EOPNOTSUPP } };
	int code = EIO;
	for (size_t i = 0; i < ARRAY_LEN(CODES); i++)
		if (CODES[i].nl == -nl || CODES[i].nl == nl)
			code = CODES[i].code;
	return err_say(err, code, "%s %s: %s", what, on, nl_geterror(nl));
}

static int open_sock(struct nl_sock **ret, struct err *err)
{
	struct nl_sock *s = nl_socket_alloc();
	int r = s ? nl_connect(s, NETLINK_ROUTE) : -NLE_NOMEM;
	if (r < 0) {
		own_sock(&s);
		return from_nl(err, r, "open", "netlink");
	}
	*ret = s;
	return 0;
}

bool link_exists(const char *name)
{
	return if_nametoindex(name) != 0;
}

static int add_bridge(struct nl_sock *sock, const char *name, const uint8_t mac[6])
{
	OWN_LINK struct rtnl_link *link = rtnl_link_bridge_alloc();
	OWN_NLADDR struct nl_addr *address = nl_addr_build(AF_LLC, mac, 6);
	if (!link || !address)
		return -NLE_NOMEM;
	rtnl_link_set_name(link, name);
	rtnl_link_set_addr(link, address);
	return rtnl_link_add(sock, link, NLM_F_CREATE | NLM_F_EXCL);
}

static int add_address(struct nl_sock *sock, int index, uint32_t gateway, unsigned prefix)
{
	uint32_t wire = htonl(gateway);
	OWN_ADDR struct rtnl_addr *address = rtnl_addr_alloc();
	OWN_NLADDR struct nl_addr *local = nl_addr_build(AF_INET, &wire, sizeof wire);
	if (!address || !local)
		return -NLE_NOMEM;
	nl_addr_set_prefixlen(local, (int)prefix);
	rtnl_addr_set_ifindex(address, index);
	rtnl_addr_set_local(address, local);
	int r = rtnl_addr_add(sock, address, 0);
	return r == -NLE_EXIST ? 0 : r;
}

static int set_up(struct nl_sock *sock, int index)
{
	OWN_LINK struct rtnl_link *now = rtnl_link_alloc(), *change = rtnl_link_alloc();
	if (!now || !change)
		return -NLE_NOMEM;
	rtnl_link_set_ifindex(now, index);
	rtnl_link_set_flags(change, IFF_UP);
	rtnl_link_inet6_set_addr_gen_mode(change, rtnl_link_inet6_str2addrgenmode("none"));
	return rtnl_link_change(sock, now, change, 0);
}

int link_make_bridge(
	const char *name, uint32_t gateway, unsigned prefix, const uint8_t mac[6], struct err *err)
{
	OWN_SOCK struct nl_sock *sock = NULL;
	int r = open_sock(&sock, err);
	if (r < 0)
		return r;
	r = add_bridge(sock, name, mac);
	if (r < 0 && r != -NLE_EXIST)
		return from_nl(err, r, "create bridge", name);
	int index = (int)if_nametoindex(name);
	r = index ? add_address(sock, index, gateway, prefix) : -NLE_OBJ_NOTFOUND;
	if (r == 0)
		r = set_up(sock, index);
	return r < 0 ? from_nl(err, r, "configure bridge", name) : 0;
}

int link_delete(const char *name, struct err *err)
{
	OWN_SOCK struct nl_sock *sock = NULL;
	OWN_LINK struct rtnl_link *link = rtnl_link_alloc();
	unsigned index = if_nametoindex(name);
	if (index == 0)
		return 0;
	int r = open_sock(&sock, err);
	if (r < 0 || !link)
		return r < 0 ? r : err_set(err, ENOMEM, "delete link %s", name);
	rtnl_link_set_ifindex(link, (int)index);
	r = rtnl_link_delete(sock, link);
	return r < 0 && if_nametoindex(name) != 0 ? from_nl(err, r, "delete link", name) : 0;
}

static bool overlaps(const struct nl_addr *other, uint32_t net, unsigned prefix)
{
	uint32_t wire, mask;
	unsigned theirs = other ? nl_addr_get_prefixlen(other) : 0;
	if (theirs == 0 || nl_addr_get_family(other) != AF_INET || nl_addr_get_len(other) != sizeof wire)
		return false; /* the default route is around everything */
	memcpy(&wire, nl_addr_get_binary_addr(other), sizeof wire);
	mask = UINT32_MAX << (32 - (theirs < prefix ? theirs : prefix));
	return (ntohl(wire) & mask) == (net & mask);
}

static int route_interface(struct rtnl_route *route)
{
	struct rtnl_nexthop *hop =
		rtnl_route_get_nnexthops(route) > 0 ? rtnl_route_nexthop_n(route, 0) : NULL;
	return hop ? rtnl_route_nh_get_ifindex(hop) : 0;
}

int link_net_taken(uint32_t net, unsigned prefix, const char *except, struct err *err)
{
	OWN_SOCK struct nl_sock *sock = NULL;
	OWN_CACHE struct nl_cache *routes = NULL, *addresses = NULL;
	int skip = (int)if_nametoindex(except), taken = 0;
	int r = open_sock(&sock, err);
	if (r < 0)
		return r;
	r = rtnl_route_alloc_cache(sock, AF_INET, 0, &routes);
	if (r == 0)
		r = rtnl_addr_alloc_cache(sock, &addresses);
	if (r < 0)
		return from_nl(err, r, "list", "routes");
	for (struct nl_object *o = nl_cache_get_first(routes); o; o = nl_cache_get_next(o)) {
		struct rtnl_route *route = (struct rtnl_route *)o;
		taken |= (!skip || route_interface(route) != skip) &&
			 overlaps(rtnl_route_get_dst(route), net, prefix);
	}
	for (struct nl_object *o = nl_cache_get_first(addresses); o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;
		taken |= (!skip || rtnl_addr_get_ifindex(a) != skip) &&
			 overlaps(rtnl_addr_get_local(a), net, prefix);
	}
	return taken;
}

int link_list(const char *prefix, char ***ret)
{
	struct if_nameindex *all = if_nameindex();
	int r = 0;
	if (!all)
		return -errno;
	for (struct if_nameindex *i = all; r == 0 && i->if_index; i++)
		if (strncmp(i->if_name, prefix, strlen(prefix)) == 0)
			r = strv_add(ret, i->if_name);
	if_freenameindex(all);
	return r;
}
