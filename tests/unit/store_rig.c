#include "store_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/own.h"

struct store *store_rig_open(struct scratch *s, const char *name, bool expect_note)
{
	struct store *st = NULL;
	char *note = (char *)"untouched";
	struct err err = { 0 };
	if (store_open(scratch_name(s, name), &st, &note, &err) < 0)
		fail_msg("%s", err.msg);
	if (expect_note != (note != NULL))
		fail_msg("note: %s", note ? note : "none");
	free(note);
	return st;
}

void store_rig_commit(struct store *st)
{
	struct err err = { 0 };
	if (store_commit(st, &err) < 0)
		fail_msg("%s", err.msg);
}

struct row_service store_rig_service(const char *name)
{
	return (struct row_service){ .name = (char *)name, .next_generation = 1 };
}

struct row_generation store_rig_generation(const char *service, int64_t number)
{
	return (struct row_generation){ .service = (char *)service,
		.number = number,
		.digest = (char *)"sha256:00",
		.slot = (char *)"blue",
		.state = (char *)"active",
		.spec = (char *)"{}" };
}

struct row_deployment store_rig_deployment(const char *service, bool done)
{
	return (struct row_deployment){
		.service = (char *)service, .kind = (char *)"deploy", .state = (char *)"pulling", .done = done
	};
}

struct row_event store_rig_event(int64_t seq, const char *service)
{
	return (struct row_event){ .seq = seq, .service = (char *)service, .type = (char *)"test" };
}

/* Collects what an iterator calls as text: "name:number " each. */
void store_rig_see_service(void *arg, const struct row_service *r)
{
	buf_addf(arg, "%s ", r->name);
}

void store_rig_see_generation(void *arg, const struct row_generation *r)
{
	buf_addf(arg, "%s:%d ", r->service, (int)r->number);
}

void store_rig_see_deployment(void *arg, const struct row_deployment *r)
{
	buf_addf(arg, "%s:%d%s ", r->service, (int)r->id, r->done ? "" : "!");
}

void store_rig_see_event(void *arg, const struct row_event *r)
{
	buf_addf(arg, "%s:%d ", r->service ? r->service : "-", (int)r->seq);
}

/* Everything there is, in one line. */
char *store_rig_contents(struct store *st)
{
	struct buf b = { 0 };
	buf_adds(&b, "s ");
	assert_int_equal(store_services(st, store_rig_see_service, &b, NULL), 0);
	buf_adds(&b, "g ");
	assert_int_equal(store_generations(st, NULL, store_rig_see_generation, &b, NULL), 0);
	buf_adds(&b, "d ");
	assert_int_equal(store_deployments(st, NULL, false, store_rig_see_deployment, &b, NULL), 0);
	buf_adds(&b, "e ");
	assert_int_equal(store_events(st, NULL, 0, 100000, store_rig_see_event, &b, NULL), 0);
	return buf_take(&b);
}

void store_rig_expect(struct store *st, const char *expected)
{
	OWN_FREE char *text = store_rig_contents(st);
	assert_string_equal(text, expected);
}

void store_rig_fill(struct store *st)
{
	struct row_service a = store_rig_service("alpha"), b = store_rig_service("beta");
	struct row_generation g1 = store_rig_generation("alpha", 1), g2 = store_rig_generation("alpha", 2),
			      g3 = store_rig_generation("beta", 1);
	struct row_deployment d1 = store_rig_deployment("alpha", true),
			      d2 = store_rig_deployment("beta", false);
	struct row_event e1 = store_rig_event(1, "alpha"), e2 = store_rig_event(2, NULL);
	store_begin(st);
	store_put_service(st, &b);
	store_put_service(st, &a);
	store_put_generation(st, &g1);
	store_put_generation(st, &g2);
	store_put_generation(st, &g3);
	store_put_deployment(st, &d1);
	store_put_deployment(st, &d2);
	store_put_event(st, &e1);
	store_put_event(st, &e2);
	store_rig_commit(st);
}
