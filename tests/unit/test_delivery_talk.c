/* SPDX-License-Identifier: ISC */
/* One message over one connection, its TLS and its login. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "tests/unit/delivery_world.h"

/* ------------------------------------------------------------- one message */

START_TEST(a_message_is_delivered_with_its_dots_stuffed)
{
	const struct outcome *outcome;
	struct server *server;

	world_init();
	world.spool.is_in_memory = _i == 0;
	server = add_server(EHLO GOOD QUIT);
	outcome = deliver();
	assert_delivered(outcome);
	ck_assert_int_eq((int)outcome->cause, CAUSE_REPLY);
	ck_assert_int_eq((int)outcome->phase, PHASE_BODY);
	ck_assert_str_eq(outcome->reply, "250 2.0.0 taken");
	ck_assert_str_eq(outcome->host, "127.0.0.1");
	ck_assert_uint_eq(outcome->port, server->port);
	ck_assert(ip_is_loopback(&outcome->ip));
	ck_assert_str_eq(outcome->tls, "");
	ck_assert_int_eq(outcome->mx_ttl_s, -1);
	ck_assert_str_eq(world.attempts, "0");
	ck_assert_uint_eq(server->messages, 1);
	ck_assert_str_eq(buf_text(&server->body),
			 "Subject: x\r\n\r\nhello\r\n..dot\r\n.\r\n");
	world_done();
}
END_TEST

START_TEST(each_recipient_has_its_own_outcome)
{
	world_init();
	world.envelope.recipient_count = 3;
	(void)add_server(EHLO MAIL
			 "C RCPT TO:<r0@to.example>\nS 250 ok\n"
			 "C RCPT TO:<r1@to.example>\nS 550 5.1.1 unknown\n"
			 "C RCPT TO:<r2@to.example>\nS 451 4.7.1 later\n" BODY
			 "S 250 ok\n");
	assert_delivered(deliver());
	ck_assert_int_eq((int)world.outcomes[1].kind, OUTCOME_FAILED);
	ck_assert_str_eq(world.outcomes[1].reply, "550 5.1.1 unknown");
	ck_assert_int_eq((int)world.outcomes[2].kind, OUTCOME_DEFERRED);
	ck_assert_str_eq(world.outcomes[2].reply, "451 4.7.1 later");
	world_done();
}
END_TEST

START_TEST(recipients_of_a_second_transaction_get_the_whole_message_too)
{
	struct server *server;

	world_init();
	world.spool.is_in_memory = _i == 0;
	world.envelope.recipient_count = 2;
	server = add_server(
		EHLO MAIL RCPT
		"C RCPT TO:<r1@to.example>\nS 452 4.5.3 too many\n" BODY
		"S 250 one\n" MAIL "C RCPT TO:<r1@to.example>\nS 250 ok\n" BODY
		"S 250 two\n" QUIT);
	assert_delivered(deliver());
	assert_delivered(&world.outcomes[1]);
	ck_assert_str_eq(world.outcomes[1].reply, "250 two");
	ck_assert_uint_eq(server->messages, 2);
	ck_assert_str_eq(buf_text(&server->body),
			 "Subject: x\r\n\r\nhello\r\n..dot\r\n.\r\n");
	world_done();
}
END_TEST

#define CHUNKING GREET "S 250-x\nS 250-PIPELINING\nS 250 CHUNKING\n"
#define TOGETHER                                                               \
	"C MAIL FROM:<a@from.example>\nC RCPT TO:<r0@to.example>\n"            \
	"S 250 ok\nS 250 ok\n"

START_TEST(chunks_go_as_they_are_where_they_are_offered)
{
	struct server *server;
	char script[512];
	size_t len = strlen(MESSAGE);

	world_init();
	world.spool.is_in_memory = _i == 0;
	/* what is in memory is known to end */
	if (_i == 0)
		(void)snprintf(script, sizeof(script),
			       CHUNKING TOGETHER
			       "C BDAT %zu LAST\nOCTETS %zu\nS 250 ok\n" QUIT,
			       len, len);
	else
		(void)snprintf(script, sizeof(script),
			       CHUNKING TOGETHER
			       "C BDAT %zu\nOCTETS %zu\nC BDAT 0 LAST\n"
			       "S 250 more\nS 250 ok\n" QUIT,
			       len, len);
	server = add_server(script);
	assert_delivered(deliver());
	ck_assert_str_eq(world.outcomes[0].reply, "250 ok");
	ck_assert_str_eq(buf_text(&server->body), MESSAGE);
	world_done();
}
END_TEST

