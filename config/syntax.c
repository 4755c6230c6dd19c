#include "config/syntax.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/parse.h"
#include "config/spec.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

const char *syntax_name(const char *text)
{
	size_t n = strlen(text);
	if (n == 0)
		return "is empty";
	if (n >= SPEC_NAME_MAX)
		return "is too long: at most 40 characters";
	if (text[strspn(text, LOWER DIGITS "-")])
		return "may only hold a-z, 0-9 and `-`";
	if (text[0] == '-' || text[n - 1] == '-')
		return "must start and end with a letter or digit";
	return NULL;
}

/* Also what no header or path may hold raw. */
static bool has_blank(const char *text)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7F)
			return true;
	return false;
}

const char *syntax_path(const char *text)
{
	return *text == '/' ? NULL : "is not an absolute path";
}

static bool is_account(const char *text, size_t len)
{
	return len > 0 && len <= 64 && *text != '-' && strspn(text, LOWER UPPER DIGITS "_.-") >= len;
}

const char *syntax_user(const char *text)
{
	size_t user = strcspn(text, ":");
	bool ok = is_account(text, user);
	if (text[user] == ':')
		ok = ok && is_account(text + user + 1, strlen(text + user + 1));
	return ok ? NULL : "is not a user: uid, uid:gid, name or name:group";
}

const char *syntax_account(const char *text)
{
	return is_account(text, strlen(text)) ? NULL : "is not a user: a name or a uid";
}

const char *syntax_url_path(const char *text)
{
	if (*text != '/')
		return "must start with `/`";
	return has_blank(text) ? "has a blank or control character in it" : NULL;
}

const char *syntax_host(const char *text)
{
	if (!*text)
		return "is empty";
	return has_blank(text) || strchr(text, '/') ? "is not a host name" : NULL;
}

const char *syntax_network(const char *text)
{
	char host[INET_ADDRSTRLEN];
	struct in_addr address;
	uint64_t bits;
	size_t n = strcspn(text, "/");
	if (n >= sizeof host || !text[n] || parse_u64(text + n + 1, 8, 28, &bits) < 0)
		return "is not an IPv4 network from /8 to /28: 10.88.0.0/16";
	memcpy(host, text, n);
	host[n] = '\0';
	if (inet_pton(AF_INET, host, &address) != 1)
		return "is not an IPv4 network: 10.88.0.0/16";
	return ntohl(address.s_addr) << bits ? "has bits set behind its prefix" : NULL;
}
