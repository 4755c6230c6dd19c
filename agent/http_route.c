#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/http_private.h"
#include "base/own.h"

int http_field_add(struct http_fields *f, enum http_field_kind kind, const char *name, size_t name_len,
	const char *value, size_t value_len)
{
	OWN_FREE char *name_copy = strndup(name, name_len);
	OWN_FREE char *value_copy = strndup(value, value_len);
	if (!name_copy || !value_copy || vec_reserve(&f->items, &f->cap, f->n + 1, sizeof *f->items) < 0)
		return -ENOMEM;
	f->items[f->n++] = (struct http_field){
		.kind = kind,
		.name = TAKE_PTR(name_copy),
		.value = TAKE_PTR(value_copy),
	};
	return 0;
}

const char *http_field_find(const struct http_fields *f, enum http_field_kind kind, const char *name)
{
	int (*compare)(const char *, const char *) = kind == HTTP_HEADER ? strcasecmp : strcmp;
	for (size_t i = 0; i < f->n; i++)
		if (f->items[i].kind == kind && compare(f->items[i].name, name) == 0)
			return f->items[i].value;
	return NULL;
}

void http_fields_done(struct http_fields *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->items[i].name);
		free(f->items[i].value);
	}
	free(f->items);
	*f = (struct http_fields){ 0 };
}

/* Segment by segment; captures parameters into f unless it is NULL. 1 match, 0 none, -ENOMEM. */
static int match_path(const char *pattern, const char *path, struct http_fields *f)
{
	for (;;) {
		size_t want = strcspn(pattern, "/"), have = strcspn(path, "/");
		if (pattern[0] == '{') {
			if (have == 0)
				return 0;
			if (f && http_field_add(f, HTTP_PARAM, pattern + 1, want - 2, path, have) < 0)
				return -ENOMEM;
		} else if (want != have || memcmp(pattern, path, want) != 0) {
			return 0;
		}
		pattern += want;
		path += have;
		if (*pattern != *path)
			return 0; /* one has more segments than the other */
		if (*pattern == '\0')
			return 1;
		pattern++;
		path++;
	}
}

int http_route_find(const struct http_route *routes, const char *method, const char *path,
	struct http_fields *f, struct buf *allow, const struct http_route **ret)
{
	for (const struct http_route *row = routes; row->method; row++) {
		if (!match_path(row->pattern, path, NULL))
			continue;
		if (strcmp(row->method, method) != 0) {
			buf_addf(allow, "%s%s", allow->len > 0 ? ", " : "", row->method);
			continue;
		}
		if (match_path(row->pattern, path, f) < 0)
			return -ENOMEM;
		*ret = row;
		return 0;
	}
	return allow->len > 0 ? -EOPNOTSUPP : -ENOENT;
}
