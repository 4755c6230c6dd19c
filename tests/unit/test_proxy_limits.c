/* The proxy at its limits: with no room or no descriptors, connections wait; none is refused, nothing spins.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka wants the standard headers first */
#include <cmocka.h>

#include "base/own.h"
#include "tests/unit/proxy_rig.h"

#define LIMIT	400
#define BUDGET	(LIMIT / 4) /* what the proxy grants itself when it has that few descriptors */
#define CLIENTS (BUDGET + 50)

struct crowd {
	int fds[CLIENTS];
	bool served[CLIENTS];
	int n, n_served;
};

static void crowd_dial(struct crowd *c, int n, const struct sockaddr_storage *at)
{
	*c = (struct crowd){ .n = n };
	for (int i = 0; i < n; i++)
		assert_true((c->fds[i] = dial(at)) >= 0);
}

/* Counts those who were greeted; a refused or reset one fails the test. */
static void crowd_look(struct crowd *c)
{
	char tag;
	for (int i = 0; i < c->n; i++) {
		if (c->fds[i] < 0 || c->served[i])
			continue;
		ssize_t n = recv(c->fds[i], &tag, 1, MSG_DONTWAIT);
		if (n < 0)
			continue;
		assert_int_equal(n, 1);
		c->served[i] = true;
		c->n_served++;
	}
}

static void crowd_until(struct rig *r, struct crowd *c, int served)
{
	for (int i = 0; i < 2000 && c->n_served < served; i++) {
		rig_run_for(r, 2);
		crowd_look(c);
	}
	assert_int_equal(c->n_served, served);
}

static void crowd_leave(struct crowd *c, int n)
{
	for (int i = 0; i < c->n && n > 0; i++) {
		if (c->fds[i] < 0 || !c->served[i])
			continue;
		close(TAKE_FD(c->fds[i]));
		n--;
	}
}

static unsigned long cpu_ticks(pid_t pid)
{
	char path[64], text[1024];
	unsigned long user, system;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	OWN_FILE FILE *f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof text, f));
	const char *after_name = strrchr(text, ')');
	assert_non_null(after_name);
	assert_int_equal(
		sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system),
		2);
	return user + system;
}

/* Half a second with less than a fifth of one processor. */
static void assert_no_spin(struct rig *r)
{
	unsigned long before = cpu_ticks(r->pid);
	rig_run_for(r, 500);
	assert_true(cpu_ticks(r->pid) - before <= (unsigned long)sysconf(_SC_CLK_TCK) / 10);
}

static void test_budget_is_kept(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct crowd crowd;
	backend_start(&b, 2, serve_hold, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	crowd_dial(&crowd, CLIENTS, &at);
	crowd_until(r, &crowd, BUDGET);
	assert_no_spin(r);
	crowd_look(&crowd);
	assert_int_equal(crowd.n_served, BUDGET);
	assert_int_equal(rig_count(r, "web", 1).active, BUDGET);
	crowd_leave(&crowd, BUDGET / 2);
	crowd_until(r, &crowd, CLIENTS);
	crowd_leave(&crowd, CLIENTS);
	backend_stop(&b);
}

static void test_no_descriptors(void **state)
{
	struct rig *r = *state;
	struct backend b;
	struct crowd crowd;
	struct rlimit few = { .rlim_cur = (rlim_t)count_fds(r->pid) + 20, .rlim_max = LIMIT };
	struct rlimit enough = { .rlim_cur = LIMIT, .rlim_max = LIMIT };
	backend_start(&b, 2, serve_hold, 'a');
	struct sockaddr_storage at = rig_simple(r, &b);
	assert_int_equal(prlimit(r->pid, RLIMIT_NOFILE, &few, NULL), 0);
	crowd_dial(&crowd, 60, &at);
	assert_no_spin(r);
	crowd_look(&crowd);
	assert_true(crowd.n_served < 60);
	assert_int_equal(prlimit(r->pid, RLIMIT_NOFILE, &enough, NULL), 0);
	crowd_until(r, &crowd, 60);
	crowd_leave(&crowd, 60);
	backend_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_budget_is_kept, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_no_descriptors, rig_setup, rig_teardown),
	};
	struct rlimit limit = { .rlim_cur = LIMIT, .rlim_max = LIMIT };
	setrlimit(RLIMIT_NOFILE, &limit); /* the proxies inherit it */
	return cmocka_run_group_tests_name("proxy limits", tests, NULL, NULL);
}
