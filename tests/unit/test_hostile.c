/* SPDX-License-Identifier: ISC */
/*
 * A server that does at each stage of a conversation whatever a server should
 * not do. Whatever it is, the attempt ends, nobody is called delivered who is
 * not, and what is said about one recipient counts for no other.
 */
#include "tests/unit/unit.h"

#include "tests/unit/delivery_world.h"

#define CHUNKING GREET "S 250-x\nS 250-PIPELINING\nS 250 CHUNKING\n"
#define TOGETHER                                                               \
	"C MAIL FROM:<a@from.example>\nC RCPT TO:<r0@to.example>\n"            \
	"S 250 ok\nS 250 ok\n"

static const struct {
	const char *name, *script;
	enum smtp_phase phase;
	bool is_after_mail; /* then a 5xx is the last word */
} stages[] = {
	{"greeting", "", PHASE_GREETING, false},
	{"EHLO", GREET, PHASE_EHLO, false},
	{"MAIL", EHLO "C MAIL FROM:<a@from.example>\n", PHASE_MAIL, true},
	{"RCPT", EHLO MAIL "C RCPT TO:<r0@to.example>\n", PHASE_RCPT, true},
	{"DATA", EHLO MAIL RCPT "C DATA\n", PHASE_DATA, true},
	{"dot", EHLO MAIL RCPT BODY, PHASE_BODY, true},
	{"chunk", CHUNKING TOGETHER "C BDAT 27 LAST\nOCTETS 27\n", PHASE_BODY,
	 true},
};

static const struct {
	const char *name, *script;
	enum cause cause;
	bool is_final; /* a 5xx */
} deeds[] = {
	{"closes", "CLOSE\n", CAUSE_CONNECTION_LOST, false},
	{"resets", "ABORT\n", CAUSE_CONNECTION_LOST, false},
	{"closes within a reply", "R 25\nCLOSE\n", CAUSE_CONNECTION_LOST,
	 false},
	{"closes within a code", "R 250\nCLOSE\n", CAUSE_CONNECTION_LOST,
	 false},
	{"closes before the line end", "R 250 ok\nCLOSE\n",
	 CAUSE_CONNECTION_LOST, false},
	{"closes between lines", "S 250-ok\nCLOSE\n", CAUSE_CONNECTION_LOST,
	 false},
	{"is closing", "S 421 4.3.2 bye\nCLOSE\n", CAUSE_REPLY, false},
	{"is closing and stays", "S 421 4.3.2 bye\nHANG\n", CAUSE_REPLY, false},
	{"says 450", "S 450 4.7.1 later\n", CAUSE_REPLY, false},
	{"says 450 alone", "S 450\n", CAUSE_REPLY, false},
	{"says 450 with a bare LF", "R 450 later\\n\n", CAUSE_REPLY, false},
	{"says 450 in many words", "R 450 \nFLOOD 5000 x\nS \n", CAUSE_REPLY,
	 false},
	{"says 450 in many lines", "FLOOD 500 450-x\\r\\n\nS 450 x\n",
	 CAUSE_REPLY, false},
	{"says 450 with NULs", "R 450 \\0\\0 x\\0\\r\\n\n", CAUSE_REPLY, false},
	{"says 250 and then 450", "S 250-fine\nS 450 no\n", CAUSE_REPLY, false},
	{"says 550", "S 550 5.7.1 no\n", CAUSE_REPLY, true},
	{"says 250 and then 550", "S 250-fine\nS 550 no\n", CAUSE_REPLY, true},
	{"says 599", "S 599 no\n", CAUSE_REPLY, true},
	{"says 999", "S 999 no\n", CAUSE_REPLY_GARBLED, false},
	{"says 100", "S 100 no\n", CAUSE_REPLY_GARBLED, false},
	{"says 25", "S 25 ok\n", CAUSE_REPLY_GARBLED, false},
	{"says nothing in a line", "S \n", CAUSE_REPLY_GARBLED, false},
	{"says a NUL", "R \\0\\r\\n\n", CAUSE_REPLY_GARBLED, false},
	{"says NULs for digits", "R 2\\0\\0 ok\\r\\n\n", CAUSE_REPLY_GARBLED,
	 false},
	{"says minus", "S -50 ok\n", CAUSE_REPLY_GARBLED, false},
	{"speaks another language", "S HTTP/1.1 400 Bad Request\n",
	 CAUSE_REPLY_GARBLED, false},
	{"talks garbage within a reply", "S 250-ok\nS garbage\n",
	 CAUSE_REPLY_GARBLED, false},
	{"never ends a line", "R 250 \nFLOOD 70000 x\nHANG\n",
	 CAUSE_REPLY_GARBLED, false},
	{"never ends a reply", "FLOOD 20000 250-x\\r\\n\nHANG\n",
	 CAUSE_REPLY_GARBLED, false},
	{"never ends what is no reply", "FLOOD 70000 x\nHANG\n",
	 CAUSE_REPLY_GARBLED, false},
	{"says 300", "S 300 what\n", CAUSE_REPLY_GARBLED, false},
};

