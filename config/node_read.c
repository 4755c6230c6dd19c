#include "config/node.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "config/text.h"

/* STOP: the fault is recorded and nothing of use can follow. Other failures are -ENOMEM. */
#define STOP (-ECANCELED)

struct reader {
	yaml_parser_t parser;
	const char *text;
	size_t len;
	struct diag_list *d;
	size_t count; /* nodes so far */
};

static void own_event(yaml_event_t *e)
{
	yaml_event_delete(e);
}
static void own_parser(struct reader *r)
{
	yaml_parser_delete(&r->parser);
}

/* What libyaml's words mean to somebody who doesn't know YAML's grammar. */
static const struct syntax_hint {
	const char *problem, *hint;
	bool at_start; /* the place to look at is where the construct starts, not where it broke */
} syntax_hints[] = {
	{ "mapping values are not allowed in this context",
		"is this line indented too far, or does a value with `: ` in it lack its quotes?", false },
	{ "did not find expected key",
		"is this line indented like its neighbours, or does something follow a closing quote?",
		false },
	{ "could not find expected ':'", "`key: value` needs the colon, and a space after it", true },
	{ "did not find expected '-' indicator", "is this line indented like the other items of the list?",
		false },
	{ "block sequence entries are not allowed in this context", "a list starts on the line after its key",
		false },
	{ "found a tab character that violates indentation", "YAML is indented by spaces, never by tabs",
		false },
	{ "found unexpected end of stream", "the quote is not closed", true },
	{ "did not find expected ',' or ']'", "this `[` is not closed, or a comma is missing", true },
	{ "did not find expected ',' or '}'", "this `{` is not closed, or a comma is missing", true },
	{ "found character that cannot start any token", "text that starts with this character needs quotes",
		false },
	{ NULL, NULL, false },
};

/* The byte at a mark, whose index counts characters; 0 at the end. */
static char byte_at(const struct reader *r, const yaml_mark_t *mark)
{
	const char *p = r->text, *end = r->text + r->len;
	for (size_t i = 0; i < mark->index && p < end; i++)
		text_next(&p, end);
	return p < end ? *p : '\0';
}

static const struct syntax_hint *find_hint(const char *problem)
{
	const struct syntax_hint *hint = syntax_hints;
	while (hint->problem && strcmp(hint->problem, problem) != 0)
		hint++;
	return hint;
}

static int refuse_syntax(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	const char *problem = p->problem ? p->problem : "not YAML", *context = p->context ? p->context : "";
	const struct syntax_hint *known = find_hint(problem);
	const yaml_mark_t *at = known->at_start && p->context ? &p->context_mark : &p->problem_mark;
	const char *hint = known->hint;
	if (strstr(problem, "cannot start any token") && byte_at(r, at) == '\t')
		hint = "YAML is indented by spaces, never by tabs";
	diag_add(r->d, DIAG_ERROR, (unsigned)at->line + 1, (unsigned)at->column + 1, 1, hint, "YAML: %s%s%s",
		problem, *context ? " " : "", context);
	return STOP;
}

static int next_event(struct reader *r, yaml_event_t *ret)
{
	return yaml_parser_parse(&r->parser, ret) ? 0 : refuse_syntax(r);
}

static void refuse(struct reader *r, const yaml_event_t *e, const char *hint, const char *text)
{
	diag_add(r->d, DIAG_ERROR, (unsigned)e->start_mark.line + 1, (unsigned)e->start_mark.column + 1, 1,
		hint, "%s", text);
}

static struct node *new_node(struct reader *r, const yaml_event_t *e, enum node_kind kind)
{
	struct node *n = calloc(1, sizeof *n);
	if (!n)
		return NULL;
	r->count++;
	n->kind = kind;
	n->line = (unsigned)e->start_mark.line + 1;
	n->column = (unsigned)e->start_mark.column + 1;
	n->length = 1;
	if (kind == NODE_SCALAR && e->end_mark.line == e->start_mark.line &&
		e->end_mark.column > e->start_mark.column)
		n->length = (unsigned)(e->end_mark.column - e->start_mark.column);
	return n;
}

/* Anchors and tags stand on any kind of node. */
static void check_properties(
	struct reader *r, const yaml_event_t *e, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		refuse(r, e, "write the value out where it is needed", "anchors are not supported");
	if (tag)
		refuse(r, e, "the key decides the type of a value", "tags are not supported");
}

