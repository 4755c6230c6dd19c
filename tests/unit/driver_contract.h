/* What every driver has to keep, run over each. */
#pragma once
#include <stddef.h>

struct CMUnitTest;
extern const struct CMUnitTest DRIVER_CONTRACT[];
extern const size_t DRIVER_CONTRACT_LEN;
