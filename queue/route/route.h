/* SPDX-License-Identifier: ISC */
/*
 * queue/route/route.h - from a domain to hosts and addresses
 *
 * A route is an immutable view over record sets; it expires with the earliest
 * of them. Nobody keeps one past that: it is looked at when an attempt
 * starts, before each connect, and before MAIL on a reused connection.
 *
 * A route that was just handed over is good for the connect that starts at
 * once even if it is expired already: TTL 0 means "for this one use".
 */
#ifndef OSTLER_QUEUE_ROUTE_ROUTE_H
#define OSTLER_QUEUE_ROUTE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/ip.h"
#include "policy/policy.h"
#include "queue/deliver/outcome.h"
#include "queue/route/resolver.h"

#define ROUTE_HOSTS_MAX 20 /* of an MX set; the best ones */
#define ROUTE_ADDRS_MAX 8  /* of a host */

struct route_host {
	char name[ADDR_DOMAIN_MAX + 1];
	int preference; /* -1: not by MX */
	uint16_t port;
	bool is_implicit_tls;
	bool is_mx_secure; /* the MX set carried AD, or the host is
			      configured */
	bool is_secure;	   /* the address sets carried AD too */
	/* Behind the CNAMEs, a host name; "": it is no alias. */
	char canonical[ADDR_DOMAIN_MAX + 1];
	uint64_t expires_ms;	       /* boot clock; UINT64_MAX: a literal */
	uint64_t mx_ttl_s, addr_ttl_s; /* left when the route was made; 0 when
					  there is no such set */
	bool is_cached;		       /* all sets came from the cache */
	struct ip addrs[ROUTE_ADDRS_MAX];
	size_t addr_count; /* 0: see why */
	char why[128];	   /* why no address */
};

struct route {
	unsigned refs;
	/* CAUSE_REPLY: usable. Others: why there is none (typed). */
	enum cause cause;
	bool is_permanent; /* only meaningful when there is a cause */
	char why[256];	   /* in words */
	char domain[ADDR_DOMAIN_MAX + 1];
	bool is_implicit_mx;
	uint64_t made_ms, expires_ms; /* boot clock */
	/* The MX set, or its absence; 0: it was not asked for. */
	uint64_t mx_asked_ms, mx_expires_ms;
	bool is_mx_cached; /* the MX set came from the cache */
	bool has_cached;   /* some set did */
	bool is_stale;	   /* some set was kept past its TTL by the server */
	/* Of MX, A and AAAA sets of all hosts, whatever their order; 0: not
	 * known. */
	uint64_t mx_print, v4_print, v6_print;
	/* By preference, equal ones shuffled. With CAUSE_REPLY at least one
	 * has an address; those without stand here for people to read. */
	struct route_host *hosts;
	size_t host_count;
};

struct route *route_ref(struct route *route);
void route_unref(struct route *route);

struct route_opts {
	uint16_t port; /* for MX hosts */
	bool private_targets;
	const char *hostname; /* ours */
	bool (*is_ours)(void *arg, const struct ip *ip, uint16_t port);
	void *is_ours_arg;
	bool is_fresh; /* ask DNS again */
};

struct route_query;
typedef void route_fn(void *owner, struct route *route);

/*
 * Finds the route of a next hop (HOP_MX: by MX of hop->domain; HOP_SMTP and
 * HOP_LMTP over TCP: the targets' addresses). The callback comes later, once;
 * route is lent for the call.
 *
 * hop, opts  borrows
 *
 * For a configured next hop no answer of DNS is permanent, and "localhost" is
 * this host without asking (RFC 6761, 6.3).
 */
struct route_query *route_find(struct resolver *resolver,
			       const struct next_hop *hop,
			       const struct route_opts *opts,
			       route_fn *on_route, void *owner);
void route_cancel(struct route_query *query); /* until the callback began */

/* now_ms < expires_ms */
bool route_is_fresh(const struct route *route, uint64_t now_ms);

/* What the route says about a host of it, or one that it no longer names. */
void route_view(const struct route *route, const char *host,
		const struct ip *ip, struct mx_view *out);

/* Does it name this host with this address and port? (the reuse rule) */
bool route_names(const struct route *route, const char *host,
		 const struct ip *ip, uint16_t port);

#endif
