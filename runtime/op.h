/* What every running operation of every driver begins with. */
#pragma once
#include <stdbool.h>

struct rt_op {
	void (*cancel)(struct rt_op *op);	      /* its done comes later, with -ECANCELED */
	void (*pause)(struct rt_op *op, bool paused); /* NULL: not one that gives lines */
};
