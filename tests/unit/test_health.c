/* Probes against real servers on loopback, all on one loop; and the judge by table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/uvx.h"
#include "health/check.h"

/* --- a server that says one thing to everybody --- */

struct server {
	uv_tcp_t listener;
	const char *answer; /* NULL: says nothing; "": closes */
	bool endless;	    /* goes on with the last byte for ever */
	bool mute;	    /* keeps the connection open after the answer */
	unsigned connections, resets;
	struct buf request; /* of the latest connection */
	unsigned open;	    /* handles */
	unsigned bad_until; /* 503 for that many requests, then the answer */
};

struct peer {
	uv_tcp_t tcp;
	struct server *server;
	uv_write_t write;
	bool answered;
};

static void on_peer_closed(uv_handle_t *h)
{
	struct peer *p = h->data;
	p->server->open--;
	free(p);
}

static void peer_close(struct peer *p)
{
	if (!uv_is_closing((uv_handle_t *)&p->tcp))
		uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
}

static void on_answered(uv_write_t *req, int status)
{
	struct peer *p = req->data;
	if (status == 0 && p->server->endless) {
		static char more[1024];
		uv_buf_t b = uv_buf_init(more, sizeof more);
		memset(more, 'e', sizeof more);
		if (uv_write(&p->write, (uv_stream_t *)&p->tcp, &b, 1, on_answered) == 0)
			return;
	}
	if (!p->server->mute)
		peer_close(p);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *ret)
{
	(void)h;
	*ret = uv_buf_init(malloc(size), (unsigned)size);
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk)
{
	struct peer *p = stream->data;
	struct server *s = p->server;
	if (n > 0)
		buf_add(&s->request, chunk->base, (size_t)n);
	free(chunk->base);
	if (n == UV_ECONNRESET)
		s->resets++;
	if (n < 0) {
		peer_close(p);
		return;
	}
	if (!s->answer || p->answered || !s->request.data || !strstr(s->request.data, "\r\n\r\n"))
		return;
	p->answered = true;
	const char *text = s->answer;
	if (s->bad_until > 0 && s->bad_until-- > 0)
		text = "HTTP/1.1 503 no\r\nContent-Length: 11\r\n\r\n{\"db\":\n\"x\"}";
	uv_buf_t b = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
	p->write.data = p;
	uv_write(&p->write, stream, &b, 1, on_answered);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct server *s = listener->data;
	struct peer *p = calloc(1, sizeof *p);
	assert_int_equal(status, 0);
	p->server = s;
	p->tcp.data = p;
	uv_tcp_init(listener->loop, &p->tcp);
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&p->tcp), 0);
	s->open++;
	s->connections++;
	buf_done(&s->request);
	uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_request);
}

static void on_listener_closed(uv_handle_t *h)
{
	((struct server *)h->data)->open--;
}

static uint16_t server_open(uv_loop_t *loop, struct server *s, const char *answer)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int len = sizeof a;
	*s = (struct server){ .answer = answer, .open = 1 };
	uv_tcp_init(loop, &s->listener);
	s->listener.data = s;
	assert_int_equal(uv_tcp_bind(&s->listener, (struct sockaddr *)&a, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&s->listener, 16, on_connection), 0);
	uv_tcp_getsockname(&s->listener, (struct sockaddr *)&a, &len);
	return ntohs(a.sin_port);
}

static void server_close(struct server *s)
{
	uv_close((uv_handle_t *)&s->listener, on_listener_closed);
	while (s->open > 0)
		uv_run(s->listener.loop, UV_RUN_ONCE);
	buf_done(&s->request);
}

/* --- a check and what it reported --- */

struct world {
	uv_loop_t loop;
	struct hc_engine *engine;
	struct hc_check *check;
	struct spec_health health;
	unsigned answers, changes;
	enum hc_verdict verdict;
	struct hc_answer last;
	unsigned stop_at; /* stop in the callback of this answer */
	bool in_call, stopped, closed;
};

static void on_answer(void *arg, const struct hc_answer *answer)
{
	struct world *w = arg;
	assert_false(w->in_call || w->stopped);
	assert_ptr_equal(answer, hc_last(w->check));
	w->last = *answer;
	w->answers++;
	if (w->stop_at && w->answers == w->stop_at) {
		w->stopped = true;
		hc_stop(w->check);
	}
}

