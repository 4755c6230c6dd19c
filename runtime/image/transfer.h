/* HTTP requests to registries, several at a time, on the calling thread: the only file that knows libcurl
 * here. No redirect is followed, no credential added by itself: who asks decides about both. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "runtime/image/job.h"

struct transfer {
	/* what to ask */
	char *url;	     /* owned, as all strings here */
	char *authorization; /* the header's value, or NULL */
	const char *accept;  /* borrowed; NULL: anything */
	const char *form;    /* borrowed: POST this form instead of GET */
	const char *ca_file; /* borrowed; NULL: the system's authorities */
	uint64_t from;	     /* first byte wanted; 0: all */
	bool local;	     /* may lead to this host and its link: the registry itself does */
	size_t max_bytes;    /* of a body without sink */
	/* Takes the body of an answer that succeeded; less than 0 ends the transfer with *why. NULL: into
	 * `body`. */
	int (*sink)(struct transfer *t, const void *bytes, size_t len, struct err *why);
	void *arg;
	/* what came; `why` if nothing did */
	int result; /* 0: an answer, whatever its status */
	struct err why;
	bool tls_failed; /* the other side does not speak TLS */
	long status;
	struct buf body;
	char content_type[128], digest[DIGEST_LEN], challenge[2048], location[4096];
	bool has_range;
	uint64_t range_from;
	int64_t retry_after_s; /* -1: not said */
	void *easy;	       /* libcurl's, while it runs */
	void *headers;
};
void transfer_done(struct transfer *t);
/* Ready to be asked again: what came is forgotten. */
void transfer_reset(struct transfer *t);

struct transfers;
int transfers_open(const struct image_job *job, struct transfers **ret, struct err *err);
void transfers_close(struct transfers *ts); /* whatever runs is dropped; accepts NULL */
/* Starts it; t must stay where it is until it is back. */
int transfers_start(struct transfers *ts, struct transfer *t, struct err *err);
/* Waits until one is back, or for wait_ms: then *ret is NULL. -ECANCELED once the job is. */
int transfers_wait(struct transfers *ts, int64_t wait_ms, struct transfer **ret, struct err *err);
/* Starts one and waits for it alone. 0: it is back, see t->result. */
int transfers_run(struct transfers *ts, struct transfer *t, struct err *err);

/* The parts of a URL that say whom it reaches. */
struct url_host {
	bool https;
	char host[256];
	unsigned port;
};
/* -EINVAL for anything but http and https, and for one with a user or password in it. */
int url_host_read(const char *url, struct url_host *ret);
bool url_host_equal(const struct url_host *a, const struct url_host *b);
/* A name or an address of this very host. */
bool host_is_loopback(const char *host);
/* May credentials given for `of` be sent to `to`? Only to the same host, or a sister below the same domain.
 */
bool host_is_related(const char *of, const char *to);
/* `location` as seen from `base`; NULL: malformed, or out of memory. Caller frees. */
char *url_join(const char *base, const char *location);
char *url_escape(const char *text);
