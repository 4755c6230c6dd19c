#include "config/ports.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "config/spec.h"
#include "config/text.h"

#define SHORT_FORMS "\"8080:3000\", \"127.0.0.1:8080:3000\" or \"[::1]:8080:3000\": published:target"

static void refuse_short(const struct node *n, const char *why, const char *hint, struct diag_list *d)
{
	char shown[TEXT_SHOWN_MAX];
	node_fault(d, n, hint, "`ports`: `%s` %s", text_show(n->text, shown), why);
}

struct halves {
	char published[ADDRESS_MAX], target[8];
};

/* Cuts at the last colon. */
static bool cut(const char *text, size_t len, struct halves *ret)
{
	const char *colon = memrchr(text, ':', len);
	size_t before = colon ? (size_t)(colon - text) : len, behind = len - before - (colon != NULL);
	if (!colon || before >= sizeof ret->published || behind >= sizeof ret->target)
		return false;
	memcpy(ret->published, text, before);
	ret->published[before] = '\0';
	memcpy(ret->target, colon + 1, behind);
	ret->target[behind] = '\0';
	return true;
}

int ports_read_short(const struct node *n, void *item, struct diag_list *d)
{
	struct spec_port *port = item;
	struct sockaddr_storage address;
	struct halves halves;
	char canonical[ADDRESS_MAX];
	uint64_t target;
	size_t len = strcspn(n->text, "/");
	if (n->text[len] && strcmp(n->text + len, "/tcp") != 0) {
		refuse_short(n, "is not a TCP port, and nothing else is supported", NULL, d);
	} else if (!memchr(n->text, ':', len)) {
		refuse_short(n, "names one port, where two are needed", SHORT_FORMS, d);
	} else if (!cut(n->text, len, &halves) || parse_address(halves.published, &address, NULL) < 0 ||
		   parse_u64(halves.target, 1, 65535, &target) < 0) {
		refuse_short(n, "is not a pair of ports", SHORT_FORMS, d);
	} else {
		port->target = (uint16_t)target;
		port->published = strdup(format_address(&address, canonical));
		return port->published ? 0 : -ENOMEM;
	}
	return 0;
}