static void on_change(void *arg, enum hc_verdict verdict, const struct hc_answer *answer)
{
	struct world *w = arg;
	assert_false(w->in_call || w->stopped);
	assert_int_equal(verdict, hc_verdict_of(w->check));
	w->verdict = verdict;
	w->last = *answer;
	w->changes++;
}

static const hc_exec_vtable exec_vtable;

static int begin_as(
	struct world *w, enum hc_verdict initial, const uint16_t *ports, size_t n, struct err *err)
{
	struct hc_callbacks callbacks = { .arg = w, .changed = on_change, .answered = on_answer };
	struct hc_target target = { .health = &w->health, .ports = ports, .n_ports = n };
	struct sockaddr_in *a = (struct sockaddr_in *)&target.address;
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	w->answers = w->changes = 0;
	w->stopped = false;
	w->verdict = initial;
	w->in_call = true;
	int r = hc_start(w->engine, &target, &exec_vtable, w, initial, &callbacks, &w->check, err);
	w->in_call = false;
	return r;
}

static void begin(struct world *w, uint16_t port)
{
	struct err err;
	assert_int_equal(begin_as(w, HC_STARTING, &port, 1, &err), 0);
}

static void end(struct world *w)
{
	hc_stop(TAKE_PTR(w->check));
	w->stopped = true;
}

/* alarm() ends a test that waits in vain. */
#define WAIT(w, condition)                                                                                   \
	while (!(condition))                                                                                 \
	uv_run(&(w)->loop, UV_RUN_ONCE)

static void assert_text(const struct world *w, const char *want)
{
	if (!strstr(w->last.text, want))
		fail_msg("wanted \"%s\", got \"%s\"", want, w->last.text);
}

/* The first answer about this port. */
static void probe_once(struct world *w, uint16_t port, bool ok, const char *text)
{
	begin(w, port);
	WAIT(w, w->answers == 1);
	assert_text(w, text);
	assert_int_equal(w->last.ok, ok);
	assert_true(w->last.at_ms > 0);
	end(w);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct err err;
	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(hc_engine_open(&w->loop, &w->engine, &err), 0);
	w->health = (struct spec_health){
		.kind = SPEC_CHECK_HTTP,
		.http_path = (char *)(uintptr_t) "/healthz?x=1",
		.status_min = 200,
		.status_max = 299,
		.interval_ms = 20,
		.timeout_ms = 5000,
		.successes = 1,
		.retries = 2,
	};
	alarm(20);
	*state = w;
	return 0;
}

static void on_engine_closed(void *arg)
{
	((struct world *)arg)->closed = true;
}

static int teardown(void **state)
{
	struct world *w = *state;
	hc_engine_close(w->engine, on_engine_closed, w);
	assert_false(w->closed);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_true(w->closed);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w);
	return 0;
}

#define HTTP(status, body) "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n" body

static void test_http_ok(void **state)
{
	struct world *w = *state;
	struct server s;
	uint16_t port = server_open(&w->loop, &s, HTTP("204 fine", ""));
	begin(w, port);
	WAIT(w, w->changes == 1);
	assert_int_equal(w->verdict, HC_READY);
	assert_text(w, "HTTP 204");
	assert_int_equal(w->last.successes, 1);
	assert_non_null(strstr(s.request.data, "GET /healthz?x=1 HTTP/1.1\r\n"));
	assert_non_null(strstr(s.request.data, "User-Agent: teal/"));
	WAIT(w, w->answers == 3);
	assert_int_equal(w->changes, 1);
	assert_int_equal(s.connections, 3); /* a new one for each probe */
	end(w);
	w->health.http_host = (char *)(uintptr_t) "app.example";
	probe_once(w, port, true, "HTTP 204");
	assert_non_null(strstr(s.request.data, "Host: app.example\r\n"));
	server_close(&s);
}

static void test_http_answers(void **state)
{
	static const struct {
		const char *answer;
		bool ok;
		const char *text;
	} rows[] = {
		{ HTTP("503 no", "{\"db\":\n\"down\x1b[31m\"}\xff"), false,
			"HTTP 503: {\"db\": \"down [31m\"}?" },
		{ HTTP("302 elsewhere\r\nLocation: http://127.0.0.1:1/", ""), false, "HTTP 302" },
		{ HTTP("200 ok", "h\xc3\xa9llo"), true, "HTTP 200" },
		{ "", false, "connection closed without an answer" },
		{ "SSH-2.0-OpenSSH\r\n", false, "/healthz?x=1: the answer is not HTTP" },
		{ "HTTP/1.1 200 ok\r\nContent-Length: 10\r\n\r\nabc", false, "closed before the end of" },
	};
	struct world *w = *state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct server s;
		uint16_t port = server_open(&w->loop, &s, rows[i].answer);
		probe_once(w, port, rows[i].ok, rows[i].text);
		server_close(&s);
	}
}

