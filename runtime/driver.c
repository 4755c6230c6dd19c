#include "runtime/driver.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/parse.h"
#include "runtime/native/native.h"
#include "runtime/op.h"

static const struct rt_driver *const DRIVERS[] = { &native_driver };

const struct rt_driver *rt_driver_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(DRIVERS); i++)
		if (strcmp(DRIVERS[i]->name, name) == 0)
			return DRIVERS[i];
	return NULL;
}

void rt_cancel(struct rt_op *op)
{
	if (op)
		op->cancel(op);
}

void rt_pause(struct rt_op *op, bool paused)
{
	if (op && op->pause)
		op->pause(op, paused);
}

void rt_id_format(char ret[RT_ID_MAX], const char *service, uint32_t generation, uint32_t replica)
{
	snprintf(ret, RT_ID_MAX, "%.*s.%u.%u", SPEC_NAME_MAX - 1, service, generation, replica);
}

/* Our own names only: what is read back becomes a path. */
static bool is_label(const char *text, size_t len)
{
	if (len == 0 || len >= SPEC_NAME_MAX || text[0] == '-' || text[len - 1] == '-')
		return false;
	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") >= len;
}

int rt_id_parse(const char *id, char service[SPEC_NAME_MAX], uint32_t *ret_generation, uint32_t *ret_replica)
{
	char copy[RT_ID_MAX];
	uint64_t generation, replica;
	if (strlen(id) >= sizeof copy)
		return -EINVAL;
	snprintf(copy, sizeof copy, "%s", id);
	char *dot = strchr(copy, '.'), *second = dot ? strchr(dot + 1, '.') : NULL;
	if (!second || !is_label(copy, (size_t)(dot - copy)))
		return -EINVAL;
	*dot = *second = '\0';
	if (parse_u64(dot + 1, 1, UINT32_MAX, &generation) < 0 ||
		parse_u64(second + 1, 1, UINT32_MAX, &replica) < 0)
		return -EINVAL;
	memcpy(service, copy, (size_t)(dot - copy) + 1);
	*ret_generation = (uint32_t)generation;
	*ret_replica = (uint32_t)replica;
	return 0;
}
