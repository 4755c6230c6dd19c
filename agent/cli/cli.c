#include "agent/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/help.h"
#include "agent/cli/verbs.h"
#include "base/own.h"
#include "config/settings.h"

/* The API's error codes and what each makes the process exit with (docs/api.md). */
static const struct {
	const char *code;
	int exit;
} api_exits[] = {
	{ "bad_request", CLI_ERROR },
	{ "bad_spec", CLI_BAD_SPEC },
	{ "unsupported", CLI_ERROR },
	{ "not_found", CLI_ERROR },
	{ "held", CLI_REFUSED },
	{ "busy", CLI_REFUSED },
	{ "forbidden", CLI_DENIED },
	{ "conflict", CLI_ERROR },
	{ "internal", CLI_ERROR },
};

void cli_fault_done(struct cli_fault *f)
{
	json_decref(f->detail);
	f->detail = NULL;
}

void cli_print(FILE *to, const struct buf *b)
{
	if (b->data && !b->failed)
		fwrite(b->data, 1, b->len, to);
	fflush(to);
}

void cli_print_json(struct cli *c, const json_t *j)
{
	json_dumpf(j, c->out, JSON_COMPACT | JSON_ENCODE_ANY);
	fputc('\n', c->out);
	fflush(c->out);
}

int cli_worse(int a, int b)
{
	static const int by_gravity[] = { CLI_OK, CLI_CHANGES, CLI_REFUSED, CLI_TIMEOUT, CLI_FAILED,
		CLI_ERROR, CLI_BAD_SPEC, CLI_USAGE, CLI_DENIED, CLI_NO_AGENT, CLI_INTERRUPTED };
	size_t rank_a = 0, rank_b = 0;
	for (size_t i = 0; i < ARRAY_LEN(by_gravity); i++) {
		if (by_gravity[i] == a)
			rank_a = i;
		if (by_gravity[i] == b)
			rank_b = i;
	}
	return rank_a >= rank_b ? a : b;
}

int cli_client(struct cli *c, struct cli_fault *f)
{
	if (c->client)
		return 0;
	int e = client_open(c->socket, &c->client, &f->err);
	if (e < 0)
		cli_fault_transport(e, f);
	return e;
}

static void fault_code(struct cli_fault *f, int code, const char *name)
{
	f->exit = code;
	snprintf(f->code, sizeof f->code, "%s", name);
}

void cli_fault_transport(int r, struct cli_fault *f)
{
	switch (r) {
	case -EINTR: fault_code(f, CLI_INTERRUPTED, "interrupted"); break;
	case -EACCES:
	case -EPERM: fault_code(f, CLI_DENIED, "forbidden"); break;
	case -ECONNRESET: fault_code(f, CLI_NO_AGENT, "lost"); break;
	case -ENOMEM:
	case -EMSGSIZE: fault_code(f, CLI_ERROR, "internal"); break;
	default: fault_code(f, CLI_NO_AGENT, "unreachable"); break;
	}
}

/* An answer that isn't a success: {"error":{"code","message",…}}, or whatever a stranger on that socket says.
 */
int cli_fault_answer(struct cli_fault *f, unsigned status, const json_t *answer)
{
	json_t *error = json_object_get(answer, "error");
	const char *code = json_str(error, "code", "internal");
	fault_code(f, CLI_ERROR, code);
	for (size_t i = 0; i < ARRAY_LEN(api_exits); i++)
		if (strcmp(api_exits[i].code, code) == 0)
			f->exit = api_exits[i].exit;
	const char *message = json_str(error, "message", NULL);
	if (message)
		err_say(&f->err, EPROTO, "%s", message);
	else
		err_say(&f->err, EPROTO, "the agent answered with HTTP status %u", status);
	f->detail = json_incref(error);
	return -EPROTO;
}

