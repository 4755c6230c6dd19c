/* Compiled seccomp profiles, kept: compiling one costs as much as a start. For any thread. */
#pragma once
#include <pthread.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

#define FILTERS_KEPT 8 /* different profiles; a host has one or two */

struct filters {
	pthread_mutex_t lock;
	struct {
		char digest[DIGEST_LEN]; /* of the profile */
		struct buf program;
	} kept[FILTERS_KEPT];
	unsigned next; /* to be replaced */
};

void filters_open(struct filters *f);
void filters_close(struct filters *f);
/* The program of a profile, appended to ret. */
int filters_get(struct filters *f, const json_t *profile, struct buf *ret, struct err *err);
