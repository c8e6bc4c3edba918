/* SPDX-License-Identifier: ISC */
/*
 * policy/tables.h - the rows of a table file
 *
 *	recipients:  bob
 *	aliases:     sales: bob, "carol x"@example.net
 *	             *: boss
 *	senders:     alice @example.org
 *
 * One row a line; '#' at its start or behind a space begins a comment; an
 * aliases row goes on in lines that begin with a space. Pure: an iterator
 * over text that somebody else read.
 */
#ifndef OSTLER_POLICY_TABLES_H
#define OSTLER_POLICY_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/str.h"

enum table_kind { TABLE_RECIPIENTS, TABLE_ALIASES, TABLE_SENDERS };

struct table {
	struct str rest;
	enum table_kind kind;
	unsigned line; /* of the row given last */
};

struct table_row {
	unsigned line;
	struct str key;	     /* empty: goes on with the row before */
	struct str value;    /* empty for recipients */
	const char *problem; /* NULL, or static text: the row is unusable */
};

/* text  borrows until the last table_next */
void table_init(struct table *table, enum table_kind kind, struct str text);

/* Strings of out lend from the text. Returns false behind the last row. */
bool table_next(struct table *table, struct table_row *out);

/*
 * Cuts the next address off a list separated by commas (those in quotes are
 * part of the address). Returns false when rest was empty.
 */
bool table_cut_address(struct str *rest, struct str *out);

#endif
