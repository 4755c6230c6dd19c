#include "agent/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/own.h"

#define BODY_MAX       ((size_t)16 << 20)
#define LINE_MAX_BYTES ((size_t)1 << 20)
/* After this long without an answer the agent hangs. An order may have to read a whole image first. */
#define QUESTION_TIMEOUT_MS 120000L
#define ORDER_TIMEOUT_MS    600000L

struct client {
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	char *socket; /* as given */
	int dir_fd;   /* of the socket's directory, when the path is too long for a sockaddr_un; else -1 */
	int interrupt_fd;
};

/* One request under way. */
struct transfer {
	struct client *c;
	struct buf body;		    /* the whole answer, or the unfinished line of a stream */
	const struct client_stream *stream; /* NULL: a plain call */
	int stopped;			    /* what a callback returned to end the stream */
	bool too_big;
};

void client_close(struct client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->easy);
	curl_multi_cleanup(c->multi);
	curl_slist_free_all(c->headers);
	own_close(&c->dir_fd);
	free(c->socket);
	free(c);
}

static void own_client(struct client **c)
{
	client_close(*c);
}

/* A path longer than sun_path is reached through its directory's descriptor. */
static int socket_set(struct client *c, struct err *err)
{
	char path[64];
	const char *slash = strrchr(c->socket, '/');
	if (strlen(c->socket) < sizeof((struct sockaddr_un *)NULL)->sun_path || !slash) {
		curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, c->socket);
		return 0;
	}
	OWN_FREE char *dir = strndup(c->socket, (size_t)(slash - c->socket));
	c->dir_fd = dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (c->dir_fd < 0)
		return err_set(err, errno, "open %s", dir ? dir : "");
	snprintf(path, sizeof path, "/proc/self/fd/%d%s", c->dir_fd, slash);
	curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, path);
	return 0;
}

int client_open(const char *socket_path, struct client **ret, struct err *err)
{
	OWN(own_client) struct client *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(err, ENOMEM, "open the client");
	c->dir_fd = c->interrupt_fd = -1;
	c->socket = strdup(socket_path);
	c->easy = curl_easy_init();
	c->multi = curl_multi_init();
	/* no "Expect: 100-continue" round trip before a spec is sent */
	c->headers = curl_slist_append(NULL, "Expect:");
	if (c->headers)
		curl_slist_append(c->headers, "Content-Type: application/json");
	if (!c->socket || !c->easy || !c->multi || !c->headers)
		return err_set(err, ENOMEM, "open the client");
	*ret = TAKE_PTR(c);
	return 0;
}

void client_interrupt(struct client *c, int fd)
{
	c->interrupt_fd = fd;
}

static bool interrupted(const struct client *c)
{
	struct pollfd p = { .fd = c->interrupt_fd, .events = POLLIN };
	return c->interrupt_fd >= 0 && poll(&p, 1, 0) == 1;
}

int client_sleep(struct client *c, int ms)
{
	struct pollfd p = { .fd = c->interrupt_fd, .events = POLLIN };
	return poll(&p, 1, ms) == 1 ? -EINTR : 0;
}

static unsigned status_of(struct client *c)
{
	long status = 0;
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	return (unsigned)status;
}

/* Hands every whole line to the stream's callback, keeps the rest. */
static void lines_out(struct transfer *t)
{
	size_t from = 0;
	char *end;
	while (t->stopped == 0 && (end = memchr(t->body.data + from, '\n', t->body.len - from))) {
		size_t len = (size_t)(end - t->body.data) - from;
		*end = '\0';
		if (len > 0)
			t->stopped = t->stream->line(t->stream->arg, t->body.data + from, len);
		from += len + 1;
	}
	buf_drop(&t->body, from);
}

/* libcurl takes any count other than the given one as "end the transfer". */
static size_t bytes_in(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	if (buf_add(&t->body, bytes, size * n) < 0) {
		t->too_big = true;
		return 0;
	}
	if (t->stream && status_of(t->c) == 200)
		lines_out(t);
	return t->stopped ? 0 : size * n;
}

