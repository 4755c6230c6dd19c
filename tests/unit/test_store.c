/* The durable store: every row comes back as it went in, transactions land whole or not at all, and no file,
 * however it was damaged, keeps the agent from starting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/store.h"
#include "base/buf.h"
#include "base/own.h"
#include "scratch.h"
#include "store_rig.h"

/* --- rows --- */

/* Every member its own value, so that two swapped columns show. */
#define AWKWARD "it's \"quoted\"; DROP TABLE service; -- \xc3\xa9\n"

static const struct row_service full_service = { .name = (char *)"web",
	.next_generation = 11,
	.active = 12,
	.standby = 13,
	.standby_until_boot_ms = INT64_MAX,
	.boot_id = (char *)"boot",
	.held_digest = (char *)"sha256:held",
	.held_reason = (char *)AWKWARD,
	.held_generation = 14,
	.held_since_ms = INT64_MIN };

static void same_service(void *arg, const struct row_service *r)
{
	const struct row_service *f = &full_service;
	++*(int *)arg;
	assert_string_equal(r->name, f->name);
	assert_int_equal(r->next_generation, f->next_generation);
	assert_int_equal(r->active, f->active);
	assert_int_equal(r->standby, f->standby);
	assert_true(r->standby_until_boot_ms == f->standby_until_boot_ms);
	assert_string_equal(r->boot_id, f->boot_id);
	assert_string_equal(r->held_digest, f->held_digest);
	assert_string_equal(r->held_reason, f->held_reason);
	assert_int_equal(r->held_generation, f->held_generation);
	assert_true(r->held_since_ms == f->held_since_ms);
}

static const struct row_generation full_generation = { .service = (char *)"web",
	.number = 21,
	.digest = (char *)"digest",
	.image = (char *)"image",
	.image_digest = (char *)"image digest",
	.slot = (char *)"green",
	.state = (char *)"standby",
	.spec = (char *)"{\"spec\":1}",
	.created_ms = 22,
	.since_ms = 23,
	.by = (char *)"by",
	.source = (char *)"source",
	.result = (char *)"result",
	.reason = (char *)AWKWARD,
	.took_ms = 24 };

static void same_generation(const struct row_generation *r)
{
	const struct row_generation *f = &full_generation;
	assert_string_equal(r->service, f->service);
	assert_int_equal(r->number, f->number);
	assert_string_equal(r->digest, f->digest);
	assert_string_equal(r->image, f->image);
	assert_string_equal(r->image_digest, f->image_digest);
	assert_string_equal(r->slot, f->slot);
	assert_string_equal(r->state, f->state);
	assert_string_equal(r->spec, f->spec);
	assert_int_equal(r->created_ms, f->created_ms);
	assert_int_equal(r->since_ms, f->since_ms);
	assert_string_equal(r->by, f->by);
	assert_string_equal(r->source, f->source);
	assert_string_equal(r->result, f->result);
	assert_string_equal(r->reason, f->reason);
	assert_int_equal(r->took_ms, f->took_ms);
}

static struct row_deployment full_deployment(void)
{
	return (struct row_deployment){ .service = (char *)"web",
		.kind = (char *)"kind",
		.state = (char *)"state",
		.from_generation = 31,
		.to_generation = 32,
		.by = (char *)"by",
		.source = (char *)"source",
		.created_ms = 33,
		.since_ms = 34,
		.deadline_boot_ms = 35,
		.boot_id = (char *)"boot",
		.reason = (char *)AWKWARD,
		.steps = (char *)"steps",
		.failure = (char *)"failure",
		.diff = (char *)"diff",
		.result = (char *)"result",
		.request = (char *)"request",
		.failing = 36,
		.done = 1 };
}