START_TEST(a_piece_read_for_a_refused_chunk_is_not_sent_to_the_next)
{
	size_t len = 100000;
	struct server *server;
	char *body = mem_alloc(len);

	world_init();
	memset(body, 'x', len);
	world.spool.body = body;
	world.spool.len = len;
	world.spool.is_in_memory = false;
	world.spool.hold_at = 1;
	world.envelope.recipient_count = 2;
	server = add_server(CHUNKING
			    "C MAIL FROM:<a@from.example>\n"
			    "C RCPT TO:<r0@to.example>\n"
			    "C RCPT TO:<r1@to.example>\n"
			    "S 250 ok\nS 250 ok\nS 452 4.5.3 too many\n"
			    "C BDAT 32769\nOCTETS 32769\nS 452 4.3.1 full\n"
			    "C RSET\nC MAIL FROM:<a@from.example>\n"
			    "C RCPT TO:<r1@to.example>\nHANG\n");
	(void)start();
	while (!str_starts_nocase(server->conns[0].rest, "HANG"))
		(void)uv_run(&world.loop, UV_RUN_ONCE);
	/* the disk is slower than the server's refusal */
	if (world.spool.held != NULL) {
		struct spool_read *read = world.spool.held;

		world.spool.held = NULL;
		on_fake_read(&read->timer);
	}
	server->conns[0].rest =
		str_of("S 250 ok\nS 250 ok\nS 550 5.1.1 unknown\n" QUIT);
	server_run(&server->conns[0]);
	run_until(&world.done, 1);
	ck_assert_str_eq(world.outcomes[0].reply, "452 4.3.1 full");
	ck_assert_str_eq(world.outcomes[1].reply, "550 5.1.1 unknown");
	world_done();
	free(body);
}
END_TEST

START_TEST(a_server_that_does_not_know_its_chunks_gets_data)
{
	struct server *server;
	char script[512];

	world_init();
	(void)snprintf(script, sizeof(script),
		       CHUNKING TOGETHER
		       "C BDAT %zu LAST\nOCTETS %zu\nS 502 what?\n",
		       strlen(MESSAGE), strlen(MESSAGE));
	server = add_server(script);
	server->scripts[1] = GREET "S 250-x\nS 250 CHUNKING\n" GOOD QUIT;
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "00");
	ck_assert_uint_eq(server->messages, 1);
	world_done();
}
END_TEST

START_TEST(a_large_message_arrives_whole)
{
	size_t len = 8 << 20, at = 0, held;
	const struct outcome *outcome;
	struct server *server;
	char *body = mem_alloc(len);
	const uint8_t *got;

	world_init();
	for (size_t i = 0; i < len; i++)
		body[i] = i % 64 == 62	 ? '\r'
			  : i % 64 == 63 ? '\n'
					 : (char)('a' + i / 64 % 26);
	world.spool.body = body;
	world.spool.len = len;
	world.spool.is_in_memory = _i == 0;
	server = add_server(EHLO GOOD);
	outcome = deliver();
	assert_delivered(outcome);
	held = buf_len(&server->body);
	got = buf_bytes(&server->body);
	ck_assert_uint_eq(held, len + 3);
	while (at < len && got[at] == (uint8_t)body[at])
		at++;
	ck_assert_uint_eq(at, len);
	world_done();
	free(body);
}
END_TEST

START_TEST(a_body_that_cannot_be_read_is_never_ended)
{
	size_t len = 1 << 20;
	struct server *server;
	char *body = mem_alloc(len);

	world_init();
	memset(body, 'x', len);
	world.spool.body = body;
	world.spool.len = len;
	world.spool.is_in_memory = false;
	world.spool.fail_at = len / 2;
	server = add_server(EHLO GOOD);
	assert_own(deliver(), CAUSE_SPOOL, PHASE_DATA);
	while (server->conns[0].stream != NULL)
		(void)uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_uint_eq(server->messages, 0);
	world_done();
	free(body);
}
END_TEST

