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

#include <sanitizer/asan_interface.h>

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
	else
		copy[0] = 0; /* the compiler fears for who takes it */
	return copy;
}

#define FUZZ_WINDOWS 3

/*
 * What a reader sees of the input, piece by piece, in memory that takes turns:
 * the sanitizer sees a read behind the end of a piece, and one of a piece that
 * was shown before. Much cheaper than an allocation for each piece.
 */
struct fuzz_windows {
	uint8_t *room[FUZZ_WINDOWS];
	size_t size;
	size_t shown[FUZZ_WINDOWS]; /* octets at the end of each room */
	unsigned turn;
};

/* size: of the largest piece */
static inline void
fuzz_windows_init(struct fuzz_windows *windows, size_t size)
{
	memset(windows, 0, sizeof(*windows));
	windows->size = size != 0 ? size : 1;
	for (size_t i = 0; i < FUZZ_WINDOWS; i++) {
		windows->room[i] = malloc(windows->size);
		FUZZ_CHECK(windows->room[i] != NULL);
		ASAN_POISON_MEMORY_REGION(windows->room[i], windows->size);
	}
}

static inline void
fuzz_windows_done(struct fuzz_windows *windows)
{
	for (size_t i = 0; i < FUZZ_WINDOWS; i++) {
		ASAN_UNPOISON_MEMORY_REGION(windows->room[i], windows->size);
		free(windows->room[i]);
	}
}

/* A copy that ends where its room ends; the one before is gone. */
static inline uint8_t *
fuzz_window(struct fuzz_windows *windows, const uint8_t *data, size_t len)
{
	unsigned last = windows->turn, now = (last + 1) % FUZZ_WINDOWS;
	uint8_t *at = windows->room[now] + windows->size - len;

	FUZZ_CHECK(len <= windows->size);
	ASAN_POISON_MEMORY_REGION(windows->room[last] + windows->size -
					  windows->shown[last],
				  windows->shown[last]);
	ASAN_UNPOISON_MEMORY_REGION(at, len);
	windows->shown[last] = 0;
	windows->shown[now] = len;
	windows->turn = now;
	if (len != 0)
		memcpy(at, data, len);
	return at;
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
