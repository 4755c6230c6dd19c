#include "agent/cli/term.h"

#include <langinfo.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

static bool env_set(const char *name)
{
	const char *v = getenv(name);
	return v && *v;
}

void term_measure(FILE *f, struct term *t)
{
	struct winsize w;
	if (!t->tty || ioctl(fileno(f), TIOCGWINSZ, &w) < 0)
		return;
	t->width = w.ws_col ? w.ws_col : 80;
	t->height = w.ws_row ? w.ws_row : 24;
}

void term_probe(FILE *f, struct term *ret)
{
	const char *kind = getenv("TERM");
	bool dumb = !kind || !*kind || strcmp(kind, "dumb") == 0;
	int fd = fileno(f);
	struct term t = { .tty = fd >= 0 && isatty(fd) };
	t.live = t.tty && !dumb && !env_set("CI");
	t.color = !env_set("NO_COLOR") && (env_set("CLICOLOR_FORCE") || (t.tty && !dumb));
	t.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	term_measure(f, &t);
	*ret = t;
}

const char *term_sign(const struct term *t, enum term_sign sign)
{
	static const char *const signs[SIGN_MAX][2] = {
		[SIGN_OK] = { "+", "✔" },
		[SIGN_FAIL] = { "x", "✖" },
		[SIGN_BAR] = { "|", "│" },
		[SIGN_ARROW] = { "->", "→" },
		[SIGN_MICRO] = { "us", "µs" },
		[SIGN_TIMES] = { "x", "×" },
	};
	return signs[sign][t->utf8];
}

const char *term_spinner(const struct term *t, unsigned frame)
{
	static const char *const wheel[] = { "⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏" };
	static const char *const bars[] = { "|", "/", "-", "\\" };
	return t->utf8 ? wheel[frame % 10] : bars[frame % 4];
}

void term_add(struct buf *out, const struct term *t, enum term_style style, const char *text)
{
	static const char *const codes[] = {
		[STYLE_PLAIN] = NULL,
		[STYLE_BOLD] = "\033[1m",
		[STYLE_DIM] = "\033[2m",
		[STYLE_GOOD] = "\033[32m",
		[STYLE_BUSY] = "\033[33m",
		[STYLE_BAD] = "\033[31m",
	};
	bool colored = t->color && codes[style];
	if (colored)
		buf_adds(out, codes[style]);
	buf_adds(out, text);
	if (colored)
		buf_adds(out, "\033[0m");
}

void term_addf(struct buf *out, const struct term *t, enum term_style style, const char *fmt, ...)
{
	OWN_BUF struct buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	if (!text.failed && text.data)
		term_add(out, t, style, text.data);
}

/* Length of the escape sequence at p (CSI … final letter), 0 if there is none. */
static size_t escape_len(const char *p)
{
	if (p[0] != '\033' || p[1] != '[')
		return 0;
	size_t n = 2;
	while (p[n] && (p[n] < '@' || p[n] > '~'))
		n++;
	return p[n] ? n + 1 : n;
}

/* One character at p: its bytes and its columns. What isn't valid in this locale counts as one byte, one
 * column. */
static size_t character(const char *p, unsigned *ret_columns)
{
	wchar_t wc;
	mbstate_t state = { 0 };
	size_t n = mbrtowc(&wc, p, strlen(p), &state);
	int w = n == 0 || n > MB_LEN_MAX ? 1 : wcwidth(wc);
	*ret_columns = w < 0 ? 1 : (unsigned)w;
	return n == 0 || n > MB_LEN_MAX ? 1 : n;
}

unsigned term_columns(const char *text)
{
	unsigned total = 0, w;
	while (*text) {
		size_t skip = escape_len(text);
		if (!skip) {
			skip = character(text, &w);
			total += w;
		}
		text += skip;
	}
	return total;
}

void term_clip(struct buf *out, const char *text, unsigned width)
{
	unsigned used = 0, w;
	bool full = false;
	while (*text) {
		size_t n = escape_len(text);
		if (!n) {
			n = character(text, &w);
			full = full || (width && used + w > width);
			used += w;
			if (full) {
				text += n;
				continue;
			}
		}
		buf_add(out, text, n);
		text += n;
	}
}

void term_add_foreign(struct buf *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		/* C1 controls in UTF-8 are C2 80 … C2 9F */
		bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
		bool control = *p < 0x20 || *p == 0x7f || c1;
		if (*p == '\t')
			buf_adds(out, " ");
		else if (control)
			buf_adds(out, "?");
		else
			buf_add(out, p, 1);
		p += c1;
	}
}
