/* SPDX-License-Identifier: ISC */
/* Next hops without a host, and the end. What a connection takes is told in
 * test_delivery_dial.c and test_delivery_talk.c. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/delivery_world.h"

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
	"delivery", tcase_add_test(tc, lmtp_goes_over_a_unix_socket);
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
