#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A cut must not leave half a character: the message goes into JSON, which takes UTF-8 only. */
static void drop_half_character(char *text, size_t len)
{
	size_t start = len;
	while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return;
	unsigned char lead = (unsigned char)text[start - 1];
	size_t wants = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	if (wants > len - start + 1)
		text[start - 1] = '\0';
}

/* "<fmt><tail>". What does not fit is cut from the front part: the reason, at the end, is what helps. */
static void compose(struct err *err, const char *fmt, va_list ap, const char *tail)
{
	enum { SIZE = sizeof err->msg, FRONT_MIN = SIZE / 4 };
	size_t tail_len = strlen(tail);
	size_t room = tail_len < SIZE - FRONT_MIN ? SIZE - tail_len : FRONT_MIN;
	int n = vsnprintf(err->msg, room, fmt, ap);
	size_t used = strlen(err->msg);
	if (n >= (int)room)
		drop_half_character(err->msg, used);
	used = strlen(err->msg);
	if ((size_t)snprintf(err->msg + used, SIZE - used, "%s", tail) >= SIZE - used)
		drop_half_character(err->msg, strlen(err->msg));
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	if (code == 0)
		code = EIO;
	if (err) {
		char text[128], why[sizeof text + 2];
		va_list ap;
		snprintf(why, sizeof why, ": %s", strerror_r(code, text, sizeof text));
		va_start(ap, fmt);
		compose(err, fmt, ap, why);
		va_end(ap);
		err->code = code;
	}
	return -code;
}

int err_say(struct err *err, int code, const char *fmt, ...)
{
	if (code == 0)
		code = EIO;
	if (err) {
		va_list ap;
		va_start(ap, fmt);
		compose(err, fmt, ap, "");
		va_end(ap);
		err->code = code;
	}
	return -code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -EIO;
	char inner[sizeof err->msg + 2];
	snprintf(inner, sizeof inner, ": %s", err->msg);
	va_list ap;
	va_start(ap, fmt);
	compose(err, fmt, ap, inner);
	va_end(ap);
	return -(err->code ? err->code : EIO);
}
