/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/texts_read.h - reads one file of texts, for texts.c alone
 *
 * Slots are numbered: those of enum text, then four for each advice. Pure.
 */
#ifndef OSTLER_QUEUE_BOUNCE_TEXTS_READ_H
#define OSTLER_QUEUE_BOUNCE_TEXTS_READ_H

#include <stddef.h>

#include "lib/err.h"

#define TEXT_MAX 1200 /* bytes of one text */

size_t texts_slot_count(void);

/*
 * Puts the texts of a file into their slots, in place of what was there.
 *
 * text   borrows, NUL-terminated, any bytes
 * slots  texts_slot_count() of them; owned by the caller, NULL or heap
 * Returns 0, or -EINVAL with "NAME:LINE: what"; then some slots are set.
 */
int texts_read(const char *text, const char *name, char **slots,
	       struct err *err);

#endif
