/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/wire/header_scan.h"

/* fields: hops, then d date, i message-id, f from, s sender, t to or cc,
 * b bcc, a auto-submitted; header: bytes; end: "empty", "body", "eof" */
static const struct {
	const char *message;
	const char *fields;
	unsigned header;
	bool has_empty_line;
} cases[] = {
	{"", "0", 0, false},
	{"\r\n", "0", 0, true},
	{"\r\nDate: x\r\n", "0", 0, true},
	{"Date: x\r\n\r\nFrom: y\r\n", "0d", 9, true},
	{"Date: x\r\n", "0d", 9, false},
	{"Date: x", "0d", 7, false},
	{"Received: a\r\nReceived: b\r\n\tReceived: c\r\nreceived:d\r\n\r\n",
	 "3", 52, true},
	{"DATE : x\r\nMessage-Id:\r\n\r\n", "0di", 23, true},
	{"Message-ID: a\r\nFrom: b\r\nSender: c\r\nTo: d\r\nBcc: e\r\n"
	 "Auto-Submitted: no\r\nDate: f\r\n\r\n",
	 "0difstba", 79, true},
	{"Cc: a\r\n\r\n", "0t", 7, true},
	{"Dates: x\r\nXDate: y\r\nDat: z\r\n\r\n", "0", 28, true},
	{"Auto-Submitted-X: a\r\nAuto-Submitted-XYZ: b\r\n\r\n", "0", 44, true},
	{"From: a\r\nhello world\r\nDate: x\r\n\r\n", "0f", 9, false},
	{"From: a\r\nhello\r\nDate: x\r\n\r\n", "0f", 9, false},
	{"From: a\r\n: b\r\n", "0f", 9, false},
	{" folded\r\nDate: x\r\n", "0", 0, false},
	{"From: a\r\n \r\nDate: x\r\n\r\n", "0df", 21, true},
	{"From: a\rDate: b\nTo: c\r\n\r\n", "0f", 23, true},
	{"From: a\r\n\rDate: b\r\n", "0f", 9, false},
	{"From: a\r\nDa", "0f", 9, false},
};

START_TEST(a_header_is_understood_at_every_split)
{
	const uint8_t *message = (const uint8_t *)cases[_i].message;
	size_t len = strlen(cases[_i].message);

	for (size_t cut = 0; cut <= len; cut++) {
		struct header_scan scan = {0};
		char fields[32];

		header_scan_feed(&scan, message, cut);
		header_scan_feed(&scan, message + cut, len - cut);
		header_scan_end(&scan);
		ck_assert(scan.is_done);
		(void)snprintf(fields, sizeof(fields), "%u%s%s%s%s%s%s%s",
			       scan.received, scan.has_date ? "d" : "",
			       scan.has_message_id ? "i" : "",
			       scan.has_from ? "f" : "",
			       scan.has_sender ? "s" : "",
			       scan.has_to_or_cc ? "t" : "",
			       scan.has_bcc ? "b" : "",
			       scan.has_auto_submitted ? "a" : "");
		ck_assert_str_eq(fields, cases[_i].fields);
		ck_assert_uint_eq(scan.header_bytes, cases[_i].header);
		ck_assert_int_eq(scan.has_empty_line, cases[_i].has_empty_line);
	}
}
END_TEST

UNIT_MAIN("header_scan",
	  tcase_add_loop_test(tc, a_header_is_understood_at_every_split, 0,
			      (int)COUNT(cases));)
