/* The log of events: numbers are never used twice, followers hear each event once and in order, and what the
 * store did not take at first is kept for later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "agent/events.h"
#include "base/log.h"
#include "base/own.h"
#include "scratch.h"
#include "store_rig.h"

struct world {
	struct scratch *scratch;
	uv_loop_t loop;
	struct store *store;
	struct event_log *log;
};

static void begin(struct world *w)
{
	struct err err = { 0 };
	w->store = store_rig_open(w->scratch, "db", false);
	if (events_open(&w->loop, w->store, &w->log, &err) < 0)
		fail_msg("%s", err.msg);
}

static void end(struct world *w)
{
	events_close(w->log);
	store_close(w->store);
	w->log = NULL;
	w->store = NULL;
	uv_run(&w->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	void *scratch = NULL;
	if (!w || uv_loop_init(&w->loop) < 0 || scratch_setup(&scratch) < 0)
		return -1;
	log_open("test", LOG_WARN_);
	w->scratch = scratch;
	*state = w;
	begin(w);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	void *scratch = w->scratch;
	end(w);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	int r = uv_loop_close(&w->loop);
	free(w);
	return scratch_teardown(&scratch) + r;
}

static void add(struct world *w, const char *service, const char *type)
{
	events_add(w->log, &(struct event){ .service = service, .type = type }, "%s happened", type);
}

/* The numbers in the store, oldest first, as "first-last(count)". */
struct seen {
	int64_t first, last;
	unsigned n;
};

static void count_event(void *arg, const struct row_event *r)
{
	struct seen *s = arg;
	if (s->n++ == 0)
		s->first = r->seq;
	assert_true(r->seq > s->last);
	s->last = r->seq;
}

static struct seen stored(struct world *w)
{
	struct seen s = { 0 };
	assert_int_equal(store_events(w->store, NULL, 0, 100000, count_event, &s, NULL), 0);
	return s;
}

/* --- numbers --- */

static void test_numbers_go_on_after_an_end(void **state)
{
	struct world *w = *state;
	assert_int_equal(events_last(w->log), 0);
	for (int i = 0; i < 5; i++)
		add(w, "web", "test");
	assert_int_equal(events_last(w->log), 5);
	end(w);
	begin(w);
	assert_int_equal(events_last(w->log), 5); /* an orderly end leaves no gap */
	add(w, "web", "test");
	assert_int_equal(events_last(w->log), 6);
	end(w);
	begin(w);
	struct seen s = stored(w);
	assert_int_equal(s.first, 1);
	assert_int_equal(s.last, 6);
	assert_int_equal(s.n, 6);
}

/* What an agent would start from that finds the file as it is now. */
static void after_kill(struct world *w, int64_t given)
{
	int64_t start = 0;
	struct store *other = store_rig_open(w->scratch, "db", false);
	assert_int_equal(store_reserved_events(other, &start, NULL), 0);
	assert_true(start >= given && start < given + 10000);
	store_close(other);
}

static void test_numbers_after_a_kill(void **state)
{
	struct world *w = *state;
	/* Before anything was stored: a follower may have seen 1 all the same. */
	add(w, "web", "test");
	after_kill(w, 1);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 1200; i++)
			add(w, "web", "test");
		after_kill(w, events_last(w->log));
		events_flush(w->log);
		after_kill(w, events_last(w->log));
	}
}

static void test_pruned_numbers_do_not_come_back(void **state)
{
	struct world *w = *state;
	for (int i = 0; i < 20; i++)
		add(w, "web", "test");
	events_flush(w->log);
	store_begin(w->store);
	store_prune(w->store, 0);
	store_rig_commit(w->store);
	assert_int_equal(stored(w).n, 0);
	end(w);
	begin(w);
	assert_int_equal(events_last(w->log), 20);
}

/* --- the store --- */

static void whole_event(void *arg, const struct row_event *r)
{
	++*(int *)arg;
	assert_string_equal(r->service, "web");
	assert_string_equal(r->type, "deployment.state");
	assert_string_equal(r->text, "pulling 3 of 4");
	assert_string_equal(r->data, "{\"a\":1,\"b\":2}");
	assert_int_equal(r->generation, 7);
	assert_int_equal(r->deployment, 9);
	assert_true(r->at_ms > 1600000000000);
}