static int call(struct cli *c, const char *method, const char *path, const char *body, struct buf *ret,
	json_t **ret_json, struct cli_fault *f)
{
	OWN_BUF struct buf text = { 0 };
	OWN_JSON json_t *answer = NULL;
	unsigned status = 0;
	int e = cli_client(c, f);
	if (e < 0)
		return e;
	e = client_call(c->client, method, path, body, &status, &text, &f->err);
	if (e < 0) {
		cli_fault_transport(e, f);
		return e;
	}
	e = json_parse(text.data ? text.data : "", text.len, "the agent's answer", &answer, &f->err);
	if (status < 200 || status > 299)
		return cli_fault_answer(f, status, answer);
	if (e < 0) {
		fault_code(f, CLI_ERROR, "internal");
		return e;
	}
	if (ret_json)
		*ret_json = TAKE_PTR(answer);
	if (ret) {
		*ret = text;
		text = (struct buf){ 0 };
	}
	return 0;
}

int cli_call(struct cli *c, const char *method, const char *path, const json_t *body, json_t **ret,
	struct cli_fault *f)
{
	OWN_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	return call(c, method, path, text, NULL, ret, f);
}

int cli_call_raw(struct cli *c, const char *method, const char *path, struct buf *ret, json_t **ret_json,
	struct cli_fault *f)
{
	return call(c, method, path, NULL, ret, ret_json, f);
}

char *cli_service_path(const char *service, const char *tail)
{
	struct buf path = { 0 };
	buf_adds(&path, "/v1/services/");
	for (const unsigned char *p = (const unsigned char *)service; *p; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= '0' && *p <= '9') || *p == '-' || *p == '_';
		buf_addf(&path, plain ? "%c" : "%%%02X", *p);
	}
	buf_adds(&path, tail);
	return buf_take(&path);
}

json_t *cli_outcome(const char *service, const char *result, int code, const char *comment)
{
	return json_pack("{s:b,s:s,s:s?,s:s,s:i}", "changed", 0, "comment", comment, "service", service,
		"result", result, "exit", code);
}

static void print_error(struct cli *c, const char *message)
{
	OWN_BUF struct buf b = { 0 };
	term_add(&b, &c->term_err, STYLE_BAD, "error:");
	buf_adds(&b, " ");
	term_add_foreign(&b, message);
	buf_adds(&b, "\n");
	cli_print(c->err, &b);
}

