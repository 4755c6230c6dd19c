#include "base/digest.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static void write_hex(const unsigned char *md, unsigned len, char ret[DIGEST_LEN])
{
	memcpy(ret, "sha256:", DIGEST_HEX);
	for (unsigned i = 0; i < len; i++)
		snprintf(ret + DIGEST_HEX + 2 * i, 3, "%02x", md[i]);
}

struct digest *digest_new(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		return NULL;
	}
	return (struct digest *)ctx;
}

void digest_add(struct digest *d, const void *bytes, size_t len)
{
	int ok = EVP_DigestUpdate((EVP_MD_CTX *)d, bytes, len);
	assert(ok == 1);
	(void)ok;
}

void digest_end(struct digest *d, char ret[DIGEST_LEN])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int ok = EVP_DigestFinal_ex((EVP_MD_CTX *)d, md, &len);
	assert(ok == 1 && len == 32);
	(void)ok;
	write_hex(md, len, ret);
	digest_free(d);
}

void digest_free(struct digest *d)
{
	EVP_MD_CTX_free((EVP_MD_CTX *)d);
}

void digest_of(const void *bytes, size_t len, char ret[DIGEST_LEN])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	int ok = EVP_Digest(bytes, len, md, &n, EVP_sha256(), NULL);
	assert(ok == 1 && n == 32);
	(void)ok;
	write_hex(md, n, ret);
}

int digest_valid(const char *text)
{
	return strlen(text) == DIGEST_LEN - 1 && memcmp(text, "sha256:", DIGEST_HEX) == 0 &&
	       strspn(text + DIGEST_HEX, "0123456789abcdef") == 64;
}
