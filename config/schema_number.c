#include "config/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"

/* Numbers: one implementation, a row for what differs. */

static char *format_plain(uint64_t v, char text[FORMAT_MAX])
{
	snprintf(text, FORMAT_MAX, "%" PRIu64, v);
	return text;
}

static char *format_cpus(uint64_t milli, char text[FORMAT_MAX])
{
	int n = snprintf(text, FORMAT_MAX, "%" PRIu64 ".%03u", milli / 1000, (unsigned)(milli % 1000));
	while (n > 0 && text[n - 1] == '0' && text[n - 2] != '.')
		text[--n] = '\0';
	return text;
}

static int scan_plain(const char *text, uint64_t *ret)
{
	return parse_u64(text, 0, UINT64_MAX, ret);
}

static int scan_percent(const char *text, uint64_t *ret)
{
	char number[24];
	size_t n = strlen(text);
	if (n < 2 || n > sizeof number || text[n - 1] != '%')
		return -EINVAL;
	memcpy(number, text, n - 1);
	number[n - 1] = '\0';
	return parse_milli(number, ret);
}

static char *format_percent(uint64_t milli, char text[FORMAT_MAX])
{
	format_cpus(milli, text);
	size_t n = strlen(text);
	if (n > 2 && strcmp(text + n - 2, ".0") == 0)
		n -= 2;
	snprintf(text + n, FORMAT_MAX - n, "%%");
	return text;
}

static const struct number {
	const char *what, *hint;
	int (*scan)(const char *text, uint64_t *ret);
	char *(*format)(uint64_t v, char text[FORMAT_MAX]);
	size_t width;
	bool integer; /* in JSON; such a number stands without quotes in YAML */
} numbers[] = {
	[SCHEMA_UINT] = { "a number", NULL, scan_plain, format_plain, sizeof(uint32_t), true },
	[SCHEMA_PORT] = { "a port", "a number from 1 to 65535", scan_plain, format_plain, sizeof(uint16_t),
		true },
	[SCHEMA_DURATION] = { "a duration", "numbers with their units: 500ms, 2s, 1m30s, 1h",
		parse_duration_ms, format_duration_ms, sizeof(uint32_t), false },
	[SCHEMA_SIZE] = { "a size", "bytes, or a number with k, m or g: 512k, 256M, 1G", parse_size_bytes,
		format_size_bytes, sizeof(uint64_t), false },
	[SCHEMA_PERCENT] = { "a percentage", "5%, 0.5%", scan_percent, format_percent, sizeof(uint32_t),
		false },
	[SCHEMA_CPUS] = { "a number of CPUs", "at most three decimals: \"0.5\", \"2\"", parse_milli,
		format_cpus, sizeof(uint32_t), false },
};

static void store_number(const struct schema_row *row, void *base, uint64_t v)
{
	void *field = SCHEMA_FIELD(base, row->offset);
	if (numbers[row->type].width == sizeof(uint16_t))
		*(uint16_t *)field = (uint16_t)v;
	else if (numbers[row->type].width == sizeof(uint32_t))
		*(uint32_t *)field = (uint32_t)v;
	else
		*(uint64_t *)field = v;
}

static uint64_t load_number(const struct schema_row *row, const void *base)
{
	const void *field = SCHEMA_FIELD(base, row->offset);
	if (numbers[row->type].width == sizeof(uint16_t))
		return *(const uint16_t *)field;
	if (numbers[row->type].width == sizeof(uint32_t))
		return *(const uint32_t *)field;
	return *(const uint64_t *)field;
}

static int number_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	const struct number *kind = &numbers[row->type];
	char why[120], least[FORMAT_MAX], most[FORMAT_MAX];
	uint64_t v = 0;
	if (!schema_want_text(row, n, kind->what, d))
		return 0;
	int r = kind->scan(n->text, &v);
	if (r == -EINVAL) {
		snprintf(why, sizeof why, "is not %s", kind->what);
		schema_refuse_value(row, n, why, kind->hint, d);
	} else if (r < 0 || v < row->min || v > row->max) {
		snprintf(why, sizeof why, "is out of range: %s to %s", kind->format(row->min, least),
			kind->format(row->max, most));
		schema_refuse_value(row, n, why, NULL, d);
	} else if (kind->integer && !n->plain) {
		schema_refuse_value(row, n, "is text, not a number", "remove the quotes", d);
	} else {
		store_number(row, base, v);
	}
	return 0;
}

static int number_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	const struct number *kind = &numbers[row->type];
	uint64_t v = load_number(row, base);
	char text[FORMAT_MAX];
	if (v == 0 && !row->def)
		return 0;
	if (!kind->integer)
		return schema_encode_text(kind->format(v, text), ret);
	*ret = json_integer((json_int_t)v);
	return *ret ? 0 : -ENOMEM;
}

static json_t *integer_describe(const struct schema_row *row)
{
	return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)row->min, "maximum",
		(json_int_t)row->max);
}