static void
deed_script(size_t stage, size_t deed, char *to, size_t size)
{
	const char *end = "";

	if (stages[stage].phase == PHASE_EHLO && deeds[deed].is_final)
		end = "C HELO me.example\nS 550 no\n";
	else if (stages[stage].phase == PHASE_DATA &&
		 strcmp(deeds[deed].name, "says 300") == 0)
		end = "BODY\nCLOSE\n";
	(void)snprintf(to, size, "%s%s%s", stages[stage].script,
		       deeds[deed].script, end);
}

/* One connection for each deed. */
START_TEST(whatever_a_server_does_the_attempt_ends_rightly)
{
	static char scripts[COUNT(deeds)][1024];
	struct server *server;

	world_init();
	world.hop.messages_per_connection = 1;
	deed_script((size_t)_i, 0, scripts[0], sizeof(scripts[0]));
	server = add_server(scripts[0]);
	for (size_t deed = 0; deed < COUNT(deeds); deed++) {
		bool is_failed =
			deeds[deed].is_final && stages[_i].is_after_mail;
		enum cause cause = deeds[deed].cause;
		enum smtp_phase phase = stages[_i].phase;
		const struct outcome *outcome;

		deed_script((size_t)_i, deed, scripts[deed],
			    sizeof(scripts[deed]));
		server->scripts[deed] = scripts[deed];
		if (phase == PHASE_DATA &&
		    strcmp(deeds[deed].name, "says 300") == 0) {
			/* 3xx is what it waits for */
			cause = CAUSE_CONNECTION_LOST;
			phase = PHASE_BODY;
		}
		outcome = deliver();
		ck_assert_msg(outcome->kind == (is_failed ? OUTCOME_FAILED
							  : OUTCOME_DEFERRED) &&
				      outcome->cause == cause &&
				      outcome->phase == phase,
			      "%s %s: %d %s %s %s", stages[_i].name,
			      deeds[deed].name, (int)outcome->kind,
			      cause_name(outcome->cause),
			      smtp_phase_name(outcome->phase), outcome->reply);
		ck_assert_uint_eq(strlen(world.attempts), deed + 1);
	}
	world_done();
}
END_TEST

/* Replies that come before their commands. */
static const struct {
	const char *name, *script;
} eager[] = {
	{"all in the greeting",
	 "S 220 x\nS 250 x\nS 250 ok\nS 250 ok\nS 354 go\nS 250 taken\nHANG\n"},
	{"all behind EHLO",
	 GREET "S 250 x\nS 250 ok\nS 250 ok\nS 354 go\nS 250 taken\nHANG\n"},
	{"the dot's behind 354",
	 EHLO MAIL RCPT "C DATA\nS 354 go\nS 250 taken\nHANG\n"},
	{"the chunk's behind RCPT's",
	 CHUNKING "C MAIL FROM:<a@from.example>\nC RCPT TO:<r0@to.example>\n"
		  "S 250 ok\nS 250 ok\nS 250 taken\nHANG\n"},
	{"two greetings", "S 220 x\nS 220 x\nS 354 go\nHANG\n"},
	{"one too many behind EHLO's",
	 CHUNKING "S 250 x\nC MAIL FROM:<a@from.example>\nHANG\n"},
	{"254 to DATA", EHLO MAIL RCPT "C DATA\nS 250 taken\nHANG\n"},
};

START_TEST(what_is_said_too_early_delivers_nothing)
{
	const struct outcome *outcome;

	world_init();
	(void)add_server(eager[_i].script);
	outcome = deliver();
	ck_assert_msg(outcome->kind == OUTCOME_DEFERRED &&
			      outcome->cause == CAUSE_REPLY_GARBLED,
		      "%s: %d %s", eager[_i].name, (int)outcome->kind,
		      cause_name(outcome->cause));
	world_done();
}
END_TEST

