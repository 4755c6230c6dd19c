/* Pipes for moving bulk bytes between sockets without copying them. One worker's own: no locks. A pipe is
 * taken for bulk only and given back when empty, so that idle and small-message connections own none. */
#pragma once
#include <stddef.h>

struct pipe {
	struct pipe *next; /* in the pool */
	int read_fd, write_fd;
	size_t len, size; /* bytes in it now; capacity */
};

struct pipe_pool {
	struct pipe *idle;
	unsigned n_open, max;
};

/* NULL: none to be had; then copy. */
struct pipe *pipe_take(struct pipe_pool *pool);
/* Closes instead of keeping it when bytes are left in it: a pipe must never carry them to another connection.
 */
void pipe_give(struct pipe_pool *pool, struct pipe *p);
void pipe_pool_close(struct pipe_pool *pool);
