/* SPDX-License-Identifier: ISC */
/*
 * queue/route/sts.h - the MTA-STS policies of domains (RFC 8461)
 *
 * A policy that was read once counts for its max_age, counted from then,
 * whatever becomes of DNS and the web server; it outlives a restart in one
 * file. A TXT record with another id has it read again. Who asks while it is
 * read waits for it, but never for what is read again only to be fresh. At
 * most 4096 domains; what nobody asked for the longest goes first. Loop
 * thread only.
 */
#ifndef OSTLER_QUEUE_ROUTE_STS_H
#define OSTLER_QUEUE_ROUTE_STS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "queue/route/sts_policy.h"

struct resolver;
struct sts;
struct sts_query;

struct sts_opts {
	const char *ca; /* PEM file for the web servers; NULL: the system's */
	bool private_targets;	   /* web servers may have private addresses */
	uint16_t port;		   /* of the web servers; 0: 443 */
	uint64_t (*wall_ms)(void); /* NULL: the wall clock */
};

/*
 * resolver  lent until sts_free
 * file      copied; read now (blocks), written beside the work
 */
struct sts *sts_new(uv_loop_t *loop, const struct sts_opts *opts,
		    struct resolver *resolver, const char *file);
/* Strings are copied. */
void sts_configure(struct sts *sts, const struct sts_opts *opts);
/* Nobody may be waiting. NULL is fine. */
void sts_free(struct sts *sts);

struct sts_answer {
	struct sts_policy *policy; /* NULL: there is none that counts */
	/* Why not, or why it could not be read again; "" for no reason. */
	const char *why;
	uint64_t expires_ms; /* boot clock: when to ask again */
};

/* answer: lent for the call */
typedef void sts_fn(void *owner, const struct sts_answer *answer);

/* Asks for a domain's policy; the callback comes later, once.
 * domain: borrows; a normalised name */
struct sts_query *sts_ask(struct sts *sts, const char *domain,
			  sts_fn *on_answer, void *owner);
void sts_cancel(struct sts_query *query);

struct sts_stats {
	uint64_t domains, fetched, failed;
};
void sts_stats(const struct sts *sts, struct sts_stats *out);

#endif
