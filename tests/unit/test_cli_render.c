/* What people are shown: times, cut lines, progress and verdicts, word for word. */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "agent/cli/cli.h"
#include "agent/cli/completion.h"
#include "agent/cli/human.h"
#include "agent/cli/page.h"
#include "agent/cli/plan.h"
#include "agent/cli/progress.h"
#include "agent/cli/result.h"
#include "agent/cli/table.h"
#include "base/own.h"

static const struct term pipe_term = { .utf8 = true };
static const struct term ascii_term = { 0 };
static const struct term live_term = { .tty = true, .live = true, .utf8 = true, .width = 60, .height = 24 };

#define NOON 1795521600000 /* 2026-11-24T12:00:00Z */

static json_t *json(const char *text)
{
	json_error_t why;
	json_t *j = json_loads(text, 0, &why);
	if (!j)
		print_error("%s at %d: %s\n", why.text, why.position, text);
	assert_non_null(j);
	return j;
}

static void times(void **state)
{
	(void)state;
	char t[HUMAN_MAX];
	int64_t ms = 0;
	assert_int_equal(human_parse_utc("2026-11-24T12:00:00Z", &ms), 0);
	assert_int_equal(ms, NOON);
	assert_int_equal(human_parse_utc("2026-11-24T12:00:00.120Z", &ms), 0);
	assert_int_equal(ms, NOON + 120);
	static const char *const bad[] = { "", "2026-11-24", "2026-11-24T12:00:00",
		"2026-11-24T12:00:00+01:00", "now" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(human_parse_utc(bad[i], &ms), -EINVAL);
	assert_int_equal(human_parse_utc(NULL, &ms), -EINVAL);
	assert_int_equal(ms, NOON + 120);

	assert_string_equal(human_when(NOON - 3600000, NOON, t), "today 11:00");
	assert_string_equal(human_when(NOON - 4 * 86400000LL, NOON, t), "Nov 20 12:00");
	assert_string_equal(human_when(NOON - 400 * 86400000LL, NOON, t), "2025-10-20");
	assert_string_equal(human_clock(NOON, t), "12:00:00");
}

static void spans(void **state)
{
	(void)state;
	char t[HUMAN_MAX];
	assert_string_equal(human_age(59000, t), "59s");
	assert_string_equal(human_age(180000, t), "3m");
	assert_string_equal(human_age(5 * 3600000, t), "5h");
	assert_string_equal(human_age(50 * 3600000LL, t), "2d");
	assert_string_equal(human_age(-5, t), "0s");
	assert_string_equal(human_span(0, t), "0ms");
	assert_string_equal(human_span(999, t), "999ms");
	assert_string_equal(human_span(2130, t), "2.13s");
	assert_string_equal(human_span(21000, t), "21s");
	assert_string_equal(human_span(64002, t), "1m4.002s");
	assert_string_equal(human_span(3600000, t), "1h0m0s");
	assert_string_equal(human_micros(812, true, t), "812µs");
	assert_string_equal(human_micros(812, false, t), "812us");
	assert_string_equal(human_micros(1240, true, t), "1.24ms");
	assert_string_equal(human_size(512, t), "512 B");
	assert_string_equal(human_size(41200000, t), "41.2 MB");
	assert_string_equal(human_size(999999, t), "1.0 MB");
	assert_string_equal(human_size(INT64_MAX, t), "9.2 EB");
}

static void images(void **state)
{
	(void)state;
	static const struct {
		const char *reference, *shown;
	} rows[] = {
		{ "registry.example.com/shop/web:1.5.0", "shop/web:1.5.0" },
		{ "shop/web:1.5.0", "shop/web:1.5.0" },
		{ "r.io/web@sha256:9f3c4111111122222222", "web@sha256:9f3c41111111" },
		{ "web@sha256:9f3c", "web@sha256:9f3c" },
		{ "rootfs:/srv/app/web/rootfs", "rootfs:…/web/rootfs" },
		{ "rootfs:/web/rootfs", "rootfs:/web/rootfs" },
		{ "rootfs:/", "rootfs:/" },
		{ "", "" },
	};
	char t[HUMAN_IMAGE_MAX];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(human_image(rows[i].reference, true, t), rows[i].shown);
}

static void lines_are_cut_by_columns(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { 0 };
	term_clip(&b, "\033[32m✔\033[0m größer", 4);
	assert_string_equal(b.data, "\033[32m✔\033[0m gr");
	assert_int_equal(term_columns(b.data), 4);
	b.len = 0;
	term_clip(&b, "日本", 3);
	assert_string_equal(b.data, "日");
	b.len = 0;
	term_clip(&b, "whole", 0);
	assert_string_equal(b.data, "whole");
}

static void foreign_text_can_not_steer_the_terminal(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { 0 };
	term_add_foreign(&b, "a\033[2Jb\nc\td\x7f é \xc2\x9b"
			     "5A");
	assert_string_equal(b.data, "a?[2Jb?c d? é ?5A");
}

static void environment_decides(void **state)
{
	(void)state;
	struct term t;
	OWN_FILE FILE *f = tmpfile();
	assert_non_null(f);
	setenv("TERM", "xterm", 1);
	unsetenv("NO_COLOR");
	unsetenv("CLICOLOR_FORCE");
	term_probe(f, &t);
	assert_false(t.tty || t.live || t.color);
	setenv("CLICOLOR_FORCE", "1", 1);
	term_probe(f, &t);
	assert_true(t.color && !t.live);
	setenv("NO_COLOR", "1", 1);
	term_probe(f, &t);
	assert_false(t.color);
}

static const char picture[] = "{\"id\":17,\"service\":\"web\",\"kind\":\"deploy\",\"state\":\"probing\","
			      "\"done\":false,\"from\":6,\"to\":7,"
			      "\"diff\":{\"user\":[\"1\",\"2\"]},\"source\":\"/etc/"
			      "web.yaml\",\"seq\":104,\"created\":\"2026-11-24T12:00:00.000Z\","
			      "\"reason\":\"waiting\",\"result\":null,\"steps\":["
			      "{\"step\":\"pull\",\"status\":\"ok\",\"text\":\"image "
			      "here\",\"took_ms\":3,\"at\":\"2026-11-24T12:00:00.100Z\"},"
			      "{\"step\":\"health\",\"status\":\"run\",\"text\":\"0 of 2 "
			      "ready\",\"took_ms\":0,\"at\":\"2026-11-24T12:00:01.000Z\"}]}";

static void load(struct progress *p)
{
	OWN_JSON json_t *j = json(picture);
	p->id = 17;
	assert_int_equal(progress_load(p, j), 0);
}

static void feed(struct progress *p, const char *event)
{
	OWN_JSON json_t *j = json(event);
	assert_int_equal(progress_event(p, j), 0);
}

static const char health_ok[] =
	"{\"seq\":105,\"deployment\":17,\"type\":\"deployment.step\",\"data\":{\"step\":\"health\","
	"\"status\":\"ok\",\"text\":\"HTTP 200\",\"took_ms\":2000,\"at\":\"2026-11-24T12:00:03.000Z\"}}";

static void lines_of_a_deployment(void **state)
{
	(void)state;
	struct progress p = { 0 };
	OWN_BUF struct buf b = { 0 };
	load(&p);
	progress_lines(&p, &b);
	assert_string_equal(b.data, "12:00:00 web: deploy 17 web.yaml: generation 6 -> 7\n"
				    "12:00:00 web:   ~ user  1 -> 2\n"
				    "12:00:00 web: pull ok image here (3ms)\n");
	b.len = 0;
	progress_heartbeat(&p, NOON + 11000, &b);
	assert_string_equal(b.data, "12:00:11 web: health 0 of 2 ready (10s)\n");
	b.len = 0;
	feed(&p, health_ok);
	progress_lines(&p, &b);
	assert_string_equal(b.data, "12:00:03 web: health ok HTTP 200 (2s)\n");
	b.len = 0;
	progress_lines(&p, &b);
	assert_int_equal(b.len, 0);
	progress_done(&p);
}

static void events_of_others_and_old_ones_change_nothing(void **state)
{
	(void)state;
	struct progress p = { 0 };
	load(&p);
	feed(&p, "{\"seq\":104,\"deployment\":17,\"type\":\"deployment.done\",\"data\":{}}");
	feed(&p, "{\"seq\":200,\"deployment\":18,\"type\":\"deployment.done\",\"data\":{}}");
	assert_false(p.done);
	assert_int_equal(p.seq, 104);
	feed(&p, health_ok);
	feed(&p, health_ok);
	assert_int_equal(p.n_steps, 2);
	feed(&p, "{\"seq\":106,\"deployment\":17,\"type\":\"deployment.done\",\"data\":{\"result\":"
		 "\"deployed\"}}");
	assert_true(p.done);
	assert_string_equal(json_str(p.result, "result", ""), "deployed");
	progress_done(&p);
}

static void picture_after_a_lost_stream_repeats_no_line(void **state)
{
	(void)state;
	struct progress p = { 0 };
	OWN_BUF struct buf b = { 0 };
	load(&p);
	progress_lines(&p, &b);
	load(&p);
	b.len = 0;
	progress_lines(&p, &b);
	assert_int_equal(b.len, 0);
	assert_int_equal(p.n_steps, 2);
	progress_done(&p);
}

static void block_of_a_deployment(void **state)
{
	(void)state;
	struct progress p = { 0 };
	OWN_BUF struct buf b = { 0 };
	load(&p);
	progress_block(&p, &live_term, NOON + 5000, 0, false, &b);
	assert_string_equal(b.data, "web   generation 6 → 7\n"
				    "  ~ user  1 → 2\n"
				    "  ✔ pull     image here                            3ms\n"
				    "  ⠋ health   0 of 2 ready                          4s\n");
	b.len = 0;
	progress_block(&p, &ascii_term, NOON + 5000, 1, true, &b);
	assert_non_null(strstr(b.data, "/ web        health   0 of 2 ready"));
	progress_done(&p);
}

static void hostile_numbers_of_lines(void **state)
{
	(void)state;
	struct term narrow = live_term;
	struct progress p = { 0 };
	OWN_BUF struct buf b = { 0 };
	narrow.width = 1;
	load(&p);
	progress_block(&p, &narrow, NOON, 7, false, &b);
	assert_non_null(b.data);
	progress_done(&p);
}

static char *verdict(const char *text, const struct term *t)
{
	OWN_JSON json_t *r = json(text);
	struct buf b = { 0 };
	const struct result_view v = {
		.term = t, .self = "teal --root /r", .now_ms = NOON, .exit = result_exit(r)
	};
	result_render(r, &v, &b);
	return buf_take(&b);
}

static void verdicts_that_are_good(void **state)
{
	(void)state;
	static const struct {
		const char *result, *line;
	} rows[] = {
		{ "deployed", "web serves generation 7 (was 6) after 2.13s; the flip took 812µs" },
		{ "unchanged", "web is up to date at generation 7" },
		{ "rolled_back", "web is back on generation 7 (was 6); the flip took 812µs" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[400];
		OWN_BUF struct buf want = { 0 };
		snprintf(text, sizeof text,
			"{\"service\":\"web\",\"generation\":7,\"previous\":6,\"result\":\"%s\",\"duration_"
			"ms\":2130,"
			"\"flip_us\":812,\"serves\":7,\"warnings\":[\"no limits\"]}",
			rows[i].result);
		OWN_FREE char *shown = verdict(text, &pipe_term);
		buf_addf(&want, "12:00:00 %s\n  warning: no limits\n", rows[i].line);
		assert_string_equal(shown, want.data);
	}
}

static void verdict_of_a_failure(void **state)
{
	(void)state;
	OWN_FREE char *shown = verdict("{\"service\":\"web\",\"generation\":7,\"previous\":6,\"result\":"
				       "\"failed\",\"exit\":3,\"serves\":6,\"failure\":{"
				       "\"step\":\"health\",\"reason\":\"not healthy within "
				       "60s\",\"probe\":\"HTTP 503: \\u001b[31m{}\",\"replica\":1,"
				       "\"log\":[{\"at\":\"2026-11-24T11:58:00.000Z\",\"line\":\"ERROR no "
				       "database\"},{\"line\":\"bye\"}],"
				       "\"try\":[\"teal logs web --generation 7\",\"teal history web\"]}}",
		&live_term);
	assert_string_equal(shown,
		"✖ Deployment failed. web still serves generation 6; no traffic was moved.\n"
		"\n"
		"  why    health: not healthy within 60s\n"
		"  probe  HTTP 503: ?[31m{}  (replica 1)\n"
		"  log    last 2 lines of generation 7, replica 1\n"
		"         │ 11:58:00 ERROR no database\n"
		"         │ bye\n"
		"  try    teal --root /r logs web --generation 7\n"
		"         teal --root /r history web\n");
}

static void verdict_says_what_serves(void **state)
{
	(void)state;
	OWN_FREE char *none =
		verdict("{\"service\":\"web\",\"result\":\"failed\",\"exit\":3,\"serves\":null}", &live_term);
	assert_string_equal(none, "✖ Deployment failed. Nothing serves web.\n");
	OWN_FREE char *back =
		verdict("{\"service\":\"web\",\"result\":\"reverted\",\"exit\":3,\"serves\":6}", &live_term);
	assert_string_equal(back, "✖ Deployment reverted. web serves generation 6 again.\n");
}

static void verdict_of_a_newer_agent(void **state)
{
	(void)state;
	OWN_FREE char *shown =
		verdict("{\"result\":\"teleported\",\"exit\":0,\"comment\":\"web: elsewhere\"}", &ascii_term);
	assert_string_equal(shown, "12:00:00 web: elsewhere\n");
	OWN_JSON json_t *r = json("{\"result\":\"teleported\"}");
	assert_int_equal(result_exit(r), CLI_ERROR);
}

static void plan_of_a_deployment(void **state)
{
	(void)state;
	OWN_BUF struct buf b = { 0 };
	OWN_JSON json_t *plan = json(
		"{\"service\":\"web\",\"action\":\"deploy\",\"changes\":true,\"generation\":8,\"current\":7,"
		"\"diff\":{\"command\":[[\"a\"],[\"a\",\"b\"]],\"user\":[null,\"1\"]},\"starts\":2,\"stops\":"
		"1,"
		"\"order\":\"start-first\",\"downtime\":\"none\",\"memory_overlap_bytes\":536870912,\"held\":"
		"null,\"notes\":[\"n\"]}");
	plan_render(plan, &ascii_term, &b);
	assert_string_equal(b.data,
		"web: generation 7 is replaced by 8\n"
		"  ~ command  [\"a\"] -> [\"a\",\"b\"]\n"
		"  + user  1\n"
		"  cost   starts 2 containers, later stops 1; start-first; downtime: none\n"
		"  memory up to 512M while both run\n"
		"  note   n\n");
}

static void ends_of_processes(void **state)
{
	(void)state;
	static const struct {
		const char *exit, *text;
	} rows[] = {
		{ "{\"code\":1,\"signal\":0,\"oom\":false}", "exit 1" },
		{ "{\"code\":0,\"signal\":11,\"oom\":false}", "killed by SIGSEGV" },
		{ "{\"code\":0,\"signal\":9,\"oom\":true}", "killed by SIGKILL (OOM)" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN_BUF struct buf b = { 0 };
		OWN_JSON json_t *j = json(rows[i].exit);
		page_exit(j, &b);
		assert_string_equal(b.data, rows[i].text);
	}
}

static void tables_align_and_cut_nothing_in_a_pipe(void **state)
{
	(void)state;
	static const struct table_column columns[] = { { .name = "NAME", .cut = true },
		{ .name = "N", .right = true } };
	OWN_TABLE struct table *t = table_new(columns, 2, &pipe_term);
	OWN_BUF struct buf b = { 0 };
	char name[201] = "";
	memset(name, 'x', 200);
	table_row(t);
	table_cell(t, STYLE_GOOD, "größer");
	table_cellf(t, STYLE_PLAIN, "%d", 1000);
	table_row(t);
	table_cell(t, STYLE_PLAIN, NULL);
	table_cell(t, STYLE_PLAIN, "7");
	assert_int_equal(table_print(t, &b), 0);
	assert_string_equal(b.data, "NAME       N\ngrößer  1000\n-          7\n");
	table_row(t);
	table_cell(t, STYLE_PLAIN, name);
	assert_int_equal(table_print(t, &b), 0);
	assert_non_null(strstr(b.data, name));
	assert_int_equal(table_print(NULL, &b), -ENOMEM);
}

static void completion_knows_its_shells(void **state)
{
	(void)state;
	struct err err = { 0 };
	OWN_BUF struct buf b = { 0 };
	assert_int_equal(completion_script("bash", &b, &err), 0);
	assert_non_null(strstr(b.data, "complete -F _teal teal"));
	assert_int_equal(completion_script("zhs", &b, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "did you mean `zsh`?"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times),
		cmocka_unit_test(spans),
		cmocka_unit_test(images),
		cmocka_unit_test(lines_are_cut_by_columns),
		cmocka_unit_test(foreign_text_can_not_steer_the_terminal),
		cmocka_unit_test(environment_decides),
		cmocka_unit_test(lines_of_a_deployment),
		cmocka_unit_test(events_of_others_and_old_ones_change_nothing),
		cmocka_unit_test(picture_after_a_lost_stream_repeats_no_line),
		cmocka_unit_test(block_of_a_deployment),
		cmocka_unit_test(hostile_numbers_of_lines),
		cmocka_unit_test(verdicts_that_are_good),
		cmocka_unit_test(verdict_of_a_failure),
		cmocka_unit_test(verdict_says_what_serves),
		cmocka_unit_test(verdict_of_a_newer_agent),
		cmocka_unit_test(plan_of_a_deployment),
		cmocka_unit_test(ends_of_processes),
		cmocka_unit_test(tables_align_and_cut_nothing_in_a_pipe),
		cmocka_unit_test(completion_knows_its_shells),
	};
	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
