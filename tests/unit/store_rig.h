/* Stores with something in them, and what is in a store as one line of text. */
#pragma once

#include "agent/store.h"
#include "base/buf.h"
#include "scratch.h"

/* What store_rig_fill leaves in a new store, and what a new store holds, as store_rig_contents writes it. */
#define RIG_FILLED "s alpha beta g alpha:2 alpha:1 beta:1 d beta:2! alpha:1 e alpha:1 -:2 "
#define RIG_EMPTY  "s g d e "

/* Rows with nothing but what must be there; their texts are the caller's. store_rig_see_*: iterators into a
 * struct buf. */
struct store *store_rig_open(struct scratch *s, const char *name, bool expect_note);
void store_rig_commit(struct store *st);
struct row_service store_rig_service(const char *name);
struct row_generation store_rig_generation(const char *service, int64_t number);
struct row_deployment store_rig_deployment(const char *service, bool done);
struct row_event store_rig_event(int64_t seq, const char *service);
void store_rig_see_service(void *arg, const struct row_service *r);
void store_rig_see_generation(void *arg, const struct row_generation *r);
void store_rig_see_deployment(void *arg, const struct row_deployment *r);
void store_rig_see_event(void *arg, const struct row_event *r);
char *store_rig_contents(struct store *st);
void store_rig_expect(struct store *st, const char *expected);
void store_rig_fill(struct store *st);