/* What is lost and what it is called; always temporary. */
static const struct {
	const char *script;
	enum cause cause;
	enum smtp_phase phase;
} losses[] = {
	{"CLOSE\n", CAUSE_CONNECTION_LOST, PHASE_GREETING},
	{"ABORT\n", CAUSE_CONNECTION_LOST, PHASE_GREETING},
	{"S hello\n", CAUSE_REPLY_GARBLED, PHASE_GREETING},
	{GREET "CLOSE\n", CAUSE_CONNECTION_LOST, PHASE_EHLO},
	{EHLO "C MAIL FROM:<a@from.example>\nCLOSE\n", CAUSE_CONNECTION_LOST,
	 PHASE_MAIL},
	{EHLO MAIL "C RCPT TO:<r0@to.example>\nCLOSE\n", CAUSE_CONNECTION_LOST,
	 PHASE_RCPT},
	{EHLO MAIL RCPT "C DATA\nCLOSE\n", CAUSE_CONNECTION_LOST, PHASE_DATA},
	{EHLO MAIL RCPT BODY "CLOSE\n", CAUSE_CONNECTION_LOST, PHASE_BODY},
	{EHLO MAIL RCPT BODY "ABORT\n", CAUSE_CONNECTION_LOST, PHASE_BODY},
	{EHLO MAIL RCPT BODY "S 250-taken\nCLOSE\n", CAUSE_CONNECTION_LOST,
	 PHASE_BODY},
};

START_TEST(a_lost_connection_defers)
{
	world_init();
	(void)add_server(losses[_i].script);
	assert_own(deliver(), losses[_i].cause, losses[_i].phase);
	world_done();
}
END_TEST

/* ------------------------------------------------------------- TLS */

START_TEST(starttls_is_used_where_it_is_offered)
{
	const struct outcome *outcome;

	world_init();
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	add_tls(add_server(STARTTLS "TLS\nC EHLO me.example\nS 250 x\n" GOOD));
	outcome = deliver();
	assert_delivered(outcome);
	ck_assert_str_eq(outcome->tls, "TLSv1.3");
	world_done();
}
END_TEST

START_TEST(tls_comes_before_the_greeting_for_smtps)
{
	world_init();
	world.hop.tls = HOP_TLS_REQUIRED;
	add_tls(add_server("TLS\n" EHLO GOOD));
	world.targets[0].is_implicit_tls = true;
	assert_delivered(deliver());
	ck_assert_str_eq(world.outcomes[0].tls, "TLSv1.3");
	world_done();
}
END_TEST

START_TEST(a_failed_handshake_is_forgiven_where_nothing_was_promised)
{
	world_init();
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	(void)add_server(STARTTLS "S this is no TLS\n");
	world.servers[0].scripts[1] = GREET "S 250-x\nS 250 STARTTLS\n" GOOD;
	assert_delivered(deliver());
	ck_assert_str_eq(world.outcomes[0].tls, "");
	ck_assert_str_eq(world.attempts, "00");
	world_done();
}
END_TEST

START_TEST(a_530_in_the_clear_after_a_failed_handshake_is_temporary)
{
	world_init();
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	(void)add_server(STARTTLS "CLOSE\n");
	world.servers[0].scripts[1] =
		GREET "S 250-x\nS 250 STARTTLS\n"
		      "C MAIL FROM:<a@from.example>\n"
		      "S 530 5.7.0 Must issue a STARTTLS command first\n";
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_DEFERRED);
	ck_assert_uint_eq(world.outcomes[0].status.code, 530);
	world_done();
}
END_TEST

START_TEST(a_530_on_a_connection_that_stayed_in_the_clear_is_temporary_too)
{
	world_init();
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	(void)add_server(STARTTLS "CLOSE\n");
	world.servers[0].scripts[1] =
		GREET "S 250-x\nS 250 STARTTLS\n" GOOD
		      "C MAIL FROM:<a@from.example>\n"
		      "S 530 5.7.0 Must issue a STARTTLS command first\n";
	assert_delivered(deliver());
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_DEFERRED);
	ck_assert_uint_eq(world.outcomes[0].status.code, 530);
	ck_assert_uint_eq(world.servers[0].accepted, 2);
	world_done();
}
END_TEST

static const char *const behind_handshake[] = {"TLS\nCLOSE\n", "TLS\nABORT\n"};

