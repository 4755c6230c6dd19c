/* What nobody needs any more: records beyond a service's history, their logs, images that no record names. */
#include <errno.h>
#include <string.h>

#include "agent/secrets.h"
#include "agent/service.h"
#include "base/log.h"
#include "base/own.h"

struct pruning {
	struct service *service;
	uint32_t kept, keep;
	int64_t *drop;
	size_t n, cap;
};

static void consider_pruning(void *arg, const struct row_generation *r)
{
	struct pruning *p = arg;
	if (service_generation(p->service, (uint32_t)r->number))
		return; /* lives */
	if (p->kept < p->keep) {
		p->kept++;
		return;
	}
	if (vec_reserve(&p->drop, &p->cap, p->n + 1, sizeof *p->drop) < 0)
		return;
	p->drop[p->n++] = r->number;
}

struct image_use {
	const char *digest;
	bool used;
};

static void image_used(void *arg, const struct row_generation *r)
{
	struct image_use *u = arg;
	u->used |= r->image_digest && strcmp(r->image_digest, u->digest) == 0;
}

static void image_removed(void *arg, int result, const struct err *why)
{
	(void)arg;
	if (result < 0 && why)
		log_warn("remove image: %s", why->msg);
}

bool image_is_used(struct agent *a, const char *digest)
{
	struct image_use use = { digest, false };
	return store_generations(a->store, NULL, image_used, &use, NULL) < 0 || use.used;
}

json_t *images_unused(struct agent *a)
{
	OWN_JSON json_t *images = a->driver->image_list(a->host);
	json_t *unused = json_array(), *image;
	size_t i;
	json_array_foreach (images, i, image) {
		if (!json_flag(image, "kept", false) && !image_is_used(a, json_str(image, "digest", "")))
			json_array_append(unused, image);
	}
	return unused;
}

void images_collect(struct agent *a)
{
	OWN_JSON json_t *unused = images_unused(a);
	size_t i;
	json_t *image;
	json_array_foreach (unused, i, image) {
		struct err why = { 0 };
		if (a->driver->image_remove(
			    a->host, json_str(image, "digest", ""), image_removed, NULL, &why) < 0)
			log_warn("remove image: %s", why.msg);
	}
}

void service_prune(struct service *s)
{
	struct agent *a = s->agent;
	struct err why = { 0 };
	struct pruning p = { .service = s, .keep = s->active ? s->active->spec->deploy.history : 0 };
	if (!s->active && !s->removed)
		return;
	if (store_generations(a->store, s->name, consider_pruning, &p, NULL) < 0 || p.n == 0)
		return;
	store_begin(a->store);
	for (size_t i = 0; i < p.n; i++)
		store_delete_generation(a->store, s->name, p.drop[i]);
	if (store_commit(a->store, &why) < 0)
		log_error("%s: %s", s->name, why.msg);
	else
		secrets_collect(s);
	for (size_t i = 0; i < p.n; i++)
		a->driver->logs_remove(a->host, s->name, (uint32_t)p.drop[i], NULL);
	free(p.drop);
	images_collect(a);
}
