/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* ------------------------------------------------------------- other hosts */

static const struct {
	const char *first; /* NULL: refuses connections */
} passed[] = {
	{NULL},
	{"S 421 busy\nCLOSE\n"},
	{"S 450 busy\n"},
	{"S 554 no\n"},
	{"CLOSE\n"},
	{"S garbage\n"},
	{GREET "CLOSE\n"},
	{GREET "S 451 later\n"},
};

START_TEST(the_next_host_is_tried_when_one_does_not_come_to_mail)
{
	world_init();
	(void)add_server(passed[_i].first);
	(void)add_server(EHLO GOOD);
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "01");
	ck_assert_uint_eq(world.outcomes[0].port, world.servers[1].port);
	world_done();
}
END_TEST

/* RFC 5321, 5.1: the next host may take what this one does not want now. */
static const struct {
	const char *first;
} put_off[] = {
	{EHLO "C MAIL FROM:<a@from.example>\nS 451 no\n" QUIT},
	{EHLO "C MAIL FROM:<a@from.example>\nS 421 busy\nCLOSE\n"},
	{EHLO "C MAIL FROM:<a@from.example>\nCLOSE\n"},
	{EHLO "C MAIL FROM:<a@from.example>\nS ?\n"},
	{EHLO MAIL "C RCPT TO:<r0@to.example>\nS 450 4.7.1 grey\n" QUIT},
	{EHLO MAIL "C RCPT TO:<r0@to.example>\nS 421 busy\nCLOSE\n"},
	{EHLO MAIL "C RCPT TO:<r0@to.example>\nABORT\n"},
	{EHLO MAIL RCPT "C DATA\nS 451 no\n" QUIT},
	{EHLO MAIL RCPT "C DATA\nCLOSE\n"},
	{EHLO MAIL RCPT "C DATA\nS 354 go\nABORT\n"},
	{EHLO MAIL RCPT BODY "S 452 4.3.1 full\n" QUIT},
	{EHLO MAIL RCPT BODY "S 421 busy\nCLOSE\n"},
};

START_TEST(a_message_turned_away_for_now_is_carried_to_the_next_host)
{
	world_init();
	(void)add_server(put_off[_i].first);
	(void)add_server(EHLO GOOD QUIT);
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "01");
	ck_assert_uint_eq(world.outcomes[0].port, world.servers[1].port);
	world_done();
}
END_TEST

/* Refused for good, or perhaps taken: nobody else is asked. */
static const struct {
	const char *first;
	enum outcome_kind kind;
	enum smtp_phase phase;
} kept[] = {
	{EHLO "C MAIL FROM:<a@from.example>\nS 550 no\n" QUIT, OUTCOME_FAILED,
	 PHASE_MAIL},
	{EHLO MAIL "C RCPT TO:<r0@to.example>\nS 550 no\n" QUIT, OUTCOME_FAILED,
	 PHASE_RCPT},
	{EHLO MAIL RCPT "C DATA\nS 554 no\n" QUIT, OUTCOME_FAILED, PHASE_DATA},
	{EHLO MAIL RCPT BODY "S 554 no\n" QUIT, OUTCOME_FAILED, PHASE_BODY},
	{EHLO MAIL RCPT BODY "CLOSE\n", OUTCOME_DEFERRED, PHASE_BODY},
	{EHLO MAIL RCPT BODY "ABORT\n", OUTCOME_DEFERRED, PHASE_BODY},
	{EHLO MAIL RCPT BODY "S ok\n", OUTCOME_DEFERRED, PHASE_BODY},
	{EHLO MAIL RCPT BODY "S 250-taken\nCLOSE\n", OUTCOME_DEFERRED,
	 PHASE_BODY},
};

START_TEST(what_was_refused_or_may_have_been_taken_goes_nowhere_else)
{
	world_init();
	(void)add_server(kept[_i].first);
	(void)add_server("HANG\n");
	ck_assert_int_eq((int)deliver()->kind, (int)kept[_i].kind);
	ck_assert_int_eq((int)world.outcomes[0].phase, (int)kept[_i].phase);
	ck_assert_str_eq(world.attempts, "0");
	world_done();
}
END_TEST

