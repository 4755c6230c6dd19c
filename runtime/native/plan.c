#include "runtime/native/plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/own.h"
#include "config/capability.h"

static int copy_env(const struct spec_container *c, char ***ret)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < c->n_environment; i++)
		r = strv_addf(ret, "%s=%s", c->environment[i].key, c->environment[i].value);
	return r;
}

static int copy_text(const char *text, char **ret)
{
	if (!text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int copy_all(const struct rt_launch *l, struct launch_plan *p)
{
	const struct spec_container *c = l->container;
	int r = copy_text(l->service, &p->service);
	r = r < 0 ? r : copy_text(l->slot, &p->slot);
	r = r < 0 ? r : copy_text(c->working_dir, &p->working_dir);
	r = r < 0 ? r : copy_text(c->user, &p->user);
	r = r < 0 ? r : copy_text(c->seccomp, &p->seccomp);
	r = r < 0 ? r : copy_text(l->secrets_dir, &p->secrets_dir);
	r = r < 0 ? r : strv_copy(c->entrypoint, &p->entrypoint);
	r = r < 0 ? r : strv_copy(c->command, &p->command);
	r = r < 0 ? r : copy_env(c, &p->env);
	for (size_t i = 0; r == 0 && i < l->n_ports; i++) {
		p->ports[i] = l->ports[i].target;
		r = copy_text(l->ports[i].name, &p->port_names[i]);
	}
	return r;
}

/* Docker's fourteen without MKNOD, NET_RAW, AUDIT_WRITE, SETFCAP, SYS_CHROOT and SETPCAP. */
#define CAP_BIT(name) (UINT64_C(1) << (CAP_##name))
#define DEFAULT_CAPS                                                                                         \
	(CAP_BIT(CHOWN) | CAP_BIT(DAC_OVERRIDE) | CAP_BIT(FOWNER) | CAP_BIT(FSETID) | CAP_BIT(KILL) |        \
		CAP_BIT(NET_BIND_SERVICE) | CAP_BIT(SETGID) | CAP_BIT(SETUID))

/* What is dropped by name stays dropped, also if everything is added; what is added by name stays, also if
 * everything is dropped. */
uint64_t plan_caps(const struct spec_container *c)
{
	if (c->cap_drop == CAPABILITY_ALL)
		return c->cap_add;
	return (DEFAULT_CAPS | c->cap_add) & ~c->cap_drop;
}

int plan_new(const struct rt_launch *launch, struct launch_plan **ret, struct err *err)
{
	if (launch->n_ports > RT_PORTS_MAX)
		return err_say(err, E2BIG, "more than %d ports", RT_PORTS_MAX);
	struct launch_plan *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(err, ENOMEM, "start %s", launch->id);
	memcpy(p->id, launch->id, sizeof p->id);
	memcpy(p->image_digest, launch->image_digest, sizeof p->image_digest);
	memcpy(p->spec_digest, launch->spec_digest, sizeof p->spec_digest);
	p->generation = launch->generation;
	p->replica = launch->replica;
	p->read_only = launch->container->read_only;
	p->network = launch->container->network;
	p->caps = plan_caps(launch->container);
	p->limits = launch->container->limits;
	p->logging = launch->container->logging;
	p->n_ports = launch->n_ports;
	p->container = launch->container;
	p->spec = launch->spec ? spec_ref(launch->spec) : NULL;
	if (copy_all(launch, p) < 0) {
		plan_free(p);
		return err_set(err, ENOMEM, "start %s", launch->id);
	}
	*ret = p;
	return 0;
}

void plan_free(struct launch_plan *p)
{
	if (!p)
		return;
	free(p->service);
	free(p->slot);
	free(p->working_dir);
	free(p->user);
	free(p->seccomp);
	free(p->secrets_dir);
	strv_free(p->names);
	spec_unref(p->spec);
	strv_free(p->entrypoint);
	strv_free(p->command);
	strv_free(p->env);
	for (size_t i = 0; i < p->n_ports; i++)
		free(p->port_names[i]);
	free(p);
}

static int bind_any(int *ret_fd, uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY) };
	socklen_t len = sizeof a;
	OWN_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
		getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	*ret_port = ntohs(a.sin_port);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* All are bound at the same time, so that they differ. Between here and the application's own bind somebody
 * else may take one: it then fails to start, and is started again with others. */
int plan_pick_ports(struct launch_plan *p, struct err *err)
{
	int fds[RT_PORTS_MAX], r = 0;
	size_t n = 0;
	for (; r == 0 && n < p->n_ports; n++)
		if ((r = bind_any(&fds[n], &p->ports[n])) < 0)
			break;
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	return r < 0 ? err_set(err, -r, "find a free port") : 0;
}
