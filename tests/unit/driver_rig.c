#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fsx.h"
#include "base/own.h"
#include "driver_rig.h"

/* A directory beside the test's own: BUILD/tests/test_x -> BUILD/tests and BUILD. */
static char *beside(const char *name, unsigned up)
{
	char path[512];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	assert_true(n > 0);
	path[n] = '\0';
	for (unsigned i = 0; i <= up; i++)
		*strrchr(path, '/') = '\0';
	return name ? fs_join(path, name, NULL) : strdup(path);
}

static void copy_file(const char *from, const char *to)
{
	char block[65536];
	OWN_FD int in = open(from, O_RDONLY | O_CLOEXEC),
		   out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (in < 0 || out < 0)
		fail_msg("copy %s to %s: %s", from, to, strerror(errno));
	for (ssize_t n; (n = read(in, block, sizeof block)) > 0;)
		assert_int_equal(write(out, block, (size_t)n), n);
	assert_int_equal(fchmod(out, 0755), 0);
}

static void make_image(struct rig *r, char ref[128])
{
	char path[512];
	OWN_FREE char *inside = beside("tests/inside", 1);
	snprintf(path, sizeof path, "%s/image", r->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(ref, 128, "rootfs:%.100s", path);
	snprintf(path, sizeof path, "%s/image/bin", r->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof path, "%s/image/bin/inside", r->dir);
	copy_file(inside, path);
	snprintf(path, sizeof path, "%s/image/etc", r->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof path, "%s/image/etc/passwd", r->dir);
	OWN_FILE FILE *f = fopen(path, "we");
	assert_non_null(f);
	fputs("root:x:0:0::/root:/bin/sh\napp:x:1234:5678::/:/bin/sh\n", f);
}

static void on_exited(void *arg, const char *id, const struct rt_exit *exit)
{
	struct rig *r = arg;
	assert_true(r->n_exits < RIG_EXITS_MAX);
	struct rig_exit *e = &r->exits[r->n_exits++];
	snprintf(e->id, sizeof e->id, "%s", id);
	e->exit = *exit;
}

static void open_host(struct rig *r)
{
	struct err err = { 0 };
	struct rt_events events = { .arg = r, .exited = on_exited };
	if (r->driver->open(&r->loop, &r->settings, &events, &r->host, &err) < 0)
		fail_msg("open: %s", err.msg);
}

struct waited {
	bool done;
	int result;
	struct err err;
	char digest[DIGEST_LEN];
};

static void on_image(void *arg, int result, const char digest[DIGEST_LEN], const struct err *why)
{
	struct waited *w = arg;
	w->done = true;
	w->result = result;
	if (result == 0)
		memcpy(w->digest, digest, DIGEST_LEN);
	else
		w->err = *why;
}

void rig_open(struct rig *r, const char *driver)
{
	char ref[128];
	struct waited w = { 0 };
	*r = (struct rig){ .driver = rt_driver_by_name(driver) };
	assert_non_null(r->driver);
	snprintf(r->dir, sizeof r->dir, "/var/tmp/teal-driver-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	r->settings.root = strdup(r->dir);
	r->settings.state_dir = fs_join(r->dir, "state", NULL);
	r->settings.run_dir = fs_join(r->dir, "run", NULL);
	r->settings.libexec_dir = beside(NULL, 1);
	snprintf(r->settings.tag, sizeof r->settings.tag, "%06x", (unsigned)getpid() & 0xffffff);
	assert_int_equal(fs_mkdirs(r->settings.state_dir, 0700, NULL), 0);
	assert_int_equal(uv_loop_init(&r->loop), 0);
	open_host(r);
	make_image(r, ref);
	assert_int_equal(r->driver->image_fetch(r->host, ref, NULL, on_image, &w, NULL, &w.err), 0);
	assert_false(w.done);
	rig_run_until(r, &w.done, "image");
	if (w.result < 0)
		fail_msg("image: %s", w.err.msg);
	memcpy(r->digest, w.digest, DIGEST_LEN);
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

void rig_leave(struct rig *r)
{
	bool closed = false;
	r->driver->close(r->host, on_closed, &closed);
	assert_false(closed);
	rig_run_until(r, &closed, "close");
	r->host = NULL;
}

void rig_reopen(struct rig *r)
{
	rig_leave(r);
	open_host(r);
}

void rig_close(struct rig *r)
{
	rig_leave(r);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	assert_int_equal(fs_remove_tree(AT_FDCWD, r->dir, NULL), 0);
	free(r->settings.root);
	free(r->settings.state_dir);
	free(r->settings.run_dir);
	free(r->settings.libexec_dir);
}

static void on_patience(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

static void timer_gone(uv_handle_t *h)
{
	*(bool *)h->data = true;
}

void rig_run_until(struct rig *r, const bool *flag, const char *what)
{
	bool late = false, gone = false;
	uv_timer_t timer;
	uv_timer_init(&r->loop, &timer);
	timer.data = &late;
	uv_timer_start(&timer, on_patience, RIG_PATIENCE_MS, 0);
	while (!*flag && !late)
		uv_run(&r->loop, UV_RUN_ONCE);
	timer.data = &gone;
	uv_close((uv_handle_t *)&timer, timer_gone);
	while (!gone)
		uv_run(&r->loop, UV_RUN_NOWAIT);
	if (late)
		fail_msg("waited too long for: %s", what);
}

struct started {
	struct waited w;
	struct rt_state state;
};

static void on_started(void *arg, int result, const struct rt_state *state, const struct err *why)
{
	struct started *s = arg;
	assert_false(s->w.done);
	s->w.done = true;
	s->w.result = result;
	if (result == 0)
		s->state = *state;
	else
		s->w.err = *why;
}

static void fill_launch(
	const struct rig *r, const struct rig_want *want, struct spec_container *c, struct rt_launch *l)
{
	static char *plain[] = { (char *)"inside", (char *)"wait", NULL };
	char service[SPEC_NAME_MAX];
	*c = (struct spec_container){ .command = (char **)(uintptr_t)(want->argv ? want->argv : plain),
		.read_only = !want->writable,
		.network = want->network,
		.limits = want->limits,
		.logging = want->logging,
		.user = want->user,
		.working_dir = want->cwd,
		.environment = want->environment,
		.n_environment = want->n_environment,
		.stop_signal = SIGTERM };
	*l = (struct rt_launch){
		.slot = "blue", .container = c, .ports = want->ports, .n_ports = want->n_ports
	};
	snprintf(l->id, sizeof l->id, "%s", want->id ? want->id : "web.1.1");
	assert_int_equal(rt_id_parse(l->id, service, &l->generation, &l->replica), 0);
	l->service = "web";
	memcpy(l->image_digest, r->digest, DIGEST_LEN);
	snprintf(l->spec_digest, sizeof l->spec_digest, "sha256:%064d", 1);
}

int rig_start(struct rig *r, const struct rig_want *want, struct rt_state *ret, struct err *err)
{
	struct spec_container c;
	struct rt_launch launch;
	struct started s = { 0 };
	fill_launch(r, want, &c, &launch);
	int result = r->driver->start(r->host, &launch, on_started, &s, NULL, err);
	if (result < 0)
		return result;
	assert_false(s.w.done);
	rig_run_until(r, &s.w.done, "start");
	if (s.w.result < 0)
		*err = s.w.err;
	else if (ret)
		*ret = s.state;
	return s.w.result;
}

void rig_start_ok(struct rig *r, const struct rig_want *want, struct rt_state *ret)
{
	struct err err = { 0 };
	if (rig_start(r, want, ret, &err) < 0)
		fail_msg("start: %s", err.msg);
}

struct rt_exit rig_await_exit(struct rig *r, const char *id)
{
	bool late = false;
	uv_timer_t timer;
	uv_timer_init(&r->loop, &timer);
	timer.data = &late;
	uv_timer_start(&timer, on_patience, RIG_PATIENCE_MS, 0);
	for (;;) {
		for (unsigned i = 0; i < r->n_exits; i++) {
			if (strcmp(r->exits[i].id, id) != 0)
				continue;
			struct rt_exit exit = r->exits[i].exit;
			r->exits[i] = r->exits[--r->n_exits];
			bool gone = false;
			timer.data = &gone;
			uv_close((uv_handle_t *)&timer, timer_gone);
			while (!gone)
				uv_run(&r->loop, UV_RUN_NOWAIT);
			return exit;
		}
		if (late)
			fail_msg("waited too long for the exit of %s", id);
		uv_run(&r->loop, UV_RUN_ONCE);
	}
}

static void on_done(void *arg, int result, const struct err *why)
{
	struct waited *w = arg;
	assert_false(w->done);
	w->done = true;
	w->result = result;
	if (result < 0)
		w->err = *why;
}

int rig_stop(struct rig *r, const char *id, int sig, uint32_t grace_ms)
{
	struct waited w = { 0 };
	assert_int_equal(r->driver->stop(r->host, id, sig, grace_ms, on_done, &w, &w.err), 0);
	assert_false(w.done);
	rig_run_until(r, &w.done, "stop");
	return w.result;
}

int rig_destroy(struct rig *r, const char *id)
{
	struct waited w = { 0 };
	assert_int_equal(r->driver->destroy(r->host, id, on_done, &w, &w.err), 0);
	assert_false(w.done);
	rig_run_until(r, &w.done, "destroy");
	if (w.result < 0)
		print_error("destroy: %s\n", w.err.msg);
	return w.result;
}

struct executed {
	struct waited w;
	int code;
	char *output;
};

static void on_exec(void *arg, int result, int exit_code, const char *output, const struct err *why)
{
	struct executed *e = arg;
	e->w.done = true;
	e->w.result = result;
	e->code = exit_code;
	snprintf(e->output, 4096, "%s", output);
	if (result < 0)
		e->w.err = *why;
}

int rig_exec(struct rig *r, const char *id, char *const *argv, uint32_t timeout_ms, int *ret_code,
	char output[4096], struct err *err)
{
	struct executed e = { .output = output };
	int result = r->driver->exec(r->host, id, argv, timeout_ms, on_exec, &e, NULL, err);
	if (result < 0)
		return result;
	assert_false(e.w.done);
	rig_run_until(r, &e.w.done, "exec");
	*ret_code = e.code;
	*err = e.w.err;
	return e.w.result;
}

static void on_line(void *arg, int64_t at_ms, const char *stream, const char *text, size_t len)
{
	struct rig_lines *l = arg;
	(void)stream;
	if (l->n < 64) {
		snprintf(l->text[l->n], sizeof l->text[0], "%.*s", (int)len, text);
		l->at_ms[l->n] = at_ms;
	}
	l->n++;
}

static void on_lines_end(void *arg, int result, const struct err *why)
{
	struct rig_lines *l = arg;
	(void)why;
	assert_false(l->ended);
	l->ended = true;
	l->result = result;
}

void rig_follow(struct rig *r, const char *id, const struct rt_log_query *query, struct rig_lines *ret)
{
	struct err err;
	memset(ret, 0, sizeof *ret);
	assert_int_equal(r->driver->logs(r->host, id, query, on_line, on_lines_end, ret, NULL, &err), 0);
	assert_false(ret->ended);
}

void rig_logs(struct rig *r, const char *id, const struct rt_log_query *query, struct rig_lines *ret)
{
	rig_follow(r, id, query, ret);
	rig_run_until(r, &ret->ended, "logs");
	assert_int_equal(ret->result, 0);
}

struct awaited_line {
	const char *line;
	bool seen, ended;
};

static void on_awaited(void *arg, int64_t at_ms, const char *stream, const char *text, size_t len)
{
	struct awaited_line *a = arg;
	(void)at_ms;
	(void)stream;
	if (len == strlen(a->line) && memcmp(text, a->line, len) == 0)
		a->seen = true;
}

static void on_awaited_end(void *arg, int result, const struct err *why)
{
	(void)result;
	(void)why;
	((struct awaited_line *)arg)->ended = true;
}

void rig_await_line(struct rig *r, const char *id, const char *line)
{
	struct awaited_line a = { .line = line };
	struct rt_log_query query = { .tail = UINT32_MAX, .follow = true };
	struct rt_op *op = NULL;
	struct err err;
	assert_int_equal(r->driver->logs(r->host, id, &query, on_awaited, on_awaited_end, &a, &op, &err), 0);
	rig_run_until(r, &a.seen, line);
	if (!a.ended)
		rt_cancel(op);
	rig_run_until(r, &a.ended, "end of logs");
}

const char *rig_fact(const struct rig_lines *lines, const char *key)
{
	size_t n = strlen(key);
	for (unsigned i = 0; i < lines->n && i < 64; i++)
		if (strncmp(lines->text[i], key, n) == 0 && lines->text[i][n] == '=')
			return lines->text[i] + n + 1;
	return NULL;
}

struct seen {
	struct rt_state *states;
	unsigned n, max;
};

static void on_seen(void *arg, const struct rt_state *state)
{
	struct seen *s = arg;
	assert_true(s->n < s->max);
	s->states[s->n++] = *state;
}

int rig_adopt(struct rig *r, struct rt_state *states, unsigned max)
{
	struct seen s = { .states = states, .max = max };
	struct err err = { 0 };
	if (r->driver->adopt(r->host, on_seen, &s, &err) < 0)
		fail_msg("adopt: %s", err.msg);
	return (int)s.n;
}
