/* From probe answers to a verdict: pure, no clock and no memory of its own. The rules are at the top of
 * health.h. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "health/health.h"

struct hc_judge {
	enum hc_verdict verdict;
	uint32_t successes, failures; /* in a row; one of them is 0 */
	uint32_t counted;	      /* of the failures, those after start_period */
};

/* Takes one answer, given after_ms after the check began. Returns whether the verdict changed. */
bool hc_judge_answer(struct hc_judge *j, const struct spec_health *rules, bool ok, int64_t after_ms);
/* How long to wait before the next probe, of which n came before. */
uint32_t hc_judge_gap_ms(const struct hc_judge *j, const struct spec_health *rules, uint32_t n);
