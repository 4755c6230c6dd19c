/* Growable bytes with a hard cap, and the growth of every other array: the only realloc in the tree.
 * A buf is zero-initialised; `data` is always NUL-terminated once anything was added. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data;
	size_t len, cap;
	size_t max;  /* 0, or more than 1 GiB: 1 GiB */
	bool failed; /* sticky: an earlier add did not fit or found no memory; check once at the end */
};

/* All return 0, -ENOMEM, or -EFBIG past `max`; after a failure further adds do nothing. */
int buf_add(struct buf *b, const void *bytes, size_t len);
int buf_adds(struct buf *b, const char *text);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *b, const char *fmt, va_list ap);
/* Makes room for `len` more bytes and returns where they go (then add to b->len), or NULL. */
char *buf_room(struct buf *b, size_t len);
/* Hands over the text (never NULL unless failed: an empty buf gives ""). */
char *buf_take(struct buf *b);
/* Drops the first n bytes. */
void buf_drop(struct buf *b, size_t n);
void buf_done(struct buf *b);
#define OWN_BUF __attribute__((cleanup(buf_done)))

/* Grows *array (elements of elem bytes, *cap of them) to hold at least `need`; new elements are zeroed. */
int vec_reserve(void *array, size_t *cap, size_t need, size_t elem);

/* NULL-terminated vectors of strings, each owned. NULL is the empty vector. */
int strv_add(char ***v, const char *text);
int strv_addf(char ***v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t strv_len(char *const *v);
/* 0 or -ENOMEM; an empty source gives NULL. */
int strv_copy(char *const *v, char ***ret);
void strv_free(char **v);
void own_strv(char ***v);
#define OWN_STRV __attribute__((cleanup(own_strv)))
