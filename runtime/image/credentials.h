/* Who we are to a registry: ETC/auth.json, then the files of other tools in the agent's own account, in the
 * form that all of them share. */
#pragma once
#include <stdbool.h>

#include "base/err.h"

struct credentials {
	char *user, *password; /* NULL: none are known */
	char *refresh_token;   /* instead of both */
};
/* Wipes them. */
void credentials_done(struct credentials *c);
#define OWN_CREDENTIALS __attribute__((cleanup(credentials_done)))

/* Those of the longest prefix of host/repository that has some; none is success. A file that can't be read or
 * is malformed is an error: going on without would only fail later, for another reason. */
int credentials_find(const char *etc_dir, const char *host, const char *repository, struct credentials *ret,
	struct err *err);
/* Remembers them in ETC/auth.json, which only root can read; user NULL: forgets. -ENOENT if there was none.
 */
int credentials_store(
	const char *etc_dir, const char *host, const char *user, const char *password, struct err *err);
/* "user:password" in base64, as HTTP's Basic wants it; NULL: out of memory. Caller wipes and frees. */
char *credentials_basic(const char *user, const char *password);
