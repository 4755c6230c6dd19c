/* Bytes through the proxy: exact, both ways at once, and ended the way their sender ended them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka wants the standard headers first */
#include <cmocka.h>

#include "base/own.h"
#include "tests/unit/proxy_rig.h"

#define MIB ((size_t)1024 * 1024)

static void *send_pattern(void *arg)
{
	unsigned char bytes[65536];
	int fd = *(int *)arg;
	for (size_t done = 0; done < 64 * MIB; done += sizeof bytes) {
		pattern(done, bytes, sizeof bytes);
		assert_int_equal(write_all(fd, bytes, sizeof bytes), 0);
	}
	shutdown(fd, SHUT_WR);
	return NULL;
}

/* How many bytes of the pattern came, intact, before the end. */
static size_t receive_pattern(int fd)
{
	unsigned char got[65536], want[65536];
	size_t done = 0;
	ssize_t n;
	while ((n = recv(fd, got, sizeof got, 0)) > 0) {
		pattern(done, want, (size_t)n);
		assert_memory_equal(got, want, (size_t)n);
		done += (size_t)n;
	}
	assert_int_equal(n, 0);
	return done;
}

static void test_bytes_exact_both_ways(void **state)
{
	struct rig *r = *state;
	struct backend b;
	pthread_t sender;
	backend_start(&b, 2, serve_echo, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	OWN_FD int fd = dial(&at);
	assert_true(fd >= 0);
	pthread_create(&sender, NULL, send_pattern, &fd);
	assert_int_equal(receive_pattern(fd), 64 * MIB);
	pthread_join(sender, NULL);
	backend_stop(&b);
	struct px_counts n = rig_count(r, "web", 1);
	assert_int_equal(n.bytes_in, 64 * MIB);
	assert_int_equal(n.bytes_out, 64 * MIB);
	assert_int_equal(n.total, 1);
}

/* Answers only once the client has ended its sending. */
static void serve_after_end(struct backend *b, int fd)
{
	size_t n;
	(void)b;
	if (read_all(fd, &n) == 0)
		write_all(fd, n == 5 ? "yes" : "no", n == 5 ? 3 : 2);
}

static void test_half_close_of_client(void **state)
{
	struct rig *r = *state;
	struct backend b;
	char answer[4] = "";
	backend_start(&b, 2, serve_after_end, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	OWN_FD int fd = dial(&at);
	assert_int_equal(write_all(fd, "hello", 5), 0);
	shutdown(fd, SHUT_WR);
	assert_int_equal(recv(fd, answer, 3, MSG_WAITALL), 3);
	assert_string_equal(answer, "yes");
	assert_int_equal(recv(fd, answer, 1, 0), 0);
	backend_stop(&b);
}

static atomic_size_t heard;

/* Ends its own sending at once and goes on listening. */
static void serve_deaf_end(struct backend *b, int fd)
{
	size_t n;
	write_all(fd, &b->tag, 1);
	shutdown(fd, SHUT_WR);
	if (read_all(fd, &n) == 0)
		atomic_store(&heard, n);
}

static void test_half_close_of_server(void **state)
{
	struct rig *r = *state;
	struct backend b;
	size_t n;
	OWN_FREE char *bytes = calloc(1, MIB);
	backend_start(&b, 2, serve_deaf_end, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	OWN_FD int fd = dial(&at);
	assert_int_equal(read_all(fd, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(write_all(fd, bytes, MIB), 0); /* after its end, all of it */
	shutdown(fd, SHUT_WR);
	backend_stop(&b);
	assert_int_equal(atomic_load(&heard), MIB);
}

static void reset(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void serve_then_reset(struct backend *b, int fd)
{
	char bytes[65536] = { 0 };
	char c;
	(void)b;
	if (recv(fd, &c, 1, 0) != 1)
		return;
	for (int i = 0; i < 16; i++)
		write_all(fd, bytes, sizeof bytes);
	usleep(50000); /* a reset overtakes what the kernel has not sent: let it be sent */
	reset(fd);
}

static void test_reset_of_server(void **state)
{
	struct rig *r = *state;
	struct backend b;
	size_t n;
	backend_start(&b, 2, serve_then_reset, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	OWN_FD int fd = dial(&at);
	assert_int_equal(write_all(fd, "x", 1), 0);
	assert_int_equal(read_all(fd, &n), ECONNRESET);
	assert_int_equal(n, 16 * 65536); /* what was sent before the reset is not lost with it */
	backend_stop(&b);
	assert_int_equal(rig_count(r, "web", 1).resets, 1);
}

static atomic_int server_saw;

static void serve_until_reset(struct backend *b, int fd)
{
	size_t n;
	write_all(fd, &b->tag, 1);
	atomic_store(&server_saw, read_all(fd, &n));
}

static void test_reset_of_client(void **state)
{
	struct rig *r = *state;
	struct backend b;
	char c;
	backend_start(&b, 2, serve_until_reset, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	int fd = dial(&at);
	assert_int_equal(recv(fd, &c, 1, 0), 1);
	reset(fd);
	close(fd);
	backend_stop(&b);
	assert_int_equal(atomic_load(&server_saw), ECONNRESET);
}

/* Refuses an upload early: answers, then closes with unread bytes, which makes a reset of its close. */
static void serve_refuse_upload(struct backend *b, int fd)
{
	char c;
	(void)b;
	if (recv(fd, &c, 1, 0) == 1)
		write_all(fd, "413 too large", 13);
	usleep(20000);
}

static void test_early_answer_is_not_lost(void **state)
{
	struct rig *r = *state;
	struct backend b;
	char answer[13];
	OWN_FREE char *bytes = calloc(1, 8 * MIB);
	backend_start(&b, 2, serve_refuse_upload, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	OWN_FD int fd = dial(&at);
	write_all(fd, bytes, 8 * MIB); /* fails somewhere: nobody reads it */
	assert_int_equal(recv(fd, answer, sizeof answer, MSG_WAITALL), sizeof answer);
	assert_memory_equal(answer, "413 too large", 13);
	backend_stop(&b);
}

/* Back-pressure: a server that does not read stops the sender; once it reads, all of it arrives. */
static atomic_int may_read;
static atomic_size_t read_late;

static void serve_late(struct backend *b, int fd)
{
	size_t n;
	(void)b;
	while (!atomic_load(&may_read))
		usleep(1000);
	if (read_all(fd, &n) == 0)
		atomic_store(&read_late, n);
}

static void test_slow_reader(void **state)
{
	struct rig *r = *state;
	struct backend b;
	OWN_FREE char *bytes = calloc(1, 64 * MIB);
	size_t done = 0;
	backend_start(&b, 2, serve_late, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	OWN_FD int fd = dial(&at);
	ssize_t n = send(fd, bytes, 64 * MIB, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (int idle = 0; idle < 20 && done < 64 * MIB; idle++) {
		for (; n > 0; n = send(fd, bytes, 64 * MIB - done, MSG_DONTWAIT | MSG_NOSIGNAL)) {
			done += (size_t)n;
			idle = 0;
		}
		usleep(5000);
		n = send(fd, bytes, 64 * MIB - done, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	done += n > 0 ? (size_t)n : 0;
	assert_true(done < 48 * MIB); /* the kernel's buffers and one of ours */
	atomic_store(&may_read, 1);
	assert_int_equal(write_all(fd, bytes, 64 * MIB - done), 0);
	shutdown(fd, SHUT_WR);
	backend_stop(&b);
	assert_int_equal(atomic_load(&read_late), 64 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bytes_exact_both_ways, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_half_close_of_client, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_half_close_of_server, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_reset_of_server, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_reset_of_client, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_early_answer_is_not_lost, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, rig_setup, rig_teardown),
	};
	return cmocka_run_group_tests_name("proxy relay", tests, NULL, NULL);
}
