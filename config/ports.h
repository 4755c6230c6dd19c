/* The short form of a port, "8080:3000". */
#pragma once
#include "config/node.h"

/* A schema_row.read_short: item is a struct spec_port. */
int ports_read_short(const struct node *n, void *item, struct diag_list *d);
