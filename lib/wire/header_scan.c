/* SPDX-License-Identifier: ISC */
#include "lib/wire/header_scan.h"

#include <string.h>

#include "lib/str.h"

enum scan_at {
	SCAN_LINE, /* first byte of a line comes next */
	SCAN_CR,   /* behind a CR that begins a line */
	SCAN_NAME, /* within what may be a field name */
	SCAN_GAP,  /* white space between the name and its colon */
	SCAN_BODY, /* within a field's body or a folded line */
	SCAN_BODY_CR,
};

static void
end_header(struct header_scan *scan, uint64_t header_bytes, bool has_empty_line)
{
	scan->is_done = true;
	scan->header_bytes = header_bytes;
	scan->has_empty_line = has_empty_line;
}

static void
note_field(struct header_scan *scan)
{
	struct str name = str_from(scan->name, scan->name_len);

	if (str_is_nocase(name, "Received")) {
		if (scan->received != UINT32_MAX)
			scan->received++;
	} else if (str_is_nocase(name, "Date")) {
		scan->has_date = true;
	} else if (str_is_nocase(name, "Message-ID")) {
		scan->has_message_id = true;
	} else if (str_is_nocase(name, "From")) {
		scan->has_from = true;
	} else if (str_is_nocase(name, "Sender")) {
		scan->has_sender = true;
	} else if (str_is_nocase(name, "To") || str_is_nocase(name, "Cc")) {
		scan->has_to_or_cc = true;
	} else if (str_is_nocase(name, "Bcc")) {
		scan->has_bcc = true;
	} else if (str_is_nocase(name, "Auto-Submitted")) {
		scan->has_auto_submitted = true;
	}
}

/* ftext of RFC 5322, 3.6.8 */
static bool
is_name_byte(uint8_t c)
{
	return c > ' ' && c < 0x7f && c != ':';
}

/* One byte of a line's beginning. Where the header ends, header_bytes still
 * is what the lines before this one came to. */
static void
scan_byte(struct header_scan *scan, uint8_t c)
{
	switch ((enum scan_at)scan->at) {
	case SCAN_LINE:
		scan->header_bytes = scan->fed;
		scan->name_len = 0;
		if (c == '\r') {
			scan->at = SCAN_CR;
		} else if (c == ' ' || c == '\t') {
			/* a folded line needs a field to belong to */
			scan->at = SCAN_BODY;
			if (scan->fed == 0)
				end_header(scan, 0, false);
		} else if (is_name_byte(c)) {
			scan->at = SCAN_NAME;
			scan->name[scan->name_len++] = (char)c;
		} else {
			end_header(scan, scan->header_bytes, false);
		}
		break;
	case SCAN_CR:
		end_header(scan, scan->header_bytes, c == '\n');
		break;
	case SCAN_NAME:
		if (is_name_byte(c)) {
			/* one byte above the longest known name is enough */
			if (scan->name_len < HEADER_SCAN_NAME_MAX)
				scan->name[scan->name_len++] = (char)c;
			break;
		}
		/* fall through */
	case SCAN_GAP:
		if (c == ':') {
			note_field(scan);
			scan->at = SCAN_BODY;
		} else if (c == ' ' || c == '\t') {
			/* RFC 5322, 4.5: obsolete, and read */
			scan->at = SCAN_GAP;
		} else {
			end_header(scan, scan->header_bytes, false);
		}
		break;
	case SCAN_BODY:
		if (c == '\r')
			scan->at = SCAN_BODY_CR;
		break;
	case SCAN_BODY_CR:
		if (c == '\n')
			scan->at = SCAN_LINE;
		else if (c != '\r')
			scan->at = SCAN_BODY;
		break;
	}
	scan->fed++;
}

void
header_scan_feed(struct header_scan *scan, const uint8_t *bytes, size_t len)
{
	size_t i = 0;

	while (i < len && !scan->is_done) {
		if (scan->at == SCAN_BODY) {
			const uint8_t *cr = memchr(bytes + i, '\r', len - i);
			size_t skip = cr != NULL ? (size_t)(cr - (bytes + i))
						 : len - i;

			scan->fed += skip;
			i += skip;
			if (i == len)
				break;
		}
		scan_byte(scan, bytes[i]);
		i++;
	}
}

void
header_scan_end(struct header_scan *scan)
{
	if (scan->is_done)
		return;
	switch ((enum scan_at)scan->at) {
	case SCAN_LINE:
	case SCAN_BODY:
	case SCAN_BODY_CR:
		end_header(scan, scan->fed, false);
		break;
	case SCAN_CR:
	case SCAN_NAME:
	case SCAN_GAP:
		end_header(scan, scan->header_bytes, false);
		break;
	}
}
