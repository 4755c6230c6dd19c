/* Rules of what a container gets of its host. */
#include <string.h>

#include "config/spec.h"
#include "config/steps.h"
#include "config/syntax.h"
#include "config/text.h"

static void check_extra_hosts(const struct spec *s, const struct node *root, struct diag_list *d)
{
	for (size_t i = 0; i < s->container.n_extra_hosts; i++) {
		const struct spec_pair *p = &s->container.extra_hosts[i];
		char shown[TEXT_SHOWN_MAX];
		if (syntax_hostname(p->key))
			node_fault(d, node_locate(root, "extra_hosts"), NULL, "`extra_hosts`: `%s` %s",
				text_show(p->key, shown), syntax_hostname(p->key));
		else if (strcmp(p->value, "host-gateway") != 0 && syntax_ip(p->value))
			node_fault(d, node_locate(root, "extra_hosts"), "an address, or `host-gateway`",
				"`extra_hosts`: `%s` %s", text_show(p->value, shown), syntax_ip(p->value));
	}
}

/* By the namespace that they belong to. */
static const struct {
	const char *prefix;
	bool network;
} sysctls[] = {
	{ "net.", true },
	{ "fs.mqueue.", false },
	{ "kernel.msgmax", false },
	{ "kernel.msgmnb", false },
	{ "kernel.msgmni", false },
	{ "kernel.sem", false },
	{ "kernel.shmall", false },
	{ "kernel.shmmax", false },
	{ "kernel.shmmni", false },
	{ "kernel.shm_rmid_forced", false },
};

/* A whole name, or what stands below a prefix that ends with a dot. */
static bool covers(const char *prefix, const char *name)
{
	size_t n = strlen(prefix);
	return prefix[n - 1] == '.' ? strncmp(name, prefix, n) == 0 && name[n] : strcmp(name, prefix) == 0;
}

static const char *judge_sysctl(const struct spec *s, const char *name)
{
	if (strchr(name, '/') || strstr(name, ".."))
		return "is not a kernel parameter: parts are separated by single dots";
	for (size_t i = 0; i < ARRAY_LEN(sysctls); i++)
		if (covers(sysctls[i].prefix, name))
			return sysctls[i].network && s->container.network == SPEC_NETWORK_HOST
				       ? "is the host's with `network: host`"
				       : NULL;
	return "is the host's, for all its processes: not to be set by a container";
}

static void check_sysctls(const struct spec *s, const struct node *root, struct diag_list *d)
{
	for (size_t i = 0; i < s->container.n_sysctls; i++) {
		const char *name = s->container.sysctls[i].key, *why = judge_sysctl(s, name);
		char shown[TEXT_SHOWN_MAX];
		if (why)
			node_fault(d, node_locate(root, "sysctls"), NULL, "`sysctls`: `%s` %s",
				text_show(name, shown), why);
	}
}

static void check_reservations(const struct spec *s, const struct node *root, struct diag_list *d)
{
	const struct spec_limits *l = &s->container.limits;
	if (l->cpu_milli && l->reserved_cpu_milli > l->cpu_milli)
		node_fault(d, node_locate(root, "deploy.resources.reservations.cpus"), NULL,
			"`deploy.resources.reservations.cpus` is more than the limit");
	if (l->memory_bytes && l->reserved_memory_bytes > l->memory_bytes)
		node_fault(d, node_locate(root, "deploy.resources.reservations.memory"), NULL,
			"`deploy.resources.reservations.memory` is more than the limit");
}

void validate_container(const struct spec *s, const struct node *root, struct diag_list *d)
{
	check_extra_hosts(s, root, d);
	check_sysctls(s, root, d);
	check_reservations(s, root, d);
	volumes_check(s, root, d);
	secrets_check(s, root, d);
}
