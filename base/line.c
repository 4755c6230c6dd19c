#include "base/line.h"

#include <stdbool.h>

/* Bytes of the well-formed, printable character at p; 0 if it is none. Surrogates, overlong forms and C1
 * controls are none. */
static size_t char_len(const unsigned char *p)
{
	static const struct {
		unsigned char lead_min, lead_max, second_min, second_max;
		size_t len;
	} forms[] = {
		{ 0xc2, 0xc2, 0xa0, 0xbf, 2 },
		{ 0xc3, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	if (p[0] < 0x80)
		return p[0] > ' ' && p[0] != 0x7f;
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (p[0] < forms[i].lead_min || p[0] > forms[i].lead_max)
			continue;
		if (p[1] < forms[i].second_min || p[1] > forms[i].second_max)
			return 0;
		for (size_t k = 2; k < forms[i].len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

void line_copy(char *to, size_t size, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t n = 0;
	bool gap = false; /* blanks and controls since the last character: one space if more comes */
	while (*p) {
		size_t len = char_len(p);
		bool strange = len == 0 && *p >= 0x80;
		if (len == 0 && !strange) {
			gap = n > 0;
			p++;
			continue;
		}
		size_t need = (gap ? 1 : 0) + (strange ? 1 : len);
		if (n + need >= size)
			break;
		if (gap)
			to[n++] = ' ';
		gap = false;
		if (strange) {
			to[n++] = '?';
			p++;
		}
		for (size_t k = 0; k < len; k++)
			to[n++] = (char)*p++;
	}
	to[n] = '\0';
}
