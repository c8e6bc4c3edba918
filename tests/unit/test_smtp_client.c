/* SPDX-License-Identifier: ISC */
/* The session around the messages; test_smtp_transaction.c is about these. */
#include "tests/unit/smtp_transcript.h"

static const struct transcript cases[] = {
	{"EHLO is not understood: HELO, and no parameters", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 502 what?\n"
	 "C: HELO me.example\n"
	 "S: 250-x\n"
	 "S: 250 SIZE 10\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 250 ok\n"
	 "C: RCPT TO:<r0@to.example>\n"
	 "S: 250 ok\n"
	 "C: DATA\n"
	 "S: 354 go\n"
	 "[body]\n"
	 "C: .\n"
	 "S: 250 ok\n"
	 "= r0: delivered reply end of data 250 250 ok\n"},

	{"neither EHLO nor HELO", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 500 what?\n"
	 "C: HELO me.example\n"
	 "S: 550 5.7.1 go away\n"
	 "! failed reply EHLO 550 550 5.7.1 go away\n"},

	{"EHLO is answered 4xx", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 450 later\n"
	 "! deferred reply EHLO 450 450 later\n"},

	{"a greeting of 4xx", 0, 1,
	 "S: 421 busy\n"
	 "! deferred reply greeting 421 421 busy\n"},

	{"a greeting of 5xx", 0, 1,
	 "S: 554-no\n"
	 "S: 554 service\n"
	 "! failed reply greeting 554 554-no|554 service\n"},

	{"no SMTP at all", 0, 1,
	 "S: SSH-2.0-OpenSSH\n"
	 "! deferred reply-garbled greeting 451 -\n"},

	{"a greeting of 354", 0, 1,
	 "S: 354 x\n"
	 "! deferred reply-garbled greeting 451 -\n"},

	{"closed before the greeting", 0, 1,
	 "! deferred connection-lost greeting 451 -\n"},

	{"silence after EHLO", TIMEOUT, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "! deferred reply-timeout EHLO 451 -\n"},

	{"STARTTLS where it is offered, EHLO again behind it", TLS_MAY, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250-PIPELINING\n"
	 "S: 250 STARTTLS\n"
	 "C: STARTTLS\n"
	 "S: 220 go\n"
	 "[tls]\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"STARTTLS refused, opportunistic: on in the clear", TLS_MAY, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: STARTTLS\n"
	 "S: 454 not now\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"STARTTLS refused, required", TLS_MUST, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: STARTTLS\n"
	 "S: 454 not now\n"
	 "! deferred tls-required STARTTLS 451 -\n"},

	{"STARTTLS not offered, required", TLS_MUST, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "! deferred tls-required STARTTLS 451 -\n"},

	{"STARTTLS not used where the route says none", 0, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 STARTTLS\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"a login with a challenge", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250-AUTH PLAIN SCRAM-SHA-256\n"
	 "S: 250 AUTH=LOGIN\n"
	 "[login PLAIN SCRAM-SHA-256 LOGIN]\n"
	 "C: AUTH X-TEST aW5pdA==\n"
	 "S: 334 Y2hhbGxlbmdl\n"
	 "[step Y2hhbGxlbmdl]\n"
	 "C: YW5zd2Vy\n"
	 "S: 235 2.7.0 welcome\n"
	 "C: MAIL FROM:<a@from.example>\n"
	 "S: 550 no\n"
	 "= r0: failed reply MAIL FROM 550 550 no\n"},

	{"a refused login defers and is our own fault", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 AUTH PLAIN\n"
	 "[login PLAIN]\n"
	 "C: AUTH X-TEST aW5pdA==\n"
	 "S: 535 5.7.8 wrong\n"
	 "! deferred auth-failed AUTH 535 535 5.7.8 wrong (own)\n"},

	{"a login that fails for now", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250-x\n"
	 "S: 250 AUTH PLAIN\n"
	 "[login PLAIN]\n"
	 "C: AUTH X-TEST aW5pdA==\n"
	 "S: 454 4.7.0 later\n"
	 "! deferred reply AUTH 454 454 4.7.0 later\n"},

	{"no AUTH offered", LOGIN, 1,
	 "S: 220 x\n"
	 "C: EHLO me.example\n"
	 "S: 250 x\n"
	 "! deferred auth-not-offered AUTH 451 - (own)\n"},

	{"LMTP knows no HELO", LMTP, 1,
	 "S: 220 x\n"
	 "C: LHLO me.example\n"
	 "S: 500 what?\n"
	 "! failed reply EHLO 500 500 what?\n"},
};

START_TEST(a_conversation_is_the_same_at_every_split)
{
	check_splits(&cases[_i]);
}
END_TEST

START_TEST(a_conversation_may_end_anywhere)
{
	check_ends(&cases[_i]);
}
END_TEST

