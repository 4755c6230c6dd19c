/* One piece of work on images, as those who do it see it: whether to go on, and whom to tell how far it is.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

struct image_job {
	int cancel_fd; /* readable once the work is to stop; -1: never */
	/* Called from the worker's thread, at most some times a second; may be NULL. total 0: not known. */
	void (*progress)(void *arg, const char *what, uint64_t done_bytes, uint64_t total_bytes);
	void *arg;
};

/* -ECANCELED once the work is to stop. job may be NULL. */
int image_job_check(const struct image_job *job, struct err *err);
