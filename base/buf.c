#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"

#define BUF_MAX ((size_t)1 << 30)

static bool fits(const struct buf *b, size_t len)
{
	size_t max = b->max && b->max < BUF_MAX ? b->max : BUF_MAX;
	return len <= max && b->len <= max - len;
}

char *buf_room(struct buf *b, size_t len)
{
	if (b->failed || !fits(b, len)) {
		b->failed = true;
		return NULL;
	}
	size_t need = b->len + len + 1;
	if (need > b->cap) {
		size_t cap = b->cap ? b->cap : 128;
		while (cap < need)
			cap *= 2;
		char *data = realloc(b->data, cap);
		if (!data) {
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->cap = cap;
	}
	b->data[b->len] = '\0';
	return b->data + b->len;
}

int buf_add(struct buf *b, const void *bytes, size_t len)
{
	char *to = buf_room(b, len);
	if (!to)
		return fits(b, len) ? -ENOMEM : -EFBIG;
	if (len > 0)
		memcpy(to, bytes, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int buf_adds(struct buf *b, const char *text)
{
	return buf_add(b, text, strlen(text));
}

int buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		b->failed = true;
		return -EINVAL;
	}
	char *to = buf_room(b, (size_t)n);
	if (!to)
		return fits(b, (size_t)n) ? -ENOMEM : -EFBIG;
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
	return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = buf_vaddf(b, fmt, ap);
	va_end(ap);
	return r;
}

char *buf_take(struct buf *b)
{
	if (!b->data)
		buf_room(b, 0);
	char *data = b->failed ? NULL : TAKE_PTR(b->data);
	buf_done(b);
	return data;
}

void buf_drop(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
	} else {
		memmove(b->data, b->data + n, b->len - n);
		b->len -= n;
	}
	if (b->data)
		b->data[b->len] = '\0';
}

void buf_done(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
	b->failed = false;
}

int vec_reserve(void *array, size_t *cap, size_t need, size_t elem)
{
	if (need <= *cap)
		return 0;
	size_t want = *cap ? *cap : 4;
	if (need > SIZE_MAX / 2)
		return -ENOMEM;
	while (want < need)
		want *= 2;
	void *old;
	memcpy(&old, array, sizeof old);
	char *grown = reallocarray(old, want, elem);
	if (!grown)
		return -ENOMEM;
	memset(grown + *cap * elem, 0, (want - *cap) * elem);
	memcpy(array, &grown, sizeof grown);
	*cap = want;
	return 0;
}

size_t strv_len(char *const *v)
{
	size_t n = 0;
	while (v && v[n])
		n++;
	return n;
}

static int strv_push(char ***v, char *owned)
{
	size_t n = strv_len(*v);
	char **grown = owned ? reallocarray(*v, n + 2, sizeof *grown) : NULL;
	if (!grown) {
		free(owned);
		return -ENOMEM;
	}
	grown[n] = owned;
	grown[n + 1] = NULL;
	*v = grown;
	return 0;
}

int strv_add(char ***v, const char *text)
{
	return strv_push(v, strdup(text));
}

int strv_addf(char ***v, const char *fmt, ...)
{
	struct buf b = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	return strv_push(v, buf_take(&b));
}

int strv_copy(char *const *v, char ***ret)
{
	OWN_STRV char **copy = NULL;
	for (size_t i = 0; v && v[i]; i++)
		if (strv_add(&copy, v[i]) < 0)
			return -ENOMEM;
	*ret = TAKE_PTR(copy);
	return 0;
}

void strv_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
}

void own_strv(char ***v)
{
	strv_free(*v);
}
