/* SPDX-License-Identifier: ISC */
/*
 * server/points_here.h - domains whose MX names us before we know them
 *
 * For a stranger's foreign recipient the session asks whether an MX of the
 * domain names this host, by our host name or by an address that we accept
 * mail on. Such a domain was probably published before it was configured, and
 * its mail is worth keeping at the sender's for a while.
 *
 * It is no lever for others: questions go through the resolver's window for
 * strangers; one client has one question at a time, further ones wait in
 * line; ten MX names are looked at; 64 lookups a minute in all. What was seen
 * to point here is kept in a bounded table, in memory only: nothing that a
 * stranger publishes costs a write to disk, and a restart merely begins the
 * five days again, in which mail is deferred and not lost.
 */
#ifndef OSTLER_SERVER_POINTS_HERE_H
#define OSTLER_SERVER_POINTS_HERE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"
#include "policy/policy.h"

struct points_here;
struct points_here_query;
struct resolver;

/* is_ours: do we accept mail from the internet on this address? */
struct points_here *
points_here_new(struct resolver *resolver,
		bool (*is_ours)(void *arg, const struct ip *ip), void *arg);
/* Nobody may be waiting. NULL is fine. */
void points_here_free(struct points_here *points);

struct points_here_answer {
	enum policy_points_here points_here;
	bool is_too_long; /* POINTS_HERE for more than 5 days */
	bool is_news;	  /* worth a warning: once a domain and day */
};

typedef void points_here_fn(void *owner,
			    const struct points_here_answer *answer);

/*
 * Asks; the callback comes later, once.
 *
 * client    borrows; who made us ask; IP_NONE: the operator, who is not
 *           limited and leaves no trace in the table
 * domain    borrows; normalised
 * hostname  borrows; ours, normalised
 */
struct points_here_query *
points_here_ask(struct points_here *points, const struct ip *client,
		const char *domain, const char *hostname,
		points_here_fn *on_answer, void *owner);

/* Allowed until the callback began. NULL is fine. */
void points_here_cancel(struct points_here_query *query);

struct points_here_stats {
	uint64_t lookups; /* that asked DNS */
	uint64_t here;	  /* answers POINTS_HERE */
	uint64_t refused; /* not asked: over a limit */
};
const struct points_here_stats *
points_here_stats(const struct points_here *points);

struct points_here_domain {
	const char *domain;	  /* lent for the call */
	uint64_t first_s, last_s; /* seconds ago */
	uint64_t count;
	bool is_too_long;
};

/* The domains seen to point here, least recently asked for first. */
void points_here_each(const struct points_here *points,
		      void (*each)(void *arg,
				   const struct points_here_domain *domain),
		      void *arg);

#endif
