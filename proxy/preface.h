/* The PROXY protocol, sent to a backend before the client's first byte, so that it learns who the client is.
 * Version 1 is a line of text, version 2 binary; both carry the client's address and the one it connected to.
 */
#pragma once
#include <stddef.h>

#include "config/spec.h"

#define PREFACE_MAX 108 /* the longest of version 1 and its NUL; those of version 2 are shorter */

/* Bytes written; 0 for SPEC_PROXY_NONE. A client that is gone already is called unknown, as the protocol
 * wants. */
size_t preface_write(enum spec_proxy_protocol version, int client_fd, char ret[PREFACE_MAX]);