START_TEST(only_recipients_that_were_turned_away_are_carried_on)
{
	world_init();
	world.envelope.recipient_count = 4;
	(void)add_server(EHLO MAIL
			 "C RCPT TO:<r0@to.example>\nS 250 ok\n"
			 "C RCPT TO:<r1@to.example>\nS 450 4.7.1 grey\n"
			 "C RCPT TO:<r2@to.example>\nS 550 5.1.1 unknown\n"
			 "C RCPT TO:<r3@to.example>\nS 451 later\n" BODY
			 "S 250 ok\n" QUIT);
	(void)add_server(EHLO MAIL
			 "C RCPT TO:<r1@to.example>\nS 250 ok\n"
			 "C RCPT TO:<r3@to.example>\nS 550 5.7.1 no\n" BODY
			 "S 250 ok\n" QUIT);
	assert_delivered(deliver());
	assert_delivered(&world.outcomes[1]);
	ck_assert_uint_eq(world.outcomes[1].port, world.servers[1].port);
	ck_assert_str_eq(world.outcomes[2].reply, "550 5.1.1 unknown");
	/* the better host may take it later */
	ck_assert_int_eq((int)world.outcomes[3].kind, OUTCOME_DEFERRED);
	ck_assert_str_eq(world.outcomes[3].reply, "451 later");
	ck_assert_uint_eq(world.outcomes[3].port, world.servers[0].port);
	ck_assert_str_eq(world.attempts, "01");
	ck_assert_uint_eq(world.servers[0].messages, 1);
	ck_assert_uint_eq(world.servers[1].messages, 1);
	world_done();
}
END_TEST

#define GREY EHLO MAIL "C RCPT TO:<r0@to.example>\nS 450 4.7.1 grey\n" QUIT

START_TEST(a_message_is_brought_to_five_hosts_at_most)
{
	world_init();
	for (size_t i = 0; i < COUNT(world.servers); i++)
		(void)add_server(GREY);
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_DEFERRED);
	ck_assert_str_eq(world.outcomes[0].reply, "450 4.7.1 grey");
	ck_assert_uint_eq(world.outcomes[0].port, world.servers[0].port);
	ck_assert_str_eq(world.attempts, "01234");
	world_done();
}
END_TEST

START_TEST(a_used_connection_that_turns_a_message_away_counts_as_that_host)
{
	world_init();
	(void)add_server(EHLO GOOD
			 "C MAIL FROM:<a@from.example>\nS 451 busy\n" QUIT);
	(void)add_server(EHLO GOOD QUIT);
	assert_delivered(deliver());
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "001");
	world_done();
}
END_TEST

#define TOO_MANY "S 421 4.7.0 too many connections\nCLOSE\n"

static void
on_slow_down(void *arg, const char *host, const struct ip *ip, uint16_t port,
	     unsigned connections, const char *reply)
{
	ck_assert_str_eq(host, "127.0.0.1");
	ck_assert_uint_eq(port, world.servers[0].port);
	ck_assert_uint_eq(connections, 1);
	ck_assert_str_eq(reply, "421 4.7.0 too many connections");
	++*(unsigned *)arg;
}

/* Lets a delivery come to its session, which hangs. */
static struct delivery *
start_hanging(size_t server, size_t connection)
{
	struct server_conn *conn = &world.servers[server].conns[connection];
	struct delivery *delivery = start();

	while (conn->stream == NULL || !str_starts_nocase(conn->rest, "HANG"))
		(void)uv_run(&world.loop, UV_RUN_ONCE);
	return delivery;
}

