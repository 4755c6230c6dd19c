#include "hello.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

static void say(struct answer *a, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct answer *a, int status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int n = vasprintf(&a->text, fmt, args);
	va_end(args);
	if (n < 0)
		a->text = NULL;
	a->text_len = n < 0 ? 0 : (size_t)n;
	a->status = status;
}

/* "n=12" of a query; fallback when absent or not a number. */
static uint64_t query_number(const char *query, const char *key, uint64_t fallback)
{
	size_t len = strlen(key);

	for (const char *p = query; p && *p; p = strchr(p, '&'), p += p ? 1 : 0) {
		char *end;

		if (strncmp(p, key, len) != 0 || p[len] != '=')
			continue;
		uint64_t n = strtoull(p + len + 1, &end, 10);
		return end > p + len + 1 && (*end == '\0' || *end == '&') ? n : fallback;
	}
	return fallback;
}

static void page_front(const struct app *app, const struct request *r, struct answer *a)
{
	(void)app;
	(void)r;
	say(a, 200, "%s from generation %s\nversion %s replica %s slot %s\n", env_or("GREETING", "hello"),
		env_or("TEAL_GENERATION", "unknown"), env_or("VERSION", "unknown"),
		env_or("TEAL_REPLICA", "unknown"), env_or("TEAL_SLOT", "unknown"));
}

static void page_healthz(const struct app *app, const struct request *r, struct answer *a)
{
	int64_t up_ms = clock_now_ms() - app->started_ms;

	(void)r;
	a->type = "application/json";
	if (app->settings.sick_after_ms >= 0 && up_ms >= app->settings.sick_after_ms)
		say(a, 503, "{\"status\":\"sick\",\"reason\":\"told to be sick by the environment\"}\n");
	else
		say(a, 200, "{\"status\":\"ok\",\"up_ms\":%lld}\n", (long long)up_ms);
}

static void page_env(const struct app *app, const struct request *r, struct answer *a)
{
	FILE *f = open_memstream(&a->text, &a->text_len);

	(void)app;
	(void)r;
	if (!f)
		return;
	for (char **e = environ; *e; e++)
		fprintf(f, "%s\n", *e);
	fclose(f);
}

static void page_inside(const struct app *app, const struct request *r, struct answer *a)
{
	(void)app;
	(void)r;
	a->type = "application/json";
	inside_describe(a);
}

static void page_bytes(const struct app *app, const struct request *r, struct answer *a)
{
	(void)app;
	a->type = "application/octet-stream";
	a->stream_len = query_number(r->query, "n", 1024);
}

static void page_echo(const struct app *app, const struct request *r, struct answer *a)
{
	(void)app;
	a->type = "application/json";
	say(a, 200, "{\"length\":%llu,\"crc32\":%u}\n", (unsigned long long)r->body_len, r->body_crc);
}

static void page_slow(const struct app *app, const struct request *r, struct answer *a)
{
	(void)app;
	a->delay_ms = (int64_t)query_number(r->query, "ms", 1000);
	say(a, 200, "that took %lld ms\n", (long long)a->delay_ms);
}

/* /log?n=3 writes lines to stdout and stderr, to look at with `teal logs`. */
static void page_log(const struct app *app, const struct request *r, struct answer *a)
{
	uint64_t n = query_number(r->query, "n", 1);

	(void)app;
	for (uint64_t i = 1; i <= n; i++)
		fprintf(i % 2 ? stdout : stderr, "hello: line %llu of %llu\n", (unsigned long long)i,
			(unsigned long long)n);
	say(a, 200, "wrote %llu lines\n", (unsigned long long)n);
}

static void page_crash(const struct app *app, const struct request *r, struct answer *a)
{
	(void)app;
	(void)r;
	(void)a;
	fputs("hello: fatal: crashing, as /crash told me to\n", stderr);
	exit(42);
}

static const struct page {
	const char *path;
	void (*answer)(const struct app *app, const struct request *r, struct answer *a);
} pages[] = {
	{ "/", page_front },
	{ "/healthz", page_healthz },
	{ "/env", page_env },
	{ "/inside", page_inside },
	{ "/bytes", page_bytes },
	{ "/echo", page_echo },
	{ "/slow", page_slow },
	{ "/log", page_log },
	{ "/crash", page_crash },
};

void page_answer(const struct app *app, const struct request *request, struct answer *ret)
{
	*ret = (struct answer){ .status = 200, .type = "text/plain", .delay_ms = app->settings.slow_ms };
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (strcmp(pages[i].path, request->path) == 0) {
			pages[i].answer(app, request, ret);
			return;
		}
	}
	say(ret, 404, "no such page: %s\n", request->path);
}
