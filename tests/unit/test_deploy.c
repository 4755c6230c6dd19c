/* Walks every cell of the deployment table, with and without a restart of the agent in each state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/deploy.h"

/* What can happen while the agent is in a state: everything but a success of the other path. */
static bool can_occur(enum dep_state s, enum dep_event ev)
{
	bool idle = s == DEP_IDLE;
	switch (ev) {
	case DEP_EV_DONE: return !idle && s != DEP_AWAITING;
	case DEP_EV_DONE_HOLD: return s == DEP_PULLING;
	case DEP_EV_DONE_GATE: return s == DEP_PROBING;
	case DEP_EV_FAILED:
		return !idle && s != DEP_SETTLING && s != DEP_ABORTING && s != DEP_REVERTING &&
		       s != DEP_REMOVING;
	case DEP_EV_DEADLINE: return !idle;
	case DEP_EV_NEW_DIED: return dep_traits[s].new_may_exist;
	case DEP_EV_BAD: return s == DEP_SETTLING;
	case DEP_EV_DEPLOY:
	case DEP_EV_FLIP:
	case DEP_EV_REMOVE:
	case DEP_EV_PROMOTE:
	case DEP_EV_ABORT:
	case DEP_EV_ROLLBACK:
	case DEP_EV_RESUME:
	case DEP_EV_REBOOTED: return true;
	case DEP_EVENT_MAX: break;
	}
	return false;
}

static void test_no_hole(void **state)
{
	(void)state;
	for (int s = 0; s < DEP_STATE_MAX; s++)
		for (int ev = 0; ev < DEP_EVENT_MAX; ev++)
			if (can_occur((enum dep_state)s, (enum dep_event)ev) &&
				dep_next((enum dep_state)s, (enum dep_event)ev).verdict == DEP_UNEXPECTED)
				fail_msg("hole: %s in %s", dep_event_name((enum dep_event)ev),
					dep_traits[s].key);
}

/* Invariant 1 and 2: as long as the old generation counts as untouched, no step may lead anywhere that
 * touches it but through a flip, or through holding, which only an order for stop-first enters. */
static void test_old_is_touched_only_by_flip_or_hold(void **state)
{
	(void)state;
	for (int s = 0; s < DEP_STATE_MAX; s++) {
		for (int ev = 0; ev < DEP_EVENT_MAX; ev++) {
			struct dep_cell c = dep_next((enum dep_state)s, (enum dep_event)ev);
			if (c.verdict != DEP_GO || !dep_traits[s].old_untouched ||
				dep_traits[c.next].old_untouched)
				continue;
			bool flip = c.next == DEP_FLIPPING &&
				    (ev == DEP_EV_DONE || ev == DEP_EV_PROMOTE || ev == DEP_EV_FLIP);
			bool hold = c.next == DEP_HOLDING && ev == DEP_EV_DONE_HOLD;
			bool remove = c.next == DEP_REMOVING && ev == DEP_EV_REMOVE;
			if (!flip && !hold && !remove)
				fail_msg("%s in %s leads to %s", dep_event_name((enum dep_event)ev),
					dep_traits[s].key, dep_traits[c.next].key);
		}
	}
}

/* Only success leads to the flip; only the flip's success leads to settling. */
static void test_flip_needs_proof(void **state)
{
	(void)state;
	for (int s = 0; s < DEP_STATE_MAX; s++) {
		for (int ev = 0; ev < DEP_EVENT_MAX; ev++) {
			struct dep_cell c = dep_next((enum dep_state)s, (enum dep_event)ev);
			if (c.verdict != DEP_GO || s == c.next)
				continue;
			if (c.next == DEP_FLIPPING)
				assert_true(
					(ev == DEP_EV_DONE && (s == DEP_PROBING || s == DEP_HELD_PROBING)) ||
					(ev == DEP_EV_PROMOTE && s == DEP_AWAITING) ||
					(ev == DEP_EV_FLIP && s == DEP_IDLE));
			if (c.next == DEP_SETTLING)
				assert_true(ev == DEP_EV_DONE && s == DEP_FLIPPING);
		}
	}
}

/* A failure before the flip leaves the old one alone; once it is touched, failing means bringing it back. */
static void test_failures_go_the_right_way_back(void **state)
{
	static const enum dep_event bad[] = { DEP_EV_FAILED, DEP_EV_NEW_DIED, DEP_EV_ABORT };
	(void)state;
	for (int s = DEP_PULLING; s <= DEP_FLIPPING; s++) /* awaiting is one of them */ {
		for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
			struct dep_cell c = dep_next((enum dep_state)s, bad[i]);
			if (c.verdict != DEP_GO)
				continue;
			assert_int_equal(c.next, dep_traits[s].old_untouched ? DEP_ABORTING : DEP_REVERTING);
		}
	}
}

