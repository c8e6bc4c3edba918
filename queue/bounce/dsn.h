/* SPDX-License-Identifier: ISC */
/*
 * queue/bounce/dsn.h - the report about what was not delivered
 *
 * Formats a multipart/report (RFC 3464, 6522) as one message in memory. Pure:
 * everything it says is a parameter.
 */
#ifndef OSTLER_QUEUE_BOUNCE_DSN_H
#define OSTLER_QUEUE_BOUNCE_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/relay_denied.h"
#include "queue/bounce/texts.h"
#include "queue/deliver/outcome.h"
#include "queue/envelope.h"

enum dsn_kind {
	DSN_FAILED,    /* Action: failed */
	DSN_DELAYED,   /* Action: delayed; we go on trying */
	DSN_DELIVERED, /* Action: delivered, asked for by NOTIFY=SUCCESS */
	DSN_RELAYED,   /* Action: relayed to a host without DSN */
};

/* "failed": the word of the Action field (RFC 3464, 2.3.3). */
const char *dsn_kind_name(enum dsn_kind kind);

struct dsn_recipient {
	const struct recipient *recipient;
	const struct outcome *outcome; /* the last one */
	struct classification classification;
	/* What we found out about it; NULL for nothing. */
	const struct denied_story *story;
	/* Of an expired one: what each attempt ended with; NULL when they
	 * differ, or when there was but one. */
	const struct classification *each_time;
};

struct dsn_input {
	enum dsn_kind kind;
	/* DSN_DELIVERED, DSN_RELAYED: nobody asked for it, but the delay was
	 * reported before. */
	bool is_late;
	const struct texts *texts;
	const char *language;	 /* tag, when the original asks for none */
	const char *hostname;	 /* Reporting-MTA */
	const char *from;	 /* "postmaster@example.org" */
	const char *id;		 /* of the original, text */
	const char *report_id;	 /* of the report, text: its Message-ID */
	uint64_t now_ms;	 /* wall clock */
	uint64_t retry_until_ms; /* DSN_DELAYED */
	const struct envelope *envelope;
	/* Recipients of one cause: at least one. */
	const struct dsn_recipient *recipients;
	size_t recipient_count;
	/* The original, or its beginning: at least its whole header. */
	const uint8_t *original;
	size_t original_len;
	uint64_t original_size; /* of the whole */
	/* The way back takes 8BITMIME, and the report's envelope will say so
	 * when dsn_is_8bit does. */
	bool may_be_8bit;
	/* The way back takes SMTPUTF8, which the report's envelope says, and
	 * so 8BITMIME: the forms of RFC 6533 are used where ASCII would not
	 * do. */
	bool may_be_utf8;
};

/* More than any report takes beside 5000 recipients with their replies; the
 * rest of such a list is left out. */
#define DSN_ROOM ((size_t)3 << 20)

/*
 * Appends the report, CR LF line ends. Its header has UTF-8 only with
 * may_be_utf8, its body 8-bit bytes only when dsn_is_8bit.
 *
 * out  its maximum must be DSN_ROOM above what it holds
 *
 * Of a failed message below 64 KiB all is returned, unless RET=HDRS asked
 * otherwise or it has 8-bit bytes that may not travel; in all other cases its
 * header is. What has a header in UTF-8 returns as message/global or
 * message/global-headers when it may.
 */
void dsn_format(const struct dsn_input *input, struct buf *out);

/* Will the report's body hold 8-bit bytes? Only when it may be 8-bit or
 * UTF-8. */
bool dsn_is_8bit(const struct dsn_input *input);

#endif
