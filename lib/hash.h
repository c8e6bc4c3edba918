/* SPDX-License-Identifier: ISC */
/*
 * lib/hash.h - where in a table a key belongs, when strangers choose the keys
 *
 * SipHash-2-4 (Aumasson and Bernstein, 2012): without the seed nobody can
 * choose keys that meet in one bucket.
 */
#ifndef OSTLER_LIB_HASH_H
#define OSTLER_LIB_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_seed {
	uint64_t a, b; /* random, once per table or process */
};

/* bytes may be NULL when len is 0. */
uint64_t hash_bytes(const struct hash_seed *seed, const void *bytes,
		    size_t len);

#endif
