/* YAML as a tree whose nodes know their place in the file. Nothing here knows what a spec is; only
 * node_read.c knows libyaml. Scalars are text: the schema, not YAML, decides what they mean (`no` is a name,
 * `1.10` keeps its zero). Anchors, aliases, tags, duplicate keys and second documents are refused. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"
#include "config/diag.h"

#define NODE_MAX_DEPTH 32
#define NODE_MAX_COUNT 10000

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node_entry {
	struct node *key; /* always a scalar; NULL in a list */
	struct node *value;
};

struct node {
	enum node_kind kind;
	bool plain;		  /* scalar without quotes */
	bool faulty;		  /* its fault is recorded: to be passed over in silence */
	unsigned line, column;	  /* from 1 */
	unsigned length;	  /* characters to underline; at least 1 */
	char *text;		  /* scalar; UTF-8 without NUL */
	struct node_entry *items; /* list, map: in the order of the file; the first of duplicate keys */
	size_t n, cap;
};

/* Reads one document. 0 with the tree, or NULL when there is nothing, or when the faults (in d) leave
 * nothing; -ENOMEM. A tree may come with faults: it is then still good for finding more. */
int node_read(const char *text, size_t len, struct node **ret, struct diag_list *d);
void node_free(struct node *n);
static inline void own_node(struct node **n)
{
	node_free(*n);
}
#define OWN_NODE OWN(own_node)

/* A member of a map, or NULL (also when n is NULL or no map). */
const struct node_entry *node_member(const struct node *n, const char *key);
/* No value, or one of YAML's plain words for none: `key:`, `key: ~`, `key: null`. */
bool node_is_null(const struct node *n);
/* `key:` with nothing behind it. */
bool node_is_empty(const struct node *n);
/* The node of a dotted path ("ports[1].target"), or the nearest one above it that is there. Never NULL. */
const struct node *node_locate(const struct node *root, const char *path);

/* diag_add at a node. */
#define node_fault(d, n, hint, ...)                                                                          \
	diag_add((d), DIAG_ERROR, (n)->line, (n)->column, (n)->length, (hint), __VA_ARGS__)
#define node_warn(d, n, hint, ...)                                                                           \
	diag_add((d), DIAG_WARNING, (n)->line, (n)->column, (n)->length, (hint), __VA_ARGS__)