static int read_scalar(struct reader *r, const yaml_event_t *e, struct node **ret)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;
	check_properties(r, e, e->data.scalar.anchor, e->data.scalar.tag);
	struct node *n = *ret = new_node(r, e, NODE_SCALAR);
	if (!n)
		return -ENOMEM;
	n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	const char *bad = text_find_refused(text, len);
	if (bad) {
		char shown[16];
		const char *p = bad;
		uint32_t c = text_next(&p, text + len);
		node_fault(r->d, n, "an escape in this text stands for it",
			"character %s is not allowed here", text_escape(c, (unsigned char)*bad, shown));
		n->faulty = true;
		len = 0;
	}
	n->text = strndup(text, len);
	return n->text ? 0 : -ENOMEM;
}

static int read_alias(struct reader *r, const yaml_event_t *e, struct node **ret)
{
	refuse(r, e, "write the value out where it is needed", "aliases are not supported");
	struct node *n = *ret = new_node(r, e, NODE_SCALAR);
	if (!n)
		return -ENOMEM;
	n->faulty = true;
	n->text = strdup("");
	return n->text ? 0 : -ENOMEM;
}

static int read_node(struct reader *r, const yaml_event_t *e, unsigned depth, struct node **ret);

static struct node_entry *add_entry(struct node *n)
{
	if (vec_reserve(&n->items, &n->cap, n->n + 1, sizeof *n->items) < 0)
		return NULL;
	return &n->items[n->n++];
}

/* What is at fault in a way that leaves nothing to look at: an item, or a key with its value. */
static void drop_last(struct node *n)
{
	struct node_entry *last = &n->items[--n->n];
	node_free(last->key);
	node_free(last->value);
	*last = (struct node_entry){ 0 };
}

static int read_list(struct reader *r, struct node *list, unsigned depth)
{
	for (;;) {
		OWN(own_event) yaml_event_t e = { 0 };
		int result = next_event(r, &e);
		if (result < 0 || e.type == YAML_SEQUENCE_END_EVENT)
			return result;
		struct node_entry *entry = add_entry(list);
		if (!entry)
			return -ENOMEM;
		result = read_node(r, &e, depth + 1, &entry->value);
		if (result < 0)
			return result;
		if (entry->value->faulty)
			drop_last(list);
	}
}

static int read_value(struct reader *r, struct node_entry *entry, unsigned depth)
{
	OWN(own_event) yaml_event_t e = { 0 };
	int result = next_event(r, &e);
	if (result < 0)
		return result;
	result = read_node(r, &e, depth + 1, &entry->value);
	if (result == 0 && node_is_empty(entry->value)) {
		/* nothing stands there: point at the key */
		entry->value->line = entry->key->line;
		entry->value->column = entry->key->column;
		entry->value->length = entry->key->length;
	}
	return result;
}

static int compare_keys(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;
	int by_text = strcmp(x->text, y->text);
	if (by_text != 0)
		return by_text;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->column < y->column ? -1 : x->column > y->column;
}

/* Look-ups find the first of two, so the second only needs its fault. */
static int refuse_duplicates(struct reader *r, const struct node *map)
{
	if (map->n < 2)
		return 0;
	OWN_FREE struct node **keys = calloc(map->n, sizeof *keys);
	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < map->n; i++)
		keys[i] = map->items[i].key;
	qsort(keys, map->n, sizeof *keys, compare_keys);
	size_t first = 0;
	for (size_t i = 1; i < map->n; i++) {
		char hint[64], shown[TEXT_SHOWN_MAX];
		if (strcmp(keys[i]->text, keys[first]->text) != 0) {
			first = i;
			continue;
		}
		snprintf(hint, sizeof hint, "it is already on line %u", keys[first]->line);
		node_fault(r->d, keys[i], hint, "duplicate key `%s`", text_show(keys[i]->text, shown));
	}
	return 0;
}