/* Of three recipients some replies are missing, wrong or too many. */
static const struct {
	const char *name, *replies;
	char kinds[4]; /* d, t(emporary), f(inal) */
} mixed[] = {
	{"all there",
	 "S 250 ok\nS 550 no\nS 450 later\nS 354 go\nBODY\n"
	 "S 250 ok\n" QUIT,
	 "dft"},
	{"closed behind the second", "S 250 ok\nS 550 no\nCLOSE\n", "tft"},
	{"garbage for the second", "S 550 no\nS what\nS 250 ok\nHANG\n", "ftt"},
	{"421 for the third", "S 550 no\nS 250 ok\nS 421 bye\nCLOSE\n", "ftt"},
	{"354 for the third", "S 550 no\nS 250 ok\nS 354 go\nHANG\n", "ftt"},
	{"one reply for two lines",
	 "S 550-no\nS 250 ok\nS 550 no\nS 550 no\n"
	 "CLOSE\n",
	 "tff"},
	{"a reply too many", "S 550 no\nS 250 ok\nS 250 ok\nS 250 ok\nHANG\n",
	 "ftt"},
	{"DATA refused", "S 550 no\nS 250 ok\nS 250 ok\nS 554 no\n" QUIT,
	 "fff"},
	{"dot refused",
	 "S 550 no\nS 250 ok\nS 450 later\nS 354 go\nBODY\n"
	 "S 554 spam\n" QUIT,
	 "fft"},
	{"dot lost", "S 550 no\nS 250 ok\nS 250 ok\nS 354 go\nBODY\nCLOSE\n",
	 "ftt"},
	{"dot answered twice",
	 "S 550 no\nS 250 ok\nS 450 no\nS 354 go\nBODY\n"
	 "S 250 ok\nS 554 spam\nHANG\n",
	 "fdt"},
};

START_TEST(no_recipient_gets_another_one_s_reply)
{
	char script[2048], got[4] = "";

	world_init();
	world.envelope.recipient_count = 3;
	(void)snprintf(script, sizeof(script),
		       GREET "S 250-x\nS 250 PIPELINING\n"
			     "C MAIL FROM:<a@from.example>\n"
			     "C RCPT TO:<r0@to.example>\n"
			     "C RCPT TO:<r1@to.example>\n"
			     "C RCPT TO:<r2@to.example>\n"
			     "C DATA\nS 250 ok\n%s",
		       mixed[_i].replies);
	(void)add_server(script);
	(void)deliver();
	for (size_t i = 0; i < 3; i++)
		got[i] = "dtf"[world.outcomes[i].kind];
	ck_assert_msg(strcmp(got, mixed[_i].kinds) == 0, "%s: %s",
		      mixed[_i].name, got);
	world_done();
}
END_TEST

/* The second would be taken for MAIL's, MAIL's for RCPT's, and RCPT's for the
 * last chunk's. */
START_TEST(a_reply_too_many_between_transactions_delivers_nothing_more)
{
	world_init();
	world.envelope.recipient_count = 2;
	(void)add_server(CHUNKING
			 "C MAIL FROM:<a@from.example>\n"
			 "C RCPT TO:<r0@to.example>\n"
			 "C RCPT TO:<r1@to.example>\n"
			 "S 250 ok\nS 250 ok\nS 452 4.5.3 one is enough\n"
			 "C BDAT 27 LAST\nOCTETS 27\nS 250 taken\nS 250 x\n"
			 "C QUIT\nCLOSE\n");
	(void)deliver();
	assert_delivered(&world.outcomes[0]);
	assert_own(&world.outcomes[1], CAUSE_REPLY_GARBLED, PHASE_MAIL);
	world_done();
}
END_TEST

START_TEST(a_server_that_drips_is_waited_for)
{
	struct server *server;

	world_init();
	server = add_server(
		_i == 0 ? EHLO GOOD QUIT
			: CHUNKING TOGETHER
			"C BDAT 27 LAST\nOCTETS 27\nS 250 ok\n" QUIT);
	server_drip(server, &world.loop);
	assert_delivered(deliver());
	ck_assert_str_eq(world.attempts, "0");
	world_done();
}
END_TEST

UNIT_MAIN("hostile",
	  tcase_add_loop_test(tc,
			      whatever_a_server_does_the_attempt_ends_rightly,
			      0, (int)COUNT(stages));
	  tcase_add_loop_test(tc, what_is_said_too_early_delivers_nothing, 0,
			      (int)COUNT(eager));
	  tcase_add_loop_test(tc, no_recipient_gets_another_one_s_reply, 0,
			      (int)COUNT(mixed));
	  tcase_add_test(
		  tc,
		  a_reply_too_many_between_transactions_delivers_nothing_more);
	  tcase_add_loop_test(tc, a_server_that_drips_is_waited_for, 0, 2);)
