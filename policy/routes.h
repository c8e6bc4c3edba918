/* SPDX-License-Identifier: ISC */
/*
 * policy/routes.h - the route rows, and how a target is written
 *
 * A recipient's row is the one whose `for` has its exact domain, else the
 * closest ".parent", else "*"; among equals one whose sender is the address,
 * then one whose sender is its @domain, then one without; then file order.
 */
#ifndef OSTLER_POLICY_ROUTES_H
#define OSTLER_POLICY_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "policy/policy.h"

struct route_row {
	char *name;
	char *sender; /* match_local@domain, "@domain", or NULL: any */
	enum hop_kind kind;
	struct hop_target *targets; /* HOP_SMTP */
	size_t target_count;
	enum hop_tls tls;
	const char *user, *password_file, *token_command; /* lend; NULL */
	const char **mechanisms; /* owns the array; NULL: any */
	enum hop_family family;
	struct ip source;
	unsigned connections, messages_per_connection;
	uint32_t rate_count, rate_period_s;
	const char *at; /* lends: "FILE:LINE" */
};

/* One text of one row's `for`. */
struct route_pattern {
	char *text; /* "example.org", ".example.org", "*" */
	const struct route_row *row;
	unsigned sender_rank; /* 0: an address, 1: @domain, 2: any */
	size_t order;	      /* in the file */
};

struct routes {
	struct route_row **rows; /* in file order */
	size_t count;
	struct route_pattern *patterns; /* sorted by routes_sort */
	size_t pattern_count;
};

/* pattern: takes a copy; row lives in routes->rows. */
void routes_add_pattern(struct routes *routes, const char *pattern,
			const struct route_row *row);
void routes_sort(struct routes *routes);

void routes_done(struct routes *routes);

/*
 * What stands behind deliver = and via =
 *
 *	target = "mx" / "discard" / "maildir:" PATH / "lmtp:unix:" PATH /
 *		 ( "lmtp:" / "smtp:" / "smtps:" ) HOST ":" PORT
 */
struct target_text {
	enum hop_kind kind;
	struct str path; /* of a Maildir or a unix socket; else empty */
	struct str host; /* without brackets; empty for path, mx, discard */
	uint16_t port;
	bool is_implicit_tls;
};

/* Returns NULL and fills out, or says what is wrong (static text). Strings of
 * out lend from text. */
const char *target_parse(struct str text, struct target_text *out);
/* Whether it begins like none of the forms, so that what is expected is all
 * that there is to say. */
bool target_is_unknown(struct str text);

#endif