static void same_deployment(const struct row_deployment *r, int64_t id)
{
	const struct row_deployment f = full_deployment();
	assert_int_equal(r->id, id);
	assert_string_equal(r->service, f.service);
	assert_string_equal(r->kind, f.kind);
	assert_string_equal(r->state, f.state);
	assert_int_equal(r->from_generation, f.from_generation);
	assert_int_equal(r->to_generation, f.to_generation);
	assert_string_equal(r->by, f.by);
	assert_string_equal(r->source, f.source);
	assert_int_equal(r->created_ms, f.created_ms);
	assert_int_equal(r->since_ms, f.since_ms);
	assert_int_equal(r->deadline_boot_ms, f.deadline_boot_ms);
	assert_string_equal(r->boot_id, f.boot_id);
	assert_string_equal(r->reason, f.reason);
	assert_string_equal(r->steps, f.steps);
	assert_string_equal(r->failure, f.failure);
	assert_string_equal(r->diff, f.diff);
	assert_string_equal(r->result, f.result);
	assert_string_equal(r->request, f.request);
	assert_int_equal(r->failing, f.failing);
	assert_int_equal(r->done, f.done);
}

static const struct row_event full_event = { .seq = 41,
	.at_ms = 42,
	.service = (char *)"web",
	.type = (char *)"type",
	.text = (char *)AWKWARD,
	.data = (char *)"{\"data\":1}",
	.generation = 43,
	.deployment = 44 };

static void same_event(void *arg, const struct row_event *r)
{
	const struct row_event *f = &full_event;
	++*(int *)arg;
	assert_int_equal(r->seq, f->seq);
	assert_int_equal(r->at_ms, f->at_ms);
	assert_string_equal(r->service, f->service);
	assert_string_equal(r->type, f->type);
	assert_string_equal(r->text, f->text);
	assert_string_equal(r->data, f->data);
	assert_int_equal(r->generation, f->generation);
	assert_int_equal(r->deployment, f->deployment);
}

static void test_rows_come_back(void **state)
{
	struct scratch *s = *state;
	struct store *st = store_rig_open(s, "db", false);
	struct row_deployment d = full_deployment();
	store_begin(st);
	store_put_service(st, &full_service);
	store_put_generation(st, &full_generation);
	store_put_deployment(st, &d);
	store_put_event(st, &full_event);
	store_rig_commit(st);
	for (int round = 0; round < 2; round++) { /* as it is, and after a restart */
		int seen = 0;
		struct row_generation g = { 0 };
		struct row_deployment back = { 0 }, last = { 0 };
		assert_int_equal(store_services(st, same_service, &seen, NULL), 0);
		assert_int_equal(store_events(st, NULL, 0, 10, same_event, &seen, NULL), 0);
		assert_int_equal(seen, 2);
		assert_int_equal(store_generation(st, "web", 21, &g, NULL), 0);
		same_generation(&g);
		assert_int_equal(store_deployment(st, d.id, &back, NULL), 0);
		same_deployment(&back, d.id);
		assert_int_equal(store_last_deployment(st, "web", &last, NULL), 0);
		same_deployment(&last, d.id);
		row_generation_done(&g);
		row_deployment_done(&back);
		row_deployment_done(&last);
		row_deployment_done(&last); /* twice does no harm */
		store_close(st);
		st = store_rig_open(s, "db", false);
	}
	store_close(st);
	store_close(NULL);
}

static void absent_texts(void *arg, const struct row_generation *r)
{
	++*(int *)arg;
	assert_null(r->image);
	assert_null(r->by);
	assert_null(r->reason);
	assert_string_equal(r->spec, ""); /* empty is not absent */
}

static void test_absent_is_not_empty(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	struct row_generation g = store_rig_generation("web", 1);
	int seen = 0;
	g.spec = (char *)"";
	store_begin(st);
	store_put_generation(st, &g);
	store_rig_commit(st);
	assert_int_equal(store_generations(st, "web", absent_texts, &seen, NULL), 0);
	assert_int_equal(seen, 1);
	store_close(st);
}

