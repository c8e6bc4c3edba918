/* SPDX-License-Identifier: ISC */
/* Which host gets the message, over which connection. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/clock.h"
#include "queue/deliver/deliverer.h"
#include "tests/unit/delivery_world.h"

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

/* Lets a delivery come to its connection, which hangs. */
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

/* Open connections count at the host, also those that carry nothing now and
 * were made for another next hop. */
START_TEST(idle_connections_give_way_at_a_host_that_asked_for_less)
{
	struct deliverer_stats stats;
	struct server *server;

	world_init();
	server = add_server(EHLO GOOD QUIT);
	server->scripts[1] = TOO_MANY;
	server->scripts[2] =
		EHLO MAIL "C RCPT TO:<r0@to.example>\nS 550 no\n" QUIT;
	server->scripts[3] = EHLO GOOD;
	assert_delivered(deliver());
	(void)snprintf(world.hop.key, sizeof(world.hop.key), "route other");
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_DEFERRED);
	deliverer_stats(world.deliverer, &stats);
	ck_assert_uint_eq(stats.idle, 0);
	/* it may have one, and earns no more by a refusal */
	ck_assert_int_eq((int)deliver()->kind, OUTCOME_FAILED);
	(void)snprintf(world.hop.key, sizeof(world.hop.key), "route test");
	assert_delivered(deliver());
	deliverer_stats(world.deliverer, &stats);
	ck_assert_uint_eq(stats.idle, 1);
	ck_assert_uint_eq(server->accepted, 4);
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
	int rc;

	world_init();
	(void)add_server(EHLO GOOD);
	world.targets[0].host = "localhost";
	/* the same port of the other family: bound, and refusing */
	ck_assert_int_eq(uv_tcp_init(&world.loop, &six.listener.tcp), 0);
	ck_assert_int_eq(uv_ip6_addr("::1", world.servers[0].port, &sin6), 0);
	rc = uv_tcp_bind(&six.listener.tcp, (const struct sockaddr *)&sin6,
			 UV_TCP_IPV6ONLY);
	/* without IPv6 it leads nowhere, too */
	ck_assert(rc == 0 || rc == UV_EADDRNOTAVAIL || rc == UV_EAFNOSUPPORT);
	assert_delivered(deliver());
	ck_assert_str_eq(world.outcomes[0].host, "localhost");
	ck_assert_int_eq((int)world.outcomes[0].ip.family, IP_V4);
	uv_close((uv_handle_t *)&six.listener.tcp, NULL);
	world_done();
}
END_TEST

#define WAITING 8

/* A port whose queue of connections is full: a connect hears nothing. False:
 * there is no IPv6 here. */
static bool
deafen(int *listener, int waiting[WAITING], int port)
{
	struct sockaddr_in6 sin6;

	(void)uv_ip6_addr("::1", port, &sin6);
	*listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listener < 0)
		return false;
	if (bind(*listener, (const struct sockaddr *)(const void *)&sin6,
		 sizeof(sin6)) < 0 ||
	    listen(*listener, 0) < 0) {
		(void)close(*listener);
		return false;
	}
	for (size_t i = 0; i < WAITING; i++) {
		waiting[i] =
			socket(AF_INET6,
			       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(waiting[i],
			      (const struct sockaddr *)(const void *)&sin6,
			      sizeof(sin6));
	}
	return true;
}

START_TEST(a_family_that_was_only_slower_is_tried_when_the_other_fails)
{
	int listener, waiting[WAITING];
	struct ip four;

	world_init();
	(void)add_server("CLOSE\n");
	world.targets[0].host = "localhost";
	world.opts.connect_timeout_ms = 600;
	deliverer_configure(world.deliverer, &world.opts);
	/* of localhost IPv4 comes first, unless it lately failed */
	ck_assert(ip_parse(str_of("127.0.0.1"), &four));
	marks_set(&world.deliverer->marks, &four, world.servers[0].port,
		  clock_boot_ms());
	if (deafen(&listener, waiting, world.servers[0].port)) {
		ck_assert_int_eq(deliver()->kind, OUTCOME_DEFERRED);
		/* IPv6, IPv4 when it keeps us waiting, and IPv6 again */
		ck_assert_str_eq(world.attempts, "000");
		for (size_t i = 0; i < WAITING; i++)
			(void)close(waiting[i]);
		(void)close(listener);
	} else {
		(void)fprintf(stderr, "not tried: there is no IPv6 here\n");
	}
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

START_TEST(a_source_of_another_machine_is_our_own_fault)
{
	world_init();
	(void)add_server(EHLO GOOD QUIT);
	ck_assert(ip_parse(str_of("192.0.2.77"), &world.hop.source));
	assert_own(deliver(), CAUSE_CONFIGURATION, PHASE_CONNECT);
	ck_assert_ptr_nonnull(
		strstr(world.outcomes[0].status.text, "192.0.2.77"));
	/* not the host's, which is tried as ever once it is mended */
	world.hop.source = (struct ip){0};
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "00");
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

UNIT_MAIN(
	"delivery_dial",
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
	tcase_add_test(tc,
		       idle_connections_give_way_at_a_host_that_asked_for_less);
	tcase_add_test(tc, another_host_is_taken_instead_of_a_busy_one);
	tcase_add_test(tc, a_host_that_answers_again_is_told_of_once);
	tcase_add_test(tc, marks_are_forgotten_on_demand); tcase_add_test(
		tc,
		a_used_connection_that_turns_a_message_away_counts_as_that_host);
	tcase_add_test(tc, of_many_failures_the_weightiest_is_reported);
	tcase_add_test(tc, a_host_that_refused_is_tried_last_the_next_time);
	tcase_add_test(tc, all_hosts_refuse);
	tcase_add_test(tc, both_families_of_a_host_are_tried); tcase_add_test(
		tc,
		a_family_that_was_only_slower_is_tried_when_the_other_fails);
	tcase_add_test(tc, a_source_of_the_other_family_reaches_nobody);
	tcase_add_test(tc, a_source_of_another_machine_is_our_own_fault);
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
	tcase_add_test(tc, another_policy_takes_another_connection);)
