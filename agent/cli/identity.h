/* Who gives the order, for the record: "alice@host", also behind sudo. */
#pragma once

#define IDENTITY_MAX 128
char *identity(char text[IDENTITY_MAX]);
