/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/wire/smtp_reply.h"

/* ------------------------------------------------------------- writing */

START_TEST(a_reply_is_one_line_with_both_codes)
{
	struct status status;
	struct buf out;

	buf_init(&out, 4096);
	status_set(&status, 550, "5.7.1", "Relaying denied: %s", "a.example");
	smtp_reply_add(&out, &status, false);
	status_set(&status, 220, NULL, "mail.example.org ESMTP");
	smtp_reply_add(&out, &status, false);
	ck_assert_str_eq(buf_text(&out),
			 "550 5.7.1 Relaying denied: a.example\r\n"
			 "220 mail.example.org ESMTP\r\n");
	buf_done(&out);
}
END_TEST

START_TEST(a_line_never_exceeds_512_octets)
{
	char text[2000];
	struct status status;
	struct buf out;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	buf_init(&out, 4096);
	status_set(&status, 550, "5.999.999", "%s", text);
	smtp_reply_add(&out, &status, false);
	ck_assert_uint_le(buf_len(&out), SMTP_REPLY_LINE_MAX);
	ck_assert_uint_gt(buf_len(&out), 480);
	buf_done(&out);
}
END_TEST

START_TEST(what_a_terminal_might_obey_is_not_kept)
{
	static const char wire[] = "550 a\x1b[2J b\xc2\x9b"
				   "2J c\xc2\xa0 d\x7f\r\n";
	struct smtp_reply reply;

	smtp_reply_init(&reply);
	ck_assert_uint_eq(smtp_reply_feed(&reply, wire, sizeof(wire) - 1),
			  sizeof(wire) - 1);
	ck_assert_str_eq(smtp_reply_text(&reply),
			 "550 a?[2J b??2J c\xc2\xa0 d?");
	smtp_reply_done(&reply);
}
END_TEST

START_TEST(utf8_is_written_only_to_those_who_asked_for_it)
{
	struct status status;
	struct buf out;

	buf_init(&out, 4096);
	status_set(&status, 550, "5.1.1", "<%s>", "j\xc3\xb6rg");
	smtp_reply_add(&out, &status, false);
	smtp_reply_add(&out, &status, true);
	status_set(&status, 550, "5.1.1", "<%s>", "j\xf6rg");
	smtp_reply_add(&out, &status, true);
	ck_assert_str_eq(buf_text(&out), "550 5.1.1 <j??rg>\r\n"
					 "550 5.1.1 <j\xc3\xb6rg>\r\n"
					 "550 5.1.1 <j?rg>\r\n");
	buf_done(&out);
}
END_TEST

/* ------------------------------------------------------------- reading */

/* "CODE ENHANCED first text|lines" of each reply; "!" for a garbled one. */
static const struct {
	const char *wire, *log;
} replies[] = {
	{"250 ok\r\n", "250  ok|250 ok;"},
	{"250 2.1.5 fine\r\n", "250 2.1.5 fine|250 2.1.5 fine;"},
	{"250\r\n", "250  |250;"},
	{"250 \r\n", "250  |250;"},
	{"250 ok\n", "250  ok|250 ok;"},
	{"250OK\r\n", "250  OK|250OK;"},
	{"250 a\r\n354 b\r\n", "250  a|250 a;354  b|354 b;"},
	{"250-a\r\n250-b\r\n250 c\r\n", "250  a|250-a\n250-b\n250 c;"},
	{"250-\r\n250 c\r\n", "250  c|250-\n250 c;"},
	{"550-5.7.1 no\r\n550 5.7.1 never\r\n",
	 "550 5.7.1 no|550-5.7.1 no\n550 5.7.1 never;"},
	{"550-no\r\n550 5.7.1 never\r\n",
	 "550 5.7.1 no|550-no\n550 5.7.1 never;"},
	/* the last line's code counts, and its class */
	{"250-2.0.0 a\r\n450 b\r\n", "450  a|250-2.0.0 a\n450 b;"},
	{"250-a\r\n251 b\r\n", "251  a|250-a\n251 b;"},
	/* an enhanced code of another class is text */
	{"550 2.0.0 odd\r\n", "550  2.0.0 odd|550 2.0.0 odd;"},
	{"550 5.7.1\r\n", "550 5.7.1 |550 5.7.1;"},
	{"550 5.7.1.2 x\r\n", "550  5.7.1.2 x|550 5.7.1.2 x;"},
	{"550 5.7.1:x\r\n", "550  5.7.1:x|550 5.7.1:x;"},
	{"550 a\tb\x01\r\n", "550  a b?|550 a b?;"},
	{"550 j\xc3\xb6rg\r\n", "550  j\xc3\xb6rg|550 j\xc3\xb6rg;"},
	{"550 j\xf6rg\r\n", "550  j?rg|550 j?rg;"},
	{"550 a\rb\r\r\n", "550  a?b|550 a?b;"},
	{"", ""},
	{"250", ""},
	{"250-a\r\n250-b\r\n", ""},
	{"\r\n250 ok\r\n", "!|;"},
	{"OK\r\n250 ok\r\n", "!|OK;"},
	{"25\r\n", "!|25;"},
	{"2500 ok\r\n", "!|2500 ok;"},
	{"150 ok\r\n", "!|150 ok;"},
	{"650 ok\r\n", "!|650 ok;"},
	{" 250 ok\r\n", "!| 250 ok;"},
	{"250-a\r\nHTTP/1.1 400\r\n", "!|250-a\nHTTP/1.1 400;"},
	{"SSH-2.0-OpenSSH_9.2\r\n", "!|SSH-2.0-OpenSSH_9.2;"},
};

