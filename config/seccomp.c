/* The seccomp profile of a spec: its file's content takes the place of its name, so that a generation keeps
 * the profile that it was deployed with. What the profile says is for the runtime to judge. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/own.h"
#include "base/parse.h"
#include "config/paths.h"
#include "config/steps.h"
#include "config/text.h"

#define PROFILE_MAX_BYTES (256u * 1024)

static const char *const words[] = { "default", "unconfined", NULL };

static bool is_word(const char *text)
{
	for (const char *const *word = words; *word; word++)
		if (strcmp(*word, text) == 0)
			return true;
	return false;
}

/* Its canonical form, or NULL with the fault told (or, without one, out of memory). */
static char *read_profile(const char *text, size_t len, const struct node *at, struct diag_list *d)
{
	OWN_JSON json_t *profile = NULL;
	struct err err = { 0 };
	if (json_parse(text, len, "seccomp", &profile, &err) < 0) {
		if (err.code != ENOMEM)
			node_fault(d, at, NULL, "`seccomp`: the profile is malformed: %s", err.msg);
		return NULL;
	}
	if (!json_is_string(json_object_get(profile, "defaultAction"))) {
		node_fault(d, at, "the form is that of the OCI's linux.seccomp",
			"`seccomp`: the profile has no `defaultAction`");
		return NULL;
	}
	return json_canonical(profile);
}

static char *read_file(const char *path, const struct node *at, struct diag_list *d)
{
	OWN_BUF struct buf text = { 0 };
	struct err err = { 0 };
	char hint[48];
	if (path_read(path, PROFILE_MAX_BYTES, &text, &err) == 0)
		return read_profile(text.data ? text.data : "", text.len, at, d);
	const char *near = suggest(at->text, words);
	snprintf(hint, sizeof hint, "did you mean `%s`?", near ? near : "");
	if (err.code != ENOMEM)
		node_fault(d, at, near ? hint : NULL, "`seccomp`: %s", err.msg);
	return NULL;
}

int seccomp_read(struct spec *s, const struct node *root, const char *base_dir, struct diag_list *d)
{
	const struct node *at = node_locate(root, "seccomp");
	const char *text = s->container.seccomp;
	size_t errors = d->errors;
	char *profile;
	if (!text || is_word(text))
		return 0;
	if (*text == '{') {
		profile = read_profile(text, strlen(text), at, d);
	} else if (*text != '/' && !base_dir) {
		node_fault(d, at, NULL, "`seccomp`: the file must have an absolute path here");
		return 0;
	} else {
		OWN_FREE char *path = path_absolute(base_dir, text);
		profile = path ? read_file(path, at, d) : NULL;
	}
	if (!profile)
		return d->errors > errors ? 0 : -ENOMEM;
	free(s->container.seccomp);
	s->container.seccomp = profile;
	return 0;
}
