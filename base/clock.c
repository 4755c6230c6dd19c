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
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	char date[24];
	gmtime_r(&seconds, &tm);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, UTC_LEN, "%s.%03dZ", date, (int)(wall_ms % 1000));
	return text;
}
