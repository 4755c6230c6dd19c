#include "agent/cli/human.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND ((int64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

int human_parse_utc(const char *text, int64_t *ret_ms)
{
	struct tm tm = { 0 };
	int used = 0;
	if (!text || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
			     &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6)
		return -EINVAL;
	int64_t ms = 0, unit = 100;
	text += used;
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++, unit /= 10)
			ms += (*text - '0') * unit;
	if (strcmp(text, "Z") != 0)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_ms = (int64_t)timegm(&tm) * SECOND + ms;
	return 0;
}

char *human_age(int64_t ms, char text[HUMAN_MAX])
{
	static const struct {
		int64_t below, unit;
		char letter;
	} units[] = {
		{ 2 * MINUTE, SECOND, 's' },
		{ 2 * HOUR, MINUTE, 'm' },
		{ 2 * DAY, HOUR, 'h' },
		{ INT64_MAX, DAY, 'd' },
	};
	if (ms < 0)
		ms = 0;
	size_t i = 0;
	while (ms >= units[i].below)
		i++;
	snprintf(text, HUMAN_MAX, "%lld%c", (long long)(ms / units[i].unit), units[i].letter);
	return text;
}

static struct tm local(int64_t ms)
{
	time_t t = (time_t)(ms / SECOND);
	struct tm tm = { 0 };
	localtime_r(&t, &tm);
	return tm;
}

char *human_when(int64_t at_ms, int64_t now_ms, char text[HUMAN_MAX])
{
	struct tm at = local(at_ms), now = local(now_ms);
	bool recent = now_ms - at_ms < 180 * DAY && at_ms <= now_ms;
	size_t n;
	if (at.tm_year == now.tm_year && at.tm_yday == now.tm_yday)
		n = strftime(text, HUMAN_MAX, "today %H:%M", &at);
	else if (recent)
		n = strftime(text, HUMAN_MAX, "%b %e %H:%M", &at);
	else
		n = strftime(text, HUMAN_MAX, "%Y-%m-%d", &at);
	if (n == 0)
		text[0] = '\0';
	return text;
}

char *human_clock(int64_t at_ms, char text[HUMAN_MAX])
{
	struct tm at = local(at_ms);
	if (strftime(text, HUMAN_MAX, "%H:%M:%S", &at) == 0)
		text[0] = '\0';
	return text;
}

/* Writes whole.fraction (fraction in thousandths) without trailing zeros. */
static int thousandths(char *text, size_t size, int64_t value, const char *unit)
{
	char fraction[8];
	snprintf(fraction, sizeof fraction, "%03d", (int)(value % 1000));
	for (int i = 2; i >= 0 && fraction[i] == '0'; i--)
		fraction[i] = '\0';
	return snprintf(
		text, size, "%lld%s%s%s", (long long)(value / 1000), fraction[0] ? "." : "", fraction, unit);
}

char *human_span(int64_t ms, char text[HUMAN_MAX])
{
	int used = 0;
	if (ms < 0)
		ms = 0;
	if (ms < SECOND) {
		snprintf(text, HUMAN_MAX, "%lldms", (long long)ms);
		return text;
	}
	if (ms >= HOUR)
		used += snprintf(text, HUMAN_MAX, "%lldh", (long long)(ms / HOUR));
	if (ms >= MINUTE)
		used += snprintf(
			text + used, HUMAN_MAX - (size_t)used, "%lldm", (long long)(ms % HOUR / MINUTE));
	thousandths(text + used, HUMAN_MAX - (size_t)used, ms % MINUTE, "s");
	return text;
}

char *human_micros(int64_t us, bool utf8, char text[HUMAN_MAX])
{
	if (us < 0)
		us = 0;
	if (us < 1000)
		snprintf(text, HUMAN_MAX, "%lld%s", (long long)us, utf8 ? "µs" : "us");
	else
		thousandths(text, HUMAN_MAX, us, "ms");
	return text;
}

char *human_size(int64_t bytes, char text[HUMAN_MAX])
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)(bytes < 0 ? 0 : bytes);
	size_t unit = 0;
	while (value >= 999.95 && unit + 1 < sizeof units / sizeof *units) {
		value /= 1000;
		unit++;
	}
	snprintf(text, HUMAN_MAX, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

/* Where the last `n` parts of a path begin. */
static const char *last_parts(const char *path, int n)
{
	const char *p = path + strlen(path);
	while (p > path && (p[-1] != '/' || --n > 0))
		p--;
	return p;
}

char *human_image(const char *reference, bool utf8, char text[HUMAN_IMAGE_MAX])
{
	const char *at = strstr(reference, "@sha256:"), *path = strchr(reference, '/');
	size_t len = at ? (size_t)(at - reference) + strlen("@sha256:") + 12 : strlen(reference);
	len = len < strlen(reference) ? len : strlen(reference);
	bool of_file = path && path > reference && path[-1] == ':';
	bool of_registry = path && !of_file && memchr(reference, '.', (size_t)(path - reference));
	const char *tail = of_file ? last_parts(path, 2) : reference;
	if (of_registry)
		snprintf(
			text, HUMAN_IMAGE_MAX, "%.*s", (int)(len - (size_t)(path + 1 - reference)), path + 1);
	else if (of_file && tail > path + 1)
		snprintf(text, HUMAN_IMAGE_MAX, "%.*s%s/%s", (int)(path - reference), reference,
			utf8 ? "…" : "...", tail);
	else
		snprintf(text, HUMAN_IMAGE_MAX, "%.*s", (int)len, reference);
	return text;
}
