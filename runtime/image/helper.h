/* Programs that keep credentials for others: docker-credential-NAME, by their protocol. */
#pragma once
#include "runtime/image/credentials.h"

/* None known is success. The program is looked for where programs of the system are, and has a few seconds.
 */
int helper_get(const char *name, const char *server, struct credentials *ret, struct err *err);