/* One word of a command line that can be pasted into a shell. */
static void add_word(struct buf *out, const char *word)
{
	bool plain =
		word[strspn(word,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+,-")] == '\0';
	if (plain) {
		buf_adds(out, word);
		return;
	}
	buf_adds(out, "'");
	for (; *word; word++)
		buf_addf(out, *word == '\'' ? "'\\'%c" : "%c", *word);
	buf_adds(out, "'");
}

static void print_start(struct cli *c, const char *root)
{
	OWN_BUF struct buf b = { 0 };
	buf_adds(&b, "  fix   start the agent: teald --root ");
	add_word(&b, root);
	buf_adds(&b, "\n");
	cli_print(c->err, &b);
}

/* What to do about it, where we know. */
static void print_remedy(struct cli *c, const char *service, const struct cli_fault *f)
{
	const char *root = c->line.opts.root ? c->line.opts.root : getenv("TEAL_ROOT");
	if (strcmp(f->code, "unreachable") == 0 && c->line.opts.socket)
		fprintf(c->err,
			"  fix   start an agent whose socket this is, or see `teal help` for --root\n");
	else if (strcmp(f->code, "unreachable") == 0 && root && *root)
		print_start(c, root);
	else if (strcmp(f->code, "unreachable") == 0)
		fprintf(c->err, "  fix   start the agent: systemctl start teald  (or: teald --root DIR, then "
				"teal --root DIR …)\n");
	else if (f->exit == CLI_DENIED)
		fprintf(c->err, "  fix   run it with sudo, or as the user or group that owns %s\n",
			c->socket);
	else if (strcmp(f->code, "busy") == 0 && service)
		fprintf(c->err, "  fix   wait for it (%s wait %s) or end it (%s abort %s)\n", c->self,
			service, c->self, service);
}

/* Faults that the agent found in a spec. */
static void print_diagnostics(struct cli *c, const struct cli_fault *f)
{
	size_t i;
	json_t *d;
	json_array_foreach (json_object_get(f->detail, "diagnostics"), i, d) {
		OWN_BUF struct buf b = { 0 };
		buf_addf(&b, "  %d:%d: ", (int)json_int(d, "line", 0), (int)json_int(d, "column", 0));
		term_add_foreign(&b, json_str(d, "message", ""));
		const char *hint = json_str(d, "hint", NULL);
		if (hint) {
			buf_adds(&b, "; ");
			term_add_foreign(&b, hint);
		}
		buf_adds(&b, "\n");
		cli_print(c->err, &b);
	}
}

int cli_say_fault(struct cli *c, const char *service, const struct cli_fault *f)
{
	print_error(c, f->err.msg);
	print_diagnostics(c, f);
	print_remedy(c, service, f);
	return f->exit;
}

int cli_report(struct cli *c, const char *service, const struct cli_fault *f)
{
	cli_say_fault(c, service, f);
	if (c->line.opts.json) {
		OWN_JSON json_t *o = cli_outcome(
			service, f->exit == CLI_REFUSED ? "refused" : "error", f->exit, f->err.msg);
		if (f->detail)
			json_object_set(o, "error", f->detail);
		else
			json_object_set_new(
				o, "error", json_pack("{s:s,s:s}", "code", f->code, "message", f->err.msg));
		cli_print_json(c, o);
	}
	return f->exit;
}

int cli_error(struct cli *c, int code, const struct err *err)
{
	print_error(c, err->msg);
	if (c->line.opts.json) {
		OWN_JSON json_t *o = cli_outcome(NULL, "error", code, err->msg);
		cli_print_json(c, o);
	}
	return code;
}

int cli_errorf(struct cli *c, int code, const char *fmt, ...)
{
	struct err err = { 0 };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err.msg, sizeof err.msg, fmt, ap);
	va_end(ap);
	return cli_error(c, code, &err);
}

/* Where the agent is, and how the user would have to call us again to reach the same one. */
static int locate(struct cli *c)
{
	const struct cli_options *o = &c->line.opts;
	const char *env = getenv("TEAL_ROOT");
	const char *root = o->root ? o->root : env && *env ? env : NULL;
	c->socket = o->socket ? strdup(o->socket) : settings_socket_path(root);
	struct buf self = { 0 };
	buf_adds(&self, "teal");
	if (o->root || o->socket)
		buf_adds(&self, o->root ? " --root " : " --socket ");
	if (o->root || o->socket)
		add_word(&self, o->root ? o->root : o->socket);
	c->self = buf_take(&self);
	return c->socket && c->self ? 0 : -ENOMEM;
}

static int run(struct cli *c, int argc, char **argv)
{
	struct err err = { 0 };
	if (cli_parse(argc, argv, &c->line, &err) < 0) {
		cli_error(c, CLI_USAGE, &err);
		fprintf(c->err, "  try   teal help%s%s\n", c->line.verb ? " " : "",
			c->line.verb ? c->line.verb->name : "");
		return CLI_USAGE;
	}
	if (locate(c) < 0)
		return cli_errorf(c, CLI_ERROR, "out of memory");
	if (!c->line.verb || c->line.opts.help) {
		OWN_BUF struct buf page = { 0 };
		help_page(&page, &c->term_out, c->line.verb);
		cli_print(c->line.opts.help ? c->out : c->err, &page);
		return c->line.opts.help ? CLI_OK : CLI_USAGE;
	}
	return c->line.verb->run(c);
}

int cli_main(int argc, char **argv, FILE *out, FILE *err)
{
	struct cli c = { .out = out, .err = err };
	term_probe(out, &c.term_out);
	term_probe(err, &c.term_err);
	int code = run(&c, argc, argv);
	/* a full disk under stdout must not look like success */
	if ((fflush(out) != 0 || ferror(out)) && code == CLI_OK) {
		fprintf(err, "error: write the output: %s\n", strerror(errno));
		code = CLI_ERROR;
	}
	client_close(c.client);
	cli_line_done(&c.line);
	free(c.socket);
	free(c.self);
	return code;
}
