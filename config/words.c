#include "config/words.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"

#define BLANKS " \t\r\n"

/* What stands between double quotes; *p is behind the opening one, and ends behind the closing one. */
static int add_double_quoted(struct buf *word, const char **p)
{
	for (; **p != '"'; (*p)++) {
		if (**p == '\\' && (*p)[1] && strchr("\\\"$`", (*p)[1]))
			(*p)++;
		if (!**p)
			return -EINVAL;
		buf_add(word, *p, 1);
	}
	(*p)++;
	return 0;
}

static int add_single_quoted(struct buf *word, const char **p)
{
	size_t n = strcspn(*p, "'");
	if (!(*p)[n])
		return -EINVAL;
	buf_add(word, *p, n);
	*p += n + 1;
	return 0;
}

static int read_word(struct buf *word, const char **p)
{
	while (**p && !strchr(BLANKS, **p)) {
		char c = *(*p)++;
		int r = 0;
		if (c == '"')
			r = add_double_quoted(word, p);
		else if (c == '\'')
			r = add_single_quoted(word, p);
		else if (c == '\\' && **p)
			buf_add(word, (*p)++, 1);
		else if (c == '\\')
			r = -EINVAL;
		else
			buf_add(word, &c, 1);
		if (r < 0)
			return r;
	}
	return 0;
}

int words_split(const char *text, size_t max, char ***ret)
{
	OWN_STRV char **words = NULL;
	for (const char *p = text + strspn(text, BLANKS); *p; p += strspn(p, BLANKS)) {
		OWN_BUF struct buf word = { 0 };
		if (strv_len(words) == max)
			return -E2BIG;
		int r = read_word(&word, &p);
		if (r < 0)
			return r;
		OWN_FREE char *text_of_word = buf_take(&word);
		if (!text_of_word || strv_add(&words, text_of_word) < 0)
			return -ENOMEM;
	}
	*ret = TAKE_PTR(words);
	return 0;
}
