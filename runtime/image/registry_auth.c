/* What a registry wants to see: HTTP's Basic, or a token from the realm that its challenge names. A challenge
 * is a stranger's word: credentials go to the registry's own domain by TLS, or nowhere. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/own.h"
#include "runtime/image/registry_private.h"

#define TOKEN_MAX_BYTES ((size_t)64 * 1024)

struct challenge {
	bool bearer;
	char realm[1024], service[256];
};

/* KEY="value" or KEY=value of a list of them. */
static bool find_param(const char *params, const char *key, char *ret, size_t size)
{
	size_t n = strlen(key);
	for (const char *at = params; *at;) {
		at += strspn(at, " ,\t");
		const char *eq = at + strcspn(at, "= ,");
		if (*eq != '=')
			return false;
		bool found = (size_t)(eq - at) == n && strncasecmp(at, key, n) == 0;
		size_t len = 0;
		const char *value = eq + 1, *end;
		if (*value == '"') {
			end = strchr(++value, '"');
			if (!end)
				return false;
			len = (size_t)(end++ - value);
		} else {
			len = strcspn(value, ", ");
			end = value + len;
		}
		if (found && len < size) {
			memcpy(ret, value, len);
			ret[len] = '\0';
			return true;
		}
		at = end;
	}
	return false;
}

static int challenge_read(const char *text, struct challenge *ret, struct err *err)
{
	static const char bearer[] = "Bearer ", basic[] = "Basic";
	*ret = (struct challenge){ 0 };
	if (strncasecmp(text, basic, sizeof basic - 1) == 0)
		return 0;
	if (strncasecmp(text, bearer, sizeof bearer - 1) != 0)
		return err_say(err, ENOTSUP,
			"it asks for a kind of authentication that is neither Basic nor Bearer");
	ret->bearer = true;
	if (!find_param(text + sizeof bearer - 1, "realm", ret->realm, sizeof ret->realm))
		return err_say(err, EINVAL, "it asks for a token and does not say where from");
	find_param(text + sizeof bearer - 1, "service", ret->service, sizeof ret->service);
	return 0;
}

/* In the clear only where the registry itself is this host. */
static int check_realm(
	const struct registry *r, const struct challenge *c, struct url_host *ret, struct err *err)
{
	if (url_host_read(c->realm, ret) < 0)
		return err_say(err, EINVAL, "its realm is not a URL that can be used");
	bool local = host_is_loopback(r->at.host);
	if (!ret->https && !(!r->at.https && local && host_is_loopback(ret->host)))
		return err_say(
			err, EACCES, "its realm %.200s is not https: nothing is sent there", ret->host);
	if (!host_is_related(r->at.host, ret->host) && !(local && host_is_loopback(ret->host)))
		return err_say(err, EACCES,
			"its realm %.200s is of another domain than the registry: nothing is sent there",
			ret->host);
	return 0;
}

static int set_basic(struct registry *r, char **to, struct err *err)
{
	OWN_BUF struct buf value = { 0 };
	char *basic = credentials_basic(r->credentials.user, r->credentials.password);
	if (!basic || buf_addf(&value, "Basic %s", basic) < 0) {
		free(basic);
		return err_set(err, ENOMEM, "authenticate");
	}
	explicit_bzero(basic, strlen(basic));
	free(basic);
	*to = buf_take(&value);
	return *to ? 0 : err_set(err, ENOMEM, "authenticate");
}

static bool is_token(const char *text)
{
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)text[i]))
			return false;
	return n > 0;
}

static int take_token(struct registry *r, const struct transfer *t, struct err *err)
{
	OWN_JSON json_t *j = NULL;
	OWN_BUF struct buf value = { 0 };
	if (t->status == 401 || t->status == 403)
		return err_say(err, EACCES, "the token server refuses %s",
			r->credentials.user ? "the user name or password"
					    : "to give one without credentials");
	if (t->status != 200)
		return err_say(err, EPROTO, "the token server answers %ld", t->status);
	int e = json_parse(
		t->body.data ? t->body.data : "", t->body.len, "the token server's answer", &j, err);
	if (e < 0)
		return e;
	const char *token = json_str(j, "token", json_str(j, "access_token", ""));
	if (!is_token(token))
		return err_say(err, EPROTO, "the token server's answer has no token");
	buf_addf(&value, "Bearer %s", token);
	free(r->authorization);
	r->authorization = buf_take(&value);
	return r->authorization ? 0 : err_set(err, ENOMEM, "authenticate");
}

/* The scope is ours to say: reading this repository, whatever the challenge would like. */
static int describe(const struct registry *r, const struct challenge *c, struct buf *ret)
{
	OWN_BUF struct buf scope = { 0 };
	if (r->repository)
		buf_addf(&scope, "repository:%s:pull", r->repository);
	OWN_FREE char *service = url_escape(c->service);
	OWN_FREE char *wanted = scope.len ? url_escape(scope.data) : NULL;
	buf_addf(ret, "service=%s", service ? service : "");
	if (wanted)
		buf_addf(ret, "&scope=%s", wanted);
	return ret->failed ? -ENOMEM : 0;
}

/* An identity token buys tokens by OAuth 2, which is a POST; a name and a password by a plain GET. */
static int fetch_token(struct registry *r, const struct challenge *c, struct err *err)
{
	struct url_host at;
	OWN(transfer_done) struct transfer t = { .max_bytes = TOKEN_MAX_BYTES };
	OWN_BUF struct buf url = { 0 }, query = { 0 };
	int e = check_realm(r, c, &at, err);
	if (e == 0 && describe(r, c, &query) < 0)
		e = err_set(err, ENOMEM, "authenticate");
	if (e < 0)
		return e;
	if (r->credentials.refresh_token) {
		OWN_FREE char *secret = url_escape(r->credentials.refresh_token);
		buf_addf(&query, "&grant_type=refresh_token&client_id=teal&refresh_token=%s",
			secret ? secret : "");
		buf_adds(&url, c->realm);
		t.form = query.data;
	} else {
		buf_addf(&url, "%s%c%s", c->realm, strchr(c->realm, '?') ? '&' : '?', query.data);
	}
	t.url = buf_take(&url);
	t.ca_file = r->ca_file;
	t.local = host_is_loopback(at.host);
	if (r->credentials.user)
		e = set_basic(r, &t.authorization, err);
	if (e == 0)
		e = t.url ? transfers_run(r->transfers, &t, err) : err_set(err, ENOMEM, "authenticate");
	if (e == 0 && t.result < 0)
		e = err_say(err, t.why.code, "token server %.200s: %s", at.host, t.why.msg);
	return e < 0 ? e : take_token(r, &t, err);
}

int registry_authorize(struct registry *r, const char *challenge, struct err *err)
{
	struct challenge c;
	int e = challenge_read(challenge, &c, err);
	if (e < 0)
		return e;
	if (c.bearer)
		return fetch_token(r, &c, err);
	if (!r->credentials.user)
		return err_say(err, EACCES, "it wants a user name and a password: teal login %s", r->host);
	free(r->authorization);
	r->authorization = NULL;
	return set_basic(r, &r->authorization, err);
}
