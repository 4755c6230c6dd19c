/* Log operations: chunks are read on a worker, lines are delivered on the loop, following is by inotify. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/logread.h"
#include "runtime/native/native.h"

#define LINE_MAX_BYTES (256u * 1024)

struct logs_op {
	struct native_op base;
	char id[RT_ID_MAX];
	struct rt_log_query query;
	rt_log_line line;
	rt_done end;
	void *arg;
	struct log_cursor cursor;
	struct buf chunk, parts[2]; /* parts: of a line that goes on, by stream */
	size_t delivered;	    /* of the chunk */
	uv_fs_event_t *watch;
	bool sought, reading, dirty, last, cancelled, delivering;
	bool paused, stalled; /* stalled: with something to do when the pause is over */
	bool resuming;	      /* and go_on is on its way */
};

static struct logs_op *of_op(struct rt_op *op)
{
	return CONTAINER_OF(CONTAINER_OF(op, struct native_op, op), struct logs_op, base);
}

static void watch_closed(uv_handle_t *handle)
{
	free(handle);
}

static void finish(struct logs_op *op, int result, const struct err *why)
{
	OWN_FREE struct logs_op *mine = op;
	if (op->watch)
		uv_close((uv_handle_t *)op->watch, watch_closed);
	log_cursor_done(&op->cursor);
	buf_done(&op->chunk);
	buf_done(&op->parts[0]);
	buf_done(&op->parts[1]);
	native_op_end(&op->base);
	op->end(op->arg, result, why);
}

static void finish_cancelled(void *arg)
{
	struct logs_op *op = arg;
	struct err err;
	err_say(&err, ECANCELED, "logs of %s: cancelled", op->id);
	finish(op, -ECANCELED, &err);
}

static int read_work(void *arg, struct err *err)
{
	struct logs_op *op = arg;
	int r = op->sought ? 0 : log_cursor_seek_tail(&op->cursor, op->query.tail);
	op->sought = true;
	if (r == 0)
		r = log_cursor_read(&op->cursor, &op->chunk);
	return r < 0 ? err_set(err, -r, "read logs of %s", op->id) : 0;
}

static void deliver_record(struct logs_op *op, const struct log_record *r)
{
	struct buf *part = &op->parts[strcmp(r->stream, "stderr") == 0];
	if (r->at_ms < op->query.since_ms)
		return;
	if (r->partial || part->len > 0) {
		if (part->len + r->len < LINE_MAX_BYTES)
			buf_add(part, r->text, r->len);
		if (r->partial)
			return;
		op->line(op->arg, r->at_ms, r->stream, part->data, part->len);
		part->len = 0;
		return;
	}
	op->line(op->arg, r->at_ms, r->stream, r->text, r->len);
}

/* From where the last pause left off, until the end or the next pause. */
static void deliver(struct logs_op *op)
{
	op->delivering = true;
	while (!op->cancelled && !op->paused && op->delivered < op->chunk.len) {
		const char *at = op->chunk.data + op->delivered;
		const char *nl = memchr(at, '\n', op->chunk.len - op->delivered);
		size_t len = nl ? (size_t)(nl - at) : op->chunk.len - op->delivered;
		struct log_record record;
		op->delivered += len + (nl ? 1 : 0);
		if (nl && log_record_parse(at, len, &record))
			deliver_record(op, &record);
	}
	op->delivering = false;
}

static bool can_grow(const struct logs_op *op)
{
	const struct container *c = container_find(op->base.host, op->id);
	return op->query.follow && c && (c->phase == CONTAINER_RUNNING || c->phase == CONTAINER_STARTING);
}

static void read_done(void *arg, int result, const struct err *err);

static void begin_read(struct logs_op *op)
{
	op->dirty = false;
	op->last = !can_grow(op); /* asked before the read: what was written until then is in it */
	op->reading = true;
	if (native_work(op->base.host, read_work, read_done, op) == 0)
		return;
	struct err err;
	op->reading = false;
	err_set(&err, ENOMEM, "read logs of %s", op->id);
	finish(op, -ENOMEM, &err);
}

static void go_on(void *arg)
{
	struct logs_op *op = arg;
	op->stalled = op->resuming = false;
	deliver(op);
	if (op->cancelled)
		finish_cancelled(op);
	else if (op->paused)
		op->stalled = true;
	else if (op->chunk.len > 0 || op->dirty)
		begin_read(op);
	else if (op->last)
		finish(op, 0, NULL);
	else if (!can_grow(op))
		begin_read(op); /* ended in the meantime: once more */
}

static void read_done(void *arg, int result, const struct err *err)
{
	struct logs_op *op = arg;
	op->reading = false;
	op->delivered = 0;
	if (result < 0)
		finish(op, result, err);
	else
		go_on(op);
}

static void wake(struct logs_op *op)
{
	op->dirty = true;
	if (!op->reading && !op->stalled && !op->cancelled)
		begin_read(op);
}

