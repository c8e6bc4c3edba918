/* SPDX-License-Identifier: ISC */
#include "queue/retry.h"

#include <assert.h>

uint64_t
retry_next(const struct retry_plan *plan, unsigned attempts,
	   uint64_t received_ms, uint64_t now_ms, uint32_t random)
{
	uint64_t expiry_ms = received_ms + plan->expire_s * 1000;
	uint64_t delay_ms, next_ms;
	size_t step;

	assert(plan->count >= 1 && attempts >= 1);
	if (now_ms >= expiry_ms)
		return 0;
	step = attempts - 1 < plan->count ? attempts - 1 : plan->count - 1;
	delay_ms = (uint64_t)plan->delay_s[step] * 1000;
	/* 0.9 to 1.1 of it in steps of a ten-thousandth */
	delay_ms = delay_ms * 9 / 10 + delay_ms * (random % 2001) / 10000;
	next_ms = now_ms + delay_ms;
	return next_ms < expiry_ms ? next_ms : expiry_ms;
}
