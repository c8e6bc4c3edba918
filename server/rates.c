/* SPDX-License-Identifier: ISC */
#include "server/rates.h"

#include <string.h>

const char *
rate_name(enum rate_kind kind)
{
	static const char *const names[RATE_KINDS] = {
		[RATE_CONNECTIONS] = "connections",
		[RATE_ACCEPTED] = "accepted",
		[RATE_REJECTED] = "rejected",
		[RATE_DELIVERED] = "delivered",
		[RATE_DEFERRED] = "deferred",
		[RATE_BOUNCED] = "bounced",
	};

	return names[kind];
}

void
rates_note(struct rates *rates, const uint64_t counts[RATE_KINDS])
{
	memcpy(rates->samples[rates->next], counts, sizeof(rates->samples[0]));
	rates->next = (rates->next + 1) % RATES_SAMPLES;
}

uint64_t
rates_last_minute(const struct rates *rates, enum rate_kind kind,
		  const uint64_t counts[RATE_KINDS])
{
	return counts[kind] - rates->samples[rates->next][kind];
}
