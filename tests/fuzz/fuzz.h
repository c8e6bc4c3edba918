/* SPDX-License-Identifier: ISC */
/*
 * tests/fuzz/fuzz.h - what every fuzzer would repeat
 *
 * tests/fuzz/fuzz_NAME.c defines LLVMFuzzerTestOneInput and states what must
 * hold for any bytes with FUZZ_CHECK. One line in Makefile.am's list of
 * fuzzers makes `make check` replay tests/fuzz/corpus/NAME through it;
 * tests/fuzz/run.sh NAME RUNS looks for more.
 */
#ifndef OSTLER_TESTS_FUZZ_FUZZ_H
#define OSTLER_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(claim)                                                      \
	do {                                                                   \
		if (!(claim)) {                                                \
			(void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, \
				      __LINE__, #claim);                       \
			abort();                                               \
		}                                                              \
	} while (0)

/* A copy that ends where the sanitizer sees it; the caller frees it. */
static inline uint8_t *
fuzz_copy(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size != 0 ? size : 1);

	FUZZ_CHECK(copy != NULL);
	if (size != 0)
		memcpy(copy, data, size);
	return copy;
}

/*
 * The size of the next piece when left bytes are to be split, > 0 unless left
 * is 0. Small pieces mostly, now and then a large one; the same for the same
 * seed.
 */
static inline size_t
fuzz_piece(uint32_t *seed, size_t left)
{
	size_t piece;

	*seed = *seed * 1664525u + 1013904223u;
	piece = 1 + ((*seed >> 16) & ((*seed >> 28) == 0 ? 1023 : 7));
	return piece < left ? piece : left;
}

#endif
