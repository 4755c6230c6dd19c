/* libFuzzer target: any bytes as a spec. What is taken must come back from its canonical form unchanged; what
 * is refused must say where. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_spec: %s\n", what);
	abort();
}

static void check_refused(const struct diag_list *d)
{
	OWN_BUF struct buf out = { 0 };
	require(d->errors > 0 && d->n > 0, "refused without a fault");
	for (size_t i = 0; i < d->n; i++)
		require(d->items[i].line > 0 && d->items[i].column > 0, "a fault without a place");
	diag_print(d, false, &out);
}

static void check_taken(const struct spec *s)
{
	struct diag_list d = { 0 };
	OWN_SPEC struct spec *again = NULL;
	OWN_JSON json_t *j = cfg_to_json(s);
	OWN_FREE char *text = json_canonical(j);
	require(cfg_read(text, strlen(text), "canonical", NULL, &again, &d) == 0,
		"the canonical form is refused");
	OWN_JSON json_t *j_again = cfg_to_json(again);
	OWN_FREE char *text_again = json_canonical(j_again);
	require(strcmp(text, text_again) == 0, "the canonical form came back changed");
	diag_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct diag_list d = { 0 };
	OWN_SPEC struct spec *s = NULL;
	/* no base directory: a spec of a stranger names no files of ours */
	int r = cfg_read((const char *)bytes, len, "fuzz", NULL, &s, &d);
	if (r < 0)
		check_refused(&d);
	else
		check_taken(s);
	diag_done(&d);
	return 0;
}
