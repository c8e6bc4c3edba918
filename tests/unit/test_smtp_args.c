/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "lib/wire/smtp_args.h"
#include "tests/unit/smtp_args_text.h"

#define ALL                                                                    \
	(SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8 |               \
	 SMTP_EXT_DSN | SMTP_EXT_AUTH)
#define U SMTP_ARGS_UTF8
#define N SMTP_ARGS_NO_DOMAIN
#define L SMTP_ARGS_LENIENT

/* "501 5.5.4" */
static const char *
code_of(const struct status *status, char to[24])
{
	char enhanced[12];

	(void)snprintf(to, 24, "%u %s", status->code,
		       status_enhanced(status, enhanced));
	return to;
}

/* The formatted argument, or the refusal's code. */
static const struct {
	const char *arg;
	unsigned ext, flags;
	const char *result;
} mails[] = {
	{"FROM:<a@b.org>", 0, 0, "FROM:<a@b.org>"},
	{"from:<a@B.org>", 0, 0, "FROM:<a@b.org>"},
	{"FROM:<>", 0, 0, "FROM:<>"},
	{"FROM: <a@b.org>", 0, 0, "FROM:<a@b.org>"},
	{"FROM:<\"a> b\"@b.org>", 0, 0, "FROM:<\"a> b\"@b.org>"},
	{"FROM:<\"a\\\">\"@b.org>", 0, 0, "FROM:<\"a\\\">\"@b.org>"},
	{"FROM:<@x.org:a@b.org>", 0, 0, "FROM:<a@b.org>"},
	{"FROM:<@x.org,@y.org:a@b.org>", 0, 0, "FROM:<a@b.org>"},
	{"FROM:<@[IPv6:::1]:a@b.org>", 0, 0, "FROM:<a@b.org>"},
	{"FROM:<a@[192.0.2.1]>", 0, 0, "FROM:<a@[192.0.2.1]>"},
	{"FROM:<a>", 0, N, "FROM:<a>"},
	{"FROM:<a@b.org> SIZE=0", ALL, 0, "FROM:<a@b.org> SIZE=0"},
	{"FROM:<a@b.org>  size=18446744073709551615 ", ALL, 0,
	 "FROM:<a@b.org> SIZE=18446744073709551615"},
	{"FROM:<a@b.org> BODY=7bit", ALL, 0, "FROM:<a@b.org> BODY=7BIT"},
	{"FROM:<a@b.org> BODY=8BITMIME SIZE=5", ALL, 0,
	 "FROM:<a@b.org> SIZE=5 BODY=8BITMIME"},
	{"FROM:<a@b.org> BODY=BINARYMIME", ALL | SMTP_EXT_BINARYMIME, 0,
	 "FROM:<a@b.org> BODY=BINARYMIME"},
	{"FROM:<j\xc3\xb6@b.org> SMTPUTF8", ALL, 0,
	 "FROM:<j\xc3\xb6@b.org> SMTPUTF8"},
	{"FROM:<a@b\xc3\xbc"
	 "cher.org> SMTPUTF8",
	 ALL, 0, "FROM:<a@xn--bcher-kva.org> SMTPUTF8"},
	{"FROM:<a@b.org> RET=hdrs ENVID=QQ+2B1", ALL, 0,
	 "FROM:<a@b.org> RET=HDRS ENVID=QQ+2B1"},
	{"FROM:<a@b.org> RET=FULL", ALL, 0, "FROM:<a@b.org> RET=FULL"},
	{"FROM:<a@b.org> AUTH=<>", ALL, 0, "FROM:<a@b.org> AUTH=<>"},
	{"FROM:<a@b.org> AUTH=e+3Dmc2@X.org", ALL, 0,
	 "FROM:<a@b.org> AUTH=e+3Dmc2@x.org"},

	{"FROM:a@B.org", 0, L, "FROM:<a@b.org>"},
	{"FROM: a@b.org", 0, L, "FROM:<a@b.org>"},
	{"FROM:\ta@b.org  SIZE=5\tBODY=7BIT", ALL, L,
	 "FROM:<a@b.org> SIZE=5 BODY=7BIT"},
	{"FROM:j\xc3\xb6@b.org SMTPUTF8", ALL, L,
	 "FROM:<j\xc3\xb6@b.org> SMTPUTF8"},
	{"FROM:a@[192.0.2.1]", 0, L, "FROM:<a@[192.0.2.1]>"},
	{"FROM: a..b@b.org", 0, L, "FROM:<\"a..b\"@b.org>"},
	{"FROM:<.a.@b.org>", 0, L, "FROM:<\".a.\"@b.org>"},
	{"FROM:<a..>", 0, L | N, "FROM:<\"a..\">"},
	{"FROM:<>", 0, L, "FROM:<>"},

	{"FROM:", ALL, L | N, "501 5.5.4"},
	{"FROM: ", ALL, L | N, "501 5.5.4"},
	{"FROM: SIZE=5", ALL, L | N, "501 5.5.4"},
	{"FROM:a", ALL, L | N, "501 5.5.4"},
	{"FROM: Anna a@b.org", ALL, L | N, "501 5.5.4"},
	{"FROM: Anna <a@b.org>", ALL, L | N, "501 5.5.4"},
	{"FROM: \"a b\"@b.org", ALL, L, "501 5.5.4"},
	{"FROM:a@b.org>", ALL, L, "501 5.5.4"},
	{"FROM:a@b.org<c@d.org>", ALL, L, "501 5.5.4"},
	{"FROM:@x.org:a@b.org", ALL, L, "501 5.5.4"},
	{"FROM:a@b.org,c@d.org", ALL, L, "501 5.5.4"},
	{"FROM:a@b.org(c)", ALL, L, "501 5.5.4"},
	{"FROM:@b.org", ALL, L | N, "501 5.1.7"},
	{"FROM:a@", ALL, L | N, "501 5.1.7"},
	{"FROM:a@b@c.org", ALL, L, "501 5.1.7"},
	{"FROM:a@b.org c@d.org", ALL, L, "555 5.5.4"},
	{"FROM:j\xc3\xb6@b.org", ALL, L, "553 5.6.7"},
	{"FROM:<a@b.org", ALL, L, "501 5.5.4"},
	{"FROM:<..@b.org>", ALL, L, "501 5.1.7"},
	{"FROM:<a..b@b.org>", ALL, 0, "501 5.1.7"},

	{"", ALL, 0, "501 5.5.4"},
	{"FROM", ALL, 0, "501 5.5.4"},
	{"FROM:", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org>", ALL, 0, "501 5.5.4"},
	{"FROM :<a@b.org>", ALL, 0, "501 5.5.4"},
	{"FROM:a@b.org", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org", ALL, 0, "501 5.5.4"},
	{"FROM:<\"a@b.org>", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org>SIZE=1", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org>>", ALL, 0, "501 5.5.4"},
	{"FROM:<<a@b.org>>", ALL, 0, "501 5.5.4"},
	{"FROM:< a@b.org>", ALL, 0, "501 5.1.7"},
	{"FROM:< >", ALL, 0, "501 5.1.7"},
	{"FROM:<a>", ALL, 0, "501 5.1.7"},
	{"FROM:<postmaster>", ALL, 0, "501 5.1.7"},
	{"FROM:<@x.org:>", ALL, 0, "501 5.1.7"},
	{"FROM:<@x.org,:a@b.org>", ALL, 0, "501 5.1.7"},
	{"FROM:<@x.org,y.org:a@b.org>", ALL, 0, "501 5.1.7"},
	{"FROM:<@:a@b.org>", ALL, 0, "501 5.1.7"},
	{"FROM:<a@b@c.org>", ALL, 0, "501 5.1.7"},
	{"FROM:<j\xc3\xb6@b.org>", ALL, 0, "553 5.6.7"},
	{"FROM:<j\xc3\xb6@b.org>", ALL, U, "553 5.6.7"},
	{"FROM:<j\xc3@b.org> SMTPUTF8", ALL, 0, "501 5.1.7"},
	{"FROM:<a@b.org> FOO", ALL, 0, "555 5.5.4"},
	{"FROM:<a@b.org> FOO=1", ALL, 0, "555 5.5.4"},
	{"FROM:<a@b.org> =1", ALL, 0, "555 5.5.4"},
	{"FROM:<a@b.org> SIZE=1", 0, 0, "555 5.5.4"},
	{"FROM:<a@b.org> SMTPUTF8", ALL & ~SMTP_EXT_SMTPUTF8, 0, "555 5.5.4"},
	{"FROM:<a@b.org> NOTIFY=NEVER", ALL, 0, "555 5.5.4"},
	{"FROM:<a@b.org> SIZE", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> SIZE=", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> SIZE=-1", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> SIZE=1k", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> SIZE=18446744073709551616", ALL, 0,
	 "FROM:<a@b.org> SIZE=18446744073709551615"},
	{"FROM:<a@b.org> SIZE=99999999999999999999", ALL, 0,
	 "FROM:<a@b.org> SIZE=18446744073709551615"},
	{"FROM:<a@b.org> SIZE=9999999999999999999k", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> SIZE=000000000000000000001", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> SIZE=1 SIZE=1", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> BODY=9BIT", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> BODY", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> BODY=BINARYMIME", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> SMTPUTF8=1", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> RET=SOME", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> ENVID=", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> ENVID=a=b", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> ENVID=a+0Ab", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> ENVID=a+2", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> ENVID=a+E4", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> AUTH=a@b@c", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org> AUTH=a+00@c.org", ALL, 0, "501 5.5.4"},
};

START_TEST(mail_is_understood_or_refused_with_its_code)
{
	struct smtp_mail mail = {.size = 77}, again;
	struct status status = {0};
	struct buf text;
	char code[24];

	buf_init(&text, 4096);
	if (!smtp_args_mail(str_of(mails[_i].arg), mails[_i].ext,
			    mails[_i].flags, &mail, &status)) {
		ck_assert_str_eq(code_of(&status, code), mails[_i].result);
		ck_assert(str_is_ascii(str_of(status.text)));
		ck_assert_uint_eq(mail.size, 77); /* untouched */
		return;
	}
	ck_assert_int_eq(smtp_args_format_mail(&mail, ~0u, &text), 0);
	ck_assert_str_eq(buf_text(&text), mails[_i].result);
	ck_assert(smtp_args_mail(str_of(buf_text(&text)), mails[_i].ext,
				 mails[_i].flags, &again, &status));
	ck_assert_int_eq(memcmp(&mail.sender.text, &again.sender.text,
				strlen(mail.sender.text) + 1),
			 0);
	buf_done(&text);
}
END_TEST

static const struct {
	const char *arg;
	unsigned ext, flags;
	const char *result;
} rcpts[] = {
	{"TO:<a@b.org>", 0, 0, "TO:<a@b.org>"},
	{"to: <a@b.org>", 0, 0, "TO:<a@b.org>"},
	{"TO:<@x.org,@y.org:a@b.org>", 0, 0, "TO:<a@b.org>"},
	{"TO:<postmaster>", 0, 0, "TO:<postmaster>"},
	{"TO:<Postmaster>", 0, 0, "TO:<Postmaster>"},
	{"TO:<a>", 0, N, "TO:<a>"},
	{"TO:<j\xc3\xb6@b.org>", 0, U, "TO:<j\xc3\xb6@b.org>"},
	{"TO:<a@b.org> NOTIFY=never", ALL, 0, "TO:<a@b.org> NOTIFY=NEVER"},
	{"TO:<a@b.org> NOTIFY=DELAY,FAILURE,SUCCESS", ALL, 0,
	 "TO:<a@b.org> NOTIFY=SUCCESS,FAILURE,DELAY"},
	{"TO:<a@b.org> ORCPT=rfc822;a+2Bb@c.org NOTIFY=FAILURE", ALL, 0,
	 "TO:<a@b.org> NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@c.org"},
	{"TO:<a@b.org> ORCPT=UTF-8;j\\x{F6}@c.org", ALL, 0,
	 "TO:<a@b.org> ORCPT=UTF-8;j\\x{F6}@c.org"},
	{"TO:<a@b.org> ORCPT=utf-8;j\xc3\xb6@c.org", ALL, U,
	 "TO:<a@b.org> ORCPT=utf-8;j\xc3\xb6@c.org"},

	{"TO:a@b.org NOTIFY=NEVER", ALL, L, "TO:<a@b.org> NOTIFY=NEVER"},
	{"TO: a..b@b.org", 0, L, "TO:<\"a..b\"@b.org>"},
	{"TO:<postmaster>", 0, L, "TO:<postmaster>"},

	{"TO:", ALL, L | N, "501 5.5.4"},
	{"TO:postmaster", ALL, L, "501 5.5.4"},
	{"TO:NOTIFY=NEVER", ALL, L | N, "501 5.5.4"},
	{"TO:a@b.org, c@d.org", ALL, L, "501 5.5.4"},
	{"TO:a@b.org c@d.org", ALL, L, "555 5.5.4"},
	{"TO:a..b@b.org", ALL, 0, "501 5.5.4"},
	{"TO:<a..b@b.org>", ALL, 0, "501 5.1.3"},
	{"TO:<>", ALL, 0, "501 5.1.3"},
	{"TO:<>", ALL, N, "501 5.1.3"},
	{"TO:<a>", ALL, 0, "501 5.1.3"},
	{"TO:<a@>", ALL, 0, "501 5.1.3"},
	{"TO:<@b.org>", ALL, 0, "501 5.1.3"},
	{"TO:<a@b.org", ALL, 0, "501 5.5.4"},
	{"TO:a@b.org", ALL, 0, "501 5.5.4"},
	{"FROM:<a@b.org>", ALL, 0, "501 5.5.4"},
	{"TO:<j\xc3\xb6@b.org>", ALL, 0, "553 5.6.7"},
	{"TO:<a@b.org> NOTIFY=NEVER", 0, 0, "555 5.5.4"},
	{"TO:<a@b.org> SIZE=1", ALL, 0, "555 5.5.4"},
	{"TO:<a@b.org> f\xc3\xb6o=1", ALL, 0, "555 5.5.4"},
	{"TO:<a@b.org> NOTIFY=", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> NOTIFY=,", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> NOTIFY=FAILURE,", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> NOTIFY=,FAILURE", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> NOTIFY=FAILURE,FAILURE", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> NOTIFY=NEVER,FAILURE", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> NOTIFY=ALWAYS", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> NOTIFY=NEVER NOTIFY=NEVER", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=rfc822", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=rfc822;", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=;a@b.org", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=rfc822;a+0D+0Ab", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=a=b;c", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=utf-8;a=b", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=rfc822;a+b", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=rfc822;j\xc3\xb6@c.org", ALL, U, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=utf-8;j\xc3\xb6@c.org", ALL, 0, "501 5.5.4"},
	{"TO:<a@b.org> ORCPT=utf-8;j\xc3@c.org", ALL, U, "501 5.5.4"},
};

START_TEST(rcpt_is_understood_or_refused_with_its_code)
{
	struct smtp_rcpt rcpt;
	struct status status = {0};
	struct buf text;
	char code[24];

	buf_init(&text, 4096);
	if (!smtp_args_rcpt(str_of(rcpts[_i].arg), rcpts[_i].ext,
			    rcpts[_i].flags, &rcpt, &status)) {
		ck_assert_str_eq(code_of(&status, code), rcpts[_i].result);
		ck_assert(str_is_ascii(str_of(status.text)));
		return;
	}
	ck_assert_int_eq(smtp_args_format_rcpt(&rcpt, ~0u, &text), 0);
	ck_assert_str_eq(buf_text(&text), rcpts[_i].result);
	buf_done(&text);
}
END_TEST

START_TEST(an_unknown_parameter_is_named)
{
	struct smtp_mail mail;
	struct status status;

	ck_assert(!smtp_args_mail(str_of("FROM:<a@b.org> SIZE=1 XFOO=bar"), ALL,
				  0, &mail, &status));
	ck_assert_str_eq(status.text, "Unsupported parameter XFOO");
}
END_TEST

START_TEST(only_offered_parameters_are_sent)
{
	struct smtp_mail mail;
	struct smtp_rcpt rcpt;
	struct status status;
	struct buf text;

	buf_init(&text, 4096);
	ck_assert(smtp_args_mail(str_of("FROM:<a@b.org> SIZE=1 BODY=8BITMIME "
					"RET=HDRS ENVID=x AUTH=<>"),
				 ALL, 0, &mail, &status));
	ck_assert_int_eq(smtp_args_format_mail(&mail, 0, &text), 0);
	ck_assert(smtp_args_rcpt(str_of("TO:<a@b.org> NOTIFY=NEVER"), ALL, 0,
				 &rcpt, &status));
	ck_assert_int_eq(smtp_args_format_rcpt(&rcpt, SMTP_EXT_SIZE, &text), 0);
	ck_assert_str_eq(buf_text(&text), "FROM:<a@b.org>TO:<a@b.org>");
	buf_done(&text);
	buf_init(&text, 10);
	ck_assert_int_lt(smtp_args_format_mail(&mail, 0, &text), 0);
	buf_done(&text);
}
END_TEST

START_TEST(long_values_are_refused)
{
	char arg[1024], xtext[600];
	struct smtp_mail mail;
	struct smtp_rcpt rcpt;
	struct status status;

	memset(xtext, 'x', sizeof(xtext));
	for (int len = 99; len <= 101; len++) {
		(void)snprintf(arg, sizeof(arg), "FROM:<> ENVID=%.*s", len,
			       xtext);
		ck_assert_int_eq(smtp_args_mail(str_of(arg), ALL, 0, &mail,
						&status),
				 len <= 100);
	}
	for (int len = 499; len <= 501; len++) {
		(void)snprintf(arg, sizeof(arg),
			       "TO:<a@b.org> ORCPT=rfc822;%.*s", len - 7,
			       xtext);
		ck_assert_int_eq(smtp_args_rcpt(str_of(arg), ALL, 0, &rcpt,
						&status),
				 len <= 500);
	}
}
END_TEST

static const struct {
	const char *arg;
	int kind; /* -1: refused */
	const char *name;
} helos[] = {
	{"mail.Example.org", SMTP_HELO_DOMAIN, "mail.example.org"},
	{"localhost", SMTP_HELO_DOMAIN, "localhost"},
	{"example.org.", SMTP_HELO_DOMAIN, "example.org"},
	{"b\xc3\xbc"
	 "cher.example",
	 SMTP_HELO_DOMAIN, "xn--bcher-kva.example"},
	{"[192.0.2.1]", SMTP_HELO_LITERAL, "[192.0.2.1]"},
	{"[IPv6:2001:DB8::1]", SMTP_HELO_LITERAL, "[IPv6:2001:db8::1]"},
	{"[2001:db8::1]", SMTP_HELO_ODD, "[2001:db8::1]"},
	{"192.0.2.1", SMTP_HELO_ODD, "192.0.2.1"},
	{"my-pc-", SMTP_HELO_ODD, "my-pc-"},
	{"a..b", SMTP_HELO_ODD, "a..b"},
	{"\xff", SMTP_HELO_ODD, "?"},
	{"", -1, ""},
	{"two words", -1, ""},
	{"a\tb", -1, ""},
	{"a\x01", -1, ""},
	{"a(b)", -1, ""},
	{"a;b", -1, ""},
	{"<a>", -1, ""},
};

START_TEST(greetings_are_taken_as_clients_give_them)
{
	struct smtp_helo helo;
	struct status status = {0};
	bool ok = smtp_args_helo(str_of(helos[_i].arg), &helo, &status);
	char code[24];

	ck_assert_int_eq(ok, helos[_i].kind >= 0);
	if (!ok) {
		ck_assert_str_eq(code_of(&status, code), "501 5.5.4");
		return;
	}
	ck_assert_int_eq((int)helo.kind, helos[_i].kind);
	ck_assert_str_eq(helo.name, helos[_i].name);
}
END_TEST

START_TEST(a_greeting_has_a_maximum)
{
	char name[300];
	struct smtp_helo helo;
	struct status status;

	memset(name, 'x', sizeof(name));
	ck_assert(smtp_args_helo(str_from(name, ADDR_DOMAIN_MAX), &helo,
				 &status));
	ck_assert_int_eq(helo.kind, SMTP_HELO_ODD);
	ck_assert(!smtp_args_helo(str_from(name, ADDR_DOMAIN_MAX + 1), &helo,
				  &status));
}
END_TEST

static const struct {
	const char *arg;
	int last; /* -1: refused */
	uint64_t size;
} bdats[] = {
	{"0", 0, 0},
	{"86", 0, 86},
	{"0 LAST", 1, 0},
	{"1000 last", 1, 1000},
	{"1000  LAST", 1, 1000},
	{"18446744073709551615", 0, UINT64_MAX},
	{"18446744073709551616", -1, 0},
	{"000000000000000000001", -1, 0},
	{"", -1, 0},
	{"LAST", -1, 0},
	{"-1", -1, 0},
	{"0x10", -1, 0},
	{"1 LAST 2", -1, 0},
	{"1 2", -1, 0},
	{"1LAST", -1, 0},
};

START_TEST(bdat_takes_a_size_and_last)
{
	struct smtp_bdat bdat;
	struct status status = {0};
	char code[24];

	if (!smtp_args_bdat(str_of(bdats[_i].arg), &bdat, &status)) {
		ck_assert_int_eq(bdats[_i].last, -1);
		ck_assert_str_eq(code_of(&status, code), "501 5.5.4");
		return;
	}
	ck_assert_int_eq(bdat.is_last, bdats[_i].last);
	ck_assert_uint_eq(bdat.size, bdats[_i].size);
}
END_TEST

static const struct {
	const char *arg;
	const char *mechanism; /* NULL: refused */
	const char *initial;   /* NULL: none */
} auths[] = {
	{"PLAIN", "PLAIN", NULL},
	{"plain AGEAYg==", "PLAIN", "AGEAYg=="},
	{"SCRAM-SHA-256  biws", "SCRAM-SHA-256", "biws"},
	{"EXTERNAL =", "EXTERNAL", "="},
	{"ABCDEFGHIJKLMNOPQRST", "ABCDEFGHIJKLMNOPQRST", NULL},
	{"ABCDEFGHIJKLMNOPQRSTU", NULL, NULL},
	{"", NULL, NULL},
	{"PLA/IN", NULL, NULL},
	{"PLAIN a b", NULL, NULL},
	{"PLAIN a\xff", NULL, NULL},
};

START_TEST(auth_takes_a_mechanism_and_a_response)
{
	struct smtp_auth auth;
	struct status status = {0};
	char code[24];

	if (!smtp_args_auth(str_of(auths[_i].arg), &auth, &status)) {
		ck_assert_ptr_null(auths[_i].mechanism);
		ck_assert_str_eq(code_of(&status, code), "501 5.5.4");
		return;
	}
	ck_assert_ptr_nonnull(auths[_i].mechanism);
	ck_assert_str_eq(auth.mechanism, auths[_i].mechanism);
	ck_assert_int_eq(auth.has_initial, auths[_i].initial != NULL);
	if (auth.has_initial)
		ck_assert(str_is(auth.initial, auths[_i].initial));
}
END_TEST

static const struct {
	const char *arg;
	const char *result;
} vrfys[] = {
	{"a", "a"},
	{"a@b.org", "a@b.org"},
	{"<a@b.org>", "a@b.org"},
	{"j\xc3\xb6@b.org SMTPUTF8", "j\xc3\xb6@b.org"},
	{"", "501 5.5.4"},
	{"<>", "501 5.1.3"},
	{"SMTPUTF8", "SMTPUTF8"},
	{"<", "501 5.1.3"},
	{"John Smith", "501 5.1.3"},
	{"j\xc3\xb6@b.org", "553 5.6.7"},
};

START_TEST(vrfy_takes_a_user_or_an_address)
{
	struct addr addr;
	struct status status = {0};
	char code[24];

	if (smtp_args_vrfy(str_of(vrfys[_i].arg), ALL, &addr, &status))
		ck_assert_str_eq(addr.text, vrfys[_i].result);
	else
		ck_assert_str_eq(code_of(&status, code), vrfys[_i].result);
}
END_TEST

START_TEST(no_argument_means_none)
{
	struct status status = {0};
	char code[24];

	ck_assert(smtp_args_none(str_from(NULL, 0), &status));
	ck_assert(!smtp_args_none(str_of("x"), &status));
	ck_assert_str_eq(code_of(&status, code), "501 5.5.4");
}
END_TEST

START_TEST(xtext_goes_both_ways_for_every_byte)
{
	char plain[2], xtext[4], again[2];

	for (int c = 1; c < 256; c++) {
		plain[0] = (char)c;
		ck_assert(smtp_args_xtext(str_from(plain, 1), xtext, 4));
		ck_assert(smtp_xtext_decode(str_of(xtext), again, 2));
		ck_assert_int_eq(again[0], plain[0]);
		ck_assert_int_eq(strlen(xtext) == 1,
				 c > ' ' && c < 127 && c != '+' && c != '=');
	}
	ck_assert(!smtp_xtext_decode(str_of("+00"), again, 2));
	ck_assert(!smtp_xtext_decode(str_of("+4"), again, 2));
	ck_assert(!smtp_xtext_decode(str_of("+"), again, 2));
	ck_assert(!smtp_xtext_decode(str_of("+G0"), again, 2));
	ck_assert(!smtp_xtext_decode(str_of("ab"), again, 2));
	ck_assert(smtp_xtext_decode(str_from(NULL, 0), again, 1));
}
END_TEST

UNIT_MAIN("smtp_args",
	  tcase_add_loop_test(tc, mail_is_understood_or_refused_with_its_code,
			      0, (int)COUNT(mails));
	  tcase_add_loop_test(tc, rcpt_is_understood_or_refused_with_its_code,
			      0, (int)COUNT(rcpts));
	  tcase_add_loop_test(tc, greetings_are_taken_as_clients_give_them, 0,
			      (int)COUNT(helos));
	  tcase_add_loop_test(tc, bdat_takes_a_size_and_last, 0,
			      (int)COUNT(bdats));
	  tcase_add_loop_test(tc, auth_takes_a_mechanism_and_a_response, 0,
			      (int)COUNT(auths));
	  tcase_add_loop_test(tc, vrfy_takes_a_user_or_an_address, 0,
			      (int)COUNT(vrfys));
	  tcase_add_test(tc, an_unknown_parameter_is_named);
	  tcase_add_test(tc, only_offered_parameters_are_sent);
	  tcase_add_test(tc, long_values_are_refused);
	  tcase_add_test(tc, a_greeting_has_a_maximum);
	  tcase_add_test(tc, no_argument_means_none);
	  tcase_add_test(tc, xtext_goes_both_ways_for_every_byte);)
