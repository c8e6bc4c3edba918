/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/tally.h - what the hosts of one attempt said, and what counts
 *
 * RFC 5321, 5.1: the hosts of a route are tried one after the other until one
 * takes the message. So each host's word is about some recipients only: those
 * it took or refused for good are settled, those that it turned away for now
 * are asked for at the next host. Pure.
 *
 * Of several words about a recipient, delivered counts before all; then a
 * temporary failure before a final one (a better host that may take it later
 * is reason enough to wait), a host's own words before silence, the better
 * host's before the worse one's.
 */
#ifndef OSTLER_QUEUE_DELIVER_TALLY_H
#define OSTLER_QUEUE_DELIVER_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/deliver/outcome.h"

struct tally {
	struct outcome *outcomes; /* owns; NULL before the first word */
	uint8_t *states;	  /* owns; enum tally_state, private */
	size_t count, left;	  /* recipients; those not settled */
	struct outcome failure;	  /* of hosts as a whole: the weightiest */
	bool has_failure;
};

/* count > 0 */
void tally_init(struct tally *tally, size_t count);
void tally_done(struct tally *tally); /* a zeroed one is fine */

/* The indexes of those not settled, in order, into to (room for count).
 * Returns how many. */
size_t tally_left(const struct tally *tally, size_t *to);

/* A host did not come to the message. outcome: borrows */
void tally_fail(struct tally *tally, const struct outcome *outcome);

/* A host's word about recipient i, which was not settled. outcome: borrows */
void tally_say(struct tally *tally, size_t i, const struct outcome *outcome);

/* There are no hosts: the caller fills the outcome of each recipient. Lends
 * the outcomes, zeroed; all are settled. */
struct outcome *tally_fill(struct tally *tally);

/*
 * No host is left: those not settled get what weighs most. Something was said
 * about each of them, or tally_fail was called.
 */
void tally_end(struct tally *tally);

#endif