/* With TLS 1.3 the handshake is done here before the server has seen our last
 * part of it, and what he refuses is told behind it (RFC 8446, 4.4.4). */
START_TEST(a_server_that_leaves_behind_the_handshake_has_failed_it)
{
	char *script = mem_printf("%s%s", STARTTLS, behind_handshake[_i % 2]);

	world_init();
	world.hop.tls = _i < 2 ? HOP_TLS_OPPORTUNISTIC : HOP_TLS_REQUIRED;
	add_tls(add_server(script));
	if (_i < 2) {
		world.servers[0].scripts[1] =
			GREET "S 250-x\nS 250 STARTTLS\n" GOOD;
		assert_delivered(deliver());
		ck_assert_uint_eq(world.servers[0].accepted, 2);
	} else {
		assert_own(deliver(), CAUSE_TLS_FAILED, PHASE_TLS);
		ck_assert_ptr_nonnull(strstr(world.outcomes[0].status.text,
					     "behind the TLS handshake"));
		ck_assert_uint_eq(world.servers[0].accepted, 1);
	}
	world_done();
	free(script);
}
END_TEST

/* Once it has spoken, TLS is not what it left for. */
START_TEST(a_server_that_leaves_later_is_not_asked_in_the_clear)
{
	world_init();
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	add_tls(add_server(STARTTLS "TLS\nC EHLO me.example\nS 250 x\n"
				    "CLOSE\n"));
	assert_own(deliver(), CAUSE_CONNECTION_LOST, PHASE_MAIL);
	ck_assert_uint_eq(world.servers[0].accepted, 1);
	world_done();
}
END_TEST

static const struct {
	enum hop_tls tls;
	const char *script;
	enum cause cause;
	enum smtp_phase phase;
} strict[] = {
	{HOP_TLS_REQUIRED, STARTTLS "S this is no TLS\n", CAUSE_TLS_FAILED,
	 PHASE_TLS},
	{HOP_TLS_REQUIRED, STARTTLS "CLOSE\n", CAUSE_TLS_FAILED, PHASE_TLS},
	{HOP_TLS_REQUIRED, EHLO "C QUIT\n", CAUSE_TLS_REQUIRED, PHASE_STARTTLS},
	{HOP_TLS_REQUIRED,
	 GREET "S 250-x\nS 250 STARTTLS\nC STARTTLS\nS 454 no\nC QUIT\n",
	 CAUSE_TLS_REQUIRED, PHASE_STARTTLS},
	/* the server's certificate is signed by nobody */
	{HOP_TLS_VERIFIED, STARTTLS "TLS\n", CAUSE_TLS_FAILED, PHASE_TLS},
	/* nothing is published for an address */
	{HOP_TLS_DANE, "HANG\n", CAUSE_TLS_POLICY, PHASE_DNS},
	{HOP_TLS_STS, "HANG\n", CAUSE_TLS_POLICY, PHASE_DNS},
};

START_TEST(without_the_tls_that_was_demanded_mail_waits)
{
	struct server *server;

	world_init();
	world.hop.tls = strict[_i].tls;
	server = add_server(strict[_i].script);
	add_tls(server);
	assert_own(deliver(), strict[_i].cause, strict[_i].phase);
	ck_assert_uint_le(server->accepted, 1);
	while (server->accepted == 1 && server->conns[0].stream != NULL)
		(void)uv_run(&world.loop, UV_RUN_ONCE);
	world_done();
}
END_TEST

START_TEST(what_comes_in_the_clear_behind_starttls_is_an_attack)
{
	world_init();
	world.hop.tls = HOP_TLS_REQUIRED;
	add_tls(add_server(GREET "S 250-x\nS 250 STARTTLS\nC STARTTLS\n"
				 "S 220 go\nS 250 injected\nTLS\n"));
	assert_own(deliver(), CAUSE_TLS_FAILED, PHASE_TLS);
	world_done();
}
END_TEST

/* ------------------------------------------------------------- logins */

START_TEST(a_login_comes_before_the_first_message_only)
{
	world_init();
	write_password("secret\nsecond line\n");
	(void)add_server(GREET "S 250-x\nS 250 AUTH PLAIN\n"
			       "C AUTH PLAIN AGpvZQBzZWNyZXQ=\n"
			       "S 235 2.7.0 welcome\n" GOOD GOOD);
	assert_delivered(deliver());
	assert_delivered(deliver());
	ck_assert_uint_eq(world.servers[0].accepted, 1);
	world_done();
}
END_TEST

