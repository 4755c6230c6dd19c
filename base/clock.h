/* Clocks. Deadlines live on the boot-time clock, which no one can set and which counts through suspend;
 * the wall clock is for people only. A boot-time stamp means something only together with its boot id. */
#pragma once
#include <stdint.h>

int64_t clock_boot_ms(void);
int64_t clock_boot_us(void);
int64_t clock_wall_ms(void);
#define BOOT_ID_LEN 37
/* The kernel's random id of this boot; "" where /proc does not tell. */
void clock_boot_id(char ret[BOOT_ID_LEN]);
#define UTC_LEN 32
/* RFC 3339 in UTC with milliseconds: "2026-11-24T03:00:00.123Z"; returns text. */
char *format_utc(int64_t wall_ms, char text[UTC_LEN]);
