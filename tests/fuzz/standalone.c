/* Runs a fuzz target over the files it is given: how targets are built where libFuzzer is not at hand, and
 * how a crash that it found is looked at. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/own.h"

#define BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static int run_file(const char *path)
{
	OWN_FILE FILE *f = fopen(path, "rbe");
	OWN_FREE uint8_t *bytes = malloc(BYTES_MAX);
	if (!f || !bytes) {
		perror(path);
		return 1;
	}
	size_t n = fread(bytes, 1, BYTES_MAX, f);
	/* an exact copy, so that sanitizers see a step past its end */
	OWN_FREE uint8_t *exact = malloc(n ? n : 1);
	if (!exact)
		return 1;
	for (size_t i = 0; i < n; i++)
		exact[i] = bytes[i];
	LLVMFuzzerTestOneInput(exact, n);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 0;
	for (int i = 1; i < argc; i++)
		failed |= run_file(argv[i]);
	return failed;
}