/* Neither memory nor time for a body without end. */
static void test_http_endless_body(void **state)
{
	struct world *w = *state;
	struct server s;
	uint16_t port = server_open(&w->loop, &s, HTTP("200 ok", "x"));
	s.endless = true;
	probe_once(w, port, true, "HTTP 200");
	s.answer = HTTP("500 oh", "x");
	probe_once(w, port, false, "HTTP 500: xeeee");
	server_close(&s);
}

static void test_http_timeouts(void **state)
{
	struct world *w = *state;
	struct server s;
	w->health.timeout_ms = 60;
	uint16_t port = server_open(&w->loop, &s, NULL);
	probe_once(w, port, false, "/healthz?x=1: no answer within 60ms");
	server_close(&s);
	port = server_open(&w->loop, &s, "HTTP/1.1 200 ok\r\nContent-Length: 10\r\n\r\nabc");
	s.mute = true;
	probe_once(w, port, false, "/healthz?x=1: HTTP 200, but no end of the answer within 60ms");
	server_close(&s);
}

static uint16_t unused_port(struct world *w)
{
	struct server s;
	uint16_t port = server_open(&w->loop, &s, "");
	server_close(&s);
	return port;
}

static void test_refused(void **state)
{
	struct world *w = *state;
	uint16_t port = unused_port(w);
	char want[64];
	snprintf(want, sizeof want, "connect 127.0.0.1:%u: Connection refused", port);
	probe_once(w, port, false, want);
	w->health.kind = SPEC_CHECK_TCP;
	probe_once(w, port, false, want);
	assert_int_equal(w->changes, 0);
}

static void test_tcp(void **state)
{
	struct world *w = *state;
	struct server a, b;
	struct err err;
	uint16_t ports[] = { server_open(&w->loop, &a, NULL), server_open(&w->loop, &b, NULL) };
	w->health.kind = SPEC_CHECK_NONE; /* all of them must listen */
	assert_int_equal(begin_as(w, HC_STARTING, ports, 2, &err), 0);
	WAIT(w, w->changes == 1);
	assert_int_equal(w->verdict, HC_READY);
	WAIT(w, a.resets >= 1 && b.resets >= 1);
	server_close(&b);
	WAIT(w, w->changes == 2);
	assert_int_equal(w->verdict, HC_UNREADY);
	assert_int_equal(w->last.failures, 2);
	char want[64];
	snprintf(want, sizeof want, "connect 127.0.0.1:%u: Connection refused", ports[1]);
	assert_text(w, want);
	end(w);
	w->health.kind = SPEC_CHECK_TCP; /* one port, however many there are */
	assert_int_equal(begin_as(w, HC_STARTING, ports, 2, &err), 0);
	WAIT(w, w->answers == 3);
	assert_int_equal(w->verdict, HC_READY);
	end(w);
	server_close(&a);
}

/* A full backlog lets nobody in: the SYN is dropped, no answer comes. */
static void test_tcp_timeout(void **state)
{
	struct world *w = *state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fds[4];
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (i == 0) {
			assert_int_equal(bind(fds[0], (struct sockaddr *)&a, len), 0);
			assert_int_equal(listen(fds[0], 0), 0);
			getsockname(fds[0], (struct sockaddr *)&a, &len);
		} else {
			connect(fds[i], (struct sockaddr *)&a, len);
		}
	}
	w->health.kind = SPEC_CHECK_TCP;
	w->health.timeout_ms = 60;
	probe_once(w, ntohs(a.sin_port), false, "no answer within 60ms");
	w->health.kind = SPEC_CHECK_HTTP;
	probe_once(w, ntohs(a.sin_port), false, "no answer within 60ms");
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}