START_TEST(a_refused_login_defers_and_is_not_tried_elsewhere)
{
	world_init();
	write_password("wrong\n");
	(void)add_server(GREET "S 250-x\nS 250 AUTH PLAIN\n"
			       "C AUTH PLAIN AGpvZQB3cm9uZw==\n"
			       "S 535 5.7.8 wrong\n");
	(void)add_server("HANG\n");
	assert_own(deliver(), CAUSE_AUTH_FAILED, PHASE_AUTH);
	ck_assert(world.outcomes[0].is_own_fault);
	ck_assert_str_eq(world.outcomes[0].reply, "535 5.7.8 wrong");
	ck_assert_str_eq(world.attempts, "0");
	world_done();
}
END_TEST

START_TEST(a_password_file_that_is_missing_or_empty_is_our_own_fault)
{
	world_init();
	write_password("");
	if (_i == 0)
		ck_assert_int_eq(unlink(world.hop.password_file), 0);
	(void)add_server(GREET "S 250-x\nS 250 AUTH PLAIN\nHANG\n");
	assert_own(deliver(), CAUSE_CONFIGURATION, PHASE_AUTH);
	ck_assert(world.outcomes[0].is_own_fault);
	ck_assert_ptr_nonnull(
		strstr(world.outcomes[0].status.text, world.hop.password_file));
	world_done();
}
END_TEST

START_TEST(a_server_without_auth_cannot_be_logged_in_to)
{
	world_init();
	write_password("secret\n");
	(void)add_server(EHLO "C QUIT\n");
	assert_own(deliver(), CAUSE_AUTH_NOT_OFFERED, PHASE_AUTH);
	ck_assert(world.outcomes[0].is_own_fault);
	world_done();
}
END_TEST

UNIT_MAIN(
	"delivery_talk",
	tcase_add_loop_test(tc, a_message_is_delivered_with_its_dots_stuffed, 0,
			    2);
	tcase_add_test(tc, each_recipient_has_its_own_outcome);
	tcase_add_loop_test(
		tc,
		recipients_of_a_second_transaction_get_the_whole_message_too, 0,
		2);
	tcase_add_loop_test(tc, chunks_go_as_they_are_where_they_are_offered, 0,
			    2);
	tcase_add_test(
		tc, a_piece_read_for_a_refused_chunk_is_not_sent_to_the_next);
	tcase_add_test(tc, a_server_that_does_not_know_its_chunks_gets_data);
	tcase_add_loop_test(tc, a_large_message_arrives_whole, 0, 2);
	tcase_add_test(tc, a_body_that_cannot_be_read_is_never_ended);
	tcase_add_loop_test(tc, a_lost_connection_defers, 0,
			    (int)COUNT(losses));
	tcase_add_test(tc, starttls_is_used_where_it_is_offered);
	tcase_add_test(tc, tls_comes_before_the_greeting_for_smtps);
	tcase_add_test(
		tc, a_failed_handshake_is_forgiven_where_nothing_was_promised);
	tcase_add_test(
		tc, a_530_in_the_clear_after_a_failed_handshake_is_temporary);
	tcase_add_test(
		tc,
		a_530_on_a_connection_that_stayed_in_the_clear_is_temporary_too);
	tcase_add_loop_test(
		tc, a_server_that_leaves_behind_the_handshake_has_failed_it, 0,
		4);
	tcase_add_test(tc,
		       a_server_that_leaves_later_is_not_asked_in_the_clear);
	tcase_add_loop_test(tc, without_the_tls_that_was_demanded_mail_waits, 0,
			    (int)COUNT(strict));
	tcase_add_test(tc,
		       what_comes_in_the_clear_behind_starttls_is_an_attack);
	tcase_add_test(tc, a_login_comes_before_the_first_message_only);
	tcase_add_test(tc, a_refused_login_defers_and_is_not_tried_elsewhere);
	tcase_add_loop_test(
		tc, a_password_file_that_is_missing_or_empty_is_our_own_fault,
		0, 2);
	tcase_add_test(tc, a_server_without_auth_cannot_be_logged_in_to);)
