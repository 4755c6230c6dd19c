/* SHA-256 by OpenSSL's libcrypto, in one call or as a stream; digests are written "sha256:<64 hex>". */
#pragma once
#include <stddef.h>

#define DIGEST_LEN 72 /* "sha256:" + 64 + NUL */
#define DIGEST_HEX (sizeof "sha256:" - 1)

struct digest; /* a running hash */

struct digest *digest_new(void); /* NULL: out of memory */
void digest_add(struct digest *d, const void *bytes, size_t len);
/* Writes the result and frees d. */
void digest_end(struct digest *d, char ret[DIGEST_LEN]);
void digest_free(struct digest *d);
/* Of one block of bytes. */
void digest_of(const void *bytes, size_t len, char ret[DIGEST_LEN]);
/* 1 if text is a well-formed sha256 digest. */
int digest_valid(const char *text);
