/* SPDX-License-Identifier: ISC */
/*
 * queue/retry.h - when a deferred recipient is tried again
 *
 * Pure functions over numbers: no clock, no I/O; the caller passes the time
 * and the randomness. Expiry follows RFC 5321, section 4.5.4.1.
 */
#ifndef OSTLER_QUEUE_RETRY_H
#define OSTLER_QUEUE_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retry_plan {
	const uint32_t *delay_s; /* lends: seconds, each > 0 */
	size_t count;		 /* >= 1; the last delay repeats */
	uint64_t expire_s;	 /* after the message was received */
};

/*
 * When the next attempt is due.
 *
 * attempts     made so far, >= 1
 * received_ms  when the message came, same clock as now_ms
 * random       any 32 bits: the delay varies by +-10 %
 * Returns the time in ms, never later than the expiry (a last attempt is made
 * there); 0 when now_ms is at or past the expiry: give up.
 */
uint64_t retry_next(const struct retry_plan *plan, unsigned attempts,
		    uint64_t received_ms, uint64_t now_ms, uint32_t random);

#endif
