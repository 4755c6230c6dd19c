#include "base/parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/own.h"

/* Reads decimal digits; returns the first byte after them, NULL without a digit or on overflow. */
static const char *scan_u64(const char *s, uint64_t *ret)
{
	uint64_t v = 0;
	if (!isdigit((unsigned char)*s))
		return NULL;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return NULL;
	*ret = v;
	return s;
}

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v;
	const char *end = scan_u64(text, &v);
	if (!end)
		return isdigit((unsigned char)*text) ? -ERANGE : -EINVAL;
	if (*end)
		return -EINVAL;
	if (v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret)
{
	bool negative = *text == '-';
	uint64_t v;
	int r = parse_u64(text + negative, 0, (uint64_t)INT64_MAX + negative, &v);
	if (r < 0)
		return r;
	int64_t n = negative ? (int64_t)(0 - v) : (int64_t)v;
	if (n < min || n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = {
	{ "ms", 1 },
	{ "h", 3600000 },
	{ "m", 60000 },
	{ "s", 1000 },
	{ NULL, 0 },
};

/* The unit that text starts with; `ms` stands before `m` in the table. */
static const struct unit *unit_find(const struct unit *units, const char *text)
{
	for (const struct unit *u = units; u->name; u++)
		if (strncmp(text, u->name, strlen(u->name)) == 0)
			return u;
	return NULL;
}

/* One part of a duration, "90s" or "1.5h", in milliseconds; moves *text behind it. A fraction must come out
 * whole: what is finer than our grain is refused, not rounded. */
static int scan_duration(const char **text, uint64_t *ret)
{
	uint64_t n, fraction = 0, scale = 1, ms;
	const char *s = scan_u64(*text, &n);
	if (!s)
		return isdigit((unsigned char)**text) ? -ERANGE : -EINVAL;
	if (*s == '.') {
		const char *digits = ++s;
		for (; isdigit((unsigned char)*s) && s - digits < 9; s++, scale *= 10)
			fraction = fraction * 10 + (uint64_t)(*s - '0');
		if (s == digits)
			return -EINVAL;
	}
	const struct unit *u = unit_find(duration_units, s);
	if (!u || fraction * u->factor % scale != 0)
		return -EINVAL;
	if (__builtin_mul_overflow(n, u->factor, &ms) ||
		__builtin_add_overflow(ms, fraction * u->factor / scale, &ms))
		return -ERANGE;
	*text = s + strlen(u->name);
	*ret = ms;
	return 0;
}

int parse_duration_ms(const char *text, uint64_t *ret_ms)
{
	uint64_t total = 0;
	if (strcmp(text, "0") == 0) {
		*ret_ms = 0;
		return 0;
	}
	if (!*text)
		return -EINVAL;
	while (*text) {
		uint64_t part;
		int r = scan_duration(&text, &part);
		if (r < 0)
			return r;
		if (__builtin_add_overflow(total, part, &total))
			return -ERANGE;
	}
	*ret_ms = total;
	return 0;
}

int parse_size_bytes(const char *text, uint64_t *ret)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "b", 1 },
		{ "k", 1024 },
		{ "kb", 1024 },
		{ "m", 1024 * 1024 },
		{ "mb", 1024 * 1024 },
		{ "g", 1024 * 1024 * 1024 },
		{ "gb", 1024 * 1024 * 1024 },
	};
	uint64_t n;
	const char *end = scan_u64(text, &n);
	if (!end)
		return isdigit((unsigned char)*text) ? -ERANGE : -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcasecmp(end, units[i].name) != 0)
			continue;
		uint64_t v;
		if (__builtin_mul_overflow(n, units[i].factor, &v))
			return -ERANGE;
		*ret = v;
		return 0;
	}
	return -EINVAL;
}

int parse_milli(const char *text, uint64_t *ret)
{
	uint64_t whole, milli = 0;
	const char *end = scan_u64(text, &whole);
	if (!end)
		return isdigit((unsigned char)*text) ? -ERANGE : -EINVAL;
	if (whole > UINT32_MAX / 1000)
		return -ERANGE;
	if (*end == '.') {
		uint64_t scale = 100;
		if (!end[1])
			return -EINVAL;
		for (end++; isdigit((unsigned char)*end); end++, scale /= 10) {
			if (scale == 0)
				return -EINVAL;
			milli += (uint64_t)(*end - '0') * scale;
		}
	}
	if (*end)
		return -EINVAL;
	*ret = whole * 1000 + milli;
	return 0;
}