static void
log_replies(struct smtp_reply *reply, const char *bytes, size_t len,
	    struct buf *log)
{
	size_t used = 0;
	char enhanced[12];

	while (used < len && reply->state != SMTP_REPLY_GARBLED) {
		used += smtp_reply_feed(reply, bytes + used, len - used);
		if (reply->state == SMTP_REPLY_DONE)
			(void)buf_addf(log, "%u %s %s|%s;", reply->status.code,
				       status_enhanced(&reply->status,
						       enhanced),
				       reply->status.text,
				       smtp_reply_text(reply));
		else if (reply->state == SMTP_REPLY_GARBLED)
			(void)buf_addf(log, "!|%s;", smtp_reply_text(reply));
	}
}

START_TEST(a_reply_is_the_same_at_every_split)
{
	const char *wire = replies[_i].wire;
	size_t len = strlen(wire);

	for (size_t cut = 0; cut <= len; cut++) {
		struct smtp_reply reply;
		struct buf log;

		buf_init(&log, 65536);
		smtp_reply_init(&reply);
		log_replies(&reply, wire, cut, &log);
		log_replies(&reply, wire + cut, len - cut, &log);
		ck_assert_str_eq(buf_text(&log), replies[_i].log);
		smtp_reply_done(&reply);
		buf_done(&log);
	}
}
END_TEST

START_TEST(a_long_line_is_cut_and_its_end_found)
{
	char wire[3000];
	struct smtp_reply reply;
	size_t used;

	memset(wire, 'y', sizeof(wire));
	memcpy(wire, "550 ", 4);
	memcpy(wire + 2500, "\r\n250 next\r\n", 12);
	smtp_reply_init(&reply);
	used = smtp_reply_feed(&reply, wire, sizeof(wire));
	ck_assert_int_eq(reply.state, SMTP_REPLY_DONE);
	ck_assert_uint_eq(used, 2502);
	ck_assert_uint_eq(strlen(smtp_reply_text(&reply)),
			  SMTP_REPLY_KEEP_LINE);
	(void)smtp_reply_feed(&reply, wire + used, sizeof(wire) - used);
	ck_assert_str_eq(smtp_reply_text(&reply), "250 next");
	smtp_reply_done(&reply);
}
END_TEST

START_TEST(a_cut_does_not_split_a_character)
{
	struct buf wire;
	struct smtp_reply reply;

	buf_init(&wire, 10000);
	(void)buf_adds(&wire, "550 x");
	for (unsigned i = 0; i < 700; i++)
		(void)buf_adds(&wire, "\xc3\xb6");
	(void)buf_adds(&wire, "\r\n");
	smtp_reply_init(&reply);
	(void)smtp_reply_feed(&reply, buf_bytes(&wire), buf_len(&wire));
	ck_assert_int_eq(reply.state, SMTP_REPLY_DONE);
	ck_assert_uint_eq(strlen(smtp_reply_text(&reply)), 999);
	ck_assert_int_eq(smtp_reply_text(&reply)[998], '\xb6');
	smtp_reply_done(&reply);
	buf_done(&wire);
}
END_TEST

