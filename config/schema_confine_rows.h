/* Rows of schema.c: what a container may do. */
{ .key = "cap_add",
	.type = SCHEMA_SET,
	AT(container.cap_add),
	.names = capability_names,
	.prefix = "CAP_",
	.example = "[NET_RAW]",
	.help = "Capabilities beside the eight that a container has. A user of its own loses all of "
		"them at the start, as everywhere." },
{ .key = "cap_drop",
	.type = SCHEMA_SET,
	AT(container.cap_drop),
	.names = capability_names,
	.prefix = "CAP_",
	.example = "[ALL]",
	.help = "Capabilities to take away: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, "
		"NET_BIND_SERVICE, SETGID and SETUID are there by default." },
{ .key = "seccomp",
	.type = SCHEMA_TEXT,
	AT(container.seccomp),
	.def = "default",
	.help = "Which system calls the program may make: `default`, `unconfined` (all), or a file "
		"with a profile in the OCI's form, which is read once and becomes part of the "
		"spec." },
