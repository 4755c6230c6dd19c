/* Why something failed, in words and in a number. Lives on the caller's stack,
 * so that reporting a failure never allocates. Every function here accepts a NULL err. */
#pragma once

struct err {
	int code;      /* positive errno value; 0 = no error */
	char msg[800]; /* "open layers/ab12: No space left on device"; no newline at the end */
};

/* "<fmt>: <strerror(code)>". All three return -code, so a failing line reads `return err_set(err, EINVAL,
 * …)`. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "<fmt>" alone, where strerror would add nothing. */
int err_say(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "<fmt>: " in front of what is there already; keeps the code. Without err there is no code to keep:
 * -EIO. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