START_TEST(many_lines_are_read_to_the_end_and_kept_in_part)
{
	struct smtp_reply reply;

	smtp_reply_init(&reply);
	for (unsigned i = 0; i < 2000; i++)
		ck_assert_uint_eq(smtp_reply_feed(&reply, "250-0123456789\r\n",
						  16),
				  16);
	(void)smtp_reply_feed(&reply, "450 end\r\n", 9);
	ck_assert_int_eq(reply.state, SMTP_REPLY_DONE);
	ck_assert_uint_eq(reply.status.code, 450);
	ck_assert_uint_le(strlen(smtp_reply_text(&reply)), SMTP_REPLY_KEEP);
	ck_assert_uint_ge(strlen(smtp_reply_text(&reply)),
			  SMTP_REPLY_KEEP - 16);
	smtp_reply_done(&reply);
}
END_TEST

START_TEST(a_reply_without_end_is_garbled)
{
	struct smtp_reply reply;
	size_t fed = 0;

	smtp_reply_init(&reply);
	while (reply.state == SMTP_REPLY_MORE && fed < 1000000)
		fed += smtp_reply_feed(&reply, "250-0123456789\r\n", 16);
	ck_assert_int_eq(reply.state, SMTP_REPLY_GARBLED);
	ck_assert_uint_le(fed, SMTP_REPLY_WHOLE_MAX + 8192);
	smtp_reply_done(&reply);

	fed = 0;
	smtp_reply_init(&reply);
	while (reply.state == SMTP_REPLY_MORE && fed < 1000000)
		fed += smtp_reply_feed(&reply, "zzzzzzzzzz", 10);
	ck_assert_int_eq(reply.state, SMTP_REPLY_GARBLED);
	ck_assert_uint_le(fed, SMTP_REPLY_WHOLE_MAX);
	/* and stays so */
	ck_assert_uint_eq(smtp_reply_feed(&reply, "250 ok\r\n", 8), 0);
	smtp_reply_done(&reply);
}
END_TEST

START_TEST(random_bytes_never_break_it_and_splits_do_not_matter)
{
	static const char alphabet[] = "2450-  .\r\n\nax\xc3\xb6\x01";
	uint32_t seed = 1;

	for (unsigned round = 0; round < 3000; round++) {
		char wire[200];
		struct smtp_reply whole, parts;
		struct buf a, b;
		size_t at = 0;

		for (size_t i = 0; i < sizeof(wire); i++) {
			seed = seed * 1664525u + 1013904223u;
			wire[i] = (seed >> 16) % 4 == 0
					  ? (char)"250 "[(seed >> 24) % 4]
					  : alphabet[(seed >> 24) %
						     (sizeof(alphabet) - 1)];
		}
		buf_init(&a, 65536);
		buf_init(&b, 65536);
		smtp_reply_init(&whole);
		smtp_reply_init(&parts);
		log_replies(&whole, wire, sizeof(wire), &a);
		while (at < sizeof(wire)) {
			size_t part = 1 + (at + round) % 7;

			if (part > sizeof(wire) - at)
				part = sizeof(wire) - at;
			log_replies(&parts, wire + at, part, &b);
			at += part;
		}
		ck_assert_str_eq(buf_text(&a), buf_text(&b));
		smtp_reply_done(&whole);
		smtp_reply_done(&parts);
		buf_done(&a);
		buf_done(&b);
	}
}
END_TEST

UNIT_MAIN("smtp_reply", tcase_add_test(tc, a_reply_is_one_line_with_both_codes);
	  tcase_add_test(tc, a_line_never_exceeds_512_octets);
	  tcase_add_test(tc, what_a_terminal_might_obey_is_not_kept);
	  tcase_add_test(tc, utf8_is_written_only_to_those_who_asked_for_it);
	  tcase_add_loop_test(tc, a_reply_is_the_same_at_every_split, 0,
			      (int)COUNT(replies));
	  tcase_add_test(tc, a_long_line_is_cut_and_its_end_found);
	  tcase_add_test(tc, a_cut_does_not_split_a_character);
	  tcase_add_test(tc, many_lines_are_read_to_the_end_and_kept_in_part);
	  tcase_add_test(tc, a_reply_without_end_is_garbled);
	  tcase_add_test(tc,
			 random_bytes_never_break_it_and_splits_do_not_matter);)
