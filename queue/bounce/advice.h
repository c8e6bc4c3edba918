/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/advice.h - what to tell the people concerned
 *
 * Two readers, never mixed: who wrote the message, and who runs a mail
 * system. Each category has its texts in each language (texts.h); where a rule
 * knows more ("mailbox-full"), its texts stand in their place. Pure.
 */
#ifndef OSTLER_QUEUE_BOUNCE_ADVICE_H
#define OSTLER_QUEUE_BOUNCE_ADVICE_H

#include <stddef.h>

#include "lib/str.h"
#include "queue/bounce/classify.h"

struct language;

struct advice {
	const char *cause;	 /* for a subject line: "no such mailbox" */
	const char *explanation; /* what happened */
	const char *author;	 /* what the author can do */
	const char *admin;	 /* what the administrators can do */
	const char *who;	 /* who can change it: "you", "the recipient" */
};

/* All texts for one failure, one paragraph each, clean UTF-8: lent by the
 * language. NULL is the built-in English, whose texts are static. */
void advice_find(const struct classification *classification,
		 const struct language *language, struct advice *out);

/* The lasting copy of the name of an advice, NULL when there is none. */
const char *advice_id(struct str name);

/* All that have texts: the categories in their order, then the advices that
 * rules may name. */
size_t advice_count(void);
const char *advice_name(size_t index);

#endif
