#include "agent/cli/load.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"

/* While the arguments are read. */
struct loader {
	struct cli *c;
	struct load_list *list;
	char **files;	/* what the arguments stand for */
	int exit;	/* gravest fault so far */
	json_t *faults; /* the same for -o json */
};

void load_done(struct load_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->items[i].path);
		free(l->items[i].source);
		spec_unref(l->items[i].spec);
		json_decref(l->items[i].json);
		json_decref(l->items[i].secrets);
	}
	free(l->items);
	strv_free(l->dirs);
	*l = (struct load_list){ 0 };
}

static void add_fault(struct loader *l, int code, const char *file, unsigned line, unsigned column,
	const char *text, const char *hint)
{
	l->exit = cli_worse(l->exit, code);
	json_array_append_new(l->faults, json_pack("{s:s,s:i,s:i,s:s,s:s?}", "file", file, "line", (int)line,
						 "column", (int)column, "message", text, "hint", hint));
}

static void say_fault(struct loader *l, int code, const char *file, const char *text)
{
	fprintf(l->c->err, "%s: error: %s\n", file, text);
	add_fault(l, code, file, 0, 0, text, NULL);
}

/* GitHub's workflow commands end at a newline and split their properties at colons and commas. */
static void add_escaped(struct buf *out, const char *text, const char *special)
{
	for (; *text; text++)
		buf_addf(out, strchr(special, *text) ? "%%%02X" : "%c", (unsigned char)*text);
}

static void annotate(struct loader *l, const struct diag_list *d, const struct diag *fault)
{
	OWN_BUF struct buf b = { 0 };
	buf_addf(&b, "::%s file=", fault->level == DIAG_ERROR ? "error" : "warning");
	add_escaped(&b, d->file ? d->file : "", "%\r\n:,");
	if (fault->line)
		buf_addf(&b, ",line=%u,col=%u", fault->line, fault->column);
	buf_adds(&b, ",title=teal::");
	add_escaped(&b, fault->text, "%\r\n");
	if (fault->hint) {
		buf_adds(&b, "; ");
		add_escaped(&b, fault->hint, "%\r\n");
	}
	buf_adds(&b, "\n");
	cli_print(l->c->line.opts.json ? l->c->err : l->c->out, &b);
}

static void report(struct loader *l, const struct diag_list *d)
{
	OWN_BUF struct buf text = { 0 };
	const char *actions = getenv("GITHUB_ACTIONS");
	diag_print(d, l->c->term_err.color, &text);
	cli_print(l->c->err, &text);
	for (size_t i = 0; i < d->n; i++) {
		const struct diag *fault = &d->items[i];
		if (actions && strcmp(actions, "true") == 0)
			annotate(l, d, fault);
		if (fault->level == DIAG_ERROR)
			add_fault(l, CLI_BAD_SPEC, d->file ? d->file : "", fault->line, fault->column,
				fault->text, fault->hint);
	}
}

