#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"

static int64_t read_us(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_boot_us(void)
{
	return read_us(CLOCK_BOOTTIME);
}

int64_t clock_boot_ms(void)
{
	return clock_boot_us() / 1000;
}

int64_t clock_wall_ms(void)
{
	return read_us(CLOCK_REALTIME) / 1000;
}

void clock_boot_id(char ret[BOOT_ID_LEN])
{
	OWN_FD int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ret, BOOT_ID_LEN - 1) : 0;
	ret[n > 0 ? n : 0] = '\0';
}

char *format_utc(int64_t wall_ms, char text[UTC_LEN])
{
	int ms = (int)(wall_ms % 1000);
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	char date[24];
	if (ms < 0) { /* before 1970: the part of a second still counts upwards */
		ms += 1000;
		seconds--;
	}
	/* Years that don't fit into four digits come from damaged records only. */
	if (!gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900 ||
		strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		snprintf(date, sizeof date, "0000-00-00T00:00:00");
	snprintf(text, UTC_LEN, "%.19s.%03dZ", date, ms);
	return text;
}
