/* SPDX-License-Identifier: ISC */
/*
 * lib/wire/smtp_reply.h - SMTP replies, written and read (RFC 5321, 4.2)
 *
 * Pure. Writing is strict: CRLF, at most 512 octets a line, no control
 * character and, unless the client said SMTPUTF8, nothing above 127. Reading
 * is tolerant, because mail must get through servers that are not strict, and
 * bounded, because they may be hostile.
 */
#ifndef OSTLER_LIB_WIRE_SMTP_REPLY_H
#define OSTLER_LIB_WIRE_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/status.h"

/* ------------------------------------------------------------- writing */

#define SMTP_REPLY_LINE_MAX 512 /* octets with CRLF, RFC 5321, 4.5.3.1.5 */

/*
 * Adds one reply line: "550 5.7.1 text CRLF", or "220 text CRLF" when the
 * status has no enhanced code (greeting, EHLO, 334, 354).
 *
 * out       room for SMTP_REPLY_LINE_MAX more bytes
 * has_utf8  false: bytes above 127 become '?'
 */
void smtp_reply_add(struct buf *out, const struct status *status,
		    bool has_utf8);

/* ------------------------------------------------------------- reading */

#define SMTP_REPLY_KEEP_LINE 1000  /* octets of a line that are looked at */
#define SMTP_REPLY_KEEP	     8192  /* octets of text kept of a reply */
#define SMTP_REPLY_WHOLE_MAX 65536 /* octets of a reply; then it is garbled */

enum smtp_reply_state {
	SMTP_REPLY_MORE,    /* not complete yet */
	SMTP_REPLY_DONE,    /* status and text are valid */
	SMTP_REPLY_GARBLED, /* no SMTP reply; sticky */
};

/*
 * Reads one reply after the other. Accepted besides the standard's form: a
 * bare LF as line end, "250OK" and "250" without a space, codes that differ
 * between the lines (the last line's counts), lines longer than allowed
 * (cut). Not accepted: a line that does not begin with three digits of which
 * the first is 2 to 5, a reply without end.
 */
struct smtp_reply {
	enum smtp_reply_state state;
	/* Code of the last line; enhanced code and text of the first line
	 * that has one. */
	struct status status;
	struct buf text; /* lines with their codes, joined by \n */

	/* private */
	struct buf line;
	size_t total; /* octets of this reply so far */
	unsigned lines;
};

void smtp_reply_init(struct smtp_reply *reply);
void smtp_reply_done(struct smtp_reply *reply);

/*
 * Reads on, up to the end of this reply at most; after SMTP_REPLY_DONE the
 * next call begins the next reply.
 *
 * Returns the number of bytes used: all of them unless a reply ended (or is
 * garbled) before.
 */
size_t smtp_reply_feed(struct smtp_reply *reply, const void *bytes, size_t len);

/*
 * All lines with their codes, joined by \n: printable UTF-8, whatever was
 * sent. Of a garbled reply: the lines before and the line at fault. Lends
 * until the next feed.
 */
const char *smtp_reply_text(struct smtp_reply *reply);

#endif
