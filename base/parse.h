/* Strict reading and writing of the scalars that people type: integers, durations, sizes, CPU shares,
 * addresses. The whole text must match; outputs stay untouched on failure; -EINVAL for syntax, -ERANGE
 * outside the range. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
int parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret);
/* Compose's durations: "90s", "1m30s", "1.5h", "500ms"; "10us" is below our grain and refused; "0" alone is
 * 0. */
int parse_duration_ms(const char *text, uint64_t *ret_ms);
/* Compose's sizes: a plain number is bytes; b, k|kb, m|mb, g|gb (any case, powers of 1024). */
int parse_size_bytes(const char *text, uint64_t *ret);
/* "1.5" CPUs -> 1500 milli-CPUs; at most three decimals. */
int parse_milli(const char *text, uint64_t *ret);
/* Signal by name ("SIGTERM", "TERM", "RTMIN+3") or number. */
int parse_signal(const char *text, int *ret);
const char *signal_name(int sig); /* "SIGTERM"; never NULL; parses back, but for the "unknown signal" */

/* A numeric socket address with a port: "0.0.0.0:80", "[::1]:80", ":80" and "80" (all IPv4 addresses).
 * No name is ever looked up. */
int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len);
#define ADDRESS_MAX 64
/* Writes "1.2.3.4:80" or "[::1]:80"; returns text. */
char *format_address(const struct sockaddr_storage *addr, char text[ADDRESS_MAX]);
socklen_t address_len(const struct sockaddr_storage *addr);
bool address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

#define FORMAT_MAX 32
/* "1m30s", "250ms", "0s": parses back to the same value. */
char *format_duration_ms(uint64_t ms, char text[FORMAT_MAX]);
/* "256M", "1G", "1000": parses back to the same value. */
char *format_size_bytes(uint64_t bytes, char text[FORMAT_MAX]);

/* The candidate nearest to text by edit distance, if it is near enough to be what was meant; NULL if none.
 * `names` ends with NULL. */
const char *suggest(const char *text, const char *const *names);
