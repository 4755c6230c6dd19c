/* What the files behind registry.h share: one conversation with one registry about one repository. */
#pragma once
#include "runtime/image/credentials.h"
#include "runtime/image/registry.h"
#include "runtime/image/transfer.h"

struct registry {
	struct image_source source;
	struct image_store *store;
	const struct image_job *job;
	const char *repository;
	char *host;	    /* as references and credential files name it */
	char *base;	    /* "https://registry-1.docker.io" */
	char *ca_file;	    /* ETC/certs.d/HOST/ca.crt, or NULL */
	struct url_host at; /* of base */
	struct transfers *transfers;
	struct credentials credentials;
	char *authorization;   /* what the registry wants to see with each request; NULL: nothing (yet) */
	int files[LAYERS_MAX]; /* downloaded layers, nameless; or -1 */
};

int registry_open(struct image_store *s, const char *host, const char *repository,
	const struct image_job *job, struct registry *ret, struct err *err);
void registry_close(struct registry *r);
#define OWN_REGISTRY __attribute__((cleanup(registry_close)))
/* A request to the registry itself, with what it wants to see: "/v2/…". */
int registry_ask(struct registry *r, struct transfer *t, const char *path, struct err *err);
/* Sends it, answers challenges, tries again while that may help. 0 with a status below 400. */
int registry_get(struct registry *r, struct transfer *t, struct err *err);
/* What an answer that is no success means to people. */
int registry_refused(const struct registry *r, const struct transfer *t, const char *what, struct err *err);
bool registry_may_help(const struct transfer *t); /* another try */
/* How long to wait before try number n. */
int64_t registry_pause_ms(const struct transfer *t, unsigned n);
#define REGISTRY_TRIES 5u

/* registry_auth.c: gets what the challenge of a 401 asks for into r->authorization. */
int registry_authorize(struct registry *r, const char *challenge, struct err *err);

/* download.c: all wanted layers into r->files, some at a time. */
int registry_download(struct registry *r, const struct manifest *m, const bool *wanted, struct err *err);
