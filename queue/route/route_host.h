/* SPDX-License-Identifier: ISC */
/*
 * queue/route/route_host.h - one host of a route, by its record sets
 *
 * Which of its addresses mail may go to, how long that is known, and why there
 * is none. For route_draft.c, which weighs what its hosts come to. Pure but for
 * the order of a family's addresses, which is random.
 */
#ifndef OSTLER_QUEUE_ROUTE_ROUTE_HOST_H
#define OSTLER_QUEUE_ROUTE_ROUTE_HOST_H

#include "queue/route/route_draft.h"

enum host_state {
	HOST_USABLE,  /* has an address */
	HOST_OURS,    /* an address and port that we listen on */
	HOST_PRIVATE, /* has none but in private networks */
	HOST_FAILED,  /* DNS does not say */
	HOST_BOGUS,   /* DNSSEC says that it lies */
	HOST_NO_ADDRESS,
};

/*
 * Fills a host that is all zeros.
 *
 * draft, candidate  borrowed; the candidate's sets have come
 * out               its why says what is wrong, unless it is usable
 * It expires with the earliest of the MX set and the sets that name an
 * address, or that say that there is none.
 */
enum host_state route_host_fill(const struct route_draft *draft,
				const struct route_candidate *candidate,
				uint64_t now_ms, struct route_host *out);

#endif