static int prepare(
	struct transfer *t, const char *method, const char *path, const char *body, struct err *err)
{
	CURL *h = t->c->easy;
	OWN_FREE char *url = NULL;
	if (asprintf(&url, "http://teal%s", path) < 0)
		return err_set(err, ENOMEM, "%s %s", method, path);
	curl_easy_reset(h);
	int e = socket_set(t->c, err);
	if (e < 0)
		return e;
	curl_easy_setopt(h, CURLOPT_URL, url);
	curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, t->c->headers);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_PROXY, ""); /* never through an http_proxy of the environment */
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, bytes_in);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
	if (body)
		curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, body);
	else if (strcmp(method, "POST") == 0)
		curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, "");
	if (!t->stream)
		curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, body ? ORDER_TIMEOUT_MS : QUESTION_TIMEOUT_MS);
	return 0;
}

/* How the finished transfer went, as a negative errno. */
static int outcome(struct transfer *t, CURLcode code, struct err *err)
{
	long os_errno = 0;
	if (t->too_big)
		return err_say(err, EMSGSIZE, "the agent's answer is too long");
	switch ((int)code) {
	case CURLE_OK: return 0;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(t->c->easy, CURLINFO_OS_ERRNO, &os_errno);
		return err_set(err, os_errno ? (int)os_errno : ECONNREFUSED, "connect to %s", t->c->socket);
	case CURLE_OPERATION_TIMEDOUT:
		return err_say(err, ETIMEDOUT, "the agent on %s does not answer", t->c->socket);
	case CURLE_OUT_OF_MEMORY: return err_set(err, ENOMEM, "talk to the agent");
	default:
		return err_say(
			err, ECONNRESET, "lost the connection to the agent: %s", curl_easy_strerror(code));
	}
}

/* Runs the added transfer to its end. */
static int drive(struct transfer *t, struct err *err)
{
	struct client *c = t->c;
	struct curl_waitfd also = { .fd = c->interrupt_fd, .events = CURL_WAIT_POLLIN };
	int tick_ms = t->stream && t->stream->tick ? t->stream->tick_ms : 1000;
	int running = 1;
	for (;;) {
		curl_multi_perform(c->multi, &running);
		if (t->stopped)
			return t->stopped;
		if (interrupted(c))
			return err_say(err, EINTR, "interrupted");
		if (t->stream && t->stream->tick && (t->stopped = t->stream->tick(t->stream->arg)) != 0)
			return t->stopped;
		if (!running)
			break;
		curl_multi_poll(c->multi, &also, c->interrupt_fd >= 0, tick_ms, NULL);
	}
	int left;
	CURLMsg *m = curl_multi_info_read(c->multi, &left);
	return outcome(t, m ? m->data.result : CURLE_RECV_ERROR, err);
}

static int transfer_run(struct transfer *t, const char *method, const char *path, const char *body,
	unsigned *ret_status, struct err *err)
{
	int e = prepare(t, method, path, body, err);
	if (e < 0)
		return e;
	if (curl_multi_add_handle(t->c->multi, t->c->easy) != CURLM_OK)
		return err_set(err, ENOMEM, "%s %s", method, path);
	e = drive(t, err);
	*ret_status = status_of(t->c);
	curl_multi_remove_handle(t->c->multi, t->c->easy);
	own_close(&t->c->dir_fd);
	return e;
}

int client_call(struct client *c, const char *method, const char *path, const char *body,
	unsigned *ret_status, struct buf *ret_body, struct err *err)
{
	struct transfer t = { .c = c, .body = { .max = BODY_MAX } };
	int e = transfer_run(&t, method, path, body, ret_status, err);
	if (e < 0) {
		buf_done(&t.body);
		return e;
	}
	*ret_body = t.body;
	return 0;
}

int client_stream(struct client *c, const char *path, const struct client_stream *s, unsigned *ret_status,
	struct buf *ret_body, struct err *err)
{
	struct transfer t = { .c = c, .body = { .max = LINE_MAX_BYTES }, .stream = s };
	int e = transfer_run(&t, "GET", path, NULL, ret_status, err);
	if (e == 0 && *ret_status != 200)
		*ret_body = t.body;
	else
		buf_done(&t.body);
	return e;
}
