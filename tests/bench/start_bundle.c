/* Leaves a bundle of the native driver behind for the benchmark of starts, and prints where: argv[1] is the
 * network
 * ("none" or "private"), the container's command ends at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/driver_rig.h"

int main(int argc, char **argv)
{
	static struct rig r;
	bool private = argc > 1 && strcmp(argv[1], "private") == 0;
	rig_open(&r, "native");
	rig_start_ok(&r,
		&(struct rig_want){ .argv = ARGV("exit", "0"),
			.network = private ? SPEC_NETWORK_PRIVATE : SPEC_NETWORK_NONE },
		NULL);
	rig_await_exit(&r, "web.1.1");
	rig_leave(&r);
	printf("%s\n", r.dir);
	return 0;
}
