/* Every way in which a side can end or fall silent, at every moment, for small and large messages, copied and
 * spliced: the other side gets exactly the bytes and the kind of end that was meant. TEAL_LONG=1 adds 64 MiB.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka wants the standard headers first */
#include <cmocka.h>

#include "base/own.h"
#include "tests/unit/proxy_rig.h"

#define CHUNK	    8192 /* in lockstep: too little to be taken for bulk */
#define PATIENCE_MS 10000
#define SILENCE_MS  20

enum deed { DEED_FIN, DEED_RST, DEED_SILENT, DEED_STOP };
enum moment { BEFORE, MID, AFTER };

struct cell {
	enum deed deed;
	enum moment moment;
	size_t size;
	bool lockstep; /* each chunk is read before the next is sent: always copied */
};

struct pair {
	int doer, other; /* the ends of one proxied connection: who acts, and who sees it */
};

static void await(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

/* Reads what is there of the stream, up to n bytes; what it reads must be right. */
static size_t take(int fd, size_t at, size_t n)
{
	static unsigned char got[65536], want[65536];
	ssize_t len = recv(fd, got, n < sizeof got ? n : sizeof got, MSG_DONTWAIT);
	if (len < 0 && errno == EAGAIN)
		return 0;
	assert_true(len > 0);
	pattern(at, want, (size_t)len);
	assert_memory_equal(got, want, (size_t)len);
	return (size_t)len;
}

static size_t give(int fd, size_t at, size_t n)
{
	static unsigned char bytes[65536];
	size_t len = n < sizeof bytes ? n : sizeof bytes;
	pattern(at, bytes, len);
	ssize_t sent = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	assert_true(sent > 0 || errno == EAGAIN);
	return sent > 0 ? (size_t)sent : 0;
}

/* Bytes [at, at + n) of the stream from one end to the other, all of them. */
static void carry(int from, int to, size_t at, size_t n, bool lockstep)
{
	for (size_t sent = 0, got = 0; got < n;) {
		size_t room = lockstep ? (n - got < CHUNK ? n - got : CHUNK) - (sent - got) : n - sent;
		if (room > 0)
			sent += give(from, at + sent, room);
		if (lockstep || room == 0)
			await(to, POLLIN);
		got += take(to, at + got, sent - got);
	}
}

static void expect_end(int fd, int error)
{
	char c;
	await(fd, POLLIN);
	ssize_t n = recv(fd, &c, 1, 0);
	assert_int_equal(n, error ? -1 : 0);
	if (error)
		assert_int_equal(errno, error);
}

static void expect_silence(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, SILENCE_MS), 0);
}

static void close_with_reset(int *fd)
{
	struct linger linger = { .l_onoff = 1 };
	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(TAKE_FD(*fd));
}

static size_t part_of(const struct cell *c)
{
	return c->moment == BEFORE ? 0 : c->moment == MID ? c->size / 2 : c->size;
}

static void answer_whole(const struct pair *p, const struct cell *c)
{
	carry(p->other, p->doer, 0, c->size, c->lockstep);
	shutdown(p->other, SHUT_WR);
	expect_end(p->doer, 0);
}

static void do_fin(struct pair *p, const struct cell *c)
{
	carry(p->doer, p->other, 0, part_of(c), c->lockstep);
	shutdown(p->doer, SHUT_WR);
	expect_end(p->other, 0);
	answer_whole(p, c);
}

static void do_rst(struct pair *p, const struct cell *c)
{
	carry(p->doer, p->other, 0, part_of(c), c->lockstep);
	close_with_reset(&p->doer);
	expect_end(p->other, ECONNRESET);
}

static void do_silent(struct pair *p, const struct cell *c)
{
	carry(p->doer, p->other, 0, part_of(c), c->lockstep);
	expect_silence(p->other);
	answer_whole(p, c);
	shutdown(p->doer, SHUT_WR);
	expect_end(p->other, 0);
}

/* The doer reads a part, then nothing for a while, then the rest; the other's sending meanwhile must not be
 * lost, nor the bytes that come the other way be held up. */