START_TEST(a_host_with_too_many_connections_gets_fewer)
{
	struct delivery *first, *second;
	struct server *server;
	unsigned slowed = 0;

	world_init();
	world.opts.on_slow_down = on_slow_down;
	world.opts.on_attempt_arg = &slowed;
	deliverer_configure(world.deliverer, &world.opts);
	server = add_server(EHLO "HANG\n");
	server->scripts[1] = EHLO "HANG\n";
	server->scripts[2] = TOO_MANY;
	server->scripts[3] = EHLO GOOD;
	first = start_hanging(0, 0);
	second = start_hanging(0, 1);
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_DEFERRED);
	ck_assert_uint_eq(slowed, 1);
	ck_assert_str_eq(world.attempts, "000");
	/* it has two, and may have one */
	assert_own(deliver(), CAUSE_HOST_BUSY, PHASE_CONNECT);
	delivery_abort(first);
	assert_own(deliver(), CAUSE_HOST_BUSY, PHASE_CONNECT);
	ck_assert_str_eq(world.attempts, "000");
	delivery_abort(second);
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "0000");
	world_done();
}
END_TEST

/* Mail that waited for it wakes up at once. */
START_TEST(connects_under_way_count_as_connections)
{
	struct server *server;
	unsigned delivered = 0;

	world_init();
	server = add_server(TOO_MANY);
	server->scripts[1] = EHLO GOOD;
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_DEFERRED);
	(void)start();
	(void)start();
	for (unsigned done = 2; done <= 3; done++) {
		run_until(&world.done, done);
		delivered += world.outcomes[0].kind == OUTCOME_DELIVERED;
	}
	ck_assert_uint_eq(delivered, 1);
	ck_assert_uint_eq(server->accepted, 2);
	world_done();
}
END_TEST

START_TEST(another_host_is_taken_instead_of_a_busy_one)
{
	struct delivery *first;

	world_init();
	(void)add_server(EHLO "HANG\n");
	world.servers[0].scripts[1] = TOO_MANY;
	(void)add_server(EHLO GOOD);
	world.servers[1].scripts[1] = EHLO GOOD;
	world.hop.messages_per_connection = 1;
	first = start_hanging(0, 0);
	assert_delivered(deliver()); /* turned away by the one */
	ck_assert_str_eq(world.attempts, "001");
	assert_delivered(deliver()); /* not even asked */
	ck_assert_str_eq(world.attempts, "0011");
	delivery_abort(first);
	world_done();
}
END_TEST

static void
on_revived(void *arg, const struct ip *ip, uint16_t port)
{
	ck_assert(ip_is_loopback(ip));
	ck_assert_uint_eq(port, world.servers[0].port);
	++*(unsigned *)arg;
}

START_TEST(a_host_that_answers_again_is_told_of_once)
{
	unsigned revived = 0;
	struct server *server;

	world_init();
	world.opts.on_revived = on_revived;
	world.opts.on_attempt_arg = &revived;
	deliverer_configure(world.deliverer, &world.opts);
	world.hop.messages_per_connection = 1;
	server = add_server(NULL);
	server->scripts[0] = server->scripts[1] = EHLO GOOD;
	assert_own(deliver(), CAUSE_CONNECT_REFUSED, PHASE_CONNECT);
	ck_assert_int_eq(uv_listen(&server->listener.stream, 16,
				   on_server_accept),
			 0);
	ck_assert_uint_eq(revived, 0);
	assert_delivered(deliver());
	ck_assert_uint_eq(revived, 1);
	assert_delivered(deliver());
	ck_assert_uint_eq(revived, 1);
	world_done();
}
END_TEST

START_TEST(marks_are_forgotten_on_demand)
{
	world_init();
	(void)add_server(NULL);
	(void)add_server(EHLO GOOD QUIT);
	world.servers[1].scripts[1] = EHLO GOOD QUIT;
	world.hop.messages_per_connection = 1;
	assert_delivered(deliver());
	deliverer_forget_marks(world.deliverer);
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "0101");
	world_done();
}
END_TEST

START_TEST(of_many_failures_the_weightiest_is_reported)
{
	world_init();
	(void)add_server(NULL);
	(void)add_server("S 451 4.3.2 busy\n");
	(void)add_server("S 554 5.7.1 never\n");
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_DEFERRED);
	ck_assert_str_eq(world.outcomes[0].reply, "451 4.3.2 busy");
	ck_assert_uint_eq(world.outcomes[0].port, world.servers[1].port);
	ck_assert_str_eq(world.attempts, "012");
	world_done();
}
END_TEST

