#include "base/json.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"

int json_parse(const char *text, size_t len, const char *what, json_t **ret, struct err *err)
{
	json_error_t why;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		return err_say(err, EINVAL, "%s:%d:%d: %s", what, why.line, why.column, why.text);
	if (!json_is_object(j)) {
		json_decref(j);
		return err_say(err, EINVAL, "%s: not a JSON object", what);
	}
	*ret = j;
	return 0;
}

char *json_canonical(const json_t *j)
{
	return json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
}

const char *json_str(const json_t *obj, const char *key, const char *def)
{
	const json_t *v = json_object_get(obj, key);
	return json_is_string(v) ? json_string_value(v) : def;
}

int64_t json_int(const json_t *obj, const char *key, int64_t def)
{
	const json_t *v = json_object_get(obj, key);
	return json_is_integer(v) ? json_integer_value(v) : def;
}

bool json_flag(const json_t *obj, const char *key, bool def)
{
	const json_t *v = json_object_get(obj, key);
	return json_is_boolean(v) ? json_is_true(v) : def;
}

/* Bytes of the well-formed UTF-8 character at s; 0 if there is none. */
static size_t character_len(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t n = u[0] < 0x80	 ? 1
		   : u[0] < 0xc2 ? 0
		   : u[0] < 0xe0 ? 2
		   : u[0] < 0xf0 ? 3
		   : u[0] < 0xf5 ? 4
				 : 0;
	for (size_t i = 1; i < n; i++)
		if ((u[i] & 0xc0) != 0x80) /* the NUL at the end stops here too */
			return 0;
	bool overlong = (u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xf0 && u[1] < 0x90);
	bool outside = (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf4 && u[1] > 0x8f);
	return overlong || outside ? 0 : n;
}

json_t *json_text(const char *text)
{
	json_t *plain = json_string(text);
	OWN_BUF struct buf b = { 0 };
	if (plain)
		return plain;
	while (*text) {
		size_t n = character_len(text);
		if (n > 0)
			buf_add(&b, text, n);
		else
			buf_adds(&b, "\xef\xbf\xbd");
		text += n > 0 ? n : 1;
	}
	return b.failed ? NULL : json_stringn(b.data ? b.data : "", b.len);
}

void json_put_str(json_t *obj, const char *key, const char *text)
{
	if (text)
		json_object_set_new(obj, key, json_text(text));
}