static void test_rollback_after_the_flip_reverts(void **state)
{
	(void)state;
	assert_int_equal(dep_next(DEP_SETTLING, DEP_EV_ROLLBACK).next, DEP_REVERTING);
	assert_int_equal(dep_next(DEP_SETTLING, DEP_EV_ABORT).next, DEP_REVERTING);
	assert_int_equal(dep_next(DEP_SETTLING, DEP_EV_BAD).next, DEP_REVERTING);
}

/* The states that a bounded run of events reaches, with the agent restarting before each of them. */
static void walk(enum dep_state s, int steps, bool seen[DEP_STATE_MAX])
{
	struct dep_cell again = dep_next(s, DEP_EV_RESUME);
	assert_true(again.verdict == DEP_IGNORE || (again.verdict == DEP_GO && again.next == s));
	seen[s] = true;
	for (int ev = 0; steps > 0 && ev < DEP_EVENT_MAX; ev++) {
		struct dep_cell c = dep_next(s, (enum dep_event)ev);
		if (c.verdict == DEP_GO && !seen[c.next])
			walk((enum dep_state)c.next, steps - 1, seen);
	}
}

static void test_every_state_is_reached_and_resumes_in_itself(void **state)
{
	bool seen[DEP_STATE_MAX] = { false };
	(void)state;
	walk(DEP_IDLE, DEP_STATE_MAX, seen);
	for (int s = 0; s < DEP_STATE_MAX; s++)
		if (!seen[s])
			fail_msg("%s is never reached", dep_traits[s].key);
}

/* Deadlines alone end every deployment: no state can wait for ever. */
static void test_deadlines_lead_to_idle(void **state)
{
	(void)state;
	for (int first = 1; first < DEP_STATE_MAX; first++) {
		int s = first, steps = 0;
		while (s != DEP_IDLE && steps++ < DEP_STATE_MAX) {
			struct dep_cell c = dep_next((enum dep_state)s, DEP_EV_DEADLINE);
			assert_int_equal(c.verdict, DEP_GO);
			s = c.next;
		}
		assert_int_equal(s, DEP_IDLE);
	}
}

/* After a reboot nothing of ours runs: every state must reach idle without the new generation. */
static void test_reboot_leads_to_idle(void **state)
{
	(void)state;
	for (int first = 1; first < DEP_STATE_MAX; first++) {
		struct dep_cell c = dep_next((enum dep_state)first, DEP_EV_REBOOTED);
		assert_int_equal(c.verdict, DEP_GO);
		assert_true(c.next == DEP_IDLE || c.next == DEP_ABORTING || c.next == DEP_REVERTING ||
			    c.next == DEP_REMOVING || c.next == DEP_PULLING);
	}
}

static void test_superseding_aborts(void **state)
{
	(void)state;
	for (int s = 0; s < DEP_STATE_MAX; s++) {
		struct dep_cell c = dep_next((enum dep_state)s, DEP_EV_ABORT);
		if (dep_traits[s].supersedable)
			assert_true(c.verdict == DEP_GO && c.next == DEP_ABORTING);
	}
}

static void test_keys_read_back(void **state)
{
	(void)state;
	for (int s = 0; s < DEP_STATE_MAX; s++) {
		enum dep_state back = DEP_STATE_MAX;
		assert_int_equal(dep_state_by_key(dep_traits[s].key, &back), 0);
		assert_int_equal(back, s);
	}
	enum dep_state untouched = DEP_PROBING;
	assert_true(dep_state_by_key("nonsense", &untouched) < 0);
	assert_int_equal(untouched, DEP_PROBING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_hole),
		cmocka_unit_test(test_old_is_touched_only_by_flip_or_hold),
		cmocka_unit_test(test_flip_needs_proof),
		cmocka_unit_test(test_failures_go_the_right_way_back),
		cmocka_unit_test(test_rollback_after_the_flip_reverts),
		cmocka_unit_test(test_every_state_is_reached_and_resumes_in_itself),
		cmocka_unit_test(test_deadlines_lead_to_idle),
		cmocka_unit_test(test_reboot_leads_to_idle),
		cmocka_unit_test(test_superseding_aborts),
		cmocka_unit_test(test_keys_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