/* The same spec with another image, checked again: what is relative in it is relative to here. */
static int replace_image(struct loader *l, struct loaded *item, struct diag_list *d)
{
	OWN_FREE char *text = NULL;
	OWN_FREE char *here = realpath(".", NULL);
	struct spec *changed = NULL;
	json_object_set_new(item->json, "image", json_string(l->c->line.opts.image));
	text = json_dumps(item->json, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	int e = cfg_read(text, strlen(text), "--image", here, &changed, d);
	if (e < 0)
		return e;
	spec_unref(item->spec);
	item->spec = changed;
	json_decref(item->json);
	item->json = cfg_to_json(changed);
	return item->json ? 0 : -ENOMEM;
}

/* Values travel beside the spec, which knows their digests only. */
static int take_secrets(struct loaded *item)
{
	const struct spec_container *c = &item->spec->container;
	item->secrets = c->n_secrets ? json_object() : NULL;
	for (size_t i = 0; i < c->n_secrets; i++) {
		OWN_BUF struct buf hex = { 0 };
		buf_adds(&hex, "");
		for (size_t k = 0; k < c->secrets[i].value_len; k++)
			buf_addf(&hex, "%02x", (unsigned char)c->secrets[i].value[k]);
		if (!c->secrets[i].value)
			continue; /* a canonical spec: the agent may have it */
		if (hex.failed ||
			json_object_set_new(item->secrets, c->secrets[i].digest, json_string(hex.data)) < 0)
			return -ENOMEM;
		explicit_bzero(hex.data, hex.len);
	}
	return 0;
}

static int load_text(struct loader *l, struct loaded *item, struct diag_list *d)
{
	struct err err = { 0 };
	int e = cfg_load_file(item->path, &item->spec, d, &err);
	if (e < 0 && d->errors == 0)
		say_fault(l, CLI_ERROR, item->path, err.msg[0] ? err.msg : "can't be read");
	if (e < 0)
		return e;
	item->json = cfg_to_json(item->spec);
	if (!item->json || take_secrets(item) < 0)
		return -ENOMEM;
	return l->c->line.opts.image ? replace_image(l, item, d) : 0;
}

static int load_file(struct loader *l, const char *path)
{
	struct diag_list d = { 0 };
	if (vec_reserve(&l->list->items, &l->list->cap, l->list->n + 1, sizeof *l->list->items) < 0)
		return -ENOMEM;
	struct loaded *item = &l->list->items[l->list->n++];
	*item = (struct loaded){ .path = strdup(path) };
	item->source = strcmp(path, "-") == 0 ? strdup("-") : realpath(path, NULL);
	if (!item->source)
		item->source = strdup(path); /* can't be read either: said below */
	int e = item->path && item->source ? load_text(l, item, &d) : -ENOMEM;
	report(l, &d);
	diag_done(&d);
	return e == -ENOMEM ? e : 0;
}

static int is_spec_file(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');
	return d->d_name[0] != '.' && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static int expand_dir(struct loader *l, const char *path)
{
	struct dirent **found = NULL;
	OWN_FREE char *absolute = realpath(path, NULL);
	int n = scandir(path, &found, is_spec_file, alphasort);
	int e = n < 0 ? -errno : !absolute ? -ENOMEM : strv_add(&l->list->dirs, absolute);
	for (int i = 0; i < n; i++) {
		if (e == 0)
			e = strv_addf(&l->files, "%s/%s", path, found[i]->d_name);
		free(found[i]);
	}
	free(found);
	return e;
}

static int expand(struct loader *l, const char *arg)
{
	struct stat st;
	if (strcmp(arg, "-") != 0 && stat(arg, &st) == 0 && S_ISDIR(st.st_mode))
		return expand_dir(l, arg);
	return strv_add(&l->files, arg);
}

/* Two files for one service: neither can be meant. */
static void check_names(struct loader *l)
{
	for (size_t i = 0; i < l->list->n; i++)
		for (size_t k = 0; k < i; k++) {
			const struct loaded *a = &l->list->items[k], *b = &l->list->items[i];
			char text[SPEC_NAME_MAX + PATH_MAX + 64];
			if (!a->spec || !b->spec || strcmp(a->spec->name, b->spec->name) != 0)
				continue;
			snprintf(text, sizeof text, "service `%s` is already described by %s", b->spec->name,
				a->path);
			say_fault(l, CLI_BAD_SPEC, b->path, text);
		}
}

static int load_all(struct loader *l)
{
	const struct cli_line *line = &l->c->line;
	for (size_t i = 0; i < line->n_args; i++) {
		int e = expand(l, line->args[i]);
		if (e == -ENOMEM)
			return e;
		if (e < 0)
			say_fault(l, CLI_ERROR, line->args[i], strerror(-e));
	}
	for (size_t i = 0; l->files && l->files[i]; i++)
		if (load_file(l, l->files[i]) < 0)
			return -ENOMEM;
	check_names(l);
	return 0;
}

int load_specs(struct cli *c, struct load_list *ret)
{
	OWN_JSON json_t *faults = json_array();
	struct loader l = { .c = c, .list = ret, .faults = faults };
	int e = load_all(&l);
	strv_free(l.files);
	if (e < 0)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (c->line.opts.image && ret->n != 1)
		return cli_errorf(c, CLI_USAGE, "--image is for a single file");
	if (l.exit != CLI_OK && c->line.opts.json) {
		char comment[64];
		snprintf(comment, sizeof comment, "%zu fault%s in the files; nothing was changed",
			json_array_size(faults), json_array_size(faults) == 1 ? "" : "s");
		OWN_JSON json_t *o = cli_outcome(NULL, "error", l.exit, comment);
		json_object_set_new(o, "error",
			json_pack("{s:s,s:s,s:O}", "code", l.exit == CLI_BAD_SPEC ? "bad_spec" : "unreadable",
				"message", comment, "diagnostics", faults));
		cli_print_json(c, o);
	}
	return l.exit;
}