START_TEST(a_host_that_refused_is_tried_last_the_next_time)
{
	world_init();
	world.hop.messages_per_connection = 1;
	(void)add_server(NULL);
	(void)add_server(EHLO GOOD QUIT);
	world.servers[1].scripts[1] = EHLO GOOD QUIT;
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "01");
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "011");
	world_done();
}
END_TEST

START_TEST(all_hosts_refuse)
{
	world_init();
	(void)add_server(NULL);
	(void)add_server(NULL);
	assert_own(deliver(), CAUSE_CONNECT_REFUSED, PHASE_CONNECT);
	ck_assert_uint_eq(world.outcomes[0].port, world.servers[0].port);
	/* marked ones are not left out */
	assert_own(deliver(), CAUSE_CONNECT_REFUSED, PHASE_CONNECT);
	ck_assert_str_eq(world.attempts, "0101");
	world_done();
}
END_TEST

START_TEST(both_families_of_a_host_are_tried)
{
	struct server six;
	struct sockaddr_in6 sin6;

	world_init();
	(void)add_server(EHLO GOOD);
	world.targets[0].host = "localhost";
	/* the same port of the other family: bound, and refusing */
	ck_assert_int_eq(uv_tcp_init(&world.loop, &six.listener.tcp), 0);
	ck_assert_int_eq(uv_ip6_addr("::1", world.servers[0].port, &sin6), 0);
	ck_assert_int_eq(uv_tcp_bind(&six.listener.tcp,
				     (const struct sockaddr *)&sin6,
				     UV_TCP_IPV6ONLY),
			 0);
	assert_delivered(deliver());
	ck_assert_str_eq(world.outcomes[0].host, "localhost");
	ck_assert_int_eq((int)world.outcomes[0].ip.family, IP_V4);
	uv_close((uv_handle_t *)&six.listener.tcp, NULL);
	world_done();
}
END_TEST

START_TEST(a_source_of_the_other_family_reaches_nobody)
{
	world_init();
	(void)add_server(NULL);
	ck_assert(ip_parse(str_of("::1"), &world.hop.source));
	assert_own(deliver(), CAUSE_DNS_NO_ADDRESS, PHASE_DNS);
	ck_assert_str_ne(world.outcomes[0].status.text, "");
	ck_assert_str_eq(world.attempts, "");
	world_done();
}
END_TEST

/* ------------------------------------------------------------- reuse */

START_TEST(a_connection_carries_one_message_after_the_other)
{
	struct deliverer_stats stats;

	world_init();
	(void)add_server(EHLO GOOD GOOD GOOD);
	for (unsigned i = 0; i < 3; i++)
		assert_delivered(deliver());
	deliverer_stats(world.deliverer, &stats);
	ck_assert_uint_eq(stats.opened, 1);
	ck_assert_uint_eq(stats.reused, 2);
	ck_assert_uint_eq(stats.idle, 1);
	ck_assert_uint_eq(world.servers[0].accepted, 1);
	ck_assert_uint_eq(world.servers[0].messages, 3);
	world_done();
}
END_TEST

START_TEST(an_idle_connection_says_quit_in_time)
{
	struct deliverer_stats stats;
	struct server *server;

	world_init();
	world.opts.idle_connection_ms = 60;
	deliverer_configure(world.deliverer, &world.opts);
	server = add_server(EHLO GOOD QUIT);
	assert_delivered(deliver());
	while (server->conns[0].stream != NULL)
		(void)uv_run(&world.loop, UV_RUN_ONCE);
	deliverer_stats(world.deliverer, &stats);
	ck_assert_uint_eq(stats.idle, 0);
	world_done();
}
END_TEST

