/* What teal-proxy may still ask of the kernel once it serves: strangers' bytes pass through it, so it gives
 * up everything that carrying them doesn't need. Both calls are for the process as a whole and can't be
 * undone. */
#pragma once
#include "base/err.h"

/* No file can be opened and no TCP port be bound any more (Landlock; as much of it as the kernel has).
 * Threads inherit it: before they start. */
int confine_files(struct err *err);
/* Only the system calls of the data plane (seccomp), for all threads there are; no new threads after it. */
int confine_calls(struct err *err);
