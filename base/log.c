#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

/* The log sink: the one piece of process-wide state. */
static struct {
	const char *name;
	enum log_level level;
	bool journal; /* stderr goes to the journal: priorities, no time stamps */
} sink = { "teal", LOG_INFO_, false };

/* JOURNAL_STREAM names the device and inode of the journal's socket: a child whose stderr was redirected
 * inherits the variable, but not the socket. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char mine[64];
	struct stat st;
	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(mine, sizeof mine, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(stream, mine) == 0;
}

void log_open(const char *name, enum log_level level)
{
	sink.name = name;
	sink.level = level;
	sink.journal = stderr_is_journal();
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char text[2048], when[UTC_LEN];
	if (level > sink.level)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++) /* what strangers sent must not forge lines */
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	const char *word = level == LOG_ERROR_ ? "error: " : level == LOG_WARN_ ? "warning: " : "";
	if (sink.journal)
		dprintf(STDERR_FILENO, "<%d>%s%s\n", (int)level, word, text);
	else
		dprintf(STDERR_FILENO, "%s %s: %s%s\n", format_utc(clock_wall_ms(), when), sink.name, word,
			text);
}
