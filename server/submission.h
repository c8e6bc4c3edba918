/* SPDX-License-Identifier: ISC */
/*
 * server/submission.h - what a message lacks when its author hands it in
 *
 * RFC 6409, section 8: Date and Message-ID are added when they are missing,
 * Bcc is removed (RFC 5322, 3.6.3); every other byte stays as it is. A filter
 * over message bytes (dots removed, CR LF line ends) on their way into the
 * queue. Pure, fixed memory; what comes out never depends on how the bytes
 * were split.
 */
#ifndef OSTLER_SERVER_SUBMISSION_H
#define OSTLER_SERVER_SUBMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/str.h"

/* Bytes at the front of a line that are kept back until it is known what the
 * line is. A field name that is longer ends the header when something has to
 * be put in before it. */
#define SUBMISSION_HELD_MAX 256
#define SUBMISSION_ADD_MAX  512

struct submission {
	bool has_date, has_message_id;

	/* private */
	uint8_t at; /* enum in submission.c */
	bool is_after_cr;
	bool is_removing; /* the field of this line, and its folded lines */
	bool has_field;	  /* a folded line has something to belong to */
	uint16_t date_len, add_len, held_len;
	char add[SUBMISSION_ADD_MAX]; /* Date, then Message-ID */
	/* what is kept back; behind it room for what goes out with it */
	char held[SUBMISSION_HELD_MAX + SUBMISSION_ADD_MAX + 4];
};

/*
 * Begins a message.
 *
 * date        as RFC 5322 has it, without "Date: "
 * message_id  without <>; both borrowed (copied), at most 400 bytes in all
 */
void submission_init(struct submission *submission, const char *date,
		     const char *message_id);

/*
 * Takes message bytes and gives the next run of what goes out.
 *
 * bytes    borrows
 * out_run  maybe empty; lends from bytes, or from submission until the next
 *          call
 * Returns the bytes used, at least 1 unless len is 0.
 */
size_t submission_feed(struct submission *submission, const uint8_t *bytes,
		       size_t len, struct str *out_run);

/* The message is over: what is left of it. Lends from submission. */
struct str submission_end(struct submission *submission);

#endif
