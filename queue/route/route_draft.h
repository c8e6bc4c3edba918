/* SPDX-License-Identifier: ISC */
/*
 * queue/route/route_draft.h - a route while its record sets come in
 *
 * The deciding half of route.h, without asking: which hosts an MX set names,
 * and what the route is once their addresses are known. Pure but for the
 * order of equal preferences, which is random.
 */
#ifndef OSTLER_QUEUE_ROUTE_ROUTE_DRAFT_H
#define OSTLER_QUEUE_ROUTE_ROUTE_DRAFT_H

#include "queue/route/resolver.h"
#include "queue/route/route.h"

/* One host to look up, or an address that needs no looking up. */
struct route_candidate {
	char name[ADDR_DOMAIN_MAX + 1];
	int preference; /* -1: not by MX */
	uint16_t port;
	bool is_implicit_tls;
	struct ip literals[2];	       /* IP_NONE: to be looked up */
	struct dns_set *v4, *v6;       /* shares; NULL: not asked for */
	bool is_v4_fresh, is_v6_fresh; /* came by a query of ours */
};

struct route_draft {
	enum hop_kind kind;
	enum hop_family family;
	bool is_implicit_mx;
	bool is_mx_fresh;
	uint16_t port;
	bool private_targets;
	char hostname[ADDR_DOMAIN_MAX + 1];
	bool (*is_ours)(void *arg, const struct ip *ip, uint16_t port);
	void *is_ours_arg;
	char domain[ADDR_DOMAIN_MAX + 1];
	struct dns_set *mx; /* shares; NULL: not asked for */
	struct route_candidate candidates[ROUTE_HOSTS_MAX];
	size_t count;
};

/* Copies what it needs of both; candidates are there unless MX is needed. */
void route_draft_init(struct route_draft *draft, const struct next_hop *hop,
		      const struct route_opts *opts);
void route_draft_done(struct route_draft *draft);

/* Forgets all sets: they are asked for again. Not for a literal. */
void route_draft_again(struct route_draft *draft);

/* Does the domain's MX have to be asked for first? */
bool route_draft_needs_mx(const struct route_draft *draft);

/*
 * The MX set has come: makes candidates of it.
 *
 * set  shares
 * Returns a route that says why there is none, or NULL: look addresses up.
 */
struct route *route_draft_take_mx(struct route_draft *draft,
				  struct dns_set *set, uint64_t now_ms);

/* Is this host to be looked up, with this type (DNS_A, DNS_AAAA)? */
bool route_draft_wants(const struct route_draft *draft,
		       const struct route_candidate *candidate, uint16_t type);

/* All sets have come: the route, one reference for the caller. */
struct route *route_draft_finish(const struct route_draft *draft,
				 uint64_t now_ms);

#endif