static void test_put_replaces(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	store_rig_fill(st);
	struct row_service a = store_rig_service("alpha");
	struct row_generation g = store_rig_generation("alpha", 1), back = { 0 };
	a.active = 7;
	g.state = (char *)"retired";
	store_begin(st);
	store_put_service(st, &a);
	store_put_generation(st, &g);
	store_rig_commit(st);
	store_rig_expect(st, RIG_FILLED);
	assert_int_equal(store_generation(st, "alpha", 1, &back, NULL), 0);
	assert_string_equal(back.state, "retired");
	row_generation_done(&back);
	store_close(st);
}

static void test_order_and_filters(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	store_rig_fill(st);
	store_rig_expect(st, RIG_FILLED);
	OWN_BUF struct buf g = { 0 }, open = { 0 }, mine = { 0 }, events = { 0 }, late = { 0 };
	store_generations(st, "alpha", store_rig_see_generation, &g, NULL);
	assert_string_equal(g.data, "alpha:2 alpha:1 ");
	store_deployments(st, NULL, true, store_rig_see_deployment, &open, NULL);
	assert_string_equal(open.data, "beta:2! ");
	store_deployments(st, "alpha", false, store_rig_see_deployment, &mine, NULL);
	assert_string_equal(mine.data, "alpha:1 ");
	store_events(st, "alpha", 0, 10, store_rig_see_event, &events, NULL);
	assert_string_equal(events.data, "alpha:1 ");
	store_events(st, NULL, 1, 10, store_rig_see_event, &late, NULL);
	assert_string_equal(late.data, "-:2 ");
	late.len = 0;
	store_events(st, NULL, 0, 1, store_rig_see_event, &late, NULL);
	assert_string_equal(late.data, "alpha:1 ");
	store_close(st);
}

static void test_absent_rows(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	struct row_generation g = { .number = 77 };
	struct row_deployment d = { .id = 77 };
	struct err err = { 0 };
	store_rig_fill(st);
	assert_int_equal(store_generation(st, "alpha", 9, &g, &err), -ENOENT);
	assert_string_equal(err.msg, "alpha has no generation 9");
	assert_int_equal(store_generation(st, "nobody", 1, &g, NULL), -ENOENT);
	assert_int_equal(store_deployment(st, 5000000000, &d, &err), -ENOENT);
	assert_string_equal(err.msg, "there is no deployment 5000000000");
	assert_int_equal(
		store_last_deployment(st, "beta", &d, &err), -ENOENT); /* it has one, which is not over */
	assert_int_equal(g.number, 77);
	assert_int_equal(d.id, 77);
	store_close(st);
}

static void test_delete(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	store_rig_fill(st);
	store_begin(st);
	store_delete_generation(st, "alpha", 1);
	store_delete_generation(st, "alpha", 99);
	store_rig_commit(st);
	store_rig_expect(st, "s alpha beta g alpha:2 beta:1 d beta:2! alpha:1 e alpha:1 -:2 ");
	store_begin(st);
	store_delete_service(st, "alpha");
	store_delete_service(st, "nobody");
	store_rig_commit(st);
	/* What was done to it stays on record. */
	store_rig_expect(st, "s beta g beta:1 d beta:2! alpha:1 e alpha:1 -:2 ");
	store_close(st);
}

/* An id is never given again, not even one of a deployment that was pruned. */
static void test_deployment_ids(void **state)
{
	struct scratch *s = *state;
	struct store *st = store_rig_open(s, "db", false);
	for (int i = 1; i <= 3; i++) {
		struct row_deployment d = store_rig_deployment("web", true);
		store_begin(st);
		store_put_deployment(st, &d);
		store_rig_commit(st);
		assert_int_equal(d.id, i);
		store_begin(st);
		store_put_deployment(st, &d);
		store_rig_commit(st);
		assert_int_equal(d.id, i);
	}
	store_begin(st);
	store_prune(st, 0);
	store_rig_commit(st);
	store_rig_expect(st, RIG_EMPTY);
	store_close(st);
	st = store_rig_open(s, "db", false);
	struct row_deployment d = store_rig_deployment("web", true);
	store_begin(st);
	store_put_deployment(st, &d);
	store_rig_commit(st);
	assert_int_equal(d.id, 4);
	store_close(st);
}

