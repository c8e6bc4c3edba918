/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/advice.h - what to tell the people concerned
 *
 * Two readers, never mixed: who wrote the message, and who runs a mail
 * system. Each category has its texts (classify.h); where a rule knows more
 * ("mailbox-full"), its texts stand in their place. Pure.
 */
#ifndef OSTLER_QUEUE_BOUNCE_ADVICE_H
#define OSTLER_QUEUE_BOUNCE_ADVICE_H

#include "lib/str.h"
#include "queue/bounce/classify.h"

struct advice {
	const char *cause;	 /* for a subject line: "no such mailbox" */
	const char *explanation; /* what happened */
	const char *author;	 /* what the author can do */
	const char *admin;	 /* what the administrators can do */
	const char *who;	 /* who can change it: "you", "the recipient" */
};

/* All texts for one failure: static, plain ASCII, one paragraph each. */
void advice_find(const struct classification *classification,
		 struct advice *out);

/* The lasting copy of the name of an advice, NULL when there is none. */
const char *advice_id(struct str name);

#endif
