/* The routes of docs/api.md. */
#pragma once
#include "agent/agent.h"

/* Ends with method NULL; handlers get the agent as their argument. */
extern const struct http_route api_routes[];
/* Answers every request that waits, so that the server can close. */
void api_answer_waits(struct agent *a);