static void test_prune(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	store_begin(st);
	for (int i = 1; i <= 20; i++) {
		struct row_deployment d =
			store_rig_deployment("web", i != 3); /* one that is still going on */
		struct row_event e =
			store_rig_event(i < 18 ? i : i * 1000, "web"); /* numbers have gaps after crashes */
		store_put_deployment(st, &d);
		store_put_event(st, &e);
	}
	store_rig_commit(st);
	store_begin(st);
	store_prune(st, 100);
	store_rig_commit(st);
	store_begin(st);
	store_prune(st, 4);
	store_rig_commit(st);
	store_rig_expect(
		st, "s g d web:20 web:19 web:18 web:17 web:3! e web:17 web:18000 web:19000 web:20000 ");
	store_close(st);
}

static void test_reserved_events(void **state)
{
	struct scratch *s = *state;
	struct store *st = store_rig_open(s, "db", false);
	int64_t n = -1;
	assert_int_equal(store_reserved_events(st, &n, NULL), 0);
	assert_int_equal(n, 0);
	store_rig_fill(st);
	assert_int_equal(store_reserved_events(st, &n, NULL), 0);
	assert_int_equal(n, 2); /* stored, if not reserved */
	store_begin(st);
	store_reserve_events(st, 1000);
	store_rig_commit(st);
	store_close(st);
	st = store_rig_open(s, "db", false);
	assert_int_equal(store_reserved_events(st, &n, NULL), 0);
	assert_int_equal(n, 1000);
	store_close(st);
}

/* --- transactions --- */

/* What is not committed is not there, neither for another reader nor after the end. */
static void test_uncommitted_is_not_there(void **state)
{
	struct scratch *s = *state;
	struct store *st = store_rig_open(s, "db", false), *other = store_rig_open(s, "db", false);
	store_rig_fill(st);
	struct row_service c = store_rig_service("gamma");
	store_begin(st);
	store_put_service(st, &c);
	store_delete_service(st, "alpha");
	store_rig_expect(other, RIG_FILLED);
	store_close(other);
	store_close(st);
	st = store_rig_open(s, "db", false);
	store_rig_expect(st, RIG_FILLED);
	store_close(st);
}

/* One row that cannot be stored takes the whole transaction with it, what comes after it too. */
static void test_failed_put_fails_all(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	struct row_generation bad = store_rig_generation("alpha", 9);
	struct row_service c = store_rig_service("gamma"), d = store_rig_service("delta");
	struct row_deployment dep = store_rig_deployment("gamma", false);
	struct err err = { 0 };
	store_rig_fill(st);
	bad.digest = NULL;
	store_begin(st);
	store_put_service(st, &c);
	store_put_generation(st, &bad);
	store_put_service(st, &d);
	store_put_deployment(st, &dep);
	store_delete_service(st, "alpha");
	assert_int_equal(dep.id, 0); /* and not the id of some earlier row */
	assert_true(store_commit(st, &err) < 0);
	assert_string_equal(
		err.msg, "state database: generation: NOT NULL constraint failed: generation.digest");
	store_rig_expect(st, RIG_FILLED);
	/* The next transaction is not tainted by it. */
	store_begin(st);
	store_put_service(st, &c);
	store_rig_commit(st);
	store_begin(st);
	store_rig_commit(st);
	store_close(st);
}

