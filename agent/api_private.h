/* What the API's files share: errors, parameters, and the handlers that api.c's table names. */
#pragma once
#include "agent/http.h"
#include "base/err.h"

/* Answers with what an errno of ours means to a client; the words are in the message. */
void api_error(struct http_request *r, const struct err *why);

/* Present and not 0. */
bool api_query_flag(struct http_request *r, const char *name);
/* An unsigned query parameter, or def when it is absent; -EINVAL after having answered 400. */
int api_query_number(struct http_request *r, const char *name, uint64_t max, uint64_t def, uint64_t *ret);

void api_deployment(void *arg, struct http_request *r);
void api_events(void *arg, struct http_request *r);
void api_logs(void *arg, struct http_request *r);
/* api_image.c */
void api_images(void *arg, struct http_request *r);
void api_image(void *arg, struct http_request *r);
void api_image_fetch(void *arg, struct http_request *r);
void api_image_remove(void *arg, struct http_request *r);
void api_gc(void *arg, struct http_request *r);
