/* HTTP probes by libcurl's multi interface on the loop. The only file of health/ that knows libcurl. */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/parse.h"
#include "base/uvx.h"
#include "health/check.h"

#define BODY_MAX_BYTES 4096u

struct hc_curl {
	struct hc_engine *engine;
	CURLM *multi;
	uv_timer_t timer; /* curl's next timeout */
};

struct curl_socket {
	struct hc_engine *engine; /* outlives curl */
	struct hc_curl *curl;
	uv_poll_t poll;
	curl_socket_t fd;
};

struct http_probe {
	struct hc_check *check;
	CURL *easy;
	struct curl_slist *headers;
	struct buf url;
	struct buf body;
	char where[ADDRESS_MAX];
	bool cut; /* the body was longer than we care to read */
};

static void probe_free(struct http_probe *p)
{
	curl_easy_cleanup(p->easy);
	curl_slist_free_all(p->headers);
	buf_done(&p->url);
	buf_done(&p->body);
	free(p);
}

static void own_probe(struct http_probe **p)
{
	if (*p)
		probe_free(*p);
}

static const char *reason(const struct http_probe *p, CURLcode code)
{
	static const struct {
		CURLcode code;
		const char *text;
	} rows[] = {
		{ CURLE_GOT_NOTHING, "connection closed without an answer" },
		{ CURLE_PARTIAL_FILE, "connection closed before the end of the answer" },
		{ CURLE_UNSUPPORTED_PROTOCOL, "the answer is not HTTP" },
		{ CURLE_WEIRD_SERVER_REPLY, "the answer is not HTTP" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].code == code)
			return rows[i].text;
	long os_errno = 0;
	curl_easy_getinfo(p->easy, CURLINFO_OS_ERRNO, &os_errno);
	return os_errno > 0 ? strerror((int)os_errno) : curl_easy_strerror(code);
}

static void answer_timeout(struct hc_check *c, const struct http_probe *p, long status)
{
	char limit[FORMAT_MAX];
	curl_off_t connected_us = 0;
	curl_easy_getinfo(p->easy, CURLINFO_CONNECT_TIME_T, &connected_us);
	format_duration_ms(c->health->timeout_ms, limit);
	if (connected_us == 0)
		hc_check_answer(c, false, "connect %s: no answer within %s", p->where, limit);
	else if (status == 0)
		hc_check_answer(c, false, "GET %s: no answer within %s", p->url.data, limit);
	else
		hc_check_answer(c, false, "GET %s: HTTP %ld, but no end of the answer within %s", p->url.data,
			status, limit);
}

static void finish(struct http_probe *ended, CURLcode code)
{
	OWN(own_probe) struct http_probe *p = ended;
	struct hc_check *c = p->check;
	long status = 0;
	curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
	c->probe = NULL;
	if (code == CURLE_COULDNT_CONNECT)
		hc_check_answer(c, false, "connect %s: %s", p->where, reason(p, code));
	else if (code == CURLE_OPERATION_TIMEDOUT)
		answer_timeout(c, p, status);
	else if (code != CURLE_OK && !p->cut)
		hc_check_answer(c, false, "GET %s: %s", p->url.data, reason(p, code));
	else if (status >= c->health->status_min && status <= c->health->status_max)
		hc_check_answer(c, true, "HTTP %ld", status);
	else
		hc_check_answer(c, false, "HTTP %ld%s%s", status, p->body.len > 0 ? ": " : "",
			p->body.len > 0 ? p->body.data : "");
}

/* Callbacks run here, outside of curl, and may start and stop any check. */
static void collect(struct hc_curl *h)
{
	int left;
	for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));) {
		if (m->msg != CURLMSG_DONE)
			continue;
		CURL *easy = m->easy_handle;
		CURLcode code = m->data.result; /* m is gone after the next line */
		curl_multi_remove_handle(h->multi, easy);
		struct http_probe *p = NULL;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&p);
		finish(p, code);
	}
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct curl_socket *s = poll->data;
	struct hc_curl *h = s->curl; /* s may be closed by the next call */
	int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
		    (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0) | (status < 0 ? CURL_CSELECT_ERR : 0);
	int running;
	curl_multi_socket_action(h->multi, s->fd, flags, &running);
	collect(h);
}

static void on_timer(uv_timer_t *timer)
{
	struct hc_curl *h = timer->data;
	int running;
	curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(h);
}

static int on_curl_timer(CURLM *multi, long after_ms, void *arg)
{
	struct hc_curl *h = arg;
	(void)multi;
	if (after_ms < 0)
		uv_timer_stop(&h->timer);
	else
		uv_timer_start(&h->timer, on_timer, (uint64_t)after_ms, 0);
	return 0;
}

static void on_socket_closed(uv_handle_t *handle)
{
	struct curl_socket *s = handle->data;
	struct hc_engine *e = s->engine;
	free(s);
	hc_engine_unref(e);
}

