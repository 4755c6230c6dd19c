#include "runtime/image/transfer.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/line.h"
#include "base/own.h"
#include "base/parse.h"

#define CONNECT_TIMEOUT_MS 10000L
#define STALL_S		   30L /* without a byte */

struct transfers {
	CURLM *multi;
	const struct image_job *job;
};

static void curl_failed(struct err *err, const char *what)
{
	err_say(err, ENOMEM, "%s: libcurl fails", what);
}

int transfers_open(const struct image_job *job, struct transfers **ret, struct err *err)
{
	struct transfers *ts = calloc(1, sizeof *ts);
	if (ts)
		ts->multi = curl_multi_init();
	if (!ts || !ts->multi) {
		free(ts);
		return err_set(err, ENOMEM, "connect");
	}
	ts->job = job;
	*ret = ts;
	return 0;
}

static void stop(struct transfers *ts, struct transfer *t)
{
	if (!t->easy)
		return;
	curl_multi_remove_handle(ts->multi, t->easy);
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	t->easy = t->headers = NULL;
}

/* libcurl has no list of what runs in version 7.88: who started them closes them (transfer_done). */
void transfers_close(struct transfers *ts)
{
	if (!ts)
		return;
	curl_multi_cleanup(ts->multi);
	free(ts);
}

void transfer_reset(struct transfer *t)
{
	buf_done(&t->body);
	t->body = (struct buf){ .max = t->max_bytes ? t->max_bytes : 65536 };
	t->result = 0;
	t->why = (struct err){ 0 };
	t->status = 0;
	t->tls_failed = t->has_range = false;
	t->content_type[0] = t->digest[0] = t->challenge[0] = t->location[0] = '\0';
	t->retry_after_s = -1;
	t->range_from = 0;
}

void transfer_done(struct transfer *t)
{
	if (t->easy)
		curl_easy_cleanup(t->easy); /* libcurl takes it out of its multi handle first */
	curl_slist_free_all(t->headers);
	free(t->url);
	if (t->authorization)
		explicit_bzero(t->authorization, strlen(t->authorization));
	free(t->authorization);
	buf_done(&t->body);
	*t = (struct transfer){ 0 };
}

/* --- what comes back --- */

static void keep(char *to, size_t size, const char *text)
{
	if (strlen(text) < size)
		line_copy(to, size, text);
}

static void take_range(struct transfer *t, const char *value)
{
	unsigned long long from;
	if (sscanf(value, "bytes %llu-", &from) == 1) {
		t->has_range = true;
		t->range_from = from;
	}
}

static void take_header(struct transfer *t, const char *name, const char *value)
{
	uint64_t seconds;
	if (strcasecmp(name, "content-type") == 0)
		snprintf(t->content_type, sizeof t->content_type, "%.*s", (int)strcspn(value, "; \t"), value);
	else if (strcasecmp(name, "docker-content-digest") == 0)
		keep(t->digest, sizeof t->digest, value);
	else if (strcasecmp(name, "location") == 0)
		keep(t->location, sizeof t->location, value);
	else if (strcasecmp(name, "content-range") == 0)
		take_range(t, value);
	else if (strcasecmp(name, "retry-after") == 0 && parse_u64(value, 0, 86400, &seconds) == 0)
		t->retry_after_s = (int64_t)seconds;
	else if (strcasecmp(name, "www-authenticate") == 0 && !t->challenge[0])
		keep(t->challenge, sizeof t->challenge, value);
}

static size_t on_header(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	OWN_FREE char *line = strndup(bytes, size * n);
	char *colon = line ? strchr(line, ':') : NULL;
	if (!colon)
		return size * n;
	*colon = '\0';
	char *value = colon + 1 + strspn(colon + 1, " \t");
	value[strcspn(value, "\r\n")] = '\0';
	take_header(t, line, value);
	return size * n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
	bool good = t->status >= 200 && t->status < 300;
	if (t->sink && !good)
		return n * size; /* the words of a failure that nobody reads */
	int r = t->sink ? t->sink(t, bytes, size * n, &t->why) : buf_add(&t->body, bytes, size * n);
	if (r == -EFBIG && !t->why.code)
		err_say(&t->why, EFBIG, "the answer is larger than %zu bytes", t->body.max);
	return r < 0 ? 0 : size * n;
}

