/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/deliver/tally.h"

/*
 * What hosts say, one word a host, and what counts in the end. A word is a
 * letter: about the recipient d delivered, f refused for good, t turned away
 * for now, l lost before the dot, D lost behind it, g no reply but garbage
 * behind it, b too big, s not to be read; about the host as a whole c no
 * connection, q silence instead of a greeting, e 451 to EHLO, E 554 to EHLO,
 * n no answer of DNS. The answer is the place of the word that counts, and
 * how many words were heard.
 */
static const struct {
	const char *words;
	size_t counts, heard;
} cases[] = {{"d", 0, 1},    {"f", 0, 1},   {"t", 0, 1},   {"td", 1, 2},
	     {"tf", 0, 2},   {"ttt", 0, 3}, {"ltd", 2, 3}, {"ld", 1, 2},
	     {"lt", 0, 2},   {"tl", 0, 2},  {"Dd", 0, 1},  {"gd", 0, 1},
	     {"tDd", 1, 2},  {"bd", 0, 1},  {"sd", 0, 1},  {"tb", 0, 2},
	     {"c", 0, 1},    {"cc", 0, 2},  {"cq", 1, 2},  {"qc", 0, 2},
	     {"cqe", 2, 3},  {"eE", 0, 2},  {"Ee", 1, 2},  {"EE", 0, 2},
	     {"tc", 0, 2},   {"ct", 1, 2},  {"et", 1, 2},  {"te", 0, 2},
	     {"cf", 1, 2},   {"cd", 1, 2},  {"tn", 0, 2},  {"ttttd", 4, 5},
	     {"teqcd", 4, 5}};

static bool
is_of_host(char word)
{
	return strchr("cqeEn", word) != NULL;
}

static void
outcome_of(char word, size_t place, struct outcome *out)
{
	static const struct {
		char word;
		enum outcome_kind kind;
		enum cause cause;
		enum smtp_phase phase;
	} words[] = {
		{'d', OUTCOME_DELIVERED, CAUSE_REPLY, PHASE_BODY},
		{'f', OUTCOME_FAILED, CAUSE_REPLY, PHASE_RCPT},
		{'t', OUTCOME_DEFERRED, CAUSE_REPLY, PHASE_RCPT},
		{'l', OUTCOME_DEFERRED, CAUSE_CONNECTION_LOST, PHASE_DATA},
		{'D', OUTCOME_DEFERRED, CAUSE_CONNECTION_LOST, PHASE_BODY},
		{'g', OUTCOME_DEFERRED, CAUSE_REPLY_GARBLED, PHASE_BODY},
		{'b', OUTCOME_FAILED, CAUSE_TOO_BIG, PHASE_MAIL},
		{'s', OUTCOME_DEFERRED, CAUSE_SPOOL, PHASE_DATA},
		{'c', OUTCOME_DEFERRED, CAUSE_CONNECT_REFUSED, PHASE_CONNECT},
		{'q', OUTCOME_DEFERRED, CAUSE_REPLY_TIMEOUT, PHASE_GREETING},
		{'e', OUTCOME_DEFERRED, CAUSE_REPLY, PHASE_EHLO},
		{'E', OUTCOME_FAILED, CAUSE_REPLY, PHASE_EHLO},
		{'n', OUTCOME_DEFERRED, CAUSE_DNS_FAILED, PHASE_DNS},
	};

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < COUNT(words); i++) {
		if (words[i].word != word)
			continue;
		out->kind = words[i].kind;
		out->cause = words[i].cause;
		out->phase = words[i].phase;
		out->port = (uint16_t)place;
		return;
	}
	ck_abort_msg("no word %c", word);
}

START_TEST(one_word_counts_and_a_settled_recipient_hears_no_more)
{
	const char *words = cases[_i].words;
	struct tally tally;
	size_t heard = 0, left[1];

	tally_init(&tally, 1);
	while (tally.left != 0 && words[heard] != '\0') {
		struct outcome outcome;

		ck_assert_uint_eq(tally_left(&tally, left), 1);
		outcome_of(words[heard], heard, &outcome);
		if (is_of_host(words[heard]))
			tally_fail(&tally, &outcome);
		else
			tally_say(&tally, 0, &outcome);
		heard++;
	}
	tally_end(&tally);
	ck_assert_uint_eq(tally.left, 0);
	ck_assert_msg(heard == cases[_i].heard &&
			      tally.outcomes[0].port == cases[_i].counts,
		      "%s: word %u of %zu", words, tally.outcomes[0].port,
		      heard);
	tally_done(&tally);
}
END_TEST

START_TEST(each_recipient_is_counted_for_itself)
{
	struct outcome taken, later, never;
	struct tally tally;
	size_t left[4];

	outcome_of('d', 1, &taken);
	outcome_of('t', 2, &later);
	outcome_of('f', 3, &never);
	tally_init(&tally, 4);
	ck_assert_uint_eq(tally_left(&tally, left), 4);
	tally_say(&tally, 0, &later);
	tally_say(&tally, 1, &taken);
	tally_say(&tally, 2, &never);
	tally_say(&tally, 3, &later);
	ck_assert_uint_eq(tally_left(&tally, left), 2);
	ck_assert_uint_eq(left[0], 0);
	ck_assert_uint_eq(left[1], 3);
	tally_say(&tally, 3, &taken);
	tally_end(&tally);
	ck_assert_int_eq((int)tally.outcomes[0].kind, OUTCOME_DEFERRED);
	ck_assert_int_eq((int)tally.outcomes[1].kind, OUTCOME_DELIVERED);
	ck_assert_int_eq((int)tally.outcomes[2].kind, OUTCOME_FAILED);
	ck_assert_int_eq((int)tally.outcomes[3].kind, OUTCOME_DELIVERED);
	tally_done(&tally);
}
END_TEST

START_TEST(without_hosts_the_caller_fills_it)
{
	struct tally tally;
	struct outcome *outcomes;

	tally_init(&tally, 2);
	outcomes = tally_fill(&tally);
	outcomes[0].kind = OUTCOME_DELIVERED;
	outcomes[1].kind = OUTCOME_FAILED;
	tally_end(&tally);
	ck_assert_uint_eq(tally.left, 0);
	ck_assert_int_eq((int)tally.outcomes[0].kind, OUTCOME_DELIVERED);
	ck_assert_int_eq((int)tally.outcomes[1].kind, OUTCOME_FAILED);
	tally_done(&tally);
}
END_TEST

UNIT_MAIN("tally",
	  tcase_add_loop_test(
		  tc, one_word_counts_and_a_settled_recipient_hears_no_more, 0,
		  (int)COUNT(cases));
	  tcase_add_test(tc, each_recipient_is_counted_for_itself);
	  tcase_add_test(tc, without_hosts_the_caller_fills_it);)
