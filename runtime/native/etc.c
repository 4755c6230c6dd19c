#include "runtime/native/etc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fsx.h"
#include "base/own.h"

#define LOOPBACK "127.0.0.1"
#define MARK	 "# services of this host\n"
#define MOST	 65536

void etc_done(struct etc_files *f)
{
	buf_done(&f->resolv_conf);
	buf_done(&f->hosts);
}

/* "nameserver ADDRESS", and where the address begins. */
static const char *server_of(const char *line)
{
	static const char word[] = "nameserver";
	size_t n = sizeof word - 1;
	if (strncmp(line, word, n) != 0 || !strchr(" \t", line[n]) || !line[n])
		return NULL;
	return line + n + strspn(line + n, " \t");
}

/* The resolver of the host that listens on its loopback is out of reach of another network. */
static bool is_loopback(const char *server)
{
	return strncmp(server, "127.", 4) == 0 || strcmp(server, "::1") == 0;
}

/* Copies the file without what can't be used; the number of servers that are left. */
static unsigned copy_servers(const char *path, const struct launch_plan *p, struct buf *out)
{
	OWN_BUF struct buf text = { .max = MOST };
	bool own_network = p->network != SPEC_NETWORK_HOST;
	unsigned servers = 0;
	OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* often a symlink */
	char *to = fd >= 0 ? buf_room(&text, MOST / 2) : NULL;
	ssize_t n = to ? read(fd, to, MOST / 2) : -1;
	if (n <= 0)
		return 0;
	to[n] = '\0';
	for (char *line; (line = strsep(&to, "\n"));) {
		const char *server = server_of(line);
		if (!*line || (server && (p->container->dns || (own_network && is_loopback(server)))))
			continue;
		buf_addf(out, "%s\n", line);
		servers += server != NULL;
	}
	return servers;
}

/* The host's search list and options stay, also with servers of the spec's own. */
static void make_resolv_conf(const struct launch_plan *p, struct buf *out)
{
	static const char *const FILES[] = { "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf" };
	char **dns = p->container->dns;
	for (char **server = dns; server && *server; server++)
		buf_addf(out, "nameserver %s\n", *server);
	if (copy_servers(FILES[0], p, out) > 0 || dns)
		return;
	OWN_BUF struct buf other = { 0 };
	if (copy_servers(FILES[1], p, &other) > 0) {
		buf_done(out);
		*out = other;
		other = (struct buf){ 0 };
	} else {
		buf_adds(out,
			"# this host has no name server that a network of its own could reach: see `dns`\n");
	}
}

static void add_names(struct buf *out, const char *gateway, char *const *names)
{
	buf_adds(out, MARK);
	for (char *const *name = names; name && *name; name++)
		buf_addf(out, "%s\t%s\n", gateway, *name);
}

static void make_hosts(
	const struct launch_plan *p, const struct lease *lease, const char *hostname, struct buf *out)
{
	const struct spec_container *c = p->container;
	const char *gateway = lease ? lease->gateway : LOOPBACK, *own = lease ? lease->address : LOOPBACK;
	buf_adds(out, LOOPBACK "\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	buf_addf(out, "%.*s\t%s\n", (int)strcspn(own, "/"), own, hostname);
	for (size_t i = 0; i < c->n_extra_hosts; i++) {
		bool host = strcmp(c->extra_hosts[i].value, "host-gateway") == 0;
		buf_addf(out, "%s\t%s\n", host ? gateway : c->extra_hosts[i].value, c->extra_hosts[i].key);
	}
	if (p->network != SPEC_NETWORK_NONE)
		add_names(out, gateway, p->names);
}

int etc_make(const struct launch_plan *p, const struct lease *lease, const char *hostname,
	struct etc_files *ret, struct err *err)
{
	make_resolv_conf(p, &ret->resolv_conf);
	make_hosts(p, lease, hostname, &ret->hosts);
	return ret->resolv_conf.failed || ret->hosts.failed ? err_set(err, ENOMEM, "make hosts") : 0;
}

int etc_rename(const char *bundle, const char *gateway, char *const *names, struct err *err)
{
	OWN_FREE char *path = fs_join(bundle, ETC_HOSTS, NULL);
	OWN_BUF struct buf text = { 0 };
	int r = path ? fs_read_file(AT_FDCWD, path, MOST, &text, err) : err_set(err, ENOMEM, "write hosts");
	char *mark = r == 0 && text.data ? strstr(text.data, MARK) : NULL;
	if (!mark)
		return r;
	text.len = (size_t)(mark - text.data);
	add_names(&text, gateway, names);
	OWN_FD int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || pwrite(fd, text.data, text.len, 0) != (ssize_t)text.len ||
		ftruncate(fd, (off_t)text.len) < 0)
		return err_set(err, errno, "write %s", path);
	return 0;
}
