#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/parse.h"
#include "config/steps.h"
#include "config/text.h"

/* What rules look at. A key that was wrong by itself has its default here, or is absent: no rule speaks
 * twice. */
struct checked {
	const struct spec *spec;
	const struct node *root;
	struct diag_list *d;
};

/* A value that is wrong by itself has been told of; what rules say about it then is noise. */
#define rule_fault(c, n, hint, ...)                                                                          \
	do {                                                                                                 \
		const struct node *_at = (n);                                                                \
		if (!diag_has((c)->d, _at->line, _at->column))                                               \
			node_fault((c)->d, _at, (hint), __VA_ARGS__);                                        \
	} while (0)

static const struct node *port_node(const struct checked *c, size_t i, const char *member)
{
	char path[40];
	snprintf(path, sizeof path, "ports[%zu].%s", i, member);
	return node_locate(c->root, path);
}

/* The address of all addresses of its family. */
static bool is_any(const struct sockaddr_storage *address)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	memcpy(&in, address, sizeof in);
	memcpy(&in6, address, sizeof in6);
	return address->ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr)
					      : in.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Can't both be listened on. IPv6 listeners leave IPv4 alone. */
static bool addresses_meet(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	struct sockaddr_in x, y; /* the port is in the same place in both families */
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	if (a->ss_family != b->ss_family || x.sin_port != y.sin_port)
		return false;
	return address_equal(a, b) || is_any(a) || is_any(b);
}

static void check_addresses(const struct checked *c)
{
	const struct spec_port *ports = c->spec->ports;
	for (size_t j = 1; j < c->spec->n_ports; j++) {
		for (size_t i = 0; i < j; i++) {
			if (!ports[i].published || !ports[j].published ||
				!addresses_meet(&ports[i].address, &ports[j].address))
				continue;
			rule_fault(c, port_node(c, j, "published"), NULL,
				"`ports`: %s is taken by item %zu (%s)", ports[j].published, i + 1,
				ports[i].published);
			break;
		}
	}
}

static void check_port_names(const struct checked *c)
{
	const struct spec_port *ports = c->spec->ports;
	for (size_t j = 1; j < c->spec->n_ports; j++) {
		for (size_t i = 0; i < j; i++) {
			if (!ports[i].name || !ports[j].name || strcmp(ports[i].name, ports[j].name) != 0)
				continue;
			rule_fault(c, port_node(c, j, "name"), "give one of them another `name`",
				"`ports`: items %zu and %zu are both named `%s`", i + 1, j + 1,
				ports[i].name);
			break;
		}
	}
}

static bool is_target(const struct spec *s, uint16_t port)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i].target == port)
			return true;
	return false;
}

static bool probes_port(const struct spec *s)
{
	return s->container.health.kind == SPEC_CHECK_HTTP || s->container.health.kind == SPEC_CHECK_TCP;
}

static const struct node *probe_node(const struct checked *c)
{
	bool http = c->spec->container.health.kind == SPEC_CHECK_HTTP;
	return node_locate(c->root, http ? "healthcheck.http.port" : "healthcheck.tcp.port");
}

static void check_probe_port(const struct checked *c)
{
	const struct spec *s = c->spec;
	uint16_t port = s->container.health.port;
	if (!probes_port(s))
		return;
	if (port == 0 && s->n_ports == 0)
		rule_fault(c, probe_node(c), "give it a `port`",
			"`healthcheck` does not say which port to probe, and there are no `ports` to choose "
			"from");
	else if (port != 0 && s->container.network == SPEC_NETWORK_HOST && !is_target(s, port))
		rule_fault(c, probe_node(c),
			"with `network: host` teal knows where a target listens, and nothing else",
			"`healthcheck`: port %u is not the target of any of `ports`", port);
}

static void check_no_network(const struct checked *c)
{
	const struct spec *s = c->spec;
	if (s->container.network != SPEC_NETWORK_NONE)
		return;
	if (s->n_ports > 0)
		rule_fault(c, node_locate(c->root, "ports"), NULL,
			"`ports` can't be reached with `network: none`");
	if (probes_port(s))
		rule_fault(c, probe_node(c), "`exec` needs no network",
			"`healthcheck` can't reach the container with `network: none`");
}

static void check_port_variable(const struct checked *c)
{
	const struct spec_container *container = &c->spec->container;
	if (container->network != SPEC_NETWORK_HOST)
		return;
	for (size_t i = 0; i < container->n_environment; i++)
		if (strcmp(container->environment[i].key, "PORT") == 0)
			node_warn(c->d, node_locate(c->root, "environment.PORT"), NULL,
				"`environment`: with `network: host` teal sets PORT itself");
}

static void check_deadline(const struct checked *c)
{
	char text[FORMAT_MAX], limit[FORMAT_MAX];
	const struct spec_deploy *deploy = &c->spec->deploy;
	uint32_t start_ms = c->spec->container.health.start_period_ms;
	format_duration_ms(deploy->healthy_deadline_ms, limit);
	if (deploy->min_healthy_ms >= deploy->healthy_deadline_ms)
		rule_fault(c, node_locate(c->root, "deploy.min_healthy_time"),
			"raise `deploy.healthy_deadline`",
			"`deploy.min_healthy_time`: %s can't pass within the healthy_deadline of %s",
			format_duration_ms(deploy->min_healthy_ms, text), limit);
	if (start_ms >= deploy->healthy_deadline_ms)
		node_warn(c->d, node_locate(c->root, "healthcheck.start_period"),
			"raise `deploy.healthy_deadline`",
			"`healthcheck.start_period`: %s is not shorter than the healthy_deadline of %s",
			format_duration_ms(start_ms, text), limit);
}

/* Is a command given, or so wrong that its own fault has been told? */
static bool has_command(const struct node *root, const char *key)
{
	const struct node_entry *e = node_member(root, key);
	return e && (e->value->kind != NODE_LIST || e->value->n > 0);
}

/* An image may bring a command; a bare directory can't. */
static void check_command(const struct checked *c)
{
	const char *image = c->spec->container.image;
	if (image && strncmp(image, "rootfs:", 7) == 0 && !has_command(c->root, "command") &&
		!has_command(c->root, "entrypoint"))
		rule_fault(c, node_locate(c->root, "image"), "command: [\"/app/server\"]",
			"`command` is missing: a directory has none of its own");
}

static void check_empty_program(const struct checked *c)
{
	const struct spec_container *container = &c->spec->container;
	char **argv = container->entrypoint ? container->entrypoint : container->command;
	if (argv && !*argv[0])
		rule_fault(c, node_locate(c->root, container->entrypoint ? "entrypoint" : "command"), NULL,
			"the program's name is empty");
}

void validate_spec(const struct spec *s, const struct node *root, struct diag_list *d)
{
	static void (*const rules[])(const struct checked *c) = {
		check_addresses,
		check_port_names,
		check_probe_port,
		check_no_network,
		check_port_variable,
		check_deadline,
		check_command,
		check_empty_program,
	};
	struct checked c = { s, root, d };
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		rules[i](&c);
}
