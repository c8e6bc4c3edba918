/* SPDX-License-Identifier: ISC */
/*
 * lib/wire/header_scan.h - what the top header of a message has
 *
 * Fed with message bytes as they come (dots removed, CR LF line ends, RFC
 * 5322, 2.2); stops looking where the header ends. Pure, fixed memory,
 * independent of how the bytes were split.
 */
#ifndef OSTLER_LIB_WIRE_HEADER_SCAN_H
#define OSTLER_LIB_WIRE_HEADER_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADER_SCAN_NAME_MAX 16 /* longer names are none of those we know */

/* Zero it to begin. */
struct header_scan {
	uint32_t received; /* Received fields: hops so far */
	bool has_date;
	bool has_message_id;
	bool has_from;
	bool has_sender;
	bool has_to_or_cc;
	bool has_bcc;
	bool has_auto_submitted; /* RFC 3834 */

	/* The header ended: at the empty line, or before a line that is no
	 * field, which then belongs to the body. */
	bool is_done;
	/* Bytes of the fields, without the empty line. Once is_done final. */
	uint64_t header_bytes;
	bool has_empty_line; /* it ended with one */

	/* private */
	uint64_t fed;
	uint8_t at;
	uint8_t name_len;
	char name[HEADER_SCAN_NAME_MAX];
};

/* Looks at the next bytes; cheap once is_done. */
void header_scan_feed(struct header_scan *scan, const uint8_t *bytes,
		      size_t len);

/* The message is over: a header without a body ends here. */
void header_scan_end(struct header_scan *scan);

#endif
