#include "runtime/native/bundle_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/bundle.h"

/* Not synced: after a power cut nothing runs, and the agent starts everything afresh from its own record. */
static int put_file(int dir_fd, const char *name, const void *bytes, size_t len, mode_t mode, struct err *err)
{
	OWN_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return err_set(err, errno, "create %s", name);
	ssize_t n = write(fd, bytes, len);
	if (n != (ssize_t)len)
		return err_set(err, n < 0 ? errno : ENOSPC, "write %s", name);
	return 0;
}

/* The resolver of systemd listens on the host's loopback, which a private network does not reach. */
static int put_resolv_conf(int dir_fd, bool private_network, struct err *err)
{
	static const char *const FILES[] = { "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf" };
	OWN_BUF struct buf text = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
		OWN_FD int fd = open(FILES[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		char *to = fd >= 0 ? buf_room(&text, 16384) : NULL;
		ssize_t n = to ? read(fd, to, 16384) : -1;
		if (n < 0)
			continue;
		text.len = (size_t)n;
		text.data[n] = '\0';
		if (!private_network || !strstr(text.data, "nameserver 127."))
			break;
		if (i + 1 < ARRAY_LEN(FILES))
			text.len = 0;
	}
	return put_file(dir_fd, "resolv.conf", text.len ? text.data : "", text.len, 0644, err);
}

static int put_hosts(int dir_fd, const char *hostname, const char *address, struct err *err)
{
	OWN_BUF struct buf text = { 0 };
	int len = address ? (int)strcspn(address, "/") : 0;
	buf_adds(&text, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	buf_addf(&text, "%.*s\t%s\n", len ? len : (int)strlen("127.0.0.1"), len ? address : "127.0.0.1",
		hostname);
	return text.failed ? err_set(err, ENOMEM, "write hosts")
			   : put_file(dir_fd, "hosts", text.data, text.len, 0644, err);
}

int bundle_write(const char *dir, const json_t *config, const struct buf *filter, bool private_network,
	struct err *err)
{
	OWN_FREE char *text = json_dumps(config, JSON_INDENT(1));
	const json_t *notes = json_object_get(config, "annotations");
	OWN_FD int fd = -1;
	if (!text)
		return err_set(err, ENOMEM, "write " BUNDLE_CONFIG);
	if (mkdir(dir, 0700) < 0)
		return err_set(err, errno, "create bundle %s", dir);
	int r = fs_open_dir(AT_FDCWD, dir, &fd, err);
	if (r == 0)
		r = put_resolv_conf(fd, private_network, err);
	if (r == 0)
		r = put_hosts(fd, json_str(config, "hostname", "localhost"),
			json_str(notes, NOTE_ADDRESS, NULL), err);
	if (r == 0 && filter->len > 0)
		r = put_file(fd, BUNDLE_SECCOMP, filter->data, filter->len, 0600, err);
	return r < 0 ? r : put_file(fd, BUNDLE_CONFIG, text, strlen(text), 0600, err);
}
