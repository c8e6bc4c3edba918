/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/record.h - one line of the history of failures
 *
 * Lines of text in SPOOL/bounces whose parts are parted by tabs. Pure.
 */
#ifndef OSTLER_QUEUE_BOUNCE_RECORD_H
#define OSTLER_QUEUE_BOUNCE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/str.h"

enum record_kind {
	RECORD_BOUNCED,
	RECORD_EXPIRED,
	RECORD_DELIVERED, /* to an address that had failed before */
};
const char *record_kind_name(enum record_kind kind);

#define RECORD_WORDS_MAX 400 /* octets of a reply that are kept */
#define RECORD_LINE_MAX	 4096

/* Texts are lent; "" for what is not known. */
struct record {
	uint64_t at_ms; /* wall clock */
	enum record_kind kind;
	struct str id, sender, recipient;
	struct str category, rule, cause;
	unsigned code;	     /* three digits; 0: none */
	struct str enhanced; /* "5.1.1" */
	struct str host, ip;
	struct str words; /* what was said, in one line */
};

/* Appends the line with its newline; parts that are too long are cut. */
void record_format(const struct record *record, struct buf *out);

/*
 * Reads a line without its newline. Foreign bytes.
 *
 * out  lends from line; untouched on failure
 * Returns false when it is none (a newer version's, or cut by a crash).
 */
bool record_parse(struct str line, struct record *out);

/* The part of the recipient behind the last @; "" without one. */
struct str record_domain(const struct record *record);

/*
 * Does it speak against the address itself, for good or again and again?
 *
 * out_is_hard  whoever said it said that there is no such address
 */
bool record_is_against(const struct record *record, bool *out_is_hard);

#endif