START_TEST(idle_connections_are_closed_on_demand)
{
	struct server *server;

	world_init();
	server = add_server(EHLO GOOD QUIT);
	assert_delivered(deliver());
	deliverer_close_idle(world.deliverer);
	while (server->conns[0].stream != NULL)
		(void)uv_run(&world.loop, UV_RUN_ONCE);
	world_done();
}
END_TEST

START_TEST(a_connection_is_used_for_so_many_messages)
{
	world_init();
	world.hop.messages_per_connection = 2;
	(void)add_server(EHLO GOOD GOOD QUIT);
	world.servers[0].scripts[1] = EHLO GOOD;
	for (unsigned i = 0; i < 3; i++)
		assert_delivered(deliver());
	ck_assert_uint_eq(world.servers[0].accepted, 2);
	world_done();
}
END_TEST

static const char *const stale[] = {
	EHLO GOOD "C MAIL FROM:<a@from.example>\nS 421 idle\nCLOSE\n",
	EHLO GOOD "C MAIL FROM:<a@from.example>\nCLOSE\n",
	EHLO GOOD "C MAIL FROM:<a@from.example>\nABORT\n",
	EHLO GOOD "CLOSE\n",
	EHLO GOOD "S 421 idle\nCLOSE\n",
};

START_TEST(a_connection_that_was_given_up_is_replaced)
{
	world_init();
	(void)add_server(stale[_i]);
	world.servers[0].scripts[1] = EHLO GOOD;
	assert_delivered(deliver());
	assert_delivered(deliver());
	ck_assert_uint_eq(world.servers[0].accepted, 2);
	world_done();
}
END_TEST

/* "Too many errors", or a server that does not know it: whatever RSET is
 * answered, it is not about the message that was to follow. */
START_TEST(a_message_behind_a_refused_rset_goes_over_another_connection)
{
	world_init();
	(void)add_server(EHLO MAIL "C RCPT TO:<r0@to.example>\nS 550 no\n"
				   "C RSET\nS 554 5.7.1 too many errors\n");
	world.servers[0].scripts[1] = EHLO GOOD;
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_FAILED);
	assert_delivered(deliver());
	ck_assert_uint_eq(world.servers[0].accepted, 2);
	world_done();
}
END_TEST

START_TEST(a_connection_lost_in_the_middle_is_not_replaced)
{
	world_init();
	(void)add_server(EHLO GOOD MAIL "C RCPT TO:<r0@to.example>\nCLOSE\n");
	assert_delivered(deliver());
	assert_own(deliver(), CAUSE_CONNECTION_LOST, PHASE_RCPT);
	ck_assert_uint_eq(world.servers[0].accepted, 1);
	world_done();
}
END_TEST

START_TEST(another_policy_takes_another_connection)
{
	world_init();
	(void)add_server(EHLO GOOD);
	world.servers[0].scripts[1] = EHLO GOOD;
	assert_delivered(deliver());
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	assert_delivered(deliver());
	ck_assert_uint_eq(world.servers[0].accepted, 2);
	world_done();
}
END_TEST

/* ------------------------------------------------------------- TLS */

#define STARTTLS GREET "S 250-x\nS 250 STARTTLS\nC STARTTLS\nS 220 go\n"

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

static void
write_password(const char *text)
{
	static char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/password", world.dir);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
	world.hop.user = "joe";
	world.hop.password_file = path;
}

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

/* ------------------------------------------------------------- other kinds */

START_TEST(lmtp_goes_over_a_unix_socket)
{
	static char path[128];
	struct server *server = &world.servers[0];

	world_init();
	(void)snprintf(path, sizeof(path), "%s/lmtp", world.dir);
	server_init_unix(server, &world.loop, path);
	world.server_count = 1;
	server->scripts[0] = "S 220 x\nC LHLO me.example\nS 250 x\n" MAIL
			     "C RCPT TO:<r0@to.example>\nS 250 ok\n"
			     "C RCPT TO:<r1@to.example>\nS 250 ok\n" BODY
			     "S 250 2.0.0 saved\nS 452 4.2.2 full\n" MAIL RCPT
			     "C RCPT TO:<r1@to.example>\nS 550 ok\n" BODY
			     "S 250 2.0.0 saved\n";
	world.hop.kind = HOP_LMTP;
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	world.targets[0].unix_path = path;
	world.hop.target_count = 1;
	world.envelope.recipient_count = 2;
	assert_delivered(deliver());
	ck_assert_int_eq((int)world.outcomes[1].kind, OUTCOME_DEFERRED);
	ck_assert_str_eq(world.outcomes[1].reply, "452 4.2.2 full");
	ck_assert_str_eq(world.outcomes[1].host, path);
	assert_delivered(deliver());
	ck_assert_uint_eq(server->accepted, 1);
	world_done();
}
END_TEST

