/* SPDX-License-Identifier: ISC */
/*
 * policy/builder_tables.h - the builder's parts; for policy/builder*.c alone
 */
#ifndef OSTLER_POLICY_BUILDER_TABLES_H
#define OSTLER_POLICY_BUILDER_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "policy/builder.h"
#include "policy/state.h"

struct builder {
	struct policy *policy;
	builder_report_fn *report;
	void *arg;
	bool has_errors, has_postmaster;
	const char *postmaster_at;
	const struct domain_row *first_domain; /* in file order, not "*" */
};

void builder_error(struct builder *builder, const char *at, const char *format,
		   ...) __attribute__((format(printf, 3, 4)));
void builder_warn(struct builder *builder, const char *at, const char *format,
		  ...) __attribute__((format(printf, 3, 4)));

void builder_add_recipients(struct builder *builder, struct domain_row *row,
			    const struct table_source *source);
void builder_add_aliases(struct builder *builder, struct domain_row *row,
			 const struct table_source *source);
void builder_add_senders(struct builder *builder,
			 const struct table_source *source);

/*
 * address = mailbox / "@" domain, in the one spelling that senders are
 * compared in (match_local form @domain).
 *
 * Returns NULL and fills to, or says what is wrong (static text).
 */
const char *builder_read_sender(struct str text, char to[ADDR_MAX + 2]);
void builder_sort_senders(struct builder *builder);

/* Replaces the targets of every alias by what they lead to in the end. */
void builder_flatten_aliases(struct builder *builder);

#endif