static json_t *duration_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:[ss],s:s,s:i}", "type", "string", "integer", "pattern",
		"^(0|([0-9]+(ms|s|m|h))+)$", "maximum", 0);
}

static json_t *size_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:[ss],s:s}", "type", "string", "integer", "pattern", "^[0-9]+([kKmMgG]?[bB]?)$");
}

static json_t *percent_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:s,s:s}", "type", "string", "pattern", "^[0-9]+(\\.[0-9]{1,3})?%$");
}

static json_t *cpus_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:[ss],s:s}", "type", "string", "number", "pattern", "^[0-9]+(\\.[0-9]{1,3})?$");
}

bool schema_range(const struct schema_row *row, char *ret, size_t size)
{
	const struct number *kind = row->type < ARRAY_LEN(numbers) ? &numbers[row->type] : NULL;
	char least[FORMAT_MAX], most[FORMAT_MAX];
	if (!kind || !kind->format || row->type == SCHEMA_PORT)
		return false;
	snprintf(ret, size, "%s to %s", kind->format(row->min, least), kind->format(row->max, most));
	return true;
}

/* "200" or "200-299" */
static bool scan_status(const char *text, uint16_t *ret_min, uint16_t *ret_max)
{
	char first[8];
	uint64_t min, max;
	const char *dash = strchr(text, '-');
	size_t n = dash ? (size_t)(dash - text) : strlen(text);
	if (n >= sizeof first)
		return false;
	memcpy(first, text, n);
	first[n] = '\0';
	if (parse_u64(first, 100, 599, &min) < 0 || parse_u64(dash ? dash + 1 : first, min, 599, &max) < 0)
		return false;
	*ret_min = (uint16_t)min;
	*ret_max = (uint16_t)max;
	return true;
}

static int status_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	if (schema_want_text(row, n, "an HTTP status", d) &&
		!scan_status(n->text, SCHEMA_FIELD(base, row->offset), SCHEMA_FIELD(base, row->second)))
		schema_refuse_value(row, n, "is not an HTTP status or a range of them", "200, or 200-299", d);
	return 0;
}

static int status_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	unsigned min = *(const uint16_t *)SCHEMA_FIELD(base, row->offset);
	unsigned max = *(const uint16_t *)SCHEMA_FIELD(base, row->second);
	char text[16];
	int n = snprintf(text, sizeof text, "%u", min);
	if (max != min)
		snprintf(text + n, sizeof text - (size_t)n, "-%u", max);
	return schema_encode_text(text, ret);
}

static json_t *status_describe(const struct schema_row *row)
{
	(void)row;
	return json_pack("{s:[ss],s:s}", "type", "string", "integer", "pattern",
		"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$");
}

/* The only one with a sign: min and max are read as such. */
static int int_parse(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d)
{
	int64_t v;
	char why[80];
	if (!schema_want_text(row, n, "a number", d))
		return 0;
	int r = parse_i64(n->text, (int64_t)row->min, (int64_t)row->max, &v);
	snprintf(why, sizeof why, "is out of range: %" PRIi64 " to %" PRIi64, (int64_t)row->min,
		(int64_t)row->max);
	if (r < 0)
		schema_refuse_value(row, n, r == -ERANGE ? why : "is not a number", NULL, d);
	else if (!n->plain)
		schema_refuse_value(row, n, "is text, not a number", "remove the quotes", d);
	else
		*(int32_t *)SCHEMA_FIELD(base, row->offset) = (int32_t)v;
	return 0;
}

static int int_encode(const struct schema_row *row, const void *base, json_t **ret)
{
	int32_t v = *(const int32_t *)SCHEMA_FIELD(base, row->offset);
	if (v == 0 && !row->def)
		return 0;
	*ret = json_integer(v);
	return *ret ? 0 : -ENOMEM;
}

static const struct schema_ops ops[SCHEMA_TYPES] = {
	[SCHEMA_INT] = { "number", int_parse, int_encode, NULL, integer_describe },
	[SCHEMA_UINT] = { "number", number_parse, number_encode, NULL, integer_describe },
	[SCHEMA_PORT] = { "port", number_parse, number_encode, NULL, integer_describe },
	[SCHEMA_DURATION] = { "duration", number_parse, number_encode, NULL, duration_describe },
	[SCHEMA_SIZE] = { "size", number_parse, number_encode, NULL, size_describe },
	[SCHEMA_PERCENT] = { "percentage", number_parse, number_encode, NULL, percent_describe },
	[SCHEMA_CPUS] = { "CPUs", number_parse, number_encode, NULL, cpus_describe },
	[SCHEMA_STATUS] = { "HTTP status", status_parse, status_encode, NULL, status_describe },
};

const struct schema_ops *schema_number_ops(enum schema_type type)
{
	return ops[type].parse ? &ops[type] : NULL;
}
