/* Streams of JSON lines from the agent: logs and events. */
#pragma once
#include "agent/cli/cli.h"

/* One object; non-zero ends the stream. */
typedef int (*stream_each)(void *arg, const json_t *object);

/* Reads a stream to its end. 0, the callback's value if it was positive, or negative with the fault. */
int stream_read(struct cli *c, const char *path, stream_each each, void *arg, struct cli_fault *f);

struct stream_source {
	/* Where to go on from: a fresh path, owned by the caller; NULL: out of memory. */
	char *(*path)(void *arg);
	stream_each each;
	void *arg;
};
/* Follows a stream for ever: an agent that went away is waited for. Returns only with a fault. */
int stream_follow(struct cli *c, const struct stream_source *s, struct cli_fault *f);

/* "Nov 20 14:21:03  web/7  replica.exited  text" and a newline. */
void stream_event_line(const json_t *event, int64_t now_ms, struct buf *out);
