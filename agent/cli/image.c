/* Verbs about images: image ls, pull, load, import, inspect, rm; and gc. */
#include <limits.h>
#include <string.h>

#include "agent/cli/human.h"
#include "agent/cli/table.h"
#include "agent/cli/verbs.h"
#include "base/clock.h"
#include "base/own.h"

static int image_table(const struct cli *c, const json_t *answer, struct buf *out)
{
	static const struct table_column columns[] = {
		{ .name = "DIGEST" },
		{ .name = "REFERENCE", .cut = true },
		{ .name = "SIZE", .right = true },
		{ .name = "CREATED" },
	};
	OWN_TABLE struct table *t = table_new(columns, ARRAY_LEN(columns), &c->term_out);
	const json_t *images = json_object_get(answer, "images");
	char text[HUMAN_MAX];
	size_t i;
	json_t *image;
	if (json_array_size(images) == 0)
		return buf_adds(out, "no images\n");
	json_array_foreach (images, i, image) {
		table_row(t);
		table_cellf(
			t, STYLE_PLAIN, "%.19s", json_str(image, "digest", "?")); /* sha256: and 12 digits */
		table_cell(t, STYLE_PLAIN, json_str(image, "reference", NULL));
		table_cell(t, STYLE_PLAIN, human_size(json_int(image, "size", 0), text));
		table_cell(
			t, STYLE_PLAIN, human_when(json_int(image, "created_ms", 0), clock_wall_ms(), text));
	}
	return table_print(t, out);
}

int cli_image_ls(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL;
	OWN_BUF struct buf out = { 0 }, raw = { 0 };
	if (cli_call_raw(c, "GET", "/v1/images", &raw, &answer, &f) < 0)
		return cli_report(c, NULL, &f);
	int e = c->line.opts.json ? buf_addf(&out, "%s\n", raw.data) : image_table(c, answer, &out);
	if (e < 0)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	cli_print(c->out, &out);
	return CLI_OK;
}

/* {"reference": REF}: the agent answers once the image is here. */
static int fetch(struct cli *c, const char *ref)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_JSON json_t *answer = NULL, *body = json_pack("{s:s}", "reference", ref);
	if (!body)
		return cli_errorf(c, CLI_ERROR, "%s: not UTF-8", ref);
	if (cli_call(c, "POST", "/v1/images", body, &answer, &f) < 0)
		return cli_report(c, NULL, &f);
	if (c->line.opts.json)
		cli_print_json(c, answer);
	else
		fprintf(c->out, "%s\n", json_str(answer, "digest", "?"));
	return CLI_OK;
}

int cli_image_pull(struct cli *c)
{
	return fetch(c, c->line.args[0]);
}

/* The agent has another working directory. What is behind a colon names an image in the archive, if the whole
 * is not a file's name. */
static int fetch_file(struct cli *c, const char *kind, bool named)
{
	const char *arg = c->line.args[0], *colon = strchr(arg, ':');
	char real[PATH_MAX];
	OWN_BUF struct buf ref = { 0 };
	OWN_FREE char *path = colon && named ? strndup(arg, (size_t)(colon - arg)) : strdup(arg);
	if (!path)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (!realpath(path, real))
		return cli_errorf(c, CLI_ERROR, "%s: %m", path);
	buf_addf(&ref, "%s%s%s", kind, real, colon && named ? colon : "");
	return ref.failed ? cli_errorf(c, CLI_ERROR, "out of memory") : fetch(c, ref.data);
}

int cli_image_load(struct cli *c)
{
	return fetch_file(c, "docker-archive:", true);
}

int cli_image_import(struct cli *c)
{
	return fetch_file(c, "rootfs:", false);
}

static void image_path(const char *digest, struct buf *ret)
{
	buf_addf(ret, "/v1/images/%.*s", (int)strspn(digest, "sha256:0123456789abcdef"), digest);
}

int cli_image_inspect(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_BUF struct buf path = { 0 };
	OWN_JSON json_t *answer = NULL;
	image_path(c->line.args[0], &path);
	if (path.failed)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (cli_call(c, "GET", path.data, NULL, &answer, &f) < 0)
		return cli_report(c, NULL, &f);
	OWN_FREE char *text = json_dumps(answer, JSON_INDENT(2) | JSON_SORT_KEYS);
	fprintf(c->out, "%s\n", text ? text : "{}");
	return CLI_OK;
}

int cli_image_rm(struct cli *c)
{
	int code = CLI_OK;
	for (size_t i = 0; i < c->line.n_args; i++) {
		OWN_FAULT struct cli_fault f = { 0 };
		OWN_BUF struct buf path = { 0 };
		image_path(c->line.args[i], &path);
		if (path.failed)
			return cli_errorf(c, CLI_ERROR, "out of memory");
		if (cli_call(c, "DELETE", path.data, NULL, NULL, &f) < 0)
			code = cli_worse(code, cli_report(c, NULL, &f));
	}
	return code;
}

int cli_gc(struct cli *c)
{
	OWN_FAULT struct cli_fault f = { 0 };
	OWN_BUF struct buf out = { 0 };
	OWN_JSON json_t *answer = NULL, *body = json_pack("{s:b}", "dry_run", c->line.opts.dry_run);
	char size[HUMAN_MAX];
	if (cli_call(c, "POST", "/v1/gc", body, &answer, &f) < 0)
		return cli_report(c, NULL, &f);
	bool any = json_flag(answer, "changed", false);
	if (c->line.opts.json) {
		cli_print_json(c, answer);
	} else if (!any) {
		fprintf(c->out, "nothing to remove\n");
	} else {
		image_table(c, answer, &out);
		buf_addf(&out, "%s%zu image%s, up to %s\n",
			c->line.opts.dry_run ? "would remove " : "removed ",
			json_array_size(json_object_get(answer, "images")),
			json_array_size(json_object_get(answer, "images")) == 1 ? "" : "s",
			human_size(json_int(answer, "bytes", 0), size));
		cli_print(c->out, &out);
	}
	return any && c->line.opts.dry_run ? CLI_CHANGES : CLI_OK;
}