static void test_event_is_stored_whole(void **state)
{
	struct world *w = *state;
	int n = 0;
	struct event e = { .service = "web",
		.generation = 7,
		.deployment = 9,
		.type = "deployment.state",
		.data = json_pack("{s:i, s:i}", "b", 2, "a", 1) };
	events_add(w->log, &e, "pulling %d of %d", 3, 4);
	assert_int_equal(stored(w).n, 0);
	events_flush(w->log);
	events_flush(w->log);
	store_events(w->store, NULL, 0, 10, whole_event, &n, NULL);
	assert_int_equal(n, 1);
}

static void test_flush_comes_by_itself(void **state)
{
	struct world *w = *state;
	add(w, NULL, "agent.started");
	uv_run(&w->loop, UV_RUN_DEFAULT); /* ends when the timer has fired: nothing else keeps the loop */
	assert_int_equal(stored(w).n, 1);
	for (int i = 0; i < 600; i++)
		add(w, NULL, "storm");
	uv_run(&w->loop, UV_RUN_NOWAIT); /* many at once do not wait for it */
	assert_int_equal(stored(w).n, 601);
}

static void test_end_flushes(void **state)
{
	struct world *w = *state;
	add(w, "web", "test");
	end(w);
	begin(w);
	assert_int_equal(stored(w).n, 1);
}

static void test_old_ones_are_pruned(void **state)
{
	struct world *w = *state;
	for (int i = 0; i < 12500; i++) {
		add(w, "web", "test");
		if (i % 500 == 0)
			events_flush(w->log);
	}
	events_flush(w->log);
	struct seen s = stored(w);
	assert_true(s.n >= 10000 && s.n <= 11500);
	assert_int_equal(s.last, 12500);
}

/* The store takes nothing for a while: no event is lost, and the agent is told once. */
static void test_store_fails_for_a_while(void **state)
{
	struct world *w = *state;
	sqlite3 *db = NULL;
	add(w, "web", "before");
	events_flush(w->log);
	assert_int_equal(sqlite3_open(scratch_name(w->scratch, "db"), &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db,
			"CREATE TRIGGER no BEFORE INSERT ON event BEGIN SELECT raise(ABORT, 'no'); END", NULL,
			NULL, NULL),
		SQLITE_OK);
	for (int i = 0; i < 10; i++) {
		add(w, "web", "meanwhile");
		events_flush(w->log);
	}
	assert_int_equal(stored(w).n, 1);
	for (int i = 0; i < 6000; i++) /* more than is kept */
		add(w, "web", "meanwhile");
	events_flush(w->log);
	sqlite3_exec(db, "DROP TRIGGER no", NULL, NULL, NULL);
	sqlite3_close(db);
	add(w, "web", "after");
	events_flush(w->log);
	struct seen s = stored(w);
	assert_int_equal(s.last, events_last(w->log));
	assert_true(s.n > 2000 && s.n < 6000);
}

/* --- followers --- */

struct ear {
	struct world *world;
	char text[200];
	struct event_tap *tap, *other, *late;
	int adds;
};

static void hear(void *arg, const json_t *event)
{
	struct ear *e = arg;
	size_t n = strlen(e->text);
	snprintf(e->text + n, sizeof e->text - n, "%s%d ", json_str(event, "service", "-"),
		(int)json_int(event, "seq", 0));
}

static void tap(struct ear *e, const char *service, void (*each)(void *arg, const json_t *event))
{
	assert_int_equal(events_tap(e->world->log, service, each, e, &e->tap), 0);
}

static void test_taps_by_service(void **state)
{
	struct world *w = *state;
	struct ear all = { .world = w }, web = { .world = w }, db = { .world = w };
	add(w, "web", "test"); /* before anybody listened */
	tap(&all, NULL, hear);
	tap(&web, "web", hear);
	tap(&db, "db", hear);
	add(w, "web", "test");
	add(w, "db", "test");
	add(w, NULL, "test");
	add(w, "webs", "test");
	events_untap(web.tap);
	events_untap(NULL);
	add(w, "web", "test");
	assert_string_equal(all.text, "web2 db3 -4 webs5 web6 ");
	assert_string_equal(web.text, "web2 ");
	assert_string_equal(db.text, "db3 ");
	events_untap(all.tap);
	/* db's is left to the end of the log */
}