static const struct {
	const char *name;
	int sig;
} signals[] = {
	{ "SIGTERM", SIGTERM },
	{ "SIGINT", SIGINT },
	{ "SIGQUIT", SIGQUIT },
	{ "SIGHUP", SIGHUP },
	{ "SIGKILL", SIGKILL },
	{ "SIGUSR1", SIGUSR1 },
	{ "SIGUSR2", SIGUSR2 },
	{ "SIGWINCH", SIGWINCH },
	{ "SIGABRT", SIGABRT },
	{ "SIGALRM", SIGALRM },
	{ "SIGBUS", SIGBUS },
	{ "SIGCHLD", SIGCHLD },
	{ "SIGCONT", SIGCONT },
	{ "SIGFPE", SIGFPE },
	{ "SIGILL", SIGILL },
	{ "SIGIO", SIGIO },
	{ "SIGPIPE", SIGPIPE },
	{ "SIGPROF", SIGPROF },
	{ "SIGPWR", SIGPWR },
	{ "SIGSEGV", SIGSEGV },
	{ "SIGSTOP", SIGSTOP },
	{ "SIGSYS", SIGSYS },
	{ "SIGTRAP", SIGTRAP },
	{ "SIGTSTP", SIGTSTP },
	{ "SIGTTIN", SIGTTIN },
	{ "SIGTTOU", SIGTTOU },
	{ "SIGURG", SIGURG },
	{ "SIGVTALRM", SIGVTALRM },
	{ "SIGXCPU", SIGXCPU },
	{ "SIGXFSZ", SIGXFSZ },
	{ "SIGSTKFLT", SIGSTKFLT },
};

/* The C library keeps the first two real-time signals for itself; these are the kernel's numbers without
 * them. */
enum { RT_MIN = 34, RT_MAX = 64 };
static const char *const realtime[] = { "SIGRTMIN", "SIGRTMIN+1", "SIGRTMIN+2", "SIGRTMIN+3", "SIGRTMIN+4",
	"SIGRTMIN+5", "SIGRTMIN+6", "SIGRTMIN+7", "SIGRTMIN+8", "SIGRTMIN+9", "SIGRTMIN+10", "SIGRTMIN+11",
	"SIGRTMIN+12", "SIGRTMIN+13", "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMAX-14", "SIGRTMAX-13",
	"SIGRTMAX-12", "SIGRTMAX-11", "SIGRTMAX-10", "SIGRTMAX-9", "SIGRTMAX-8", "SIGRTMAX-7", "SIGRTMAX-6",
	"SIGRTMAX-5", "SIGRTMAX-4", "SIGRTMAX-3", "SIGRTMAX-2", "SIGRTMAX-1", "SIGRTMAX" };
_Static_assert(ARRAY_LEN(realtime) == RT_MAX - RT_MIN + 1, "a name for each");

/* "RTMIN", "RTMIN+3", "RTMAX-2": systemd in a container is stopped by such a one. */
static int parse_realtime(const char *text, int *ret)
{
	bool max = strncasecmp(text, "RTMAX", 5) == 0;
	uint64_t n = 0;
	if (!max && strncasecmp(text, "RTMIN", 5) != 0)
		return -EINVAL;
	if (text[5] && (text[5] != (max ? '-' : '+') || parse_u64(text + 6, 1, RT_MAX - RT_MIN, &n) < 0))
		return -EINVAL;
	*ret = max ? RT_MAX - (int)n : RT_MIN + (int)n;
	return 0;
}

int parse_signal(const char *text, int *ret)
{
	uint64_t n;
	if (parse_u64(text, 1, 64, &n) == 0) {
		*ret = (int)n;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		if (strcasecmp(text, signals[i].name) == 0 || strcasecmp(text, signals[i].name + 3) == 0) {
			*ret = signals[i].sig;
			return 0;
		}
	}
	return parse_realtime(strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text, ret);
}

const char *signal_name(int sig)
{
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		if (signals[i].sig == sig)
			return signals[i].name;
	return sig >= RT_MIN && sig <= RT_MAX ? realtime[sig - RT_MIN] : "an unknown signal";
}

