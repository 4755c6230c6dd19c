/* The host's packet filter, by the nft program and its JSON (libnftables-json(5)): the only file that runs
 * it. Blocking. */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

/* Carries out these commands (an array; taken over), all or nothing. ret_answer: what listing commands say,
 * an array in a new reference; may be NULL. -ENOENT, too, if there is no nft program. */
int nft_run(json_t *commands, json_t **ret_answer, struct err *err);
/* Changes with every change of the host's rules, whoever makes it; 0: can't be told. */
uint32_t nft_generation(void);
/* Where the program is; NULL: nowhere. */
const char *nft_program(void);
