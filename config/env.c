#include <errno.h>
#include <string.h>

#include "config/config.h"
#include "config/pairs.h"
#include "config/paths.h"
#include "config/schema.h"
#include "config/steps.h"
#include "config/text.h"

#define BLANKS " \t"

/* One file that env_file names, while it is read. */
struct env_file {
	const char *shown;     /* as written in the spec */
	const struct node *at; /* there */
	unsigned line;
	struct pairs *into;
	struct diag_list *d;
};

static int refuse_line(const struct env_file *f, const char *why)
{
	char shown[TEXT_SHOWN_MAX];
	node_fault(f->d, f->at, NULL, "`env_file`: %s:%u: %s", text_show(f->shown, shown), f->line, why);
	return 0;
}

/* After a quoted value only a comment may follow. */
static bool is_rest(const char *text)
{
	text += strspn(text, BLANKS);
	return !*text || *text == '#';
}

static bool read_double_quoted(const char *p, struct buf *out)
{
	static const char from[] = "nrt\"\\$", to[] = "\n\r\t\"\\$";
	for (; *p && *p != '"'; p++) {
		const char *escape = *p == '\\' && p[1] ? strchr(from, p[1]) : NULL;
		buf_add(out, escape ? &to[escape - from] : p, 1);
		p += escape != NULL;
	}
	return *p && is_rest(p + 1);
}

/* The value behind `KEY=`: quoted or up to a comment. False: it is malformed. */
static bool read_value(const char *p, struct buf *out)
{
	p += strspn(p, BLANKS);
	if (*p == '"')
		return read_double_quoted(p + 1, out);
	if (*p == '\'') {
		size_t n = strcspn(p + 1, "'");
		buf_add(out, p + 1, n);
		return p[n + 1] && is_rest(p + n + 2);
	}
	size_t n = 0;
	while (p[n] && !(p[n] == '#' && (n == 0 || strchr(BLANKS, p[n - 1]))))
		n++;
	while (n > 0 && strchr(BLANKS, p[n - 1]))
		n--;
	buf_add(out, p, n);
	return true;
}

static int read_line(const struct env_file *f, const char *line)
{
	static const char export[] = "export ";
	line += strspn(line, BLANKS);
	if (!*line || *line == '#')
		return 0;
	if (strncmp(line, export, strlen(export)) == 0)
		line += strlen(export) + strspn(line + strlen(export), BLANKS);
	size_t n = strcspn(line, "=");
	if (!line[n])
		return refuse_line(f, "a line must be KEY=VALUE");
	const char *behind = line + n + 1;
	while (n > 0 && strchr(BLANKS, line[n - 1]))
		n--;
	OWN_FREE char *key = strndup(line, n);
	OWN_BUF struct buf value = { 0 };
	if (!key)
		return -ENOMEM;
	if (pairs_check_key(key))
		return refuse_line(f, "the variable's name is malformed");
	if (!read_value(behind, &value))
		return refuse_line(f, "the value's quotes are not balanced");
	OWN_FREE char *text = buf_take(&value);
	return text ? pairs_set(f->into, key, n, text) : -ENOMEM;
}

static int read_lines(struct env_file *f, char *text, uint64_t max)
{
	for (char *line; (line = strsep(&text, "\n"));) {
		size_t n = strlen(line);
		if (n > 0 && line[n - 1] == '\r')
			line[n - 1] = '\0';
		f->line++;
		int r = read_line(f, line);
		if (r < 0)
			return r;
		if (f->into->n > max)
			return refuse_line(f, "too many variables");
	}
	return 0;
}

static int read_env_file(const struct node *at, const char *base_dir, struct pairs *into, struct diag_list *d)
{
	uint64_t max = schema_at(&spec_schema, "environment")->max;
	struct env_file f = { .shown = at->text, .at = at, .into = into, .d = d };
	OWN_BUF struct buf content = { 0 };
	OWN_FREE char *path = path_absolute(base_dir, at->text);
	struct err err = { 0 };
	if (!path)
		return -ENOMEM;
	if (path_read(path, CFG_MAX_BYTES, &content, &err) < 0) {
		if (err.code == ENOMEM)
			return -ENOMEM;
		node_fault(d, at, "paths are relative to the spec's file", "`env_file`: %s", err.msg);
		return 0;
	}
	if (content.len > 0 && text_find_refused(content.data, content.len)) {
		node_fault(d, at, NULL, "`env_file`: %s is not plain UTF-8 text", path);
		return 0;
	}
	return content.len > 0 ? read_lines(&f, content.data, max) : 0;
}

static int read_all(const struct node *files, const char *base_dir, struct pairs *into, struct diag_list *d)
{
	if (files->kind == NODE_SCALAR)
		return !*files->text ? 0 : read_env_file(files, base_dir, into, d);
	for (size_t i = 0; i < files->n; i++) {
		const struct node *file = files->items[i].value;
		int r = file->kind == NODE_SCALAR && *file->text ? read_env_file(file, base_dir, into, d) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int overlay(struct spec_container *c, struct pairs *files)
{
	for (size_t i = 0; i < c->n_environment; i++) {
		const struct spec_pair *pair = &c->environment[i];
		if (pairs_set(files, pair->key, strlen(pair->key), pair->value) < 0)
			return -ENOMEM;
	}
	pairs_sort(files);
	struct pairs old = { c->environment, c->n_environment, c->n_environment };
	c->environment = files->items;
	c->n_environment = files->n;
	*files = old; /* freed by its owner */
	return 0;
}

int env_merge(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d)
{
	const struct node_entry *e = node_member(root, "env_file");
	size_t errors = d->errors;
	if (!e || node_is_null(e->value) || e->value->kind == NODE_MAP)
		return 0;
	if (!base_dir) {
		node_fault(d, e->key, "its variables belong into `environment` here",
			"`env_file` can't be read: a spec sent to an agent holds everything itself");
		return 0;
	}
	OWN_PAIRS struct pairs files = { 0 };
	int r = read_all(e->value, base_dir, &files, d);
	return r < 0 || d->errors > errors ? r : overlay(&s->container, &files);
}
