#include "proxy/preface.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define V2_PROXY 0x21 /* version 2, on somebody's behalf */
#define V2_LOCAL 0x20 /* on our own: there is no client any more */
#define V2_TCP4	 0x11
#define V2_TCP6	 0x21

struct ends {
	struct sockaddr_storage client, listener;
};

static bool ends_get(int fd, struct ends *ret)
{
	socklen_t client_len = sizeof ret->client, listener_len = sizeof ret->listener;
	return getpeername(fd, (struct sockaddr *)&ret->client, &client_len) == 0 &&
	       getsockname(fd, (struct sockaddr *)&ret->listener, &listener_len) == 0 &&
	       ret->client.ss_family == ret->listener.ss_family &&
	       (ret->client.ss_family == AF_INET || ret->client.ss_family == AF_INET6);
}

static const void *ip_of(const struct sockaddr_storage *a, size_t *ret_len)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
	*ret_len = a->ss_family == AF_INET ? sizeof in->sin_addr : sizeof in6->sin6_addr;
	return a->ss_family == AF_INET ? (const void *)&in->sin_addr : &in6->sin6_addr;
}

/* In network order. Both families keep it in the same place. */
static uint16_t port_of(const struct sockaddr_storage *a)
{
	return ((const struct sockaddr_in *)a)->sin_port;
}

static size_t write_v1(const struct ends *e, char ret[PREFACE_MAX])
{
	char client[INET6_ADDRSTRLEN], listener[INET6_ADDRSTRLEN];
	size_t len;
	if (!e)
		return (size_t)snprintf(ret, PREFACE_MAX, "PROXY UNKNOWN\r\n");
	inet_ntop(e->client.ss_family, ip_of(&e->client, &len), client, sizeof client);
	inet_ntop(e->client.ss_family, ip_of(&e->listener, &len), listener, sizeof listener);
	return (size_t)snprintf(ret, PREFACE_MAX, "PROXY TCP%c %s %s %u %u\r\n",
		e->client.ss_family == AF_INET ? '4' : '6', client, listener, ntohs(port_of(&e->client)),
		ntohs(port_of(&e->listener)));
}

static void add(char **at, const void *bytes, size_t len)
{
	memcpy(*at, bytes, len);
	*at += len;
}

static size_t write_v2(const struct ends *e, char ret[PREFACE_MAX])
{
	static const unsigned char signature[] = { 13, 10, 13, 10, 0, 13, 10, 'Q', 'U', 'I', 'T', 10 };
	unsigned char head[4] = { V2_LOCAL, 0, 0, 0 };
	char *at = ret;
	add(&at, signature, sizeof signature);
	if (!e) {
		add(&at, head, sizeof head);
		return (size_t)(at - ret);
	}
	size_t len;
	const void *client = ip_of(&e->client, &len), *listener = ip_of(&e->listener, &len);
	uint16_t ports[] = { port_of(&e->client), port_of(&e->listener) };
	head[0] = V2_PROXY;
	head[1] = e->client.ss_family == AF_INET ? V2_TCP4 : V2_TCP6;
	head[3] = (unsigned char)(2 * len + sizeof ports);
	add(&at, head, sizeof head);
	add(&at, client, len);
	add(&at, listener, len);
	add(&at, ports, sizeof ports);
	return (size_t)(at - ret);
}

size_t preface_write(enum spec_proxy_protocol version, int client_fd, char ret[PREFACE_MAX])
{
	struct ends ends;
	if (version == SPEC_PROXY_NONE)
		return 0;
	const struct ends *e = ends_get(client_fd, &ends) ? &ends : NULL;
	return version == SPEC_PROXY_V1 ? write_v1(e, ret) : write_v2(e, ret);
}