static void hear_and_untap_both(void *arg, const json_t *event)
{
	struct ear *e = arg;
	hear(e, event);
	events_untap(TAKE_PTR(e->tap));
	events_untap(TAKE_PTR(e->other));
}

/* Whichever is told first, it ends itself and the other one, which then hears nothing more. */
static void test_untap_inside(void **state)
{
	struct world *w = *state;
	struct ear a = { .world = w }, b = { .world = w }, c = { .world = w };
	tap(&a, NULL, hear_and_untap_both);
	tap(&b, NULL, hear_and_untap_both);
	tap(&c, NULL, hear);
	a.other = b.tap;
	b.other = a.tap;
	add(w, "x", "test");
	add(w, "x", "test");
	assert_int_equal(strlen(a.text) + strlen(b.text), 3);
	assert_string_equal(c.text, "x1 x2 ");
	events_untap(c.tap);
}

static void hear_and_add(void *arg, const json_t *event)
{
	struct ear *e = arg;
	hear(e, event);
	if (e->adds-- > 0)
		add(e->world, "inner", "test");
}

/* An event out of a follower: everybody hears both, in the order of their numbers. */
static void test_add_inside(void **state)
{
	struct world *w = *state;
	struct ear a = { .world = w }, b = { .world = w, .adds = 2 }, c = { .world = w };
	tap(&a, NULL, hear);
	tap(&b, NULL, hear_and_add);
	tap(&c, NULL, hear);
	add(w, "outer", "test");
	assert_string_equal(a.text, "outer1 inner2 inner3 ");
	assert_string_equal(b.text, a.text);
	assert_string_equal(c.text, a.text);
	events_untap(a.tap);
	events_untap(b.tap);
	events_untap(c.tap);
	events_flush(w->log);
	assert_int_equal(stored(w).n, 3);
}

static void hear_and_tap(void *arg, const json_t *event)
{
	struct ear *e = arg;
	hear(e, event);
	if (!e->late)
		assert_int_equal(events_tap(e->world->log, NULL, hear, e->other, &e->late), 0);
}

/* Who begins to listen while an event is told hears from the next one on. */
static void test_tap_inside(void **state)
{
	struct world *w = *state;
	struct ear late = { .world = w }, first = { .world = w, .other = (void *)&late };
	tap(&first, NULL, hear_and_tap);
	add(w, "x", "test");
	assert_string_equal(late.text, "");
	add(w, "x", "test");
	assert_string_equal(late.text, "x2 ");
	assert_string_equal(first.text, "x1 x2 ");
}

static void test_json_form(void **state)
{
	(void)state;
	struct row_event r = { .seq = 5,
		.at_ms = 1795489200123,
		.service = (char *)"web",
		.type = (char *)"test",
		.text = (char *)"caf\xe9",
		.data = (char *)"{\"a\":1}",
		.generation = 2 };
	OWN_JSON json_t *j = event_json(&r);
	OWN_FREE char *text = json_canonical(j);
	assert_string_equal(text,
		"{\"at\":\"2026-11-24T03:00:00.123Z\",\"data\":{\"a\":1},\"generation\":2,\"seq\":5,"
		"\"service\":\"web\",\"text\":\"caf\xef\xbf\xbd\",\"type\":\"test\"}");
	struct row_event bare = { .seq = 1, .type = (char *)"x", .data = (char *)"{not json" };
	OWN_JSON json_t *k = event_json(&bare);
	assert_string_equal(json_str(k, "text", "absent"), "");
	assert_null(json_object_get(k, "service"));
	assert_null(json_object_get(k, "data"));
}

#define world_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_numbers_go_on_after_an_end),
		world_test(test_numbers_after_a_kill),
		world_test(test_pruned_numbers_do_not_come_back),
		world_test(test_event_is_stored_whole),
		world_test(test_flush_comes_by_itself),
		world_test(test_end_flushes),
		world_test(test_old_ones_are_pruned),
		world_test(test_store_fails_for_a_while),
		world_test(test_taps_by_service),
		world_test(test_untap_inside),
		world_test(test_add_inside),
		world_test(test_tap_inside),
		cmocka_unit_test(test_json_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
