#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* The log sink: the one piece of process-wide state. */
static struct {
	const char *name;
	enum log_level level;
	bool journal; /* stderr goes to the journal: priorities, no time stamps */
} sink = { "teal", LOG_INFO_, false };

void log_open(const char *name, enum log_level level)
{
	sink.name = name;
	sink.level = level;
	sink.journal = getenv("JOURNAL_STREAM") != NULL;
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
		if ((unsigned char)*p < ' ')
			*p = ' ';
	const char *word = level == LOG_ERROR_ ? "error: " : level == LOG_WARN_ ? "warning: " : "";
	if (sink.journal)
		dprintf(STDERR_FILENO, "<%d>%s%s\n", (int)level, word, text);
	else
		dprintf(STDERR_FILENO, "%s %s: %s%s\n", format_utc(clock_wall_ms(), when), sink.name, word,
			text);
}
