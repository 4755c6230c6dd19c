#include "agent/cli/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/human.h"
#include "base/own.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS	 2000

struct reading {
	stream_each each;
	void *arg;
};

static int on_line(void *arg, const char *line, size_t len)
{
	struct reading *r = arg;
	OWN_JSON json_t *object = json_loadb(line, len, 0, NULL);
	return json_is_object(object) ? r->each(r->arg, object) : 0;
}

/* A stream that was refused: its body is the API's error. */
static int refused(unsigned status, const struct buf *body, struct cli_fault *f)
{
	OWN_JSON json_t *answer = body->data ? json_loadb(body->data, body->len, 0, NULL) : NULL;
	return cli_fault_answer(f, status, answer);
}

int stream_read(struct cli *c, const char *path, stream_each each, void *arg, struct cli_fault *f)
{
	struct reading r = { each, arg };
	const struct client_stream s = { .line = on_line, .arg = &r };
	OWN_BUF struct buf body = { 0 };
	unsigned status = 0;
	int e = cli_client(c, f);
	if (e < 0)
		return e;
	e = client_stream(c->client, path, &s, &status, &body, &f->err);
	if (e < 0)
		cli_fault_transport(e, f);
	else if (e == 0 && status != 200)
		e = refused(status, &body, f);
	return e;
}

int stream_follow(struct cli *c, const struct stream_source *s, struct cli_fault *f)
{
	int backoff = BACKOFF_FIRST_MS;
	for (bool connected = false;;) {
		OWN_FREE char *path = s->path(s->arg);
		if (!path)
			return err_set(&f->err, ENOMEM, "follow");
		int r = stream_read(c, path, s->each, s->arg, f);
		bool away = r == 0 || strcmp(f->code, "lost") == 0 || strcmp(f->code, "unreachable") == 0;
		if (!away || (r < 0 && !connected && strcmp(f->code, "unreachable") == 0))
			return r;
		if (r == 0 || strcmp(f->code, "lost") == 0) {
			connected = true;
			backoff = BACKOFF_FIRST_MS;
		}
		cli_fault_done(f);
		*f = (struct cli_fault){ 0 };
		client_sleep(c->client, backoff);
		backoff = backoff * 2 < BACKOFF_MAX_MS ? backoff * 2 : BACKOFF_MAX_MS;
	}
}

void stream_event_line(const json_t *event, int64_t now_ms, struct buf *out)
{
	int64_t at = now_ms;
	char day[HUMAN_MAX], clock[HUMAN_MAX];
	human_parse_utc(json_str(event, "at", NULL), &at);
	human_when(at, now_ms, day);
	if (strncmp(day, "today", 5) != 0)
		buf_addf(out, "%.6s ", day);
	buf_addf(out, "%s  %-18s ", human_clock(at, clock), json_str(event, "type", "?"));
	term_add_foreign(out, json_str(event, "text", ""));
	buf_adds(out, "\n");
}
