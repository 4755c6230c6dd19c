/* A directory of the test's own, under TMPDIR if that is set, gone at the end; and a look at this process's
 * descriptors. */
#pragma once

#include "base/buf.h"

struct scratch {
	char path[200];
	int fd;
};

/* For cmocka's setup and teardown: *state is a struct scratch. */
int scratch_setup(void **state);
int scratch_teardown(void **state);
/* "PATH/name", kept until the test ends. */
const char *scratch_name(struct scratch *s, const char *name);
void scratch_write(const struct scratch *s, const char *name, const void *bytes, size_t len);
struct buf scratch_read(const struct scratch *s, const char *name);
/* Entries of the directory called name. */
unsigned scratch_count(const struct scratch *s, const char *name);
unsigned count_open_fds(void);
unsigned lowest_free_fd(void);