#define TOKEN_LHLO                                                             \
	"S 220 x\nC LHLO me.example\nS 250-x\nS 250 AUTH XOAUTH2\n"            \
	"C AUTH XOAUTH2 dXNlcj1tZQFhdXRoPUJlYXJlciB0b2sBAQ==\n"

START_TEST(a_token_refused_at_a_unix_socket_is_replaced_by_another)
{
	static char path[128];
	struct server *server = &world.servers[0];

	world_init();
	(void)snprintf(path, sizeof(path), "%s/lmtp", world.dir);
	server_init_unix(server, &world.loop, path);
	world.server_count = 1;
	server->scripts[0] = TOKEN_LHLO "S 235 ok\n" GOOD QUIT;
	server->scripts[1] = TOKEN_LHLO "S 535 5.7.8 too old\n";
	server->scripts[2] = TOKEN_LHLO "S 235 ok\n" GOOD;
	world.hop.kind = HOP_LMTP;
	world.hop.user = "me";
	world.hop.token_command = "echo tok";
	world.hop.messages_per_connection = 1;
	world.targets[0].unix_path = path;
	world.hop.target_count = 1;
	assert_delivered(deliver());
	assert_delivered(deliver());
	ck_assert_uint_eq(server->accepted, 3);
	world_done();
}
END_TEST

START_TEST(a_unix_socket_that_is_not_there_defers)
{
	world_init();
	world.hop.kind = HOP_LMTP;
	world.targets[0].unix_path = "/nonexistent/lmtp";
	world.hop.target_count = 1;
	assert_own(deliver(), CAUSE_CONNECT_REFUSED, PHASE_CONNECT);
	ck_assert_str_eq(world.outcomes[0].host, "/nonexistent/lmtp");
	world_done();
}
END_TEST

START_TEST(a_maildir_gets_the_message_and_bad_names_are_refused)
{
	static char path[128];
	char command[400];

	world_init();
	(void)snprintf(path, sizeof(path), "%s/%%d/%%u", world.dir);
	world.hop.kind = HOP_MAILDIR;
	world.hop.maildir = path;
	world.hop.delimiter = "+";
	world.envelope.recipient_count = 3;
	world.recipients[1].address = (char *)"\"../x\"@to.example";
	world.recipients[2].address = (char *)"R0+ext@to.example";
	world.spool.is_in_memory = _i == 0;
	assert_delivered(deliver());
	assert_delivered(&world.outcomes[2]);
	ck_assert_int_eq((int)world.outcomes[0].phase, PHASE_LOCAL);
	ck_assert_int_eq((int)world.outcomes[1].kind, OUTCOME_FAILED);
	ck_assert_int_eq((int)world.outcomes[1].cause, CAUSE_LOCAL_ADDRESS);
	(void)snprintf(command, sizeof(command),
		       "cd '%s/to.example/r0/new' && test $(ls | wc -l) = 2 && "
		       "test $(cat * | grep -cx hello) = 2 && "
		       "test $(cat * | grep -cx .dot) = 2 && "
		       "grep -qx 'Delivered-To: R0+ext@to.example' * && "
		       "test -z \"$(ls ../tmp)\"",
		       world.dir);
	ck_assert_int_eq(system(command), 0);
	world_done();
}
END_TEST