static void test_no_ports(void **state)
{
	struct world *w = *state;
	struct err err;
	w->health.kind = SPEC_CHECK_NONE;
	w->health.successes = 3;
	assert_int_equal(begin_as(w, HC_STARTING, NULL, 0, &err), 0);
	WAIT(w, w->changes == 1);
	assert_int_equal(w->verdict, HC_READY);
	end(w);
	assert_int_equal(begin_as(w, HC_READY, NULL, 0, &err), 0);
	assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0); /* nothing is ever asked */
	assert_int_equal(w->answers, 0);
	end(w);
	w->health.kind = SPEC_CHECK_HTTP;
	assert_int_equal(begin_as(w, HC_READY, NULL, 0, &err), -EINVAL);
	w->health.kind = SPEC_CHECK_EXEC;
	assert_int_equal(begin_as(w, HC_READY, NULL, 0, &err), -EINVAL);
}

/* Sick, well, sick, well: the verdict follows by the rules. */
static void test_verdicts(void **state)
{
	struct world *w = *state;
	struct server s;
	w->health.successes = 2;
	uint16_t port = server_open(&w->loop, &s, HTTP("200 ok", ""));
	s.bad_until = 3;
	begin(w, port);
	WAIT(w, w->changes == 1);
	assert_int_equal(w->answers, 5);
	assert_int_equal(w->verdict, HC_READY);
	s.bad_until = 2;
	WAIT(w, w->changes == 2);
	assert_int_equal(w->verdict, HC_UNREADY);
	assert_text(w, "HTTP 503: {\"db\": \"x\"}");
	WAIT(w, w->changes == 3);
	assert_int_equal(w->verdict, HC_READY);
	end(w);
	server_close(&s);
}

static void test_stop_in_callback(void **state)
{
	struct world *w = *state;
	struct server s;
	uint16_t port = server_open(&w->loop, &s, HTTP("200 ok", ""));
	static const enum spec_check kinds[] = { SPEC_CHECK_HTTP, SPEC_CHECK_TCP };
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		w->health.kind = kinds[i];
		w->stop_at = 1; /* this answer makes it ready: `changed` must not follow */
		begin(w, port);
		WAIT(w, w->stopped);
		assert_int_equal(w->changes, 0);
	}
	server_close(&s);
}

/* Stopped before, in the middle of, and without any probe. */
static void test_stop_early(void **state)
{
	struct world *w = *state;
	struct server s;
	uint16_t port = server_open(&w->loop, &s, NULL);
	static const enum spec_check kinds[] = { SPEC_CHECK_HTTP, SPEC_CHECK_TCP };
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		w->health.kind = kinds[i];
		begin(w, port);
		end(w);
		unsigned before = s.connections;
		begin(w, port);
		WAIT(w, w->check->probe);
		end(w);
		begin(w, port);
		WAIT(w, s.connections > before);
		end(w);
	}
	hc_stop(NULL);
	server_close(&s);
}

/* --- exec --- */

struct fake_exec {
	struct world *w;
	hc_exec_done done;
	void *check;
	bool cancelled;
	struct uvx_timer *later;
};

static void fake_finish(void *arg)
{
	OWN_FREE struct fake_exec *f = arg;
	if (f->cancelled)
		f->done(f->check, -ECANCELED, 0, NULL, NULL);
	else if (f->w->answers == 0)
		f->done(f->check, 0, 1, "db is\ndown\n", NULL);
	else if (f->w->answers == 1)
		f->done(f->check, -ETIMEDOUT, -1, "stuck", NULL);
	else if (f->w->answers == 2)
		f->done(f->check, -ENOENT, 0, NULL,
			&(struct err){ .code = ENOENT, .msg = "no such replica" });
	else
		f->done(f->check, 0, 0, "", NULL);
}

static int fake_run(void *arg, char *const *argv, uint32_t timeout_ms, hc_exec_done done, void *check,
	void **ret_op, struct err *err)
{
	struct world *w = arg;
	assert_string_equal(argv[0], "/check");
	assert_int_equal(timeout_ms, w->health.timeout_ms);
	if (w->answers == 3)
		return err_say(err, EAGAIN, "not now");
	struct fake_exec *f = calloc(1, sizeof *f);
	*f = (struct fake_exec){ .w = w, .done = done, .check = check };
	uvx_timer_start(&w->loop, 1, fake_finish, f, &f->later);
	*ret_op = f;
	return 0;
}

static void fake_cancel(void *op)
{
	((struct fake_exec *)op)->cancelled = true;
}

static const hc_exec_vtable exec_vtable = { .run = fake_run, .cancel = fake_cancel };