static void on_change(uv_fs_event_t *watch, const char *name, int events, int status)
{
	struct logs_op *op = watch->data;
	(void)events;
	(void)status;
	if (name && strcmp(name, op->cursor.name) == 0)
		wake(op);
}

void logs_container_ended(struct rt_host *h, const char *id)
{
	struct native_op *base, *next;
	for (base = LIST_FIRST(&h->ops); base; base = next) {
		next = LIST_NEXT(base, link);
		struct logs_op *op = of_op(&base->op);
		if (base->op.cancel == logs_cancel && strcmp(op->id, id) == 0)
			wake(op);
	}
}

void logs_cancel(struct rt_op *base)
{
	struct logs_op *op = of_op(base);
	if (op->cancelled)
		return;
	op->cancelled = true;
	if (!op->reading && !op->delivering &&
		!op->resuming) /* what comes next after each of these looks at the flag */
		uvx_defer(op->base.host->loop, finish_cancelled, op);
}

static void logs_pause(struct rt_op *base, bool paused)
{
	struct logs_op *op = of_op(base);
	op->paused = paused;
	if (paused || !op->stalled || op->resuming || op->cancelled)
		return;
	op->resuming = uvx_defer(op->base.host->loop, go_on, op) == 0;
}

/* The directory, not the file: rotation replaces the file. */
static int watch_directory(struct logs_op *op, struct err *err)
{
	uv_fs_event_t *watch = calloc(1, sizeof *watch);
	int r = watch ? uv_fs_event_init(op->base.host->loop, watch) : UV_ENOMEM;
	if (r < 0) {
		free(watch);
		return uvx_err(err, r, "follow logs");
	}
	watch->data = op;
	op->watch = watch;
	r = uv_fs_event_start(watch, on_change, op->cursor.dir, 0);
	return r < 0 ? uvx_err(err, r, "follow logs") : 0;
}

static int open_cursor(struct rt_host *h, const char *id, struct log_cursor *ret, struct err *err)
{
	OWN_BUF struct buf dir = { 0 };
	char service[SPEC_NAME_MAX], name[32];
	uint32_t generation, replica;
	if (rt_id_parse(id, service, &generation, &replica) < 0)
		return err_say(err, EINVAL, "logs: malformed id \"%s\"", id);
	buf_addf(&dir, "%s/%s/%u", h->logs_dir, service, generation);
	snprintf(name, sizeof name, "%u.log", replica);
	if (dir.failed || log_cursor_open(dir.data, name, ret) < 0)
		return err_set(err, ENOMEM, "logs of %s", id);
	return 0;
}

static int begin(struct logs_op *op, struct err *err)
{
	int r = open_cursor(op->base.host, op->id, &op->cursor, err);
	if (r == 0 && can_grow(op))
		r = watch_directory(op, err);
	if (r < 0)
		return r;
	op->reading = true;
	op->last = !can_grow(op);
	r = native_work(op->base.host, read_work, read_done, op);
	return r < 0 ? err_set(err, -r, "logs of %s", op->id) : 0;
}

int container_logs(struct rt_host *h, const char *id, const struct rt_log_query *query, rt_log_line line,
	rt_done end, void *arg, struct rt_op **ret_op, struct err *err)
{
	struct logs_op *op = calloc(1, sizeof *op);
	if (!op)
		return err_set(err, ENOMEM, "logs of %s", id);
	snprintf(op->id, sizeof op->id, "%s", id);
	op->query = *query;
	op->line = line;
	op->end = end;
	op->arg = arg;
	op->cursor.fd = -1;
	native_op_begin(h, &op->base, logs_cancel);
	op->base.op.pause = logs_pause;
	int r = begin(op, err);
	if (r < 0) {
		if (op->watch)
			uv_close((uv_handle_t *)op->watch, watch_closed);
		log_cursor_done(&op->cursor);
		native_op_end(&op->base);
		free(op);
		return r;
	}
	if (ret_op)
		*ret_op = &op->base.op;
	return 0;
}

int logs_remove(struct rt_host *h, const char *service, uint32_t generation, struct err *err)
{
	char id[RT_ID_MAX], parsed[SPEC_NAME_MAX], name[SPEC_NAME_MAX + 16];
	uint32_t g, r;
	OWN_FD int dir = -1;
	rt_id_format(id, service, 1, 1);
	if (rt_id_parse(id, parsed, &g, &r) < 0 || strcmp(parsed, service) != 0)
		return err_say(err, EINVAL, "remove logs: malformed service \"%s\"", service);
	int result = fs_open_dir(AT_FDCWD, h->logs_dir, &dir, err);
	if (result < 0)
		return result;
	if (!generation)
		return fs_remove_tree(dir, service, err);
	snprintf(name, sizeof name, "%s/%u", service, generation);
	result = fs_remove_tree(dir, name, err);
	unlinkat(dir, service, AT_REMOVEDIR); /* if it was the last one */
	return result;
}