static void do_stop(struct pair *p, const struct cell *c)
{
	size_t part = part_of(c), sent = part;
	carry(p->other, p->doer, 0, part, c->lockstep);
	for (int idle = 0; sent < c->size && idle < SILENCE_MS;) {
		size_t n = give(p->other, sent, c->size - sent);
		sent += n;
		idle = n ? 0 : idle + poll(NULL, 0, 1) + 1;
	}
	carry(p->doer, p->other, 0, 64, true);
	for (size_t got = part; got < c->size;) {
		if (sent < c->size)
			sent += give(p->other, sent, c->size - sent);
		else
			await(p->doer, POLLIN);
		got += take(p->doer, got, c->size - got);
	}
	shutdown(p->other, SHUT_WR);
	expect_end(p->doer, 0);
}

static void (*const deeds[])(struct pair *p, const struct cell *c) = {
	[DEED_FIN] = do_fin,
	[DEED_RST] = do_rst,
	[DEED_SILENT] = do_silent,
	[DEED_STOP] = do_stop,
};

static void run_cell(const struct sockaddr_storage *at, int listener, bool client_acts, const struct cell *c)
{
	OWN_FD int client = dial(at);
	assert_true(client >= 0);
	await(listener, POLLIN);
	OWN_FD int server = accept(listener, NULL, NULL);
	struct pair p = { client_acts ? client : server, client_acts ? server : client };
	/* A server that resets what it has only just accepted counts as refusing it: another try would be
	 * made. */
	carry(client, server, 0, 1, true);
	deeds[c->deed](&p, c);
	if (client_acts)
		client = p.doer;
	else
		server = p.doer;
}

static void run_deed(const struct sockaddr_storage *at, int listener, struct cell *c)
{
	for (unsigned moment = BEFORE; moment <= AFTER; moment++)
		for (int client_acts = 0; client_acts < 2; client_acts++) {
			c->moment = (enum moment)moment;
			print_message(
				"%s deed %u moment %u\n", client_acts ? "client" : "server", c->deed, moment);
			run_cell(at, listener, client_acts, c);
		}
}

static int count_pipes(pid_t pid)
{
	char path[64], target[64];
	int n = 0;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	OWN_DIR DIR *d = opendir(path);
	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d));) {
		ssize_t len = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
		target[len > 0 ? len : 0] = '\0';
		n += strncmp(target, "pipe:", 5) == 0;
	}
	return n;
}

static void run_size(struct rig *r, size_t size, bool lockstep)
{
	struct backend b = { .address = rig_address(2, 9000) };
	OWN_FD int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	assert_int_equal(bind(listener, (struct sockaddr *)&b.address, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(listener, 64), 0);
	struct sockaddr_storage at = rig_simple(r, &b);
	int pipes = count_pipes(r->pid);
	for (unsigned deed = 0; deed < ARRAY_LEN(deeds); deed++) {
		struct cell c = { .deed = (enum deed)deed, .size = size, .lockstep = lockstep };
		run_deed(&at, listener, &c);
		if (deed != DEED_STOP) /* who stops reading gets a burst afterwards */
			assert_true(lockstep == (count_pipes(r->pid) == pipes));
	}
	for (int i = 0; i < 1000 && rig_count(r, "web", 1).active > 0; i++)
		rig_run_for(r, 1);
	assert_int_equal(rig_count(r, "web", 1).active, 0);
}

static void test_64_bytes(void **state)
{
	run_size(*state, 64, true);
}

static void test_1_mib_copied(void **state)
{
	run_size(*state, 1 << 20, true);
}

static void test_1_mib_spliced(void **state)
{
	run_size(*state, 1 << 20, false);
}

static void test_64_mib(void **state)
{
	if (!getenv("TEAL_LONG")) {
		print_message("skip: streams of 64 MiB in every cell (TEAL_LONG=1 runs them)\n");
		skip();
	}
	run_size(*state, 64 << 20, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_64_bytes, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_1_mib_copied, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_1_mib_spliced, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_64_mib, rig_setup, rig_teardown),
	};
	return cmocka_run_group_tests_name("proxy matrix", tests, NULL, NULL);
}