static int parse_ip4(const char *host, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
		return -EINVAL;
	memset(ret, 0, sizeof *ret);
	memcpy(ret, &in, sizeof in);
	return 0;
}

static int parse_ip6(const char *host, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 in = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	if (inet_pton(AF_INET6, host, &in.sin6_addr) != 1)
		return -EINVAL;
	memset(ret, 0, sizeof *ret);
	memcpy(ret, &in, sizeof in);
	return 0;
}

int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	char host[ADDRESS_MAX] = "0.0.0.0";
	const char *colon = strrchr(text, ':'), *port_text = colon ? colon + 1 : text;
	uint64_t port;
	int r = parse_u64(port_text, 1, 65535, &port);
	if (r < 0)
		return r;
	size_t n = colon ? (size_t)(colon - text) : 0;
	if (n >= sizeof host)
		return -EINVAL;
	if (n > 0) {
		memcpy(host, text, n);
		host[n] = '\0';
	}
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		r = parse_ip6(host + 1, (uint16_t)port, ret);
	} else {
		r = parse_ip4(host, (uint16_t)port, ret);
	}
	if (r == 0 && ret_len)
		*ret_len = address_len(ret);
	return r;
}

char *format_address(const struct sockaddr_storage *addr, char text[ADDRESS_MAX])
{
	char host[INET6_ADDRSTRLEN] = "?";
	if (addr->ss_family == AF_INET6) {
		struct sockaddr_in6 in;
		memcpy(&in, addr, sizeof in);
		inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host);
		snprintf(text, ADDRESS_MAX, "[%s]:%u", host, ntohs(in.sin6_port));
	} else {
		struct sockaddr_in in;
		memcpy(&in, addr, sizeof in);
		inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
		snprintf(text, ADDRESS_MAX, "%s:%u", host, ntohs(in.sin_port));
	}
	return text;
}

socklen_t address_len(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

bool address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	char x[ADDRESS_MAX], y[ADDRESS_MAX];
	return a->ss_family == b->ss_family && strcmp(format_address(a, x), format_address(b, y)) == 0;
}

char *format_duration_ms(uint64_t ms, char text[FORMAT_MAX])
{
	uint64_t h = ms / 3600000, m = ms / 60000 % 60, s = ms / 1000 % 60, rest = ms % 1000;
	size_t n = 0;
	text[0] = '\0';
	if (h)
		n += (size_t)snprintf(text + n, FORMAT_MAX - n, "%" PRIu64 "h", h);
	if (m)
		n += (size_t)snprintf(text + n, FORMAT_MAX - n, "%" PRIu64 "m", m);
	if (s || (!h && !m && !rest))
		n += (size_t)snprintf(text + n, FORMAT_MAX - n, "%" PRIu64 "s", s);
	if (rest)
		snprintf(text + n, FORMAT_MAX - n, "%" PRIu64 "ms", rest);
	return text;
}

char *format_size_bytes(uint64_t bytes, char text[FORMAT_MAX])
{
	static const struct unit units[] = { { "G", 1 << 30 }, { "M", 1 << 20 }, { "K", 1 << 10 } };
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (bytes && bytes % units[i].factor == 0) {
			snprintf(text, FORMAT_MAX, "%" PRIu64 "%s", bytes / units[i].factor, units[i].name);
			return text;
		}
	}
	snprintf(text, FORMAT_MAX, "%" PRIu64, bytes);
	return text;
}

/* Optimal string alignment distance (insert, delete, replace, swap of neighbours), for words below 64
 * letters. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 64 };
	size_t la = strlen(a), lb = strlen(b);
	unsigned rows[3][MAX + 1];
	if (la > MAX || lb > MAX)
		return UINT_MAX;
	for (size_t j = 0; j <= lb; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = up[j - 1] + (a[i - 1] != b[j - 1]);
			if (up[j] + 1 < best)
				best = up[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				up2[j - 2] + 1 < best)
				best = up2[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[la % 3][lb];
}

const char *suggest(const char *text, const char *const *names)
{
	const char *best = NULL;
	unsigned limit = (unsigned)(strlen(text) + 2) / 3 + 1;
	for (size_t i = 0; names[i]; i++) {
		unsigned d = distance(text, names[i]);
		if (d < limit) {
			limit = d;
			best = names[i];
		}
	}
	return best;
}
