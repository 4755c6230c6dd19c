#include "config/spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "config/schema.h"

bool spec_stop_first(const struct spec *s)
{
	for (size_t i = 0; i < s->container.n_volumes; i++)
		if (s->container.volumes[i].access == SPEC_ACCESS_EXCLUSIVE)
			return true;
	return s->deploy.order == SPEC_ORDER_STOP_FIRST;
}

/* Specs go to worker threads; only their count changes. */
struct spec *spec_ref(struct spec *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void spec_unref(struct spec *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < s->container.n_secrets; i++) {
		struct spec_secret *secret = &s->container.secrets[i];
		if (secret->value)
			explicit_bzero(secret->value, secret->value_len);
		free(TAKE_PTR(secret->value));
	}
	schema_clear(&spec_schema, s);
	free(s);
}

void own_spec(struct spec **s)
{
	spec_unref(*s);
}