START_TEST(a_reload_does_not_disturb_a_maildir_s_delivery)
{
	static char path[128];
	unsigned next;

	world_init();
	(void)snprintf(path, sizeof(path), "%s/%%d/%%u", world.dir);
	world.hop.kind = HOP_MAILDIR;
	world.hop.maildir = path;
	world.envelope.recipient_count = 3;
	next = world.done + 1;
	(void)start();
	while (world.done < next) {
		(void)uv_run(&world.loop, UV_RUN_ONCE);
		deliverer_configure(world.deliverer, &world.opts);
	}
	for (size_t i = 0; i < 3; i++)
		assert_delivered(&world.outcomes[i]);
	world_done();
}
END_TEST

START_TEST(a_maildir_that_cannot_be_written_defers)
{
	world_init();
	world.hop.kind = HOP_MAILDIR;
	world.hop.maildir = "/dev/null/%u";
	world.hop.delimiter = "";
	world.spool.is_in_memory = _i == 0;
	assert_own(deliver(), CAUSE_LOCAL_FILE, PHASE_LOCAL);
	world_done();
}
END_TEST

START_TEST(a_maildir_never_shows_a_message_that_cannot_be_read)
{
	static char path[128];
	char command[200];

	world_init();
	(void)snprintf(path, sizeof(path), "%s/box", world.dir);
	world.hop.kind = HOP_MAILDIR;
	world.hop.maildir = path;
	world.hop.delimiter = "";
	world.spool.is_in_memory = false;
	world.spool.fail_at = _i == 0 ? 1 : strlen(MESSAGE) + 1;
	world.spool.body = MESSAGE MESSAGE;
	world.spool.len = 2 * strlen(MESSAGE);
	assert_own(deliver(), CAUSE_SPOOL, PHASE_LOCAL);
	/* the loop ends when the worker has tidied up */
	(void)uv_run(&world.loop, UV_RUN_NOWAIT);
	(void)snprintf(command, sizeof(command),
		       "test -z \"$(ls '%s/new' 2>/dev/null)\"", path);
	ck_assert_int_eq(system(command), 0);
	world_done();
}
END_TEST

START_TEST(what_is_discarded_is_delivered)
{
	world_init();
	world.hop.kind = HOP_DISCARD;
	assert_delivered(deliver());
	ck_assert_int_eq((int)world.outcomes[0].phase, PHASE_LOCAL);
	world_done();
}
END_TEST

/* ------------------------------------------------------------- stopping */

/* After every number of turns of the loop. */
START_TEST(an_attempt_can_be_stopped_anywhere)
{
	for (unsigned turns = 0; turns < (_i == 0 ? 40 : 8);
	     turns += 1 + turns / 10) {
		struct delivery *delivery;
		static char path[128];
		unsigned i;

		world_init();
		(void)snprintf(path, sizeof(path), "%s/%%u", world.dir);
		if (_i == 0) {
			(void)add_server(NULL);
			world.hop.tls = HOP_TLS_OPPORTUNISTIC;
			world.spool.is_in_memory = turns % 2 == 0;
			write_password("secret\n");
			add_tls(add_server(STARTTLS
					   "TLS\nC EHLO me.example\n"
					   "S 250-x\nS 250 AUTH PLAIN\n"
					   "C AUTH PLAIN AGpvZQBzZWNyZXQ=\n"
					   "S 235 ok\n" GOOD));
		} else {
			world.hop.kind = HOP_MAILDIR;
			world.hop.maildir = path;
			world.hop.delimiter = "";
			world.spool.is_in_memory = _i == 1;
		}
		delivery = start();
		for (i = 0; i < turns && world.done == 0; i++)
			(void)uv_run(&world.loop, UV_RUN_ONCE);
		if (world.done == 0)
			delivery_abort(delivery);
		world.servers[1].wrong[0] = '\0';
		world_done();
	}
}
END_TEST

