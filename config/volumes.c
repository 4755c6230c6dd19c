#include "config/volumes.h"

#include <errno.h>
#include <string.h>

#include "config/paths.h"
#include "config/spec.h"
#include "config/steps.h"
#include "config/syntax.h"
#include "config/text.h"

#define SHORT_FORMS "\"uploads:/data\" or \"/srv/files:/files:ro\": source:target, and perhaps `ro`"

static int refuse_short(const struct node *n, const char *why, struct diag_list *d)
{
	char shown[TEXT_SHOWN_MAX];
	node_fault(d, n, SHORT_FORMS, "`volumes`: `%s` %s", text_show(n->text, shown), why);
	return 0;
}

static bool read_mode(const char *mode, struct spec_volume *v)
{
	v->read_only = strcmp(mode, "ro") == 0;
	return v->read_only || strcmp(mode, "rw") == 0;
}

int volumes_read_short(const struct node *n, void *item, struct diag_list *d)
{
	struct spec_volume *v = item;
	const char *colon = strchr(n->text, ':');
	if (!colon)
		return refuse_short(n, "names one place, where two are needed", d);
	const char *target = colon + 1, *mode = strchr(target, ':');
	OWN_FREE char *source = strndup(n->text, (size_t)(colon - n->text));
	OWN_FREE char *inside = mode ? strndup(target, (size_t)(mode - target)) : strdup(target);
	if (!source || !inside)
		return -ENOMEM;
	if (mode && !read_mode(mode + 1, v))
		return refuse_short(n, "ends with neither `ro` nor `rw`", d);
	const char *why = syntax_volume_source(source);
	if (!why)
		why = syntax_volume_target(inside);
	if (why)
		return refuse_short(n, why, d);
	v->source = TAKE_PTR(source);
	v->target = TAKE_PTR(inside);
	return 0;
}

static const struct node *volume_node(const struct node *root, size_t i, const char *key)
{
	char path[48];
	snprintf(path, sizeof path, "volumes[%zu].%s", i, key);
	return node_locate(root, path);
}

static int locate_one(struct spec_volume *v, const struct node *at, const char *base_dir, struct diag_list *d)
{
	bool path = v->source && (*v->source == '/' || *v->source == '.');
	if (path && v->type == SPEC_VOLUME_NAMED)
		v->type = SPEC_VOLUME_BIND;
	if (v->type != SPEC_VOLUME_BIND || !v->source)
		return 0;
	if (*v->source != '/' && !base_dir) {
		node_fault(d, at, NULL, "`volumes`: the source of a bind must be an absolute path here");
		return 0;
	}
	char *absolute = path_absolute(base_dir, v->source);
	if (!absolute)
		return -ENOMEM;
	free(v->source);
	v->source = absolute;
	return 0;
}

int volumes_locate(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d)
{
	for (size_t i = 0; i < s->container.n_volumes; i++) {
		struct spec_volume *v = &s->container.volumes[i];
		int r = locate_one(v, volume_node(root, i, "source"), base_dir, d);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The rules of one volume. */
static void check_one(const struct spec_volume *v, const struct node *root, size_t i, struct diag_list *d)
{
	bool memory = v->type == SPEC_VOLUME_TMPFS;
	if (memory && v->source)
		node_fault(d, volume_node(root, i, "source"), NULL, "`volumes`: a tmpfs has no source");
	if (!memory && !v->source)
		node_fault(d, volume_node(root, i, "source"), "or is it meant to be `type: tmpfs`?",
			"`volumes[].source` is missing");
	if (!memory && v->size_bytes)
		node_fault(d, volume_node(root, i, "size"), NULL, "`volumes`: only a tmpfs has a size");
	if (memory && v->access == SPEC_ACCESS_EXCLUSIVE)
		node_fault(d, volume_node(root, i, "access"), NULL,
			"`volumes`: each container has a tmpfs of its own already");
}

void volumes_check(const struct spec *s, const struct node *root, struct diag_list *d)
{
	const struct spec_container *c = &s->container;
	for (size_t j = 0; j < c->n_volumes; j++) {
		const struct spec_volume *v = &c->volumes[j];
		check_one(v, root, j, d);
		if (v->access == SPEC_ACCESS_EXCLUSIVE && s->deploy.replicas > 1)
			node_fault(d, volume_node(root, j, "access"),
				"`deploy.replicas: 1`, or `access: shared`",
				"`volumes`: %u replicas can't each have it exclusively", s->deploy.replicas);
		for (size_t i = 0; i < j; i++)
			if (v->target && c->volumes[i].target && strcmp(v->target, c->volumes[i].target) == 0)
				node_fault(d, volume_node(root, j, "target"), NULL,
					"`volumes`: items %zu and %zu have the same target", i + 1, j + 1);
	}
}
