#include "config/node.h"

#include <stdlib.h>
#include <string.h>

void node_free(struct node *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->n; i++) {
		node_free(n->items[i].key);
		node_free(n->items[i].value);
	}
	free(n->items);
	free(n->text);
	free(n);
}

const struct node_entry *node_member(const struct node *n, const char *key)
{
	if (!n || n->kind != NODE_MAP)
		return NULL;
	for (size_t i = 0; i < n->n; i++)
		if (strcmp(n->items[i].key->text, key) == 0)
			return &n->items[i];
	return NULL;
}

bool node_is_empty(const struct node *n)
{
	return n->kind == NODE_SCALAR && n->plain && !*n->text;
}

bool node_is_null(const struct node *n)
{
	if (n->kind != NODE_SCALAR || !n->plain)
		return false;
	return !*n->text || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0;
}

/* One step of a path: ".name" or "[index]". */
static const struct node *step(const struct node *n, const char *part, size_t len)
{
	if (*part == '[') {
		size_t index = strtoul(part + 1, NULL, 10);
		return n->kind == NODE_LIST && index < n->n ? n->items[index].value : NULL;
	}
	for (size_t i = 0; n->kind == NODE_MAP && i < n->n; i++) {
		const char *key = n->items[i].key->text;
		if (strlen(key) == len && memcmp(key, part, len) == 0)
			return n->items[i].value;
	}
	return NULL;
}

const struct node *node_locate(const struct node *root, const char *path)
{
	while (*path) {
		size_t len = *path == '[' ? strcspn(path, "]") + 1 : strcspn(path, ".[");
		const struct node *next = step(root, path, len);
		if (!next)
			break;
		root = next;
		path += len;
		path += *path == '.';
	}
	return root;
}
