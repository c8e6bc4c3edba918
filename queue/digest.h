/* SPDX-License-Identifier: ISC */
/*
 * queue/digest.h - what nobody could be told, once a day to the postmaster
 *
 * Failures of mail from the null sender, and reports beyond their sender's
 * cap, are written down in SPOOL/digest before the message that failed is
 * forgotten. A period after the first of them they go to the postmaster as
 * one message. As long as that is on its way the file keeps what it says; if
 * it cannot be delivered, all of it waits for the next one. So nothing is
 * lost, and there is no loop: one message a period, whatever happens.
 * Loop thread only.
 */
#ifndef OSTLER_QUEUE_DIGEST_H
#define OSTLER_QUEUE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/list.h"
#include "queue/bounce/sheet.h"

struct digest;
struct queue;

/* The listener's name in a digest's envelope. */
#define DIGEST_LISTENER "digest"

/* Reads SPOOL/digest. Blocks: for the start. */
int digest_open(struct queue *queue, struct digest **out, struct err *err);
void digest_free(struct digest *digest); /* NULL is fine */

/* Waits for the disk; embedded in its owner. Zero it to begin. */
struct digest_ticket {
	struct list link; /* private */
	uint64_t number;
	bool is_settled; /* private: of digest_settled */
	void (*on_done)(struct digest_ticket *ticket, int status);
};

/* Writes it down; on_done comes later, always: 0, or a negative errno when
 * the disk refused it, and then it was not added. item: borrows. */
void digest_add(struct digest *digest, const struct sheet_item *item,
		struct digest_ticket *ticket);

/*
 * A digest was delivered, or never will be: then what it told waits for the
 * next one.
 *
 * why  NULL: delivered; else what the last host said
 * on_done comes later, always with 0: a file that still names the digest has
 * it told again at worst.
 */
void digest_settled(struct digest *digest, uint64_t id, const char *why,
		    struct digest_ticket *ticket);

/* on_done will not come. */
void digest_cancel(struct digest_ticket *ticket);

/* Sends it when it is due. Only when all of the spool was loaded. */
void digest_tick(struct digest *digest);
/* When it has to be called again, wall clock; UINT64_MAX: no need. */
uint64_t digest_wakeup_ms(const struct digest *digest);

struct digest_stats {
	uint64_t waiting;     /* messages to be told of in the next one */
	uint64_t on_way;      /* in the one that is being delivered */
	uint64_t due_ms;      /* wall clock; 0: nothing waits */
	uint64_t failed;      /* digests that were not delivered, since start */
	const char *last_why; /* lends: of the last failed one; NULL: the last
				 one was delivered */
};
void digest_stats(const struct digest *digest, struct digest_stats *out);

#endif
