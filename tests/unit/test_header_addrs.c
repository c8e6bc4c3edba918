/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/buf.h"
#include "server/header_addrs.h"

static void
on_address(void *arg, const char *address)
{
	(void)buf_addf(arg, "[%s]", address);
}

static const struct {
	const char *value, *want;
} lists[] = {
	{"", ""},
	{"anna@x.test", "[anna@x.test]"},
	{" anna@x.test ,\r\n\tbob@y.test\r\n", "[anna@x.test][bob@y.test]"},
	{"Anna <anna@x.test>, Bob B. <bob@y.test> (home)",
	 "[anna@x.test][bob@y.test]"},
	{"\"Anna, the (first)\" <anna@x.test>", "[anna@x.test]"},
	{"anna@x.test (Anna (of) X), bob@y.test", "[anna@x.test][bob@y.test]"},
	{"(a \\) b) anna@x.test", "[anna@x.test]"},
	{"team: anna@x.test, \"d e\"@w.test;, bob@y.test",
	 "[anna@x.test][\"d e\"@w.test][bob@y.test]"},
	{"undisclosed-recipients:;", ""},
	{"<@a.test,@b.test:anna@x.test>", "[anna@x.test]"},
	{"root", "[root]"},
	{"a@[IPv6:2001:db8::1], b@[192.0.2.1]",
	 "[a@[IPv6:2001:db8::1]][b@[192.0.2.1]]"},
	{",,;, anna@x.test,", "[anna@x.test]"},
	{"anna @ x.test", "[anna@x.test]"},
	{"<>", ""},
	{"\"a\r\nRCPT TO:<b@y.test>\"@x.test",
	 "[\"aRCPT TO:<b@y.test>\"@x.test]"},
	{"a@[x\r\nQUIT]", "[a@[xQUIT]]"},
	{"Anna <anna@x.test", "[anna@x.test]"},
	{"(never closed anna@x.test", ""},
	{"\"never closed anna@x.test", "[\"never closed anna@x.test]"},
};

START_TEST(addresses_are_taken_out_of_what_surrounds_them)
{
	struct buf got;

	buf_init(&got, 4096);
	header_addrs_list(str_of(lists[_i].value), on_address, &got);
	ck_assert_str_eq(buf_text(&got), lists[_i].want);
	buf_done(&got);
}
END_TEST

START_TEST(recipients_are_those_of_the_last_sending)
{
	static const char first[] = "From: f@x.test\r\n"
				    "TO: a@x.test,\r\n b@x.test\r\n"
				    "Subject: To: c@x.test\r\n"
				    "cc : d@x.test\n"
				    "Bcc: e@x.test\n";
	static const char again[] = "To: a@x.test\n"
				    "Resent-Cc: r@x.test\n"
				    "Resent-To: s@x.test\n";
	struct buf got;

	buf_init(&got, 4096);
	header_addrs_recipients(str_of(first), on_address, &got);
	ck_assert_str_eq(buf_text(&got),
			 "[a@x.test][b@x.test][d@x.test][e@x.test]");
	buf_clear(&got);
	header_addrs_recipients(str_of(again), on_address, &got);
	ck_assert_str_eq(buf_text(&got), "[r@x.test][s@x.test]");
	ck_assert(header_addrs_has(str_of(first), "from"));
	ck_assert(!header_addrs_has(str_of(first), "d@x.test"));
	ck_assert(!header_addrs_has(str_of(again), "From"));
	buf_done(&got);
}
END_TEST

UNIT_MAIN("header_addrs",
	  tcase_add_loop_test(tc,
			      addresses_are_taken_out_of_what_surrounds_them, 0,
			      COUNT(lists));
	  tcase_add_test(tc, recipients_are_those_of_the_last_sending);)
