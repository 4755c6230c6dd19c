/* What references meant when they were last looked at. */
#include <string.h>

#include "base/own.h"
#include "runtime/image/store_private.h"

bool image_seen_find(struct image_store *s, const char *ref, const char *stamp, char ret[DIGEST_LEN])
{
	bool found = false;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < SEEN_MAX && !found; i++) {
		const struct seen_tree *row = &s->seen[i];
		found = row->ref && strcmp(row->ref, ref) == 0 && row->stamp[0] &&
			strcmp(row->stamp, stamp) == 0;
		if (found)
			memcpy(ret, row->digest, DIGEST_LEN);
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* One row a reference, the oldest makes room. Without memory it is just not remembered. */
void image_seen_add(struct image_store *s, const char *ref, const char *stamp, const char *digest)
{
	OWN_FREE char *copy = strdup(ref);
	if (!copy)
		return;
	pthread_mutex_lock(&s->lock);
	unsigned at = 0;
	while (at < SEEN_MAX && !(s->seen[at].ref && strcmp(s->seen[at].ref, ref) == 0))
		at++;
	if (at == SEEN_MAX)
		at = s->next_seen++ % SEEN_MAX;
	free(s->seen[at].ref);
	s->seen[at].ref = TAKE_PTR(copy);
	memcpy(s->seen[at].stamp, stamp, DIGEST_LEN);
	memcpy(s->seen[at].digest, digest, DIGEST_LEN);
	pthread_mutex_unlock(&s->lock);
}
