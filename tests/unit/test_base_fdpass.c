/* Descriptors in messages: they arrive closed for children, and none is ever left open by a broken message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/own.h"
#include "scratch.h"

struct pair {
	int a, b;
	unsigned fds; /* open before the test */
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof *p);
	int s[2];
	if (!p || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s) < 0)
		return -1;
	*p = (struct pair){ .a = s[0], .b = s[1], .fds = count_open_fds() };
	*state = p;
	return 0;
}

/* Every test ends with the descriptors that it began with. */
static int teardown(void **state)
{
	struct pair *p = *state;
	unsigned now = count_open_fds(), before = p->fds;
	if (p->a >= 0)
		close(p->a);
	close(p->b);
	free(p);
	if (now != before)
		print_error("%u descriptors open before, %u after\n", before, now);
	return now == before ? 0 : -1;
}

static void close_all(int *fds, unsigned n)
{
	while (n > 0)
		close(fds[--n]);
}

static void test_bytes_only(void **state)
{
	struct pair *p = *state;
	char text[16] = "";
	int fds[FDPASS_MAX];
	unsigned n = 99;
	assert_int_equal(fdpass_send(p->a, "hello", 5, NULL, 0), 0);
	assert_int_equal(fdpass_recv(p->b, text, sizeof text, fds, &n), 5);
	assert_string_equal(text, "hello");
	assert_int_equal(n, 0);
	n = 99;
	assert_int_equal(fdpass_recv(p->b, text, sizeof text, fds, &n), -EAGAIN);
	assert_int_equal(n, 99);
}

static void test_most_descriptors(void **state)
{
	struct pair *p = *state;
	int send[FDPASS_MAX + 1], got[FDPASS_MAX];
	unsigned n = 0;
	char byte;
	struct stat a, b;
	for (unsigned i = 0; i < ARRAY_LEN(send); i++)
		send[i] = open(i % 2 ? "/dev/null" : "/dev/zero", O_RDONLY); /* without CLOEXEC */
	assert_int_equal(fdpass_send(p->a, "x", 1, send, FDPASS_MAX + 1), -E2BIG);
	assert_int_equal(fdpass_send(p->a, "x", 1, send, FDPASS_MAX), 0);
	assert_int_equal(fdpass_recv(p->b, &byte, 1, got, &n), 1);
	assert_int_equal(n, FDPASS_MAX);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		fstat(send[i], &a);
		fstat(got[i], &b);
		assert_true(a.st_rdev == b.st_rdev);
	}
	close_all(got, n);
	close_all(send, ARRAY_LEN(send));
}

static void test_truncated_bytes(void **state)
{
	struct pair *p = *state;
	char text[4];
	int fds[FDPASS_MAX], two[] = { p->a, p->b };
	unsigned n = 99, before = count_open_fds();
	assert_int_equal(fdpass_send(p->a, "longer than four", 16, two, 2), 0);
	assert_int_equal(fdpass_recv(p->b, text, sizeof text, fds, &n), -EMSGSIZE);
	assert_int_equal(n, 99);
	assert_int_equal(count_open_fds(), before);
	/* The next message is whole again. */
	assert_int_equal(fdpass_send(p->a, "ok", 2, NULL, 0), 0);
	assert_int_equal(fdpass_recv(p->b, text, sizeof text, fds, &n), 2);
}

/* A stranger sends more descriptors than we ever take: the kernel drops some, we close the others. */
static void test_truncated_descriptors(void **state)
{
	struct pair *p = *state;
	enum { MANY = FDPASS_MAX + 60 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MANY)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char[]){ 'x' }, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * MANY);
	for (int i = 0; i < MANY; i++)
		memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &p->a, sizeof(int));
	char byte;
	int fds[FDPASS_MAX];
	unsigned n = 99;
	assert_int_equal(sendmsg(p->a, &msg, 0), 1);
	assert_int_equal(fdpass_recv(p->b, &byte, 1, fds, &n), -EMSGSIZE);
	assert_int_equal(n, 99);
}

/* The descriptor table is full in the middle of a message. */
static void test_table_full(void **state)
{
	struct pair *p = *state;
	char byte;
	int fds[FDPASS_MAX], ten[10];
	unsigned n = 99;
	for (unsigned i = 0; i < ARRAY_LEN(ten); i++)
		ten[i] = p->a;
	struct rlimit was, tight;
	getrlimit(RLIMIT_NOFILE, &was);
	assert_int_equal(fdpass_send(p->a, "x", 1, ten, 10), 0);
	tight = was;
	tight.rlim_cur = lowest_free_fd() + 3;
	setrlimit(RLIMIT_NOFILE, &tight);
	int r = fdpass_recv(p->b, &byte, 1, fds, &n);
	setrlimit(RLIMIT_NOFILE, &was);
	assert_int_equal(r, -EMSGSIZE);
	assert_int_equal(n, 99);
}

static void test_end_of_stream(void **state)
{
	struct pair *p = *state;
	char byte;
	int fds[FDPASS_MAX];
	unsigned n = 99;
	/* An empty message would look like the end: it is not sent, and what a stranger puts into one is
	 * closed. */
	assert_int_equal(fdpass_send(p->a, "", 0, &p->b, 1), -EINVAL);
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .align = { .cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS } };
	memcpy(CMSG_DATA(&control.align), &p->b, sizeof(int));
	struct msghdr msg = { .msg_control = &control, .msg_controllen = sizeof control };
	assert_int_equal(sendmsg(p->a, &msg, 0), 0);
	assert_int_equal(fdpass_recv(p->b, &byte, 1, fds, &n), 0);
	assert_int_equal(n, 0);
	close(TAKE_FD(p->a));
	p->fds--;
	assert_int_equal(fdpass_recv(p->b, &byte, 1, fds, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(fdpass_send(p->b, "x", 1, NULL, 0), -EPIPE); /* and no SIGPIPE */
}

static void test_full_socket(void **state)
{
	struct pair *p = *state;
	char text[1024] = { 0 };
	int r = 0, sent = 0, got = 0, fds[FDPASS_MAX];
	unsigned n;
	while ((r = fdpass_send(p->a, text, sizeof text, &p->b, 1)) == 0)
		sent++;
	assert_int_equal(r, -EAGAIN);
	for (; fdpass_recv(p->b, text, sizeof text, fds, &n) > 0; got++)
		close_all(fds, n);
	assert_int_equal(got, sent);
}

static void test_bad_descriptor(void **state)
{
	struct pair *p = *state;
	int bad = 9999;
	assert_int_equal(fdpass_send(p->a, "x", 1, &bad, 1), -EBADF);
	assert_int_equal(fdpass_send(-1, "x", 1, NULL, 0), -EBADF);
}

#define pair_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pair_test(test_bytes_only),
		pair_test(test_most_descriptors),
		pair_test(test_truncated_bytes),
		pair_test(test_truncated_descriptors),
		pair_test(test_table_full),
		pair_test(test_end_of_stream),
		pair_test(test_full_socket),
		pair_test(test_bad_descriptor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
