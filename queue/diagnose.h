/* SPDX-License-Identifier: ISC */
/*
 * queue/diagnose.h - the way of a message, walked without one
 *
 * Takes the next hop that policy names now and starts a real delivery to it
 * that is watched and stops behind RCPT (queue/deliver/watch.h): what is found
 * is what mail would find, since the same functions look for it. Bounded in
 * time. Loop thread only.
 */
#ifndef OSTLER_QUEUE_DIAGNOSE_H
#define OSTLER_QUEUE_DIAGNOSE_H

#include <stdint.h>

#include "lib/addr.h"
#include "policy/policy.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/classify.h"
#include "queue/deliver/outcome.h"
#include "queue/deliver/watch.h"

struct diagnosis;
struct queue;

struct diagnosis_end {
	/* DELIVERED: the recipient was accepted. Lent for the call, as all
	 * that is here. */
	const struct outcome *outcome;
	const struct classification *classification;
	const struct advice *advice;
};

/* end: NULL: it took longer than it may */
typedef void diagnosis_fn(void *arg, const struct diagnosis_end *end);

struct diagnosis_request {
	const struct next_hop *hop; /* HOP_MX, HOP_SMTP, HOP_LMTP; copied, what
				       it points to is the policy's */
	struct policy *policy;	    /* shares */
	const struct addr *sender, *recipient; /* borrows */
	uint64_t timeout_ms;
	struct delivery_watch watch; /* its functions get watch.arg */
};

/* on_end comes later, once. */
struct diagnosis *diagnosis_start(struct queue *queue,
				  const struct diagnosis_request *request,
				  diagnosis_fn *on_end, void *arg);
/* Nobody is called any more. */
void diagnosis_cancel(struct diagnosis *diagnosis);

#endif
