#include "config/text.h"

#include <stdio.h>
#include <string.h>

#include "base/own.h"

struct range {
	uint32_t first, last;
};

static bool range_has(const struct range *ranges, size_t n, uint32_t c)
{
	for (size_t i = 0; i < n; i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}

uint32_t text_next(const char **p, const char *end)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	unsigned char lead = (unsigned char)*(*p)++;
	if (lead < 0x80)
		return lead;
	unsigned more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
	if (lead < 0xC2 || lead > 0xF4 || (size_t)(end - *p) < more)
		return TEXT_BAD;
	uint32_t c = lead & (0x3Fu >> more);
	for (unsigned i = 0; i < more; i++) {
		unsigned char next = (unsigned char)(*p)[i];
		if ((next & 0xC0) != 0x80)
			return TEXT_BAD;
		c = c << 6 | (next & 0x3F);
	}
	if (c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
		return TEXT_BAD;
	*p += more;
	return c;
}

unsigned text_width(uint32_t c)
{
	static const struct range none[] = { { 0x300, 0x36F }, { 0x200B, 0x200F }, { 0xFE00, 0xFE0F } };
	static const struct range wide[] = {
		{ 0x1100, 0x115F },
		{ 0x2E80, 0xA4CF },
		{ 0xAC00, 0xD7A3 },
		{ 0xF900, 0xFAFF },
		{ 0xFE30, 0xFE6F },
		{ 0xFF00, 0xFF60 },
		{ 0xFFE0, 0xFFE6 },
		{ 0x1F300, 0x1F64F },
		{ 0x1F900, 0x1F9FF },
		{ 0x20000, 0x3FFFD },
	};
	if (range_has(none, ARRAY_LEN(none), c))
		return 0;
	return range_has(wide, ARRAY_LEN(wide), c) ? 2 : 1;
}

/* Line breaks to YAML but not to JSON (NEL, LS, PS), allowed raw in JSON but not in YAML (DEL, C1, the mark,
 * the two non-characters): all of them would come back changed or not at all. */
static const struct range refused[] = {
	{ 0, 0 },
	{ 0x7F, 0x9F },
	{ 0x2028, 0x2029 },
	{ 0xFEFF, 0xFEFF },
	{ 0xFFFE, 0xFFFF },
	{ TEXT_BAD, TEXT_BAD },
};

bool text_refused(uint32_t c)
{
	return range_has(refused, ARRAY_LEN(refused), c);
}

const char *text_find_refused(const char *text, size_t len)
{
	for (const char *p = text, *end = text + len; p < end;) {
		const char *at = p;
		if (text_refused(text_next(&p, end)))
			return at;
	}
	return NULL;
}

const char *text_escape(uint32_t c, unsigned char byte, char ret[16])
{
	if (c == TEXT_BAD)
		snprintf(ret, 16, "\\x%02x", byte);
	else if (c < 0x20 || c == 0x7F)
		snprintf(ret, 16, "\\x%02x", (unsigned)c);
	else if (text_refused(c))
		snprintf(ret, 16, "\\u%04x", (unsigned)c);
	else
		return NULL;
	return ret;
}

const char *text_show(const char *text, char ret[TEXT_SHOWN_MAX])
{
	const char *p = text, *end = text + strnlen(text, TEXT_SHOWN_MAX);
	size_t used = 0;
	while (p < end) {
		char escaped[16];
		const char *at = p, *piece = text_escape(text_next(&p, end), (unsigned char)*at, escaped);
		size_t n = piece ? strlen(piece) : (size_t)(p - at);
		if (used + n > TEXT_SHOWN_MAX - sizeof "...") {
			memcpy(ret + used, "...", sizeof "...");
			return ret;
		}
		memcpy(ret + used, piece ? piece : at, n);
		used += n;
	}
	ret[used] = '\0';
	return ret;
}
