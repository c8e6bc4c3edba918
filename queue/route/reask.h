/* SPDX-License-Identifier: ISC */
/*
 * queue/route/reask.h - what does DNS say about this domain now?
 *
 * Asks past our cache when a host's answer casts doubt on it, but at most
 * once in 30 s about a domain, whatever hosts answer and however much mail
 * waits: who asks meanwhile gets the answer of that question. At most 1024
 * domains are in this at a time. Loop thread only.
 */
#ifndef OSTLER_QUEUE_ROUTE_REASK_H
#define OSTLER_QUEUE_ROUTE_REASK_H

#include "lib/ip.h"
#include "policy/policy.h"
#include "queue/route/route.h"

#define REASK_EACH_MS	  30000 /* one question a domain */
#define REASK_DOMAINS_MAX 1024

struct reask;
struct reask_wait;
struct resolver;

/* resolver: lent until reask_free */
struct reask *reask_new(struct resolver *resolver);
/* Nobody may be waiting. NULL is fine. */
void reask_free(struct reask *reask);

/* route: lent for the call; NULL: too many domains are asked about */
typedef void reask_fn(void *owner, struct route *route);

/*
 * Asks for the route of a domain; the callback comes later, once. Before a
 * question the sets of the domain's MX and of this host are dropped from the
 * cache, so that nobody goes by them if there is no answer.
 *
 * hop   borrows; HOP_MX
 * opts  borrows; is_fresh means nothing
 * host  borrows; whose answer it was
 */
struct reask_wait *reask_start(struct reask *reask, const struct next_hop *hop,
			       const struct route_opts *opts, const char *host,
			       reask_fn *on_route, void *owner);
void reask_cancel(struct reask_wait *wait); /* until the callback began */

#endif
