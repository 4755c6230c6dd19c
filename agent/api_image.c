/* Images over the API: what is here, bringing some here, removing some. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api_private.h"
#include "agent/service.h"
#include "base/log.h"
#include "base/own.h"

void api_images(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	http_reply(r, 200, json_pack("{s:o}", "images", a->driver->image_list(a->host)));
}

/* A digest, or enough of its beginning to name one image. */
static int find_image(struct agent *a, const char *text, char ret[DIGEST_LEN], struct err *err)
{
	static const char prefix[] = "sha256:";
	OWN_JSON json_t *images = a->driver->image_list(a->host);
	const char *hex = strncmp(text, prefix, sizeof prefix - 1) == 0 ? text + sizeof prefix - 1 : text;
	const json_t *image;
	unsigned found = 0;
	size_t i;
	json_array_foreach (images, i, image) {
		const char *digest = json_str(image, "digest", "");
		if (*hex && strncmp(digest + sizeof prefix - 1, hex, strlen(hex)) == 0 &&
			digest_valid(digest)) {
			memcpy(ret, digest, strlen(digest) + 1);
			found++;
		}
	}
	if (found > 1)
		return err_say(err, EINVAL, "%.80s: several images begin like this", text);
	return found == 1 ? 0 : err_say(err, ENOENT, "there is no image %.80s", text);
}

void api_image(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	struct err why = { 0 };
	char digest[DIGEST_LEN];
	json_t *record = NULL;
	if (find_image(a, http_param(r, "digest"), digest, &why) < 0 ||
		a->driver->image_inspect(a->host, digest, &record, &why) < 0) {
		api_error(r, &why);
		return;
	}
	json_object_set_new(record, "used", json_boolean(image_is_used(a, digest)));
	http_reply(r, 200, record);
}

struct fetch {
	struct agent *agent;
	struct http_request *request;
};

static void on_fetched(void *arg, int result, const char digest[DIGEST_LEN], const struct err *why)
{
	OWN_FREE struct fetch *f = arg;
	struct agent *a = f->agent;
	struct err failed = { 0 };
	if (a->closing)
		http_error(f->request, 503, "internal", "the agent is stopping");
	else if (result < 0)
		http_error(f->request, 422, "image", "%s", why ? why->msg : strerror(-result));
	else if (a->driver->image_keep(a->host, digest, &failed) < 0)
		api_error(f->request, &failed);
	else
		http_reply(f->request, 200, json_pack("{s:s}", "digest", digest));
}

void api_image_fetch(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	struct err why = { 0 };
	const char *ref = json_str(http_body(r), "reference", "");
	struct fetch *f = *ref ? calloc(1, sizeof *f) : NULL;
	if (!f) {
		http_error(r, *ref ? 500 : 400, *ref ? "internal" : "bad_request", "%s",
			*ref ? "out of memory" : "the body needs a reference");
		return;
	}
	*f = (struct fetch){ .agent = a, .request = r };
	if (a->driver->image_fetch(a->host, ref, NULL, on_fetched, f, NULL, &why) < 0) {
		free(f);
		http_error(r, 422, "image", "%s", why.msg);
	}
}

static void on_removed(void *arg, int result, const struct err *why)
{
	struct http_request *r = arg;
	if (result < 0 && why)
		api_error(r, why);
	else
		http_reply(r, 200, json_pack("{s:b}", "changed", 1));
}

void api_image_remove(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	struct err why = { 0 };
	char digest[DIGEST_LEN];
	int e = find_image(a, http_param(r, "digest"), digest, &why);
	if (e == 0 && image_is_used(a, digest))
		e = err_say(&why, EBUSY, "image %.19s is that of a service; see its history", digest);
	if (e == 0)
		e = a->driver->image_remove(a->host, digest, on_removed, r, &why);
	if (e < 0)
		api_error(r, &why);
}

/* Images only: the rest is removed with the generation that had it. */
void api_gc(void *arg, struct http_request *r)
{
	struct agent *a = arg;
	bool dry_run = json_flag(http_body(r), "dry_run", false);
	json_t *unused = images_unused(a);
	const json_t *image;
	int64_t bytes = 0;
	size_t i;
	json_array_foreach (unused, i, image)
		bytes += json_int(image, "size", 0);
	bool any = json_array_size(unused) > 0;
	if (!dry_run && any)
		images_collect(a);
	http_reply(r, 200,
		json_pack("{s:b, s:o, s:I}", "changed", any, "images", unused, "bytes", (json_int_t)bytes));
}
