/* From what the user named (files, a directory, "-") to checked specs, every fault reported. */
#pragma once
#include <stddef.h>

#include "agent/cli/cli.h"
#include "config/config.h"

struct loaded {
	char *path;   /* as given, for messages */
	char *source; /* absolute, for the record; "-" for standard input */
	struct spec *spec;
	json_t *json; /* canonical */
	json_t *secrets; /* {digest: value in hex}; NULL: none */
};

struct load_list {
	struct loaded *items;
	size_t n, cap;
	char **dirs; /* the directories among the arguments, absolute; for --prune */
};

/* Reads all of the verb's arguments. 0 when every one is a good spec with a name of its own, else the exit
 * code: everything has been reported then. */
int load_specs(struct cli *c, struct load_list *ret);
void load_done(struct load_list *l);
#define OWN_LOADS __attribute__((cleanup(load_done)))