static struct curl_socket *socket_new(struct hc_curl *h, curl_socket_t fd)
{
	struct curl_socket *s = calloc(1, sizeof *s);
	if (!s || uv_poll_init_socket(h->engine->loop, &s->poll, fd) < 0) {
		free(s);
		return NULL;
	}
	s->engine = h->engine;
	s->curl = h;
	s->fd = fd;
	s->poll.data = s;
	h->engine->refs++;
	curl_multi_assign(h->multi, fd, s);
	return s;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct curl_socket *s = socket_arg;
	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			uv_close((uv_handle_t *)&s->poll, on_socket_closed);
		return 0;
	}
	if (!s)
		s = socket_new(arg, fd);
	if (!s)
		return -1;
	int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
	return uv_poll_start(&s->poll, events, on_ready);
}

int hc_curl_open(struct hc_engine *e, struct hc_curl **ret, struct err *err)
{
	struct hc_curl *h = calloc(1, sizeof *h);
	if (!h)
		return err_set(err, ENOMEM, "start libcurl");
	h->engine = e;
	h->multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
	if (!h->multi) {
		free(h);
		return err_say(err, ENOMEM, "start libcurl: failed");
	}
	uv_timer_init(e->loop, &h->timer);
	h->timer.data = h;
	e->refs++;
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	*ret = h;
	return 0;
}

/* Not before the loop's next turn: hc_engine_close may have been called from within collect(). */
static void on_curl_closed(uv_handle_t *handle)
{
	struct hc_curl *h = handle->data;
	struct hc_engine *e = h->engine;
	curl_multi_cleanup(h->multi);
	curl_global_cleanup();
	free(h);
	hc_engine_unref(e);
}

void hc_curl_close(struct hc_curl *h)
{
	uv_close((uv_handle_t *)&h->timer, on_curl_closed);
}

static size_t on_body(char *bytes, size_t one, size_t n, void *arg)
{
	struct http_probe *p = arg;
	(void)one;
	size_t room = BODY_MAX_BYTES - p->body.len;
	buf_add(&p->body, bytes, n < room ? n : room);
	p->cut = n > room;
	return p->cut ? 0 : n;
}

/* curl's own sockets would be inherited by everything that the agent starts. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	(void)arg;
	(void)purpose;
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static int probe_prepare(struct http_probe *p, const struct hc_check *c)
{
	const struct spec_health *health = c->health;
	struct sockaddr_storage a = hc_address(c, c->ports[0]);
	format_address(&a, p->where);
	const char *path = health->http_path ? health->http_path : "/";
	if (buf_addf(&p->url, "http://%s%s%s", p->where, *path == '/' ? "" : "/", path) < 0)
		return -ENOMEM;
	OWN_BUF struct buf host = { 0 };
	buf_addf(&host, "Host: %s", health->http_host ? health->http_host : p->where);
	p->headers = curl_slist_append(p->headers, host.data ? host.data : "Host:");
	struct curl_slist *more = p->headers ? curl_slist_append(p->headers, "Connection: close") : NULL;
	return more ? 0 : -ENOMEM;
}

static int probe_configure(struct http_probe *p)
{
	p->easy = curl_easy_init();
	if (!p->easy)
		return -ENOMEM;
	CURLcode r = curl_easy_setopt(p->easy, CURLOPT_URL, p->url.data);
	if (r == CURLE_OK)
		r = curl_easy_setopt(p->easy, CURLOPT_PROTOCOLS_STR, "http");
	if (r == CURLE_OK)
		r = curl_easy_setopt(p->easy, CURLOPT_PROXY, "");
	if (r == CURLE_OK)
		r = curl_easy_setopt(p->easy, CURLOPT_NOPROXY, "*");
	if (r == CURLE_OK)
		r = curl_easy_setopt(p->easy, CURLOPT_USERAGENT, "teal/" TEAL_VERSION);
	if (r != CURLE_OK)
		return -ENOMEM;
	curl_easy_setopt(p->easy, CURLOPT_PRIVATE, p);
	curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, p->headers);
	curl_easy_setopt(p->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(p->easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(p->easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(p->easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(p->easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(p->easy, CURLOPT_TIMEOUT_MS, (long)p->check->health->timeout_ms);
	curl_easy_setopt(p->easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	curl_easy_setopt(p->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(p->easy, CURLOPT_WRITEDATA, p);
	return 0;
}

static int http_start(struct hc_check *c, struct err *err)
{
	OWN(own_probe) struct http_probe *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(err, ENOMEM, "http probe");
	p->check = c;
	if (probe_prepare(p, c) < 0 || probe_configure(p) < 0)
		return err_say(
			err, ENOMEM, "GET %s: out of memory or no URL", p->url.data ? p->url.data : "");
	CURLMcode r = curl_multi_add_handle(c->engine->curl->multi, p->easy);
	if (r != CURLM_OK)
		return err_say(err, ENOMEM, "GET %s: %s", p->url.data, curl_multi_strerror(r));
	c->probe = TAKE_PTR(p);
	return 0;
}

static void http_cancel(struct hc_check *c)
{
	struct http_probe *p = c->probe;
	c->probe = NULL;
	curl_multi_remove_handle(c->engine->curl->multi, p->easy);
	probe_free(p);
}

const struct hc_probe_kind hc_probe_http = { .start = http_start, .cancel = http_cancel };
