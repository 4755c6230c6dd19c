#include "agent/cli/identity.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char *identity(char text[IDENTITY_MAX])
{
	char host[65] = "";
	const char *name = getenv("SUDO_USER");
	if (!name || !*name) {
		const struct passwd *me = getpwuid(getuid());
		name = me ? me->pw_name : NULL;
	}
	gethostname(host, sizeof host - 1);
	if (name)
		snprintf(text, IDENTITY_MAX, "%s@%s", name, host);
	else
		snprintf(text, IDENTITY_MAX, "%u@%s", (unsigned)getuid(), host);
	return text;
}
