/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/phrases.h - many word patterns against one text, in one pass
 *
 * A pattern is a sequence of elements; an element is a set of phrases, any
 * of which will do; between elements some words may stand. All phrases of all
 * patterns live in one trie over words, so the text is read once whatever
 * the number of patterns, and each phrase found moves the patterns that wait
 * for it one element on.
 *
 * Why not a library: the patterns are words in a certain order, not
 * characters. PCRE2 tries its alternatives one after the other (hundreds of
 * rules cost far more than the 20 us a reply that we allow), Hyperscan is one
 * pass but C++, large and not on every processor, and in both a rule like
 * "user, then up to four words, then unknown, in six languages" grows into
 * an expression that no administrator wants to edit.
 *
 * Built once, then read-only: any thread may read it.
 */
#ifndef OSTLER_QUEUE_BOUNCE_PHRASES_H
#define OSTLER_QUEUE_BOUNCE_PHRASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/bounce/normalize.h"

#define PHRASES_SLOTS_MAX  16384      /* elements of all sequences */
#define PHRASES_PHRASE_MAX 12	      /* words of one phrase */
#define PHRASES_GAP_ANY	   UINT16_MAX /* any number of words between */

struct phrases;

struct phrases *phrases_new(void);
void phrases_free(struct phrases *phrases);

/*
 * Makes a phrase known; the same phrase again gives the same number.
 *
 * words      borrows; 1 to PHRASES_PHRASE_MAX words
 * is_prefix  borrows; of each word: it may go on ("suspend" in "suspended")
 * Returns its number, or -1 when it is empty or too long.
 */
int phrases_intern(struct phrases *phrases, const struct normal *words,
		   const bool *is_prefix);

/* Begins a sequence and returns its number, counted from 0. */
unsigned phrases_begin(struct phrases *phrases);

/*
 * Adds an element to the sequence begun last.
 *
 * gap      words that may stand in front of it; 0 for the first element
 * any_of  borrows; count numbers of phrases_intern
 * Returns false when there are too many elements altogether.
 */
bool phrases_element(struct phrases *phrases, uint16_t gap, const int *any_of,
		     size_t count);

/* Call once after the last element, before the first phrases_run. */
void phrases_finish(struct phrases *phrases);

/* Where a sequence was found: words first to behind - 1. */
struct phrases_span {
	uint16_t first, behind;
};

/*
 * Reads the text once and calls found for every sequence that it contains,
 * possibly more than once; spans come in order of their last element's start.
 */
void phrases_run(const struct phrases *phrases, const struct normal *text,
		 void (*found)(void *arg, unsigned sequence,
			       struct phrases_span span),
		 void *arg);

#endif
