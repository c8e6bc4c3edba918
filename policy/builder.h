/* SPDX-License-Identifier: ISC */
/*
 * policy/builder.h - how a struct policy comes to be
 *
 * The configuration hands in what it read, each value with the place it
 * stands at, and the text of table files. The builder checks it, reports all
 * that is wrong through a callback and gives an immutable policy when nothing
 * was. No I/O. Not shared between threads.
 */
#ifndef OSTLER_POLICY_BUILDER_H
#define OSTLER_POLICY_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"
#include "lib/units.h"
#include "policy/policy.h"

/* Final recipients of one alias at most, all its aliases followed. */
#define BUILDER_ALIAS_MAX 10000
/* Aliases that lead to aliases at most. */
#define BUILDER_ALIAS_DEPTH 50

/* A value and where it stands; at NULL: a default. Borrowed throughout. */
struct sourced {
	const char *text; /* NULL: not given */
	const char *at;	  /* "FILE:LINE" */
};

struct sourced_list {
	const struct sourced *at;
	size_t count;
};

/* The text of a table file: text.at NULL when there is none. */
struct table_source {
	struct sourced file; /* its name, and where that is configured */
	struct str text;     /* borrows */
};

struct builder_relay {
	struct sourced hostname;   /* required; normalised by the builder */
	struct sourced postmaster; /* NULL: the default */
	struct sourced qualify;	   /* NULL: the default */
	uint16_t submission_port;  /* first one; 0: none */
	struct sourced_list trusted_networks;
	struct sourced mx_points_here; /* "defer" | "deny" */
	struct sourced sender_binding; /* "any" | "domain" | "login" */
	struct table_source senders;
};

struct builder_domain {
	struct sourced name;	/* the title */
	struct sourced deliver; /* required */
	struct sourced delimiter;
	bool has_subdomains;
	struct table_source recipients, aliases;
};

struct builder_route {
	struct sourced name;
	struct sourced_list for_domains; /* `for` */
	struct sourced sender;		 /* NULL or "": any */
	struct sourced_list via;
	struct sourced tls, family; /* the words of the configuration */
	struct sourced user, password_file, token_command, source;
	struct sourced_list mechanisms;
	unsigned connections, messages_per_connection;
	struct units_rate rate;
};

enum builder_severity { BUILDER_ERROR, BUILDER_WARNING };

/* at    "FILE:LINE", or NULL for the configuration as a whole
 * text  one line without a full stop */
typedef void builder_report_fn(void *arg, enum builder_severity severity,
			       const char *at, const char *text);

struct builder;

struct builder *builder_new(builder_report_fn *report, void *arg);

void builder_set_relay(struct builder *builder,
		       const struct builder_relay *relay);
void builder_add_domain(struct builder *builder,
			const struct builder_domain *domain);
void builder_add_route(struct builder *builder,
		       const struct builder_route *route);

/*
 * Checks what holds between the rows (defaults, loops of aliases, what would
 * open the relay), frees the builder.
 *
 * Returns the policy, whose one reference the caller owns, or NULL when an
 * error was reported.
 */
struct policy *builder_finish(struct builder *builder);

#endif