/* Somebody (a backup) holds the database: the change fails as a whole and says so. */
static void test_locked(void **state)
{
	struct scratch *s = *state;
	struct store *st = store_rig_open(s, "db", false);
	struct row_service c = store_rig_service("gamma");
	struct err err = { 0 };
	sqlite3 *db = NULL;
	store_rig_fill(st);
	assert_int_equal(sqlite3_open(scratch_name(s, "db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	store_begin(st);
	store_put_service(st, &c); /* must not land on its own after the failed begin */
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	store_delete_service(st, "alpha");
	assert_int_equal(store_commit(st, &err), -EBUSY);
	assert_string_equal(err.msg, "state database: begin: database is locked");
	store_rig_expect(st, RIG_FILLED);
	sqlite3_close(db);
	store_close(st);
}

static void put_big(struct store *st, const char *name, size_t size)
{
	OWN_FREE char *text = calloc(1, size + 1);
	memset(text, 'x', size);
	struct row_service c = store_rig_service(name);
	c.held_reason = text;
	store_begin(st);
	store_put_service(st, &c);
}

/* Writing fails at the n-th page, as a file size limit plays it: reported, rolled back, and the next one
 * works. */
static void test_write_errors(void **state)
{
	struct store *st = store_rig_open(*state, "db", false);
	struct rlimit was, tight;
	unsigned failures = 0;
	store_rig_fill(st);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	for (rlim_t limit = 0; limit < 400000; limit += 8000) {
		struct err err = { 0 };
		tight = was;
		tight.rlim_cur = limit;
		put_big(st, "big", 60000);
		setrlimit(RLIMIT_FSIZE, &tight);
		int r = store_commit(st, &err);
		setrlimit(RLIMIT_FSIZE, &was);
		if (r == 0)
			break;
		failures++;
		if (r != -EIO && r != -ENOSPC)
			fail_msg("%s", err.msg);
		assert_memory_equal(err.msg, "state database: ", 16);
		store_rig_expect(st, RIG_FILLED);
	}
	signal(SIGXFSZ, SIG_DFL);
	assert_true(failures > 5);
	store_rig_expect(st, "s alpha beta big g alpha:2 alpha:1 beta:1 d beta:2! alpha:1 e alpha:1 -:2 ");
	store_close(st);
}

enum { SKIPPED = 77 };

static bool is(struct store *st, const char *expected)
{
	OWN_FREE char *text = store_rig_contents(st);
	return strcmp(text, expected) == 0;
}

/* A file system of half a megabyte that is really full. */
static int fill_disk(struct scratch *s)
{
	struct store *st = NULL;
	char *note = NULL, name[32];
	struct err err = { 0 };
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tiny", s->path, "tmpfs", 0, "size=512k") < 0)
		return SKIPPED;
	const char *path = scratch_name(s, "db");
	if (store_open(path, &st, &note, &err) < 0)
		return 1;
	store_rig_fill(st);
	int r = 0, n = 0;
	for (; r == 0 && n < 100; n++) {
		snprintf(name, sizeof name, "big%02d", n);
		put_big(st, name, 20000);
		r = store_commit(st, &err);
	}
	if (r != -ENOSPC || n < 3)
		return 2;
	store_begin(st); /* what is stored can still be read, and room be made */
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "big%02d", i);
		store_delete_service(st, name);
	}
	bool freed = store_commit(st, &err) == 0 && is(st, RIG_FILLED);
	store_close(st);
	if (store_open(path, &st, &note, &err) < 0 || note)
		return 3;
	bool kept = is(st, RIG_FILLED) || !freed;
	store_close(st);
	return kept ? 0 : 4;
}

static void test_full_disk(void **state)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0)
		_exit(fill_disk(*state));
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
		print_message("skip: may not mount here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

#define scratch_test(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_rows_come_back),
		scratch_test(test_absent_is_not_empty),
		scratch_test(test_put_replaces),
		scratch_test(test_order_and_filters),
		scratch_test(test_absent_rows),
		scratch_test(test_delete),
		scratch_test(test_deployment_ids),
		scratch_test(test_prune),
		scratch_test(test_reserved_events),
		scratch_test(test_uncommitted_is_not_there),
		scratch_test(test_failed_put_fails_all),
		scratch_test(test_locked),
		scratch_test(test_write_errors),
		scratch_test(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
