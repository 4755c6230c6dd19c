/* jansson, with our ownership macros and typed look-ups. The only place besides message builders that knows
 * it. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

static inline void own_json(json_t **j)
{
	json_decref(*j);
}
#define OWN_JSON __attribute__((cleanup(own_json)))

/* Parses one object; duplicate keys are an error. `what` names the source in the message. */
int json_parse(const char *text, size_t len, const char *what, json_t **ret, struct err *err);
/* Compact, keys sorted: the canonical form that digests are made of. NULL when out of memory; caller frees.
 */
char *json_canonical(const json_t *j);

/* Look-ups with a default for absent or mistyped members. Strings are borrowed. */
const char *json_str(const json_t *obj, const char *key, const char *def);
int64_t json_int(const json_t *obj, const char *key, int64_t def);
bool json_flag(const json_t *obj, const char *key, bool def);
/* A string of any text: bytes that are not UTF-8, which JSON cannot carry, become U+FFFD. NULL: out of
 * memory. */
json_t *json_text(const char *text);
/* Sets a string member, by json_text, unless text is NULL. */
void json_put_str(json_t *obj, const char *key, const char *text);
