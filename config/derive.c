#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/parse.h"
#include "config/steps.h"

static bool name_taken(const struct spec *s, const char *name)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i].name && strcmp(s->ports[i].name, name) == 0)
			return true;
	return false;
}

/* The target's number; where two ports have the same target, the published one behind it. */
static int name_port(const struct spec *s, struct spec_port *port)
{
	char name[24];
	const char *colon = port->published ? strrchr(port->published, ':') : NULL;
	snprintf(name, sizeof name, "%u", port->target);
	if (colon && name_taken(s, name))
		snprintf(name, sizeof name, "%u-%s", port->target, colon + 1);
	port->name = strdup(name);
	return port->name ? 0 : -ENOMEM;
}

static int derive_ports(struct spec *s)
{
	for (size_t i = 0; i < s->n_ports; i++) {
		struct spec_port *port = &s->ports[i];
		if (port->published)
			parse_address(port->published, &port->address, NULL); /* canonical: can't fail */
		if (!port->name && port->target > 0 && name_port(s, port) < 0)
			return -ENOMEM;
	}
	return 0;
}

int derive_defaults(struct spec *s)
{
	struct spec_health *health = &s->container.health;
	bool connects = health->kind == SPEC_CHECK_HTTP || health->kind == SPEC_CHECK_TCP;
	if (connects && health->port == 0 && s->n_ports > 0)
		health->port = s->ports[0].target;
	if (health->kind == SPEC_CHECK_NONE)
		health->successes = 1; /* nobody asked for more */
	if (s->deploy.preview)
		parse_address(
			s->deploy.preview, &s->deploy.preview_address, NULL); /* canonical: can't fail */
	return derive_ports(s);
}
