#include "base/json.h"

#include <errno.h>
#include <string.h>

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

void json_put_str(json_t *obj, const char *key, const char *text)
{
	if (text)
		json_object_set_new(obj, key, json_string(text));
}
