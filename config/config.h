/* The door to specs: text → tree with positions → schema rows → typed spec, and back to canonical JSON.
 * The canonical form is itself a valid spec (YAML's flow style), so that file, API and store share one
 * reader. Caps: 256 KiB, depth 32, 10,000 nodes, no duplicate keys, aliases refused. Thread-safe, no I/O but
 * cfg_load_file. */
#pragma once
#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "config/diag.h"
#include "config/spec.h"

#define CFG_MAX_BYTES (256u * 1024)

/* Reads a spec from text. `file` names it in diagnostics. base_dir (absolute, may be NULL) is what relative
 * env_file and rootfs: paths are relative to; with NULL a relative path and any env_file is an error (the
 * agent never reads a user's files: the CLI resolves them). 0, -EINVAL with d->errors > 0, or -ENOMEM.
 * Warnings may come with success. */
int cfg_read(const char *text, size_t len, const char *file, const char *base_dir, struct spec **ret,
	struct diag_list *d);
/* Reads a file ("-" = stdin) and what it names. -EINVAL: see d; anything else: the file itself can't be read,
 * see err. */
int cfg_load_file(const char *path, struct spec **ret, struct diag_list *d, struct err *err);

/* Every key with its value, defaults included, env_file merged into environment, lists and maps in canonical
 * order. New reference; NULL when out of memory. Reading its text back gives an equal spec. */
json_t *cfg_to_json(const struct spec *s);
/* sha256 over the canonical JSON with the image replaced by its digest: the identity of a generation. */
int cfg_digest(const struct spec *s, const char *image_digest, char ret[DIGEST_LEN]);
/* What a spec has of a secret. -ENOMEM. */
int cfg_secret_digest(const void *value, size_t len, char ret[DIGEST_LEN]);
/* {"environment.LOG_LEVEL": ["info", "debug"], …}: dotted keys with [old, new]; null = absent. a may be NULL.
 */
json_t *cfg_diff(const struct spec *a, const struct spec *b);

/* From the same table: JSON Schema (draft 2020-12), help of one dotted key ("" = all of them), and the
 * reference page. */
json_t *cfg_schema(void);
int cfg_explain(const char *key, struct buf *out, struct err *err); /* -ENOENT with a suggestion in err */
void cfg_reference(struct buf *out);				    /* Markdown */
/* A spec that uses every key, with its default or an example: must always load. */
void cfg_example(struct buf *out);
