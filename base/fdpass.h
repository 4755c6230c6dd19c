/* One message with descriptors over a SOCK_SEQPACKET unix socket (SCM_RIGHTS). Received descriptors are
 * CLOEXEC; a truncated message or control part is an error and closes whatever came. */
#pragma once
#include <stddef.h>

#define FDPASS_MAX 64 /* descriptors in one message */

/* At least one byte. 0 or -errno (-EAGAIN: the socket is full). */
int fdpass_send(int sock, const void *bytes, size_t len, const int *fds, unsigned n_fds);
/* Bytes received, 0 at the end of the stream, or -errno. *ret_n_fds descriptors are the caller's to close. */
int fdpass_recv(int sock, void *bytes, size_t size, int fds[FDPASS_MAX], unsigned *ret_n_fds);