/* Addresses of this host, its link, or of nobody, in either family. */
static bool is_local_v4(uint32_t a)
{
	return a >> 24 == 127 || a >> 24 == 0 || a >> 16 == 0xa9fe || a >> 28 >= 14;
}

static bool is_local(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, addr, sizeof in);
		return is_local_v4(ntohl(in.sin_addr.s_addr));
	}
	if (addr->sa_family != AF_INET6)
		return true;
	struct sockaddr_in6 in6;
	uint32_t tail;
	memcpy(&in6, addr, sizeof in6);
	memcpy(&tail, in6.sin6_addr.s6_addr + 12, sizeof tail);
	if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) || IN6_IS_ADDR_V4COMPAT(&in6.sin6_addr))
		return is_local_v4(ntohl(tail));
	return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr) ||
	       IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr) || IN6_IS_ADDR_MULTICAST(&in6.sin6_addr);
}

/* Asked about the address that is really connected to, whatever its name was. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct transfer *t = arg;
	(void)purpose;
	if (!t->local && is_local(&address->addr)) {
		err_say(&t->why, EACCES,
			"it leads to an address of this host or its link, which the registry is not");
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* --- asking --- */

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
	OWN_BUF struct buf line = { 0 };
	if (!value)
		return true;
	buf_addf(&line, "%s: %s", name, value);
	struct curl_slist *longer = line.failed ? NULL : curl_slist_append(*list, line.data);
	if (line.data)
		explicit_bzero(line.data, line.len);
	if (longer)
		*list = longer;
	return longer != NULL;
}

static void set_target(CURL *easy, struct transfer *t)
{
	curl_easy_setopt(easy, CURLOPT_URL, t->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	if (t->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, t->ca_file);
	if (t->form)
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->form);
	if (t->local) /* never by a proxy: the way to oneself */
		curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	if (t->from > 0) {
		char range[32];
		snprintf(range, sizeof range, "%llu-", (unsigned long long)t->from);
		curl_easy_setopt(easy, CURLOPT_RANGE, range);
	}
}

static void set_manners(CURL *easy, struct transfer *t)
{
	curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "teal/" TEAL_VERSION);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, STALL_S);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
}

int transfers_start(struct transfers *ts, struct transfer *t, struct err *err)
{
	struct curl_slist *headers = NULL;
	CURL *easy = curl_easy_init();
	transfer_reset(t);
	bool ok = easy && add_header(&headers, "Accept", t->accept) &&
		  add_header(&headers, "Authorization", t->authorization);
	if (ok) {
		set_target(easy, t);
		set_manners(easy, t);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	}
	t->easy = easy;
	t->headers = headers;
	if (ok && curl_multi_add_handle(ts->multi, easy) == CURLM_OK)
		return 0;
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	t->easy = t->headers = NULL;
	curl_failed(err, "connect");
	return -ENOMEM;
}

/* Of all that libcurl can say: may another try help? */
static int transport_code(CURLcode code)
{
	switch ((int)code) {
	case CURLE_COULDNT_RESOLVE_HOST: return EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT: return ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT: return ETIMEDOUT;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE: return EKEYREJECTED;
	case CURLE_OUT_OF_MEMORY: return ENOMEM;
	default: return EPIPE;
	}
}

static void finish(struct transfers *ts, struct transfer *t, CURLcode code)
{
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
	if (code != CURLE_OK && !t->why.code)
		err_say(&t->why, transport_code(code), "%s", curl_easy_strerror(code));
	t->tls_failed = code == CURLE_SSL_CONNECT_ERROR;
	t->result = code == CURLE_OK ? 0 : -t->why.code;
	stop(ts, t);
}

static struct transfer *take_finished(struct transfers *ts)
{
	int left;
	for (CURLMsg *m; (m = curl_multi_info_read(ts->multi, &left));) {
		struct transfer *t = NULL;
		CURLcode code = m->data.result;
		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		finish(ts, t, code);
		return t;
	}
	return NULL;
}

