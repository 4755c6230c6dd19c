/* Volumes as people write them. */
#pragma once
#include "config/diag.h"
#include "config/node.h"

/* "uploads:/data", "/srv/files:/files:ro". */
int volumes_read_short(const struct node *n, void *item, struct diag_list *d);
