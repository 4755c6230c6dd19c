/* What is known of one deployment while it is watched: fed with the agent's picture and its events, shown as
 * a live block or as one line per step. No I/O and no clock in here. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "agent/cli/term.h"
#include "base/buf.h"
#include "base/json.h"

enum step_status { STEP_RUN, STEP_OK, STEP_FAIL };

struct progress_step {
	char *name, *text;
	enum step_status status;
	int64_t took_ms, at_ms;
	bool told; /* its line was printed */
};

struct progress {
	char *service, *kind, *source;
	int64_t id;
	int64_t from, to; /* generations; 0 = none */
	int64_t seq;	  /* events up to here are known */
	int64_t since_ms; /* the deployment's start, wall clock */
	char *reason;	  /* what it waits for now */
	struct progress_step *steps;
	size_t n_steps, cap_steps;
	bool done;
	bool opened;	/* its first line was printed */
	json_t *diff;	/* {"key":[old,new]}; NULL = not told */
	json_t *result; /* once done */
};

void progress_done(struct progress *p);

/* The agent's picture of the deployment replaces what was known; -ENOMEM. */
int progress_load(struct progress *p, const json_t *deployment);
/* One event; those of other deployments and known ones are ignored; -ENOMEM. */
int progress_event(struct progress *p, const json_t *event);

/* The lines not told yet: "14:21:06 web: pull ok image sha256:… 3ms". */
void progress_lines(struct progress *p, struct buf *out);
/* A sign of life of a long wait: "14:21:22 web: drain 14 of 52 connections left (10s)". */
void progress_heartbeat(const struct progress *p, int64_t now_ms, struct buf *out);
/* The block of the live view; every line ends with a newline and fits the terminal. brief: one line only. */
void progress_block(const struct progress *p, const struct term *t, int64_t now_ms, unsigned frame,
	bool brief, struct buf *out);
