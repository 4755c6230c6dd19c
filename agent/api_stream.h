/* The two streams of the API: events and logs. Handlers for api.c's table. */
#pragma once
#include "agent/http.h"

/* An unsigned query parameter, or def when it is absent; -EINVAL after having answered 400. */
int api_query_number(struct http_request *r, const char *name, uint64_t max, uint64_t def, uint64_t *ret);

void api_events(void *arg, struct http_request *r);
void api_logs(void *arg, struct http_request *r);