START_TEST(initial_data_that_is_too_long_follows_the_challenge)
{
	struct smtp_client_opts opts = {.hostname = "me.example",
					.has_login = true};
	struct smtp_client *client = smtp_client_new(&opts);
	char data[601];

	memset(data, 'A', 600);
	data[600] = '\0';
	(void)smtp_client_feed(client, "220 x\r\n", 7);
	(void)smtp_client_feed(client, "250-x\r\n250 AUTH XOAUTH2\r\n", 25);
	ck_assert_int_eq((int)smtp_client_want(client), CLIENT_WANTS_LOGIN);
	buf_clear(smtp_client_out(client));
	smtp_client_login(client, "XOAUTH2", data);
	ck_assert_str_eq(buf_text(smtp_client_out(client)), "AUTH XOAUTH2\r\n");
	buf_clear(smtp_client_out(client));
	(void)smtp_client_feed(client, "334 \r\n", 6);
	ck_assert_uint_eq(buf_len(smtp_client_out(client)), 602);
	ck_assert_int_eq((int)smtp_client_want(client), CLIENT_WANTS_REPLY);
	(void)smtp_client_feed(client, "235 ok\r\n", 8);
	ck_assert(smtp_client_is_logged_in(client));
	smtp_client_free(client);
}
END_TEST

START_TEST(a_login_without_end_is_given_up)
{
	struct smtp_client_opts opts = {.hostname = "me.example",
					.has_login = true};
	struct smtp_client *client = smtp_client_new(&opts);
	size_t steps = 0;

	(void)smtp_client_feed(client, "220 x\r\n", 7);
	(void)smtp_client_feed(client, "250-x\r\n250 AUTH XOAUTH2\r\n", 25);
	smtp_client_login(client, "XOAUTH2", "A");
	(void)smtp_client_feed(client, "334 \r\n", 6);
	for (; smtp_client_want(client) == CLIENT_WANTS_STEP; steps++) {
		ck_assert_uint_lt(steps, 100);
		smtp_client_login_step(client, "");
		(void)smtp_client_feed(client, "334 \r\n", 6);
	}
	ck_assert_uint_ge(steps, 8);
	ck_assert_int_eq((int)smtp_client_want(client), CLIENT_WANTS_CLOSE);
	ck_assert_int_eq((int)smtp_client_failure(client)->cause,
			 CAUSE_AUTH_FAILED);
	smtp_client_free(client);
}
END_TEST

START_TEST(random_servers_never_break_it)
{
	static const char *const lines[] = {
		"220 x\r\n",
		"250 ok\r\n",
		"250-x\r\n250 PIPELINING\r\n",
		"354 go\r\n",
		"550 no\r\n",
		"452 4.5.3 many\r\n",
		"552 many\r\n",
		"421 bye\r\n",
		"250-x\r\n250 STARTTLS\r\n",
		"334 eA==\r\n",
		"235 ok\r\n",
		"250-x\r\n250 AUTH PLAIN\r\n",
		"garbage\r\n",
		"250-part\r\n",
		"503 order\r\n",
		"250-x\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n",
		"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"};
	uint32_t seed = 7;

	for (unsigned round = 0; round < 20000; round++) {
		struct buf server, log;
		unsigned flags;

		buf_init(&server, 65536);
		buf_init(&log, 1 << 20);
		(void)buf_adds(&server, "220 x\r\n");
		for (unsigned i = 0; i < 24; i++) {
			seed = seed * 1664525u + 1013904223u;
			/* mostly what leads deep into a transaction */
			(void)buf_adds(
				&server,
				lines[(seed >> 28) < 9
					      ? 1 + (seed >> 24) % 3
					      : (seed >> 24) % COUNT(lines)]);
		}
		flags = (seed >> 8) % 8192 & ~(unsigned)EARLY;
		run_case(flags, 1 + round % 5, (const char *)buf_bytes(&server),
			 buf_len(&server), 1 + round % 50, &log);
		if (strstr(buf_text(&log), "[body]") == NULL &&
		    strstr(buf_text(&log), " LAST\n") == NULL)
			ck_assert_ptr_null(
				strstr(buf_text(&log), ": delivered"));
		buf_done(&server);
		buf_done(&log);
	}
}
END_TEST

UNIT_MAIN("smtp_client",
	  tcase_add_loop_test(tc, a_conversation_is_the_same_at_every_split, 0,
			      (int)COUNT(cases));
	  tcase_add_loop_test(tc, a_conversation_may_end_anywhere, 0,
			      (int)COUNT(cases));
	  tcase_add_test(tc,
			 initial_data_that_is_too_long_follows_the_challenge);
	  tcase_add_test(tc, a_login_without_end_is_given_up);
	  tcase_add_test(tc, random_servers_never_break_it);)
