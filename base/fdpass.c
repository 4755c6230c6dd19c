#include "base/fdpass.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
};

int fdpass_send(int sock, const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
	union control control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n_fds > FDPASS_MAX)
		return -E2BIG;
	if (len == 0) /* the other side could not tell it from the end of the stream */
		return -EINVAL;
	if (n_fds > 0) {
		memset(&control, 0, sizeof control);
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* Collects every descriptor that came, whichever way the message is broken, so that none can leak. */
static unsigned collect(struct msghdr *msg, int fds[FDPASS_MAX])
{
	unsigned n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (n < FDPASS_MAX)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

int fdpass_recv(int sock, void *bytes, size_t size, int fds[FDPASS_MAX], unsigned *ret_n_fds)
{
	union control control;
	struct iovec iov = { .iov_base = bytes, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes };
	ssize_t n;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	unsigned count = collect(&msg, fds);
	bool broken = msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	/* An empty message reads as the end of the stream: nobody would look for descriptors there. */
	while ((broken || n == 0) && count > 0)
		close(fds[--count]);
	if (broken)
		return -EMSGSIZE;
	*ret_n_fds = count;
	return (int)n;
}
