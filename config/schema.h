/* The schema machinery: a struct is described by rows, one a key, and everything that is known of a key is in
 * its row. Parsing, defaults, canonical JSON, freeing, JSON Schema, `explain`, the reference and the example
 * all walk the rows. The spec's rows are in schema.c, those of teald.yaml in settings.c. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "config/diag.h"
#include "config/node.h"

enum schema_type {
	/* maps and lists of rows */
	SCHEMA_GROUP,  /* a map; its members live in the same struct */
	SCHEMA_CHOICE, /* a group of which at most one sibling is there; sets an int at `offset` to `choice`
			*/
	SCHEMA_ITEMS,  /* a list of maps: array of structs at `offset`, its length (size_t) at `second` */
	/* values */
	SCHEMA_TEXT,	 /* char * */
	SCHEMA_NAME,	 /* char[size] */
	SCHEMA_ADDRESS,	 /* char *, made canonical */
	SCHEMA_BOOL,	 /* bool */
	SCHEMA_UINT,	 /* uint32_t */
	SCHEMA_INT,	 /* int32_t; min and max are signed */
	SCHEMA_PORT,	 /* uint16_t */
	SCHEMA_DURATION, /* uint32_t, ms */
	SCHEMA_SIZE,	 /* uint64_t, bytes */
	SCHEMA_CPUS,	 /* uint32_t, thousandths */
	SCHEMA_PERCENT,	 /* uint32_t, thousandths of a percent */
	SCHEMA_STATUS,	 /* two uint16_t: at `offset` and at `second` */
	SCHEMA_ENUM,	 /* int: index into `names` */
	SCHEMA_SET,	 /* uint64_t: bit i for names[i]; a list of names */
	SCHEMA_SIGNAL,	 /* int */
	SCHEMA_ARGV,	 /* char ** */
	SCHEMA_PAIRS,	 /* struct spec_pair *, sorted by key; its length (size_t) at `second` */
	SCHEMA_LIST,	 /* char **: one text or a list of them, each by `check` */
	SCHEMA_ULIMITS,	 /* struct spec_pair * like PAIRS; values "soft:hard" */
	SCHEMA_FILES,	 /* stored nowhere: read where the tree is at hand (env.c) */
	/* keys that are refused with a word about why: `help` */
	SCHEMA_LATER,	/* of a later version */
	SCHEMA_FOREIGN, /* of another tool, where we have another name */
	SCHEMA_TYPES
};

/* A word that is not among an ENUM's names, but which people will try. */
struct schema_word {
	const char *word, *why, *hint;
};

struct schema_row {
	const char *key; /* dotted: "healthcheck.http.path", "ports[].target" */
	enum schema_type type;
	size_t offset, second, size; /* in the struct, see the types; size: of one item, of the name */
	const char *def;	     /* as text; NULL: unset (or required) */
	bool required;
	uint64_t min, max;	  /* of a number; max: most items, pairs, arguments */
	const char *const *names; /* ENUM, SET: ends with NULL */
	const char *prefix;	  /* SET: may stand before a name; may be NULL */
	const struct schema_word
		*refused;      /* ENUM: words with a message of their own; ends with NULL; may be NULL */
	int choice;	       /* CHOICE: not 0 */
	const char *shorthand; /* GROUP, CHOICE: the member that a bare value stands for */
	const char *(*check)(const char *text); /* TEXT, NAME: what is wrong with it, or NULL */
	/* ITEMS: reads an item that is no map. `item` has its defaults. 0 (faults in d) or -ENOMEM. */
	int (*read_short)(const struct node *n, void *item, struct diag_list *d);
	const char *help;    /* first sentence: what it is */
	const char *example; /* as YAML, where the default says too little */
	bool apart;	     /* its example is only told, not used: it names a file, or its siblings' exclude it */
};

struct schema {
	const struct schema_row *rows; /* parents before their members */
	size_t n;
};

extern const struct schema spec_schema;	    /* of struct spec */
extern const struct schema settings_schema; /* of struct settings */

/* Fills *ret, zeroed by the caller, defaults included. Faults go to d; a field with a fault gets its default.
 * 0 even then, or -ENOMEM. Free with schema_clear in any case. */
int schema_decode(const struct schema *s, const struct node *root, void *ret, struct diag_list *d);
/* Every key that has a value, defaults included; what is unset or empty is left out. NULL: out of memory. */
json_t *schema_encode(const struct schema *s, const void *from);
/* Frees what the fields own; the struct itself is the caller's. */
void schema_clear(const struct schema *s, void *value);

/* The rows directly below `parent` (NULL: the top), one after the other: `after` is NULL at first. NULL at
 * the end. */
const struct schema_row *schema_next(
	const struct schema *s, const struct schema_row *parent, const struct schema_row *after);
const struct schema_row *schema_child(
	const struct schema *s, const struct schema_row *parent, const char *name);
/* By dotted key; "ports.target" finds "ports[].target". NULL: none. */
const struct schema_row *schema_at(const struct schema *s, const char *key);
/* What somebody meant who typed this: a key, or only the last part of one, perhaps misspelt. NULL: no idea.
 */
const struct schema_row *schema_nearest(const struct schema *s, const char *typed);
/* Last part of the key. */
const char *schema_name(const struct schema_row *row);
/* Not one of those that are only there to be refused. */
bool schema_usable(const struct schema_row *row);

/* What a type does: a row of schema_ops, for the types that are values. */
struct schema_ops {
	const char *name; /* in help: "duration" */
	/* Reads a node that is not null into the struct at base. 0 (faults in d) or -ENOMEM. */
	int (*parse)(const struct schema_row *row, const struct node *n, void *base, struct diag_list *d);
	/* 0 with the value, NULL where there is none; -ENOMEM. NULL: never written. */
	int (*encode)(const struct schema_row *row, const void *base, json_t **ret);
	/* NULL: owns nothing. */
	void (*clear)(const struct schema_row *row, void *base);
	/* Its JSON Schema; NULL: out of memory. */
	json_t *(*describe)(const struct schema_row *row);
};
const struct schema_ops *schema_ops_of(enum schema_type type); /* NULL: no value */
const struct schema_ops *schema_number_ops(enum schema_type type);
const struct schema_ops *schema_collection_ops(enum schema_type type);
const struct schema_ops *schema_list_ops(enum schema_type type);
const struct schema_ops *schema_set_ops(enum schema_type type);

/* For the types. Records "`key` must be a map, not text" for a node of the wrong kind. */
void schema_refuse_kind(
	const struct schema_row *row, const struct node *n, const char *wanted, struct diag_list *d);
/* True for a scalar; else the fault is recorded. */
bool schema_want_text(
	const struct schema_row *row, const struct node *n, const char *wanted, struct diag_list *d);
/* Records "`key`: `value` <why>". */
void schema_refuse_value(const struct schema_row *row, const struct node *n, const char *why,
	const char *hint, struct diag_list *d);
/* "1 to 100", for help; false where a range says nothing. */
bool schema_range(const struct schema_row *row, char *ret, size_t size);
int schema_encode_text(const char *text, json_t **ret);
/* A field of the struct that a row describes. */
#define SCHEMA_FIELD(base, offset) ((void *)((char *)(uintptr_t)(base) + (offset)))
