#include "proxy/pipe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PIPE_BYTES (1024 * 1024)
#define PIPE_LEAST (256 * 1024) /* smaller than that copying is as fast */

static void pipe_free(struct pipe_pool *pool, struct pipe *p)
{
	close(p->read_fd);
	close(p->write_fd);
	free(p);
	pool->n_open--;
}

/* An unprivileged user may have only so many large pipes (pipe-user-pages-soft): a small one is not worth
 * having, and asking again each time costs more than copying, so the pool stays at what it reached. */
static struct pipe *pipe_new(struct pipe_pool *pool)
{
	int fds[2];
	struct pipe *p = malloc(sizeof *p);
	if (!p || pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(p);
		return NULL;
	}
	*p = (struct pipe){ .read_fd = fds[0], .write_fd = fds[1] };
	pool->n_open++;
	int size = fcntl(p->write_fd, F_SETPIPE_SZ, PIPE_BYTES);
	if (size < 0)
		size = fcntl(p->write_fd, F_SETPIPE_SZ, PIPE_LEAST);
	if (size < 0) {
		pipe_free(pool, p);
		pool->max = pool->n_open;
		return NULL;
	}
	p->size = (size_t)size;
	return p;
}

struct pipe *pipe_take(struct pipe_pool *pool)
{
	struct pipe *p = pool->idle;
	if (p) {
		pool->idle = p->next;
		p->next = NULL;
		return p;
	}
	return pool->n_open < pool->max ? pipe_new(pool) : NULL;
}

void pipe_give(struct pipe_pool *pool, struct pipe *p)
{
	if (!p)
		return;
	if (p->len > 0) {
		pipe_free(pool, p);
		return;
	}
	p->next = pool->idle;
	pool->idle = p;
}

void pipe_pool_close(struct pipe_pool *pool)
{
	struct pipe *p;
	while ((p = pool->idle)) {
		pool->idle = p->next;
		pipe_free(pool, p);
	}
}
