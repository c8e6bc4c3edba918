/* SPDX-License-Identifier: ISC */
/*
 * policy/limit.h - how much one login or client may do in a time
 *
 * Token buckets named by a text ("user alice", "client 192.0.2.7"). A bucket
 * holds up to the rate's count and fills evenly; what it lacks is refused
 * with the time until it will be there. Memory is bounded: when all buckets
 * are taken, the one not asked for the longest is forgotten. Time is a
 * parameter; loop thread only.
 */
#ifndef OSTLER_POLICY_LIMIT_H
#define OSTLER_POLICY_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/units.h"

#define LIMIT_KEY_MAX 320 /* octets of a key that tell buckets apart */

struct limit;

/* max_keys  buckets at most, > 0 */
struct limit *limit_new(size_t max_keys);
void limit_free(struct limit *limit); /* NULL is fine */

/*
 * Takes count from the bucket of key, all or nothing.
 *
 * key          borrows; NUL-terminated
 * rate         borrows; count 0: no limit, always true. It may change
 *              between calls (reload): the bucket keeps its share
 * now_ms       any clock that never goes back
 * out_wait_ms  NULL, or gets the time until count would be there; 0 when it
 *              was taken, UINT64_MAX when count exceeds what a bucket holds
 * Returns false when there is too little; nothing is taken then.
 */
bool limit_take(struct limit *limit, const char *key,
		const struct units_rate *rate, uint32_t count, uint64_t now_ms,
		uint64_t *out_wait_ms);

/* Puts back what was taken for work that came to nothing. */
void limit_give(struct limit *limit, const char *key,
		const struct units_rate *rate, uint32_t count);

/* Buckets now held; never above max_keys. */
size_t limit_count(const struct limit *limit);

#endif
