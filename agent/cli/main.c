/* teal: the command line of the agent. */
#include <locale.h>
#include <stdio.h>

#include "agent/cli/cli.h"

int main(int argc, char **argv)
{
	/* only the characters: numbers and dates are the same everywhere */
	setlocale(LC_CTYPE, "");
	return cli_main(argc, argv, stdout, stderr);
}
