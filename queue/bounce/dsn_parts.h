/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/dsn_parts.h - the parts of a report, for dsn.c alone
 *
 * Each appends its body with CR LF line ends; dsn.c puts the MIME around it.
 */
#ifndef OSTLER_QUEUE_BOUNCE_DSN_PARTS_H
#define OSTLER_QUEUE_BOUNCE_DSN_PARTS_H

#include "lib/buf.h"
#include "lib/str.h"
#include "queue/bounce/dsn.h"
#include "queue/bounce/texts.h"

/* A header field of the original, unfolded by nobody; false: not there. */
bool dsn_original_field(const struct dsn_input *input, const char *name,
			struct str *out);

/* What the remote said, else what we say of it in one line. Where a mailbox of
 * ours lies is nobody's business who asks for a report of success. */
struct str dsn_words(const struct outcome *outcome);

/* The first part, for people: UTF-8, at most 72 columns where words allow. */
void dsn_text(const struct dsn_input *input, const struct language *language,
	      struct buf *out);

/* The second, for programs: RFC 3464 and, for addresses, RFC 6533. ASCII,
 * unless the report may be UTF-8 and something in it is. */
void dsn_status(const struct dsn_input *input, struct buf *out);

#endif
