#include <errno.h>
#include <string.h>

#include "config/paths.h"
#include "config/steps.h"
#include "config/text.h"

#define ROOTFS "rootfs:"

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Looks like something that an image could be called: "web", "registry:5000/shop/web:1.5@sha256:…",
 * "oci:DIR". */
static bool is_reference(const char *text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = strlen(text);
	return strchr(letters, *text) && strspn(text, letters) > 0 && strchr(letters, text[n - 1]) &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@+") == n;
}

static void refuse(const struct node *at, struct diag_list *d)
{
	static const char *const archives[] = { "oci:", "oci-archive:", "docker-archive:" };
	char shown[TEXT_SHOWN_MAX], hint[TEXT_SHOWN_MAX + 40];
	text_show(at->text, shown);
	bool later = is_reference(at->text);
	for (size_t i = 0; i < ARRAY_LEN(archives); i++)
		later = later || starts_with(at->text, archives[i]);
	if (later) {
		node_fault(d, at, "for now: rootfs:DIR, a directory with a root file system",
			"`image`: `%s`: images from registries and archives come in a later version", shown);
		return;
	}
	snprintf(hint, sizeof hint, "did you mean `rootfs:%s`?", shown);
	bool path = *at->text == '/' || *at->text == '.';
	node_fault(d, at, path ? hint : "rootfs:DIR, a directory with a root file system",
		"`image`: `%s` is not an image", shown);
}

int image_locate(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d)
{
	const char *image = s->container.image;
	const struct node *at = node_locate(root, "image");
	if (!image)
		return 0;
	if (!starts_with(image, ROOTFS)) {
		refuse(at, d);
		return 0;
	}
	const char *dir = image + strlen(ROOTFS);
	if (!*dir || (*dir != '/' && !base_dir)) {
		node_fault(d, at, NULL,
			*dir ? "`image`: the directory must be an absolute path here"
			     : "`image`: the directory is missing");
		return 0;
	}
	OWN_FREE char *path = path_absolute(base_dir, dir);
	OWN_BUF struct buf absolute = { 0 };
	if (!path)
		return -ENOMEM;
	buf_addf(&absolute, ROOTFS "%s", path);
	char *text = buf_take(&absolute);
	if (!text)
		return -ENOMEM;
	free(s->container.image);
	s->container.image = text;
	return 0;
}
