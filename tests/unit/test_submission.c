/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/buf.h"
#include "server/submission.h"

#define DATE "Date: D\r\n"
#define ID   "Message-ID: <I@h>\r\n"
#define X64  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define S64  "                                                                "

static const struct {
	const char *name, *in, *out;
} cases[] = {
	{"a message that has everything stays as it is",
	 "Date: x\r\nMessage-ID: <y@z>\r\nSubject: s\r\n\r\nBcc: text\r\n",
	 "Date: x\r\nMessage-ID: <y@z>\r\nSubject: s\r\n\r\nBcc: text\r\n"},
	{"both are added at the end of the header",
	 "From: a@b\r\nSubject: s\r\n t\r\n\r\nDate: body\r\n",
	 "From: a@b\r\nSubject: s\r\n t\r\n" DATE ID "\r\nDate: body\r\n"},
	{"only the Date is missing", "Message-Id: <y@z>\r\n\r\n",
	 "Message-Id: <y@z>\r\n" DATE "\r\n"},
	{"only the Message-ID is missing", "DATE: x\r\n\r\n",
	 "DATE: x\r\n" ID "\r\n"},
	{"a field is known with white space before its colon",
	 "Date : x\r\nMessage-ID\t : <y@z>\r\nBcc \t: c@d\r\n\r\n",
	 "Date : x\r\nMessage-ID\t : <y@z>\r\n\r\n"},
	{"Resent-Date is no Date, and Dated neither",
	 "Resent-Date: x\r\nDated: y\r\nMessage-ID: <y@z>\r\n\r\n",
	 "Resent-Date: x\r\nDated: y\r\nMessage-ID: <y@z>\r\n" DATE "\r\n"},
	{"Bcc goes, with its folded lines, wherever it stands",
	 "Bcc: a@b,\r\n c@d,\r\n\te@f\r\n" DATE "bCC:\r\n" ID
	 "BCC: g@h\r\n i@j\r\n\r\nb\r\n",
	 DATE ID "\r\nb\r\n"},
	{"Resent-Bcc goes too", DATE "Resent-Bcc: a@b\r\n c\r\n" ID "\r\n",
	 DATE ID "\r\n"},
	{"names that only look like Bcc stay",
	 DATE ID "Bc: a\r\nBccx: b\r\nX-Bcc: c\r\nBc c: d\r\n\r\n",
	 DATE ID "Bc: a\r\nBccx: b\r\nX-Bcc: c\r\nBc c: d\r\n\r\n"},
	{"a folded line that says Bcc: belongs to its field",
	 DATE ID "Subject: s\r\n Bcc: a@b\r\n\r\n",
	 DATE ID "Subject: s\r\n Bcc: a@b\r\n\r\n"},
	{"a message of a header only", "Subject: s\r\n",
	 "Subject: s\r\n" DATE ID},
	{"an empty message", "", DATE ID},
	{"a body only", "\r\nhello\r\n", DATE ID "\r\nhello\r\n"},
	{"no header at all: an empty line is put before the text",
	 "hello you\r\nBcc: text\r\n",
	 DATE ID "\r\nhello you\r\nBcc: text\r\n"},
	{"text that begins with white space, and with a colon", " hello\r\n",
	 DATE ID "\r\n hello\r\n"},
	{"a colon is no name", ": hello\r\n", DATE ID "\r\n: hello\r\n"},
	{"text right behind the header", DATE "hello you\r\n",
	 DATE ID "\r\nhello you\r\n"},
	{"the same with nothing missing", DATE ID "hello you\r\n",
	 DATE ID "hello you\r\n"},
	{"a chunk that ends within a field", "Subject: s",
	 "Subject: s\r\n" DATE ID},
	{"a chunk that ends within a Bcc", "Bcc: s", DATE ID},
	{"a chunk that ends within a name", "Subj", DATE ID "\r\nSubj"},
	{"only CR LF ends a line",
	 "Subject: s\rBcc: a\nBcc: b\r\n" DATE ID "\r\n",
	 "Subject: s\rBcc: a\nBcc: b\r\n" DATE ID "\r\n"},
	{"a CR alone is no empty line", DATE "\rx: y\r\n",
	 DATE ID "\r\n\rx: y\r\n"},
	{"a name that is no name ends the header",
	 X64 X64 X64 X64 "x: y\r\nBcc: z\r\n",
	 DATE ID "\r\n" X64 X64 X64 X64 "x: y\r\nBcc: z\r\n"},
	{"unless nothing has to be put in before it",
	 DATE ID X64 X64 X64 X64 "x: y\r\nBcc: z\r\n" X64 X64 X64 X64
				 "x y\r\nBcc: z\r\n",
	 DATE ID X64 X64 X64 X64 "x: y\r\n" X64 X64 X64 X64
				 "x y\r\nBcc: z\r\n"},
	{"no Bcc hides behind white space",
	 "Bcc" S64 S64 S64 S64 ": z\r\n" DATE ID "\r\n", DATE ID "\r\n"},
	{"bytes above 127 and NUL in a body's place are untouched",
	 DATE ID "\303\244: x\r\nBcc: z\r\n",
	 DATE ID "\303\244: x\r\nBcc: z\r\n"},
};

static void
feed(struct submission *submission, const char *from, size_t len,
     struct buf *out)
{
	while (len != 0) {
		struct str run;
		/* memory of its own, so that reading past its end shows */
		uint8_t *bytes = malloc(len);
		size_t used;

		memcpy(bytes, from, len);
		used = submission_feed(submission, bytes, len, &run);
		ck_assert_uint_ge(used, 1);
		ck_assert_uint_le(used, len);
		if (run.len != 0)
			ck_assert_int_eq(buf_add(out, run.at, run.len), 0);
		free(bytes);
		from += used;
		len -= used;
	}
}

START_TEST(a_message_comes_out_alike_at_every_split)
{
	const char *in = cases[_i].in;
	size_t len = strlen(in);

	/* behind the last cut: byte by byte */
	for (size_t cut = 0; cut <= len + 1; cut++) {
		struct submission submission;
		struct str rest;
		struct buf out;

		buf_init(&out, 4096);
		submission_init(&submission, "D", "I@h");
		if (cut <= len) {
			feed(&submission, in, cut, &out);
			feed(&submission, in + cut, len - cut, &out);
		} else {
			for (size_t i = 0; i < len; i++)
				feed(&submission, in + i, 1, &out);
		}
		rest = submission_end(&submission);
		if (rest.len != 0)
			ck_assert_int_eq(buf_add(&out, rest.at, rest.len), 0);
		ck_assert_msg(strcmp(buf_text(&out), cases[_i].out) == 0,
			      "%s, cut at %zu:\n%s", cases[_i].name, cut,
			      buf_text(&out));
		buf_done(&out);
	}
}
END_TEST

START_TEST(what_is_added_has_room_however_long_it_is)
{
	struct submission submission;
	char id[1024];
	struct str rest;

	memset(id, 'i', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	submission_init(&submission, id, id);
	rest = submission_end(&submission);
	ck_assert_uint_le(rest.len, SUBMISSION_ADD_MAX);
	ck_assert_int_eq(memcmp(rest.at + rest.len - 4, "i>\r\n", 4), 0);
}
END_TEST

UNIT_MAIN("submission",
	  tcase_add_loop_test(tc, a_message_comes_out_alike_at_every_split, 0,
			      (int)COUNT(cases));
	  tcase_add_test(tc, what_is_added_has_room_however_long_it_is);)