static void test_exec(void **state)
{
	struct world *w = *state;
	char *argv[] = { (char *)(uintptr_t) "/check", NULL };
	static const char *const texts[] = { "exit 1: db is down", "/check: no end within 5s: stuck",
		"/check: no such replica", "not now", "exit 0" };
	w->health.kind = SPEC_CHECK_EXEC;
	w->health.exec = argv;
	begin(w, 0);
	for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
		WAIT(w, w->answers == i + 1);
		assert_string_equal(w->last.text, texts[i]);
	}
	assert_int_equal(w->verdict, HC_READY);
	WAIT(w, w->check->probe);
	end(w); /* in the middle: the teardown sees that its late result harms nobody */
}

/* --- without I/O --- */

static void test_judge(void **state)
{
	static const struct {
		enum hc_verdict initial;
		uint32_t successes, retries, start_period_ms;
		const char *answers;  /* one each 10 ms: '+' or '-' */
		const char *verdicts; /* after each */
	} rows[] = {
		{ HC_STARTING, 1, 3, 0, "+---+", "RRRUR" },
		{ HC_STARTING, 2, 2, 0, "+-++--+-++", "SSSRRUUUUR" },
		{ HC_STARTING, 3, 1, 0, "------",
			"SSSSSS" }, /* never ready: the deadline of the deployment decides */
		{ HC_READY, 2, 2, 0, "-+-+--", "RRRRRU" }, { HC_READY, 1, 1, 0, "-+-", "URU" },
		{ HC_STARTING, 1, 2, 50, "+------", "RRRRRRU" }, /* counted from the 6th on, at 50 ms */
		{ HC_STARTING, 2, 2, 1000, "+-+-++--", "SSSSSRRR" },
		{ HC_STARTING, 0, 0, 0, "-+-", "SRU" }, /* zero rules behave like one */
	};
	static const char letters[] = { [HC_STARTING] = 'S', [HC_READY] = 'R', [HC_UNREADY] = 'U' };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct hc_judge j = { .verdict = rows[i].initial };
		struct spec_health rules = { .successes = rows[i].successes,
			.retries = rows[i].retries,
			.start_period_ms = rows[i].start_period_ms };
		char before = letters[rows[i].initial];
		for (size_t k = 0; rows[i].answers[k]; k++) {
			bool changed =
				hc_judge_answer(&j, &rules, rows[i].answers[k] == '+', (int64_t)k * 10);
			if (letters[j.verdict] != rows[i].verdicts[k])
				fail_msg("row %zu, answer %zu: %c", i, k, letters[j.verdict]);
			assert_int_equal(changed, letters[j.verdict] != before);
			before = letters[j.verdict];
		}
	}
}

static void test_gaps(void **state)
{
	struct hc_judge j = { .verdict = HC_STARTING };
	struct spec_health rules = { .interval_ms = 1000 };
	static const uint32_t gaps[] = { 10, 20, 40, 80, 160, 320, 640, 1000, 1000 };
	(void)state;
	for (uint32_t n = 0; n < ARRAY_LEN(gaps); n++)
		assert_int_equal(hc_judge_gap_ms(&j, &rules, n + 1), gaps[n]);
	assert_int_equal(hc_judge_gap_ms(&j, &rules, UINT32_MAX), 1000);
	rules.interval_ms = 5;
	assert_int_equal(hc_judge_gap_ms(&j, &rules, 1), 5);
	rules.interval_ms = UINT32_MAX;
	assert_int_equal(hc_judge_gap_ms(&j, &rules, 31), UINT32_MAX);
	rules.interval_ms = 1000;
	j.verdict = HC_READY;
	assert_int_equal(hc_judge_gap_ms(&j, &rules, 1), 1000);
	j.verdict = HC_UNREADY;
	assert_int_equal(hc_judge_gap_ms(&j, &rules, 2), 1000);
	assert_string_equal(hc_verdict_name(HC_UNREADY), "unready");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_gaps),
		TEST(test_http_ok),
		TEST(test_http_answers),
		TEST(test_http_endless_body),
		TEST(test_http_timeouts),
		TEST(test_refused),
		TEST(test_tcp),
		TEST(test_tcp_timeout),
		TEST(test_no_ports),
		TEST(test_verdicts),
		TEST(test_stop_in_callback),
		TEST(test_stop_early),
		TEST(test_exec),
	};
	signal(SIGPIPE, SIG_IGN);
	setenv("http_proxy", "http://127.0.0.1:1",
		1); /* probes go to the replica, whatever the environment says */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
