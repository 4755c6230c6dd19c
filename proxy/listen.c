#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/own.h"
#include "base/parse.h"
#include "proxy/client_impl.h"

#define BACKLOG 4096

/* What every accepted socket inherits: set once here instead of once per connection. */
static const struct {
	int level, name, value;
} inherited[] = {
	{ IPPROTO_TCP, TCP_NODELAY, 1 },
	{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 75 },
	{ IPPROTO_TCP, TCP_KEEPINTVL, 15 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 5 },
};

int listen_tcp(const struct sockaddr_storage *address, int *ret)
{
	int on = 1;
	OWN_FD int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
		return -errno;
	if (address->ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(inherited); i++)
		if (setsockopt(fd, inherited[i].level, inherited[i].name, &inherited[i].value, sizeof(int)) <
			0)
			return -errno;
	if (bind(fd, (const struct sockaddr *)address, address_len(address)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	*ret = TAKE_FD(fd);
	return 0;
}

/* A socket's path must fit 108 bytes; by way of its directory's descriptor any depth does. The caller keeps
 * *ret_dir open while it uses the address. */
static int control_address(const char *path, struct sockaddr_un *ret, int *ret_dir, struct err *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	OWN_FREE char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	if (!parent)
		return err_set(err, ENOMEM, "control socket %s", path);
	OWN_FD int dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(err, errno, "control socket %s", path);
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", dir, name);
	if (n < 0 || (size_t)n >= sizeof ret->sun_path)
		return err_set(err, ENAMETOOLONG, "control socket %s", path);
	*ret_dir = TAKE_FD(dir);
	return 0;
}

int listen_control(const char *path, int *ret, struct err *err)
{
	struct sockaddr_un address;
	OWN_FD int dir = -1, fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, errno, "control socket");
	int r = control_address(path, &address, &dir, err);
	if (r < 0)
		return r;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, errno, "replace control socket %s", path);
	/* The mode before bind: there is no moment in which others could connect. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
		listen(fd, WIRE_BACKLOG) < 0)
		return err_set(err, errno, "control socket %s", path);
	*ret = TAKE_FD(fd);
	return 0;
}

int connect_control(const char *path, int *ret, struct err *err)
{
	struct sockaddr_un address;
	OWN_FD int dir = -1, fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, errno, "control socket");
	int r = control_address(path, &address, &dir, err);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		return err_set(err, errno, "connect to control socket %s", path);
	*ret = TAKE_FD(fd);
	return 0;
}
