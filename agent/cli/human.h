/* Times and sizes for people. Spans are exact, ages and dates are rounded. All write into the caller's text
 * and return it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define HUMAN_MAX	48
#define HUMAN_IMAGE_MAX 256

/* "2026-11-24T03:00:00.123Z" to milliseconds since 1970; -EINVAL for anything else. Only UTC is accepted. */
int human_parse_utc(const char *text, int64_t *ret_ms);
/* How long ago, one unit: "3s", "12m", "5h", "2d". */
char *human_age(int64_t ms, char text[HUMAN_MAX]);
/* "today 14:21", "Nov 20 09:02", "2025-11-20"; local time. */
char *human_when(int64_t at_ms, int64_t now_ms, char text[HUMAN_MAX]);
/* "14:21:03", local time. */
char *human_clock(int64_t at_ms, char text[HUMAN_MAX]);
/* A measured span: "812ms", "2.13s", "1m4.002s". */
char *human_span(int64_t ms, char text[HUMAN_MAX]);
/* "812µs" (or "812us"), "1.24ms". */
char *human_micros(int64_t us, bool utf8, char text[HUMAN_MAX]);
/* "512 B", "41.2 MB"; powers of 1000. */
char *human_size(int64_t bytes, char text[HUMAN_MAX]);
/* An image reference for a narrow column: "registry.example.com/shop/web:1.5.0" as "shop/web:1.5.0", a long
 * path by its last two parts ("rootfs:…/web/rootfs"), a digest by its first 12 digits. */
char *human_image(const char *reference, bool utf8, char text[HUMAN_IMAGE_MAX]);
