/* SPDX-License-Identifier: ISC */
/*
 * queue/route/sts.h - the MTA-STS policies of domains (RFC 8461)
 *
 * A policy that was read once counts for its max_age, counted from then,
 * whatever becomes of DNS and the web server; it outlives a restart in one
 * file. A TXT record with another id has it read again. Who asks while it is
 * read waits for it, a minute at the most, but never for what is read again
 * only to be fresh. At most 4096 domains; what nobody asked for the longest
 * goes first. Loop thread only.
 */
#ifndef OSTLER_QUEUE_ROUTE_STS_H
#define OSTLER_QUEUE_ROUTE_STS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/net/https.h"
#include "queue/route/sts_policy.h"

#define STS_DOMAINS_MAX 4096
#define STS_FLIGHTS_MAX 256	     /* policies that are read at once */
#define STS_WAIT_MS	60000	     /* RFC 8461, 3.3 */
#define STS_RETRY_MS	(300 * 1000) /* RFC 8461, 3.3: after a failure */
#define STS_REFRESH_S	86400	     /* read again when older: RFC 8461, 10.2 */

/* Who reads documents: lib/net/https.h, whose functions these are. */
struct sts_reader {
	struct https_fetch *(*get)(uv_loop_t *loop,
				   const struct https_request *request,
				   https_fn *on_reply, void *owner);
	bool (*has_begun)(const struct https_fetch *fetch);
	void (*cancel)(struct https_fetch *fetch);
};

struct resolver;
struct sts;
struct sts_query;

struct sts_opts {
	const char *ca; /* PEM file for the web servers; NULL: the system's */
	bool private_targets; /* web servers may have private addresses */
	uint16_t port;	      /* of the web servers; 0: 443 */
	/* For tests; NULL and 0 for what stands above. */
	uint64_t (*wall_ms)(void);
	const struct sts_reader *reader; /* lent until sts_free */
	uint64_t wait_ms;
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
	/* There may be one, but too many others are being read: nobody has
	 * been asked. Mail must not go without it for such a reason. */
	bool is_busy;
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
	/* Why policies cannot be read, whoever's they are; "": they can, for
	 * all we know. Lent until the next turn of the loop. */
	const char *broken;
};
void sts_stats(const struct sts *sts, struct sts_stats *out);

#endif
