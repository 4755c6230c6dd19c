#include "health/judge.h"

#define FIRST_GAP_MS 10u

static void count(uint32_t *n)
{
	if (*n < UINT32_MAX)
		++*n;
}

bool hc_judge_answer(struct hc_judge *j, const struct spec_health *rules, bool ok, int64_t after_ms)
{
	enum hc_verdict before = j->verdict;
	if (ok) {
		j->failures = j->counted = 0;
		count(&j->successes);
		if (j->successes >= rules->successes)
			j->verdict = HC_READY;
	} else {
		j->successes = 0;
		count(&j->failures);
		if (after_ms >= rules->start_period_ms)
			count(&j->counted);
		if (j->verdict == HC_READY && j->counted > 0 && j->counted >= rules->retries)
			j->verdict = HC_UNREADY;
	}
	return j->verdict != before;
}

uint32_t hc_judge_gap_ms(const struct hc_judge *j, const struct spec_health *rules, uint32_t n)
{
	if (j->verdict != HC_STARTING || n == 0 || n > 31)
		return rules->interval_ms;
	uint64_t gap = (uint64_t)FIRST_GAP_MS << (n - 1);
	return gap < rules->interval_ms ? (uint32_t)gap : rules->interval_ms;
}

const char *hc_verdict_name(enum hc_verdict v)
{
	static const char *const names[] = {
		[HC_STARTING] = "starting",
		[HC_READY] = "ready",
		[HC_UNREADY] = "unready",
	};
	return names[v];
}
