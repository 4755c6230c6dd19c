#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void append(struct err *err, const char *text)
{
	size_t used = strlen(err->msg);
	snprintf(err->msg + used, sizeof err->msg - used, "%s", text);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	if (code == 0)
		code = EIO;
	if (err) {
		char why[128];
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof err->msg, fmt, ap);
		va_end(ap);
		append(err, ": ");
		append(err, strerror_r(code, why, sizeof why));
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
		vsnprintf(err->msg, sizeof err->msg, fmt, ap);
		va_end(ap);
		err->code = code;
	}
	return -code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -EIO;
	char inner[sizeof err->msg];
	memcpy(inner, err->msg, sizeof inner);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	append(err, ": ");
	append(err, inner);
	return -(err->code ? err->code : EIO);
}
