/* SPDX-License-Identifier: ISC */
/*
 * server/rates.h - how much of each happened within the last minute
 *
 * Counters that only grow are noted every few seconds; pure, time is what the
 * caller's timer makes it.
 */
#ifndef OSTLER_SERVER_RATES_H
#define OSTLER_SERVER_RATES_H

#include <stddef.h>
#include <stdint.h>

#define RATES_SAMPLE_MS 5000
#define RATES_SAMPLES	12 /* a minute */

enum rate_kind {
	RATE_CONNECTIONS,
	RATE_ACCEPTED,
	RATE_REJECTED,
	RATE_DELIVERED,
	RATE_DEFERRED,
	RATE_BOUNCED, /* expired ones too */
	RATE_KINDS
};
const char *rate_name(enum rate_kind kind);

/* Zero it to begin, when all counters are 0. */
struct rates {
	uint64_t samples[RATES_SAMPLES][RATE_KINDS]; /* a ring, oldest next */
	size_t next;
};

/* Every RATES_SAMPLE_MS. */
void rates_note(struct rates *rates, const uint64_t counts[RATE_KINDS]);

/* Since the note a minute ago; counts are of this moment. */
uint64_t rates_last_minute(const struct rates *rates, enum rate_kind kind,
			   const uint64_t counts[RATE_KINDS]);

#endif
