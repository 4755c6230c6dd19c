/* Values of secrets: from their files into this process's memory, from there onto a tmpfs of the container.
 * They are on no disk but in the agent's own files, and in memory only between two steps. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/shim/shim.h"

#define SECRETS	  "/run/secrets"
#define VALUE_MAX (64u * 1024)

int secrets_parse(const char *note, struct shim_config *c, struct err *err)
{
	size_t cap = 0;
	while (*note) {
		size_t len = strcspn(note, "\n");
		const char *eq = memchr(note, '=', len);
		if (!eq || eq == note || memchr(note, '/', (size_t)(eq - note)) || *note == '.')
			return err_say(err, EINVAL, BUNDLE_CONFIG ": " NOTE_SECRETS ": malformed");
		if (vec_reserve(&c->secrets, &cap, c->n_secrets + 1, sizeof *c->secrets) < 0)
			return err_set(err, ENOMEM, BUNDLE_CONFIG);
		struct secret_spec *s = &c->secrets[c->n_secrets++];
		s->name = strndup(note, (size_t)(eq - note));
		s->file = strndup(eq + 1, len - (size_t)(eq + 1 - note));
		if (!s->name || !s->file)
			return err_set(err, ENOMEM, BUNDLE_CONFIG);
		note += len + (note[len] == '\n');
	}
	return 0;
}

int secrets_read(struct shim *s, struct err *err)
{
	for (size_t i = 0; i < s->config.n_secrets; i++) {
		struct secret_spec *secret = &s->config.secrets[i];
		int r = fs_read_file(AT_FDCWD, secret->file, VALUE_MAX, &secret->value, err);
		if (r < 0)
			return err_wrap(err, "secret %s", secret->name);
	}
	return 0;
}

void secrets_forget(const struct shim_config *c)
{
	for (size_t i = 0; i < c->n_secrets; i++)
		if (c->secrets[i].value.data)
			explicit_bzero(c->secrets[i].value.data, c->secrets[i].value.cap);
}

static int place_one(const struct shim_config *c, int dir, const struct secret_spec *s, struct err *err)
{
	OWN_FD int fd = openat(dir, s->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (fd < 0)
		return err_set(err, errno, "secret %s", s->name);
	ssize_t n = s->value.len ? write(fd, s->value.data, s->value.len) : 0;
	if (n != (ssize_t)s->value.len)
		return err_set(err, n < 0 ? errno : ENOSPC, "secret %s", s->name);
	if (fchown(fd, c->uid, c->gid) < 0 || fchmod(fd, 0400) < 0)
		return err_set(err, errno, "secret %s", s->name);
	return 0;
}

int secrets_place(const struct shim_config *c, int root_fd, struct err *err)
{
	OWN_FD int dir = -1;
	if (c->n_secrets == 0)
		return 0;
	int r = tree_resolve(root_fd, SECRETS, &dir);
	if (r < 0)
		return err_set(err, -r, "open " SECRETS);
	for (size_t i = 0; r == 0 && i < c->n_secrets; i++)
		r = place_one(c, dir, &c->secrets[i], err);
	secrets_forget(c);
	return r < 0 ? r : tree_set(dir, MOUNT_ATTR_RDONLY, false, err);
}
