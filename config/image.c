#include <errno.h>
#include <string.h>

#include "base/line.h"
#include "config/paths.h"
#include "config/reference.h"
#include "config/steps.h"
#include "config/text.h"

static void refuse(const struct node *at, const struct err *why, struct diag_list *d)
{
	static const char kinds[] =
		"rootfs:DIR, oci:DIR, oci-archive:FILE, docker-archive:FILE, or an image of a registry";
	char shown[TEXT_SHOWN_MAX], hint[TEXT_SHOWN_MAX + 40], clean[400];
	text_show(at->text, shown);
	snprintf(hint, sizeof hint, "did you mean `rootfs:%s`?", shown);
	if (*at->text == '/' || *at->text == '.') {
		node_fault(d, at, hint, "`image`: `%s` is not an image", shown);
		return;
	}
	line_copy(clean, sizeof clean, why->msg);
	node_fault(d, at, kinds, "`image`: %s", clean);
}

/* PATH becomes absolute: the agent has another working directory than who wrote it. */
static int make_absolute(
	char **image, struct image_ref *ref, const struct node *at, const char *base_dir, struct diag_list *d)
{
	if (*ref->path != '/' && !base_dir) {
		node_fault(d, at, NULL, "`image`: the path must be absolute here");
		return 0;
	}
	char *path = path_absolute(base_dir, ref->path);
	if (!path)
		return -ENOMEM;
	free(ref->path);
	ref->path = path;
	char *text = image_ref_format(ref);
	if (!text)
		return -ENOMEM;
	free(*image);
	*image = text;
	return 0;
}

int image_locate(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d)
{
	const struct node *at = node_locate(root, "image");
	OWN_IMAGE_REF struct image_ref ref = { 0 };
	struct err why = { 0 };
	if (!s->container.image)
		return 0;
	if (image_ref_parse(s->container.image, &ref, &why) < 0) {
		if (why.code == ENOMEM)
			return -ENOMEM;
		refuse(at, &why, d);
		return 0;
	}
	return ref.kind == IMAGE_REGISTRY ? 0 : make_absolute(&s->container.image, &ref, at, base_dir, d);
}