UNIT_MAIN(
	"delivery",
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
	tcase_add_loop_test(
		tc, the_next_host_is_tried_when_one_does_not_come_to_mail, 0,
		(int)COUNT(passed));
	tcase_add_loop_test(
		tc, a_message_turned_away_for_now_is_carried_to_the_next_host,
		0, (int)COUNT(put_off));
	tcase_add_loop_test(
		tc, what_was_refused_or_may_have_been_taken_goes_nowhere_else,
		0, (int)COUNT(kept));
	tcase_add_test(tc,
		       only_recipients_that_were_turned_away_are_carried_on);
	tcase_add_test(tc, a_message_is_brought_to_five_hosts_at_most);
	tcase_add_test(tc, a_host_with_too_many_connections_gets_fewer);
	tcase_add_test(tc, connects_under_way_count_as_connections);
	tcase_add_test(tc, another_host_is_taken_instead_of_a_busy_one);
	tcase_add_test(tc, a_host_that_answers_again_is_told_of_once);
	tcase_add_test(tc, marks_are_forgotten_on_demand); tcase_add_test(
		tc,
		a_used_connection_that_turns_a_message_away_counts_as_that_host);
	tcase_add_test(tc, of_many_failures_the_weightiest_is_reported);
	tcase_add_test(tc, a_host_that_refused_is_tried_last_the_next_time);
	tcase_add_test(tc, all_hosts_refuse);
	tcase_add_test(tc, both_families_of_a_host_are_tried);
	tcase_add_test(tc, a_source_of_the_other_family_reaches_nobody);
	tcase_add_test(tc, a_connection_carries_one_message_after_the_other);
	tcase_add_test(tc, an_idle_connection_says_quit_in_time);
	tcase_add_test(tc, idle_connections_are_closed_on_demand);
	tcase_add_test(tc, a_connection_is_used_for_so_many_messages);
	tcase_add_loop_test(tc, a_connection_that_was_given_up_is_replaced, 0,
			    (int)COUNT(stale));
	tcase_add_test(
		tc,
		a_message_behind_a_refused_rset_goes_over_another_connection);
	tcase_add_test(tc, a_connection_lost_in_the_middle_is_not_replaced);
	tcase_add_test(tc, another_policy_takes_another_connection);
	tcase_add_test(tc, starttls_is_used_where_it_is_offered);
	tcase_add_test(tc, tls_comes_before_the_greeting_for_smtps);
	tcase_add_test(
		tc, a_failed_handshake_is_forgiven_where_nothing_was_promised);
	tcase_add_test(
		tc, a_530_in_the_clear_after_a_failed_handshake_is_temporary);
	tcase_add_test(
		tc,
		a_530_on_a_connection_that_stayed_in_the_clear_is_temporary_too);
	tcase_add_loop_test(tc, without_the_tls_that_was_demanded_mail_waits, 0,
			    (int)COUNT(strict));
	tcase_add_test(tc,
		       what_comes_in_the_clear_behind_starttls_is_an_attack);
	tcase_add_test(tc, a_login_comes_before_the_first_message_only);
	tcase_add_test(tc, a_refused_login_defers_and_is_not_tried_elsewhere);
	tcase_add_loop_test(
		tc, a_password_file_that_is_missing_or_empty_is_our_own_fault,
		0, 2);
	tcase_add_test(tc, a_server_without_auth_cannot_be_logged_in_to);
	tcase_add_test(tc, lmtp_goes_over_a_unix_socket);
	tcase_add_test(tc,
		       a_token_refused_at_a_unix_socket_is_replaced_by_another);
	tcase_add_test(tc, a_unix_socket_that_is_not_there_defers);
	tcase_add_loop_test(
		tc, a_maildir_gets_the_message_and_bad_names_are_refused, 0, 2);
	tcase_add_test(tc, a_reload_does_not_disturb_a_maildir_s_delivery);
	tcase_add_loop_test(tc, a_maildir_that_cannot_be_written_defers, 0, 2);
	tcase_add_loop_test(tc,
			    a_maildir_never_shows_a_message_that_cannot_be_read,
			    0, 2);
	tcase_add_test(tc, what_is_discarded_is_delivered);
	tcase_add_loop_test(tc, an_attempt_can_be_stopped_anywhere, 0, 3);)
