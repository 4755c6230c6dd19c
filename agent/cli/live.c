#include "agent/cli/live.h"

#include <string.h>

#include "agent/cli/result.h"
#include "base/clock.h"

void live_init(struct live *l, struct cli *c)
{
	*l = (struct live){ .cli = c, .paints = c->term_err.live && !c->line.opts.quiet };
}

static void add_erase(struct live *l, struct buf *out)
{
	if (l->painted > 0)
		buf_addf(out, "\033[%uA\r\033[J", l->painted);
	l->painted = 0;
}

void live_erase(struct live *l)
{
	OWN_BUF struct buf out = { 0 };
	add_erase(l, &out);
	cli_print(l->cli->err, &out);
}

static unsigned count_lines(const struct buf *b)
{
	unsigned n = 0;
	for (size_t i = 0; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

static void add_blocks(const struct live *l, struct progress *items, size_t n, bool brief, struct buf *out)
{
	int64_t now = clock_wall_ms();
	for (size_t i = 0; i < n; i++)
		if (!items[i].done && items[i].kind)
			progress_block(&items[i], &l->cli->term_err, now, l->frame, brief, out);
}

static void repaint(struct live *l, struct progress *items, size_t n)
{
	OWN_BUF struct buf out = { 0 }, blocks = { 0 };
	struct term *t = &l->cli->term_err;
	term_measure(l->cli->err, t);
	l->frame++;
	add_blocks(l, items, n, false, &blocks);
	if (count_lines(&blocks) >= t->height) { /* what has scrolled away can't be repainted */
		blocks.len = 0;
		add_blocks(l, items, n, true, &blocks);
	}
	add_erase(l, &out);
	l->painted = count_lines(&blocks);
	if (l->painted < t->height)
		buf_add(&out, blocks.data, blocks.len);
	else
		l->painted = 0;
	cli_print(l->cli->err, &out);
}

static void print_lines(struct live *l, struct progress *p)
{
	OWN_BUF struct buf out = { 0 };
	progress_lines(p, &out);
	if (out.len > 0 && !l->cli->line.opts.quiet)
		cli_print(l->cli->err, &out);
}

void live_update(struct live *l, struct progress *items, size_t n)
{
	if (l->paints) {
		repaint(l, items, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		print_lines(l, &items[i]);
}

void live_heartbeat(struct live *l, const struct progress *items, size_t n)
{
	OWN_BUF struct buf out = { 0 };
	if (l->paints || l->cli->line.opts.quiet)
		return;
	for (size_t i = 0; i < n; i++)
		progress_heartbeat(&items[i], clock_wall_ms(), &out);
	cli_print(l->cli->err, &out);
}

void live_conclude(struct live *l, struct progress *p, int code)
{
	OWN_BUF struct buf out = { 0 };
	struct cli *c = l->cli;
	const struct result_view view = {
		.term = &c->term_err, .self = c->self, .now_ms = clock_wall_ms(), .exit = code
	};
	if (c->line.opts.quiet && code == CLI_OK)
		return;
	add_erase(l, &out);
	if (l->paints) {
		progress_block(p, &c->term_err, view.now_ms, l->frame, false, &out);
		buf_adds(&out, "\n");
	} else if (!c->line.opts.quiet) {
		progress_lines(p, &out);
	}
	if (p->result)
		result_render(p->result, &view, &out);
	if (l->paints)
		buf_adds(&out, "\n");
	cli_print(c->err, &out);
}

void live_note(struct live *l, const char *text)
{
	if (l->cli->line.opts.quiet)
		return;
	live_erase(l);
	fprintf(l->cli->err, "%s\n", text);
	fflush(l->cli->err);
}
