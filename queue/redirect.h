/* SPDX-License-Identifier: ISC */
/*
 * queue/redirect.h - waiting mail on another way than the routes say
 *
 * An operator's word about mail that is already here; what comes later
 * follows the routes. Pure.
 */
#ifndef OSTLER_QUEUE_REDIRECT_H
#define OSTLER_QUEUE_REDIRECT_H

#include <stdbool.h>

#include "lib/addr.h"
#include "policy/policy.h"
#include "queue/envelope.h"

/* What a next hop made from a redirection points to; lives as long as it. */
struct redirect_target {
	struct hop_target target;
	char host[ADDR_DOMAIN_MAX + 1];
};

/*
 * "HOST:PORT", "smtp:HOST:PORT" or "smtps:HOST:PORT".
 *
 * Returns NULL, or what is wrong (static text).
 */
const char *redirect_parse(const char *via, struct redirect_target *out);

/*
 * Where a recipient goes next: as the policy says, unless its mail was
 * redirected. The other host gets none of the route's logins, and TLS at
 * least as the route asks for; names in certificates and TLSA records are
 * those of the route's hosts, so that "verified", "dane" and "sts" come to a
 * certificate that is checked by the host's own name.
 */
void redirect_next_hop(const struct policy *policy,
		       const struct envelope *envelope, size_t recipient,
		       struct redirect_target *room, struct next_hop *out);

#endif
