#include "config/spec.h"

#include <stdlib.h>

#include "config/schema.h"

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
	schema_clear(&spec_schema, s);
	free(s);
}

void own_spec(struct spec **s)
{
	spec_unref(*s);
}
