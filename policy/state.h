/* SPDX-License-Identifier: ISC */
/*
 * policy/state.h - what struct policy holds; for this room alone
 *
 * Made by builder.c, read by relay.c, routes.c and policy.c.
 */
#ifndef OSTLER_POLICY_STATE_H
#define OSTLER_POLICY_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "policy/cidr.h"
#include "policy/domains.h"
#include "policy/match.h"
#include "policy/policy.h"
#include "policy/routes.h"

enum sender_binding { BINDING_ANY, BINDING_DOMAIN, BINDING_LOGIN };

/* One row of the senders file. */
struct sender_row {
	char *login;
	char *address;	/* match_local@domain, or "@domain" */
	const char *at; /* lends: "FILE:LINE" */
};

struct policy {
	unsigned refs; /* changed atomically: a worker builds and drops too */
	char *hostname, *qualify;
	struct addr postmaster;
	uint16_t submission_port; /* 0: there is none */

	struct cidr *trusted;
	const char **trusted_at; /* of each */
	size_t trusted_count;

	bool defers_points_here;
	const char *points_here_at;

	enum sender_binding binding;
	const char *binding_at;
	struct sender_row *senders; /* sorted by login, then address */
	size_t sender_count;

	struct domains domains;
	struct routes routes;

	struct names texts; /* unsorted: what the others lend */
};

/* A copy that lives as long as the policy; NULL for NULL. */
const char *policy_keep(struct policy *policy, const char *text);

/* postmaster without a domain, or at our name when that is not local. */
bool policy_is_our_postmaster(const struct policy *policy,
			      const struct addr *addr);

/* addr with the qualifying domain when it has none. */
struct addr policy_qualified(const struct policy *policy,
			     const struct addr *addr);

#endif