int transfers_wait(struct transfers *ts, int64_t wait_ms, struct transfer **ret, struct err *err)
{
	int64_t end_ms = clock_boot_ms() + wait_ms;
	*ret = NULL;
	for (;;) {
		int running, r = image_job_check(ts->job, err);
		if (r < 0)
			return r;
		curl_multi_perform(ts->multi, &running);
		*ret = take_finished(ts);
		int64_t left = end_ms - clock_boot_ms();
		if (*ret || left <= 0)
			return 0;
		struct curl_waitfd cancel = { .fd = ts->job ? ts->job->cancel_fd : -1,
			.events = CURL_WAIT_POLLIN };
		curl_multi_poll(
			ts->multi, &cancel, cancel.fd >= 0 ? 1 : 0, (int)(left < 1000 ? left : 1000), NULL);
	}
}

int transfers_run(struct transfers *ts, struct transfer *t, struct err *err)
{
	struct transfer *back = NULL;
	int r = transfers_start(ts, t, err);
	while (r == 0 && !back)
		r = transfers_wait(ts, 1000, &back, err);
	if (r < 0)
		stop(ts, t);
	return r;
}

/* --- URLs --- */

static int take_part(CURLU *u, CURLUPart part, unsigned flags, char *ret, size_t size)
{
	char *text = NULL;
	if (curl_url_get(u, part, &text, flags) != CURLUE_OK)
		return -EINVAL;
	bool fits = strlen(text) < size;
	if (fits)
		memcpy(ret, text, strlen(text) + 1);
	curl_free(text);
	return fits ? 0 : -EINVAL;
}

static int read_parts(CURLU *u, const char *url, struct url_host *ret)
{
	char scheme[16], port[16], user[4];
	uint64_t number;
	if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
		take_part(u, CURLUPART_SCHEME, 0, scheme, sizeof scheme) < 0 ||
		take_part(u, CURLUPART_HOST, 0, ret->host, sizeof ret->host) < 0 ||
		take_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port) < 0 ||
		parse_u64(port, 1, 65535, &number) < 0)
		return -EINVAL;
	char *there = NULL;
	if (curl_url_get(u, CURLUPART_USER, &there, 0) == CURLUE_OK ||
		take_part(u, CURLUPART_PASSWORD, 0, user, sizeof user) == 0) {
		curl_free(there);
		return -EINVAL;
	}
	ret->https = strcmp(scheme, "https") == 0;
	ret->port = (unsigned)number;
	for (char *c = ret->host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return ret->https || strcmp(scheme, "http") == 0 ? 0 : -EINVAL;
}

int url_host_read(const char *url, struct url_host *ret)
{
	CURLU *u = curl_url();
	int r = u ? read_parts(u, url, ret) : -ENOMEM;
	curl_url_cleanup(u);
	return r;
}

bool url_host_equal(const struct url_host *a, const struct url_host *b)
{
	return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool host_is_loopback(const char *host)
{
	struct in_addr in;
	if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
		return true;
	return inet_pton(AF_INET, host, &in) == 1 && ntohl(in.s_addr) >> 24 == 127;
}

static bool is_address(const char *host)
{
	struct in_addr in;
	return *host == '[' || inet_pton(AF_INET, host, &in) == 1;
}

/* The last two labels. */
static const char *domain_of(const char *host)
{
	const char *last = strrchr(host, '.'), *at = last;
	if (!last)
		return NULL;
	while (at > host && at[-1] != '.')
		at--;
	return at;
}

bool host_is_related(const char *of, const char *to)
{
	if (strcmp(of, to) == 0)
		return true;
	const char *a = domain_of(of), *b = domain_of(to);
	return !is_address(of) && !is_address(to) && a && b && strcmp(a, b) == 0;
}

char *url_join(const char *base, const char *location)
{
	CURLU *u = curl_url();
	char *text = NULL, *copy = NULL;
	if (u && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
		curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
		copy = strdup(text);
	curl_free(text);
	curl_url_cleanup(u);
	return copy;
}

char *url_escape(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0);
	char *copy = escaped ? strdup(escaped) : NULL;
	curl_free(escaped);
	return copy;
}
