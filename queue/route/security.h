/* SPDX-License-Identifier: ISC */
/*
 * queue/route/security.h - what TLS a host has to offer, and who says so
 *
 * The route's `tls` is the least; where the host's zone publishes TLSA records
 * (DANE, RFC 7672) these decide, else the policy of the domain (MTA-STS, RFC
 * 8461). Found anew for each connection, since a TLSA
 * set has a TTL of its own. A lookup that fails bars the host: mail waits,
 * and is never sent with less than what may be published there.
 */
#ifndef OSTLER_QUEUE_ROUTE_SECURITY_H
#define OSTLER_QUEUE_ROUTE_SECURITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/net/tls_ctx.h"
#include "policy/policy.h"
#include "queue/deliver/outcome.h"
#include "queue/route/resolver.h"

struct route;
struct sts;

enum security_kind {
	SECURITY_NONE,		/* in the clear, as configured */
	SECURITY_OPPORTUNISTIC, /* TLS where it is offered; any certificate */
	SECURITY_REQUIRED,	/* no mail without TLS; any certificate */
	SECURITY_VERIFIED,	/* certificate by chain and name, configured */
	SECURITY_DANE,		/* certificate by TLSA records */
	SECURITY_DANE_UNUSABLE, /* TLSA records, none of which we can use: TLS
				   with any certificate (RFC 7672, 2.2) */
	SECURITY_STS,		/* certificate by chain and name, published */
	SECURITY_STS_TESTING,	/* the same, but a failure is only told */
};
const char *security_name(enum security_kind kind); /* "dane", ... */

/* Immutable, shared by counting. */
struct security {
	unsigned refs;
	enum security_kind kind;
	/* CAUSE_REPLY: the host may be connected to. Others: it must not be,
	 * and this is why. */
	enum cause cause;
	char why[256];
	char from[400];	     /* who asks for it, for people; "" nobody */
	uint64_t expires_ms; /* boot clock; UINT64_MAX: as long as the route */
	bool is_unnamed;     /* testing: the policy does not name the host */
	uint64_t print;	     /* equal for what is verified in the same way */
	/* What the certificate is checked by. */
	char name[ADDR_DOMAIN_MAX + 1];
	char alias[2][ADDR_DOMAIN_MAX + 1]; /* "": none */
	struct dns_set *set;		    /* shares: what tlsa lends from */
	struct tls_tlsa *tlsa;		    /* owns */
	size_t tlsa_count;
};

struct security *security_ref(struct security *security);
void security_unref(struct security *security); /* NULL is fine */

/* What `tls` alone asks for, of a host that has nothing to look up. */
struct security *security_configured(enum hop_tls tls, const char *host);

struct security_query;
/* security: lent for the call */
typedef void security_fn(void *owner, struct security *security);

/*
 * Finds what the index-th host of a route has to offer. The callback comes
 * later, once.
 *
 * sts    lent until the callback; NULL: no policy is looked for
 * hop    borrows
 * route  shares; the host has an address
 */
struct security_query *security_find(struct resolver *resolver, struct sts *sts,
				     const struct next_hop *hop,
				     struct route *route, size_t index,
				     security_fn *on_security, void *owner);
void security_cancel(struct security_query *query);

/*
 * A failure that happened because of it (TLS not offered, handshake) is told
 * as what it is: the record, or whoever asked for TLS, goes into cause and
 * text. Others are left alone.
 */
void security_blame(const struct security *security, struct outcome *outcome);

#endif
