/* The log: one line a fact on stderr, with time stamps on a terminal and <N> priorities under a service
 * manager. Only agent/, the mains of the processes and the shim speak; libraries return struct err instead.
 */
#pragma once

enum log_level { LOG_ERROR_ = 3, LOG_WARN_ = 4, LOG_INFO_ = 6, LOG_DEBUG_ = 7 };

/* level: the least important line to print. name: "teald". Both are process-wide: the log sink is our one
 * global. */
void log_open(const char *name, enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_line(LOG_ERROR_, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN_, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO_, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG_, __VA_ARGS__)
