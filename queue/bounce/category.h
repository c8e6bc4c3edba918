/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/category.h - what is known of a failure without reading text
 *
 * The names of the categories are in classify.h. Pure.
 */
#ifndef OSTLER_QUEUE_BOUNCE_CATEGORY_H
#define OSTLER_QUEUE_BOUNCE_CATEGORY_H

#include <stdbool.h>

#include "queue/bounce/classify.h"
#include "queue/deliver/outcome.h"

/* The category of a failure of our own; every cause has one. */
enum category category_by_cause(enum cause cause);

/*
 * The category that an enhanced code x.SUBJECT.DETAIL alone suggests.
 *
 * Returns false for a code that the IANA registry does not know.
 */
bool category_by_enhanced(unsigned subject, unsigned detail,
			  enum category *out);

/* The same for a three-digit code; false when it says nothing. */
bool category_by_code(unsigned code, enum category *out);

#endif
