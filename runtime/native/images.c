/* Image operations: the store's blocking calls, on a worker thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "runtime/native/native.h"

typedef int (*store_call)(struct image_store *s, const char *ref, char ret[DIGEST_LEN], struct err *err);

struct image_op {
	struct native_op base;
	store_call call;
	char *text; /* reference or digest */
	char digest[DIGEST_LEN];
	bool cancelled;
	rt_image_done done;
	void *arg;
};

static int image_work(void *arg, struct err *err)
{
	struct image_op *op = arg;
	return op->call(op->base.host->images, op->text, op->digest, err);
}

static void image_done(void *arg, int result, const struct err *err)
{
	OWN_FREE struct image_op *op = arg;
	OWN_FREE char *text = op->text;
	struct err cancelled;
	if (op->cancelled) {
		result = err_say(&cancelled, ECANCELED, "image %s: cancelled", text);
		err = &cancelled;
	}
	native_op_end(&op->base);
	op->done(op->arg, result, op->digest, result < 0 ? err : NULL);
}

/* The work itself can't be interrupted; what it has made present stays, which is harmless. */
static void image_cancel(struct rt_op *op)
{
	CONTAINER_OF(CONTAINER_OF(op, struct native_op, op), struct image_op, base)->cancelled = true;
}

static int begin(struct rt_host *h, store_call call, const char *ref, rt_image_done done, void *arg,
	struct rt_op **ret_op, struct err *err)
{
	struct image_op *op = calloc(1, sizeof *op);
	char *text = strdup(ref);
	if (!op || !text) {
		free(op);
		free(text);
		return err_set(err, ENOMEM, "image %s", ref);
	}
	op->call = call;
	op->text = text;
	op->done = done;
	op->arg = arg;
	native_op_begin(h, &op->base, image_cancel);
	int r = native_work(h, image_work, image_done, op);
	if (r < 0) {
		native_op_end(&op->base);
		free(op);
		free(text);
		return err_set(err, -r, "image %s", ref);
	}
	if (ret_op)
		*ret_op = &op->base.op;
	return 0;
}

int images_resolve(struct rt_host *h, const char *ref, rt_image_done done, void *arg, struct rt_op **ret_op,
	struct err *err)
{
	return begin(h, image_resolve, ref, done, arg, ret_op, err);
}

int images_fetch(struct rt_host *h, const char *ref, rt_image_done done, void *arg, struct rt_op **ret_op,
	struct err *err)
{
	return begin(h, image_import, ref, done, arg, ret_op, err);
}

bool images_present(struct rt_host *h, const char *digest)
{
	return image_present(h->images, digest);
}

json_t *images_list(struct rt_host *h)
{
	return image_list(h->images);
}

struct removal {
	struct rt_host *host;
	char digest[DIGEST_LEN];
	rt_done done;
	void *arg;
};

static int remove_work(void *arg, struct err *err)
{
	struct removal *r = arg;
	return image_remove(r->host->images, r->digest, err);
}

static void remove_done(void *arg, int result, const struct err *err)
{
	OWN_FREE struct removal *r = arg;
	r->done(r->arg, result, err);
}

int images_remove(struct rt_host *h, const char *digest, rt_done done, void *arg, struct err *err)
{
	struct removal *r = digest_valid(digest) ? calloc(1, sizeof *r) : NULL;
	if (!r)
		return err_say(err, EINVAL, "remove image %s: no such digest", digest);
	*r = (struct removal){ .host = h, .done = done, .arg = arg };
	memcpy(r->digest, digest, strlen(digest) + 1);
	int result = native_work(h, remove_work, remove_done, r);
	if (result < 0) {
		free(r);
		return err_set(err, -result, "remove image %s", digest);
	}
	return 0;
}