static int read_map(struct reader *r, struct node *map, unsigned depth)
{
	for (;;) {
		OWN(own_event) yaml_event_t e = { 0 };
		int result = next_event(r, &e);
		if (result < 0)
			return result;
		if (e.type == YAML_MAPPING_END_EVENT)
			return refuse_duplicates(r, map);
		if (e.type != YAML_SCALAR_EVENT) {
			refuse(r, &e, NULL, "a key must be plain text");
			return STOP;
		}
		struct node_entry *entry = add_entry(map);
		if (!entry)
			return -ENOMEM;
		result = read_node(r, &e, depth + 1, &entry->key);
		if (result == 0)
			result = read_value(r, entry, depth);
		if (result < 0)
			return result;
		if (entry->key->faulty)
			drop_last(map);
	}
}

static int read_node(struct reader *r, const yaml_event_t *e, unsigned depth, struct node **ret)
{
	if (depth > NODE_MAX_DEPTH || r->count >= NODE_MAX_COUNT) {
		bool deep = depth > NODE_MAX_DEPTH;
		char text[80];
		snprintf(text, sizeof text, "more than %d %s", deep ? NODE_MAX_DEPTH : NODE_MAX_COUNT,
			deep ? "levels of nesting" : "values");
		refuse(r, e, NULL, text);
		return STOP;
	}
	if (e->type == YAML_SCALAR_EVENT)
		return read_scalar(r, e, ret);
	if (e->type == YAML_ALIAS_EVENT)
		return read_alias(r, e, ret);
	bool list = e->type == YAML_SEQUENCE_START_EVENT;
	if (list)
		check_properties(r, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
	else
		check_properties(r, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
	struct node *n = *ret = new_node(r, e, list ? NODE_LIST : NODE_MAP);
	if (!n)
		return -ENOMEM;
	return list ? read_list(r, n, depth) : read_map(r, n, depth);
}

/* Stream start, document start, the tree, document end, stream end or a second document. */
static int read_document(struct reader *r, struct node **ret)
{
	for (;;) {
		OWN(own_event) yaml_event_t e = { 0 };
		int result = next_event(r, &e);
		if (result < 0)
			return result;
		if (e.type == YAML_STREAM_END_EVENT)
			return 0;
		if (e.type == YAML_DOCUMENT_START_EVENT && *ret) {
			refuse(r, &e, "one file describes one service", "a second document starts here");
			return 0;
		}
		if (e.type == YAML_STREAM_START_EVENT || e.type == YAML_DOCUMENT_START_EVENT ||
			e.type == YAML_DOCUMENT_END_EVENT)
			continue;
		result = read_node(r, &e, 1, ret);
		if (result < 0)
			return result;
	}
}

static void refuse_character(struct diag_list *d, unsigned line, unsigned column, uint32_t c, char byte)
{
	char shown[16];
	bool bad = c == TEXT_BAD;
	diag_add(d, DIAG_ERROR, line, column, 1, bad ? "a spec is UTF-8 text" : NULL,
		"%s %s is not allowed here", bad ? "byte" : "character",
		text_escape(c, (unsigned char)byte, shown));
}

/* libyaml would find these too, but name byte offsets, and only after reading ahead. True if there was one.
 */
static bool check_characters(const char *text, size_t len, struct diag_list *d)
{
	unsigned line = 1, column = 1;
	for (const char *p = text, *end = text + len, *at; (at = p) < end;) {
		uint32_t c = text_next(&p, end);
		if (text_refused(c) || (c < 0x20 && c != '\t' && c != '\n' && c != '\r')) {
			refuse_character(d, line, column, c, *at);
			return true;
		}
		bool ends = c == '\n' || (c == '\r' && !(p < end && *p == '\n'));
		line += ends;
		column = ends ? 1 : column + 1;
	}
	return false;
}

int node_read(const char *text, size_t len, struct node **ret, struct diag_list *d)
{
	static const char bom[] = "\xEF\xBB\xBF";
	if (len >= strlen(bom) && memcmp(text, bom, strlen(bom)) == 0) {
		text += strlen(bom);
		len -= strlen(bom);
	}
	*ret = NULL;
	if (check_characters(text, len, d))
		return 0;
	OWN(own_parser) struct reader r = { .text = text, .len = len, .d = d };
	if (!yaml_parser_initialize(&r.parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
	OWN_NODE struct node *root = NULL;
	int result = read_document(&r, &root);
	if (result == 0)
		*ret = TAKE_PTR(root);
	return result == STOP ? 0 : result;
}
