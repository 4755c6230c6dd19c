#include "config/syntax.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/digest.h"
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

const char *syntax_hostname(const char *text)
{
	size_t n = strlen(text);
	if (n == 0)
		return "is empty";
	if (n > 63 || text[strspn(text, LOWER UPPER DIGITS "-._")] || strchr("-.", *text) ||
		strchr("-.", text[n - 1]) || strstr(text, ".."))
		return "is not a host name of at most 63 characters";
	return NULL;
}

const char *syntax_ip(const char *text)
{
	struct in6_addr address;
	bool good = inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
	return good ? NULL : "is not a numeric address";
}

const char *syntax_file_name(const char *text)
{
	size_t n = strlen(text);
	if (n == 0)
		return "is empty";
	if (n > 64 || text[strspn(text, LOWER UPPER DIGITS "-._")] || *text == '.')
		return "is not a name: at most 64 of letters, digits, `-`, `_` and `.`, and no `.` in front";
	return NULL;
}

const char *syntax_digest(const char *text)
{
	return digest_valid(text) ? NULL : "is not a sha256 digest";
}

/* An absolute path without "." and "..", so that it means the same wherever it is looked at. */
static bool is_clean_path(const char *text)
{
	if (*text != '/')
		return false;
	for (const char *p = text; *p; p += strcspn(p, "/")) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if ((n == 1 && *p == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
	}
	return true;
}

const char *syntax_device(const char *text)
{
	bool good = strncmp(text, "/dev/", 5) == 0 && text[5] && is_clean_path(text) && !strchr(text, ':');
	return good ? NULL : "is not a path below /dev";
}

const char *syntax_volume_source(const char *text)
{
	return *text == '/' || strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0
		       ? NULL
		       : syntax_file_name(text);
}

/* What the container has of the kernel, and what teal itself puts there. */
const char *syntax_volume_target(const char *text)
{
	static const char *const taken[] = { "/proc", "/sys", "/dev", "/run/secrets" };
	if (!is_clean_path(text) || !text[strspn(text, "/")])
		return "is not the absolute path of a directory below `/`";
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
		size_t n = strlen(taken[i]);
		if (strncmp(text, taken[i], n) == 0 && (!text[n] || text[n] == '/'))
			return "is where the container finds what teal puts there";
	}
	return NULL;
}
