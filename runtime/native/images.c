/* Image operations: the store's blocking calls, on a worker thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/own.h"
#include "runtime/native/native.h"

struct image_op;
typedef int (*store_call)(struct image_op *op, char ret[DIGEST_LEN], struct err *err);

struct image_op {
	struct native_op base;
	store_call call;
	struct image_job job;
	char *text;		 /* reference */
	char wanted[DIGEST_LEN]; /* "": whatever it means */
	char digest[DIGEST_LEN];
	bool cancelled;
	rt_image_done done;
	void *arg;
};

static int image_work(void *arg, struct err *err)
{
	struct image_op *op = arg;
	return op->call(op, op->digest, err);
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
	own_close(&op->job.cancel_fd);
	op->done(op->arg, result, op->digest, result < 0 ? err : NULL);
}

/* Layers that are complete stay, for the next try. */
static void image_cancel(struct rt_op *rt_op)
{
	struct image_op *op = CONTAINER_OF(CONTAINER_OF(rt_op, struct native_op, op), struct image_op, base);
	op->cancelled = true;
	eventfd_write(op->job.cancel_fd, 1);
}

static int resolve_call(struct image_op *op, char ret[DIGEST_LEN], struct err *err)
{
	return image_resolve(op->base.host->images, op->text, &op->job, ret, err);
}

static int import_call(struct image_op *op, char ret[DIGEST_LEN], struct err *err)
{
	const char *wanted = op->wanted[0] ? op->wanted : NULL;
	return image_import(op->base.host->images, op->text, wanted, &op->job, ret, err);
}

static struct image_op *op_new(const char *ref, const char *wanted)
{
	struct image_op *op = calloc(1, sizeof *op);
	if (!op)
		return NULL;
	op->text = strdup(ref);
	op->job.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wanted)
		snprintf(op->wanted, sizeof op->wanted, "%s", wanted);
	return op;
}

static void op_free(struct image_op *op)
{
	if (!op)
		return;
	own_close(&op->job.cancel_fd);
	free(op->text);
	free(op);
}

static int begin(struct rt_host *h, store_call call, const char *ref, const char *wanted, rt_image_done done,
	void *arg, struct rt_op **ret_op, struct err *err)
{
	struct image_op *op = op_new(ref, wanted);
	if (!op || !op->text || op->job.cancel_fd < 0) {
		op_free(op);
		return err_set(err, ENOMEM, "image %s", ref);
	}
	op->call = call;
	op->done = done;
	op->arg = arg;
	native_op_begin(h, &op->base, image_cancel);
	int r = native_work(h, image_work, image_done, op);
	if (r < 0) {
		native_op_end(&op->base);
		op_free(op);
		return err_set(err, -r, "image %s", ref);
	}
	if (ret_op)
		*ret_op = &op->base.op;
	return 0;
}

int images_resolve(struct rt_host *h, const char *ref, rt_image_done done, void *arg, struct rt_op **ret_op,
	struct err *err)
{
	return begin(h, resolve_call, ref, NULL, done, arg, ret_op, err);
}

int images_fetch(struct rt_host *h, const char *ref, const char *digest, rt_image_done done, void *arg,
	struct rt_op **ret_op, struct err *err)
{
	return begin(h, import_call, ref, digest, done, arg, ret_op, err);
}

bool images_present(struct rt_host *h, const char *digest)
{
	return image_present(h->images, digest);
}

json_t *images_list(struct rt_host *h)
{
	return image_list(h->images);
}

int images_inspect(struct rt_host *h, const char *digest, json_t **ret, struct err *err)
{
	return image_inspect(h->images, digest, ret, err);
}

int images_keep(struct rt_host *h, const char *digest, struct err *err)
{
	return image_keep(h->images, digest, err);
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
