#include "runtime/native/filters.h"

#include <errno.h>
#include <string.h>

#include "base/own.h"
#include "runtime/native/seccomp.h"

void filters_open(struct filters *f)
{
	*f = (struct filters){ 0 };
	pthread_mutex_init(&f->lock, NULL);
}

void filters_close(struct filters *f)
{
	for (unsigned i = 0; i < FILTERS_KEPT; i++)
		buf_done(&f->kept[i].program);
	pthread_mutex_destroy(&f->lock);
}

static int find_or_make(
	struct filters *f, const char *digest, const json_t *profile, const struct buf **ret, struct err *err)
{
	struct buf program = { 0 };
	for (unsigned i = 0; i < FILTERS_KEPT; i++)
		if (strcmp(f->kept[i].digest, digest) == 0) {
			*ret = &f->kept[i].program;
			return 0;
		}
	int r = seccomp_compile(profile, &program, err);
	if (r < 0) {
		buf_done(&program);
		return r;
	}
	unsigned slot = f->next++ % FILTERS_KEPT;
	buf_done(&f->kept[slot].program);
	f->kept[slot].program = program;
	memcpy(f->kept[slot].digest, digest, DIGEST_LEN);
	*ret = &f->kept[slot].program;
	return 0;
}

int filters_get(struct filters *f, const json_t *profile, struct buf *ret, struct err *err)
{
	char digest[DIGEST_LEN];
	const struct buf *program = NULL;
	OWN_FREE char *text = json_canonical(profile);
	if (!text)
		return err_set(err, ENOMEM, "read seccomp profile");
	digest_of(text, strlen(text), digest);
	pthread_mutex_lock(&f->lock);
	int r = find_or_make(f, digest, profile, &program, err);
	if (r == 0 && buf_add(ret, program->data, program->len) < 0)
		r = err_set(err, ENOMEM, "copy seccomp filter");
	pthread_mutex_unlock(&f->lock);
	return r;
}
