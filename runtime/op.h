/* What every running operation of every driver begins with. */
#pragma once

struct rt_op {
	void (*cancel)(struct rt_op *op); /* its done comes later, with -ECANCELED */
};
