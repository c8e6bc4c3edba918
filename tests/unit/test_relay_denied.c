/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/str.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/relay_denied.h"

#define NOW  UINT64_C(1795271234567)
#define NONE UINT64_MAX

#define SAME  DENIED_ANSWER_SAME
#define OTHER DENIED_ANSWER_OTHER

/* -------------------------------------------------------------- deciding */

static const struct {
	enum denied_answer answer;
	bool was_cached, is_named;
	int preference; /* the best is 10 */
	uint64_t mx_left_s, address_left_s;
	unsigned reroutes;
	int64_t after_s, asked_s; /* from now; after_s 0: never waited */
	/* what follows */
	enum denied_cause cause;
	enum denied_action action;
	uint64_t next_s; /* from now */
	unsigned then_reroutes;
	int64_t then_after_s;
} cases[] = {
	/* DNS says something else: at once, twice */
	{OTHER, true, false, -1, 60, NONE, 0, 0, 0, DENIED_OUR_DATA,
	 DENIED_AT_ONCE, 0, 1, 0},
	{OTHER, true, true, 10, 60, 60, 1, 0, 0, DENIED_OUR_DATA,
	 DENIED_AT_ONCE, 0, 2, 0},
	{OTHER, false, false, -1, 60, NONE, 0, 0, 0, DENIED_OLD_RECORD,
	 DENIED_AT_ONCE, 0, 1, 0},
	/* ... then as if it said the same */
	{OTHER, true, false, -1, 60, NONE, 2, 0, 0, DENIED_OUR_DATA,
	 DENIED_WAIT, 61, 2, 61},
	{OTHER, true, false, -1, 60, NONE, 2, -1, 0, DENIED_OUR_DATA,
	 DENIED_FINAL, 0, 2, -1},
	/* also after the wait, which is the point of it */
	{OTHER, false, false, -1, 60, NONE, 0, -1, 0, DENIED_OLD_RECORD,
	 DENIED_AT_ONCE, 0, 1, -1},
	/* it says the same: what may be old is waited for, for an hour */
	{SAME, false, true, 10, 60, 30, 0, 0, 0, DENIED_BEST_MX, DENIED_WAIT,
	 61, 0, 61},
	{SAME, true, true, 10, 30, 300, 1, 0, 0, DENIED_BEST_MX, DENIED_WAIT,
	 301, 1, 301},
	{SAME, true, true, 10, 0, 0, 0, 0, 0, DENIED_BEST_MX, DENIED_WAIT, 1, 0,
	 1},
	{SAME, true, true, 10, 3600, 3601, 0, 0, 0, DENIED_BEST_MX, DENIED_WAIT,
	 3601, 0, 3601},
	{SAME, true, true, 10, 86400, 600, 0, 0, 0, DENIED_BEST_MX, DENIED_WAIT,
	 601, 0, 601},
	{SAME, true, true, 10, 3601, 3601, 0, 0, 0, DENIED_BEST_MX,
	 DENIED_FINAL, 0, 0, 0},
	{SAME, true, true, 10, 86400, NONE, 0, 0, 0, DENIED_BEST_MX,
	 DENIED_FINAL, 0, 0, 0},
	/* only an answer from after that boundary counts */
	{SAME, false, true, 10, 60, 60, 0, -1, 0, DENIED_BEST_MX, DENIED_FINAL,
	 0, 0, -1},
	{SAME, false, true, 10, 60, 60, 0, -30, -30, DENIED_BEST_MX,
	 DENIED_FINAL, 0, 0, -30},
	{SAME, false, true, 10, 60, 60, 0, -5, -6, DENIED_BEST_MX, DENIED_FINAL,
	 0, 0, -5},
	{SAME, false, true, 10, 60, 60, 0, 40, 0, DENIED_BEST_MX, DENIED_WAIT,
	 40, 0, 40},
	{SAME, false, true, 10, 60, 60, 0, -5, -7, DENIED_BEST_MX, DENIED_WAIT,
	 30, 0, -5},
	/* a backup gets its second look whatever the TTL */
	{SAME, true, true, 20, 70, 60, 0, 0, 0, DENIED_BACKUP_MX, DENIED_WAIT,
	 71, 0, 71},
	{SAME, true, true, 20, 2, 2, 0, 0, 0, DENIED_BACKUP_MX, DENIED_WAIT, 61,
	 0, 61},
	{SAME, true, true, 20, 86400, 86400, 0, 0, 0, DENIED_BACKUP_MX,
	 DENIED_WAIT, 3601, 0, 3601},
	{SAME, true, true, 20, 60, 60, 0, -1, 0, DENIED_BACKUP_MX, DENIED_FINAL,
	 0, 0, -1},
	/* not to be relied on: nothing is final, nothing is at once */
	{DENIED_ANSWER_NONE, true, true, 10, 60, 60, 0, 0, 0, DENIED_UNKNOWN,
	 DENIED_SCHEDULE, 0, 0, 0},
	{DENIED_ANSWER_NONE, true, true, 10, 60, 60, 2, -100, 0, DENIED_UNKNOWN,
	 DENIED_SCHEDULE, 0, 2, -100},
};

START_TEST(a_refusal_is_final_once_dns_has_been_heard)
{
	struct denied_facts facts = {
		.answer = cases[_i].answer,
		.was_cached = cases[_i].was_cached,
		.is_named = cases[_i].is_named,
		.preference = cases[_i].preference,
		.best_preference = 10,
		.asked_ms = NOW + (uint64_t)(cases[_i].asked_s * 1000),
		.mx_left_s = cases[_i].mx_left_s,
		.address_left_s = cases[_i].address_left_s,
		.now_ms = NOW,
		.reroutes = cases[_i].reroutes,
	};
	struct denied_verdict verdict;
	uint64_t after_ms = NOW + (uint64_t)(cases[_i].then_after_s * 1000);

	if (cases[_i].after_s != 0)
		facts.dns_after_ms = NOW + (uint64_t)(cases[_i].after_s * 1000);
	denied_decide(&facts, &verdict);
	ck_assert_str_eq(denied_cause_name(verdict.cause),
			 denied_cause_name(cases[_i].cause));
	ck_assert_int_eq(verdict.action, cases[_i].action);
	ck_assert(!verdict.is_own_fault);
	if (verdict.action == DENIED_WAIT || verdict.action == DENIED_AT_ONCE)
		ck_assert_uint_eq(verdict.next_ms,
				  NOW + cases[_i].next_s * 1000);
	ck_assert_uint_eq(verdict.reroutes, cases[_i].then_reroutes);
	ck_assert_uint_eq(verdict.dns_after_ms,
			  cases[_i].then_after_s != 0 ? after_ms : 0);
}
END_TEST

START_TEST(a_next_hop_that_was_configured_never_waits_for_dns)
{
	static const struct {
		enum denied_hop hop;
		bool has_login;
		enum denied_cause cause;
	} hops[] = {
		{DENIED_HOP_SMARTHOST, false, DENIED_NO_LOGIN},
		{DENIED_HOP_SMARTHOST, true, DENIED_LOGIN},
		{DENIED_HOP_INNER, false, DENIED_INNER},
	};
	struct denied_facts facts = {.now_ms = NOW, .mx_left_s = 60};
	struct denied_verdict verdict;

	facts.hop = hops[_i].hop;
	facts.has_login = hops[_i].has_login;
	denied_decide(&facts, &verdict);
	ck_assert_int_eq(verdict.cause, hops[_i].cause);
	ck_assert_int_eq(verdict.action, DENIED_FINAL);
	ck_assert(verdict.is_own_fault);
	ck_assert_uint_eq(verdict.reroutes, 0);
	ck_assert_uint_eq(verdict.dns_after_ms, 0);
}
END_TEST

/* However DNS and the clock go on: a stubborn host gets four attempts, and
 * those that had to wait for the next question. */
START_TEST(a_stubborn_host_is_asked_a_few_times_only)
{
	struct denied_facts facts = {
		.answer = _i == 0 ? OTHER : SAME,
		.was_cached = true,
		.mx_left_s = 60,
		.address_left_s = 60,
		.now_ms = NOW,
	};
	struct denied_verdict verdict;
	unsigned attempts = 0;

	do {
		facts.asked_ms = facts.now_ms;
		denied_decide(&facts, &verdict);
		facts.reroutes = verdict.reroutes;
		facts.dns_after_ms = verdict.dns_after_ms;
		facts.now_ms = verdict.next_ms;
		ck_assert_uint_le(++attempts, 4);
	} while (verdict.action != DENIED_FINAL);
	ck_assert_uint_eq(attempts, _i == 0 ? 4 : 2);
}
END_TEST

/* ------------------------------------------------------------ what it is */

static const struct {
	enum outcome_kind kind;
	enum cause cause;
	enum smtp_phase phase;
	enum category category;
	enum denied_hop hop;
	bool is_denied;
} outcomes[] = {
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_RCPT, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_MX, true},
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_MAIL, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_MX, true},
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_BODY, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_MX, false},
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_BODY, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_SMARTHOST, true},
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_DATA, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_INNER, true},
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_EHLO, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_MX, false},
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_RCPT, CATEGORY_BAD_MAILBOX,
	 DENIED_HOP_MX, false},
	{OUTCOME_DEFERRED, CAUSE_REPLY, PHASE_RCPT, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_MX, false},
	{OUTCOME_DELIVERED, CAUSE_REPLY, PHASE_RCPT, CATEGORY_RELAYING_ISSUES,
	 DENIED_HOP_MX, false},
	{OUTCOME_FAILED, CAUSE_AUTH_FAILED, PHASE_RCPT,
	 CATEGORY_RELAYING_ISSUES, DENIED_HOP_MX, false},
};

START_TEST(only_a_final_refusal_of_mail_or_rcpt_counts)
{
	struct outcome outcome = {
		.kind = outcomes[_i].kind,
		.cause = outcomes[_i].cause,
		.phase = outcomes[_i].phase,
	};
	struct classification class = {.category = outcomes[_i].category};

	ck_assert_int_eq(relay_is_denied(&outcome, &class, outcomes[_i].hop),
			 outcomes[_i].is_denied);
}
END_TEST

/* ------------------------------------------------------------- comparing */

#define BOOT 5000000

static struct mx_view
view(uint64_t asked_ms)
{
	return (struct mx_view){
		.is_known = true,
		.is_named = true,
		.preference = 10,
		.best_preference = 10,
		.best = "mx1.far.test",
		.asked_ms = asked_ms,
		.expires_ms = asked_ms + 60000,
		.address_expires_ms = asked_ms + 30000,
		.mx_print = 100,
		.v4_print = 200,
		.v6_print = 300,
	};
}

static const struct {
	int64_t used_s, now_s; /* asked, ago; now_s -1: not asked */
	uint64_t mx_print, v4_print, v6_print; /* of now */
	bool is_stale;
	int preference; /* of the host; -1: not named; the best has 10 */
	enum denied_answer answer;
	uint64_t age_s; /* of the newest */
} compared[] = {
	{20, 0, 100, 200, 300, false, 10, SAME, 0},
	{20, 0, 101, 200, 300, false, 10, OTHER, 0},
	{20, 0, 100, 201, 300, false, -1, OTHER, 0},
	{20, 0, 100, 200, 301, false, -1, OTHER, 0},
	{20, 0, 101, 200, 300, false, -1, OTHER, 0},
	/* new addresses of a backup's betters are worth a try */
	{20, 0, 100, 201, 300, false, 20, OTHER, 0},
	/* a site that gives a part of its addresses each time is as it was */
	{20, 0, 100, 201, 301, false, 10, SAME, 0},
	/* a family of which nothing is known does not differ */
	{20, 0, 100, 0, 300, false, 10, SAME, 0},
	{20, 0, 101, 0, 0, false, 10, OTHER, 0},
	/* a domain of which nothing is known does not count */
	{20, 0, 0, 0, 0, false, 10, DENIED_ANSWER_NONE, 0},
	{20, 0, 101, 200, 300, true, 10, DENIED_ANSWER_NONE, 0},
	/* an answer of before the attempt's own is of no use */
	{5, 25, 101, 200, 300, false, 10, SAME, 5},
	{5, 5, 100, 200, 300, false, 10, SAME, 5},
	/* on the same host an answer may take less than the clock's tick */
	{5, 5, 101, 200, 300, false, 10, OTHER, 5},
	{20, -1, 0, 0, 0, false, 10, DENIED_ANSWER_NONE, 20},
};

START_TEST(the_newest_answer_is_compared_with_the_one_that_was_used)
{
	struct mx_view used = view(BOOT - (uint64_t)compared[_i].used_s * 1000);
	struct mx_view now = view(BOOT - (uint64_t)compared[_i].now_s * 1000);
	struct denied_facts facts = {.now_ms = NOW};

	now.mx_print = compared[_i].mx_print;
	now.v4_print = compared[_i].v4_print;
	now.v6_print = compared[_i].v6_print;
	now.is_stale = compared[_i].is_stale;
	now.preference = compared[_i].preference;
	now.is_named = now.preference >= 0;
	denied_compare(&used, compared[_i].now_s >= 0 ? &now : NULL, BOOT,
		       &facts);
	ck_assert_int_eq(facts.answer, compared[_i].answer);
	ck_assert_uint_eq(facts.asked_ms, NOW - compared[_i].age_s * 1000);
	ck_assert_uint_eq(facts.mx_left_s, 60 - compared[_i].age_s);
	ck_assert_uint_eq(facts.address_left_s, 30 - compared[_i].age_s);
}
END_TEST

static const struct {
	bool is_cached, is_mx_cached; /* of what was used */
	uint64_t mx_print;	      /* of now */
	bool was_cached;
} blamed[] = {
	{true, true, 101, true},
	{true, false, 101, false}, /* an address, and it is not what changed */
	{true, false, 100, true},
	{false, false, 101, false},
};

START_TEST(only_what_changed_is_to_blame)
{
	struct mx_view used = view(BOOT - 20000), now = view(BOOT);
	struct denied_facts facts = {.now_ms = NOW};

	used.is_cached = blamed[_i].is_cached;
	used.is_mx_cached = blamed[_i].is_mx_cached;
	now.mx_print = blamed[_i].mx_print;
	denied_compare(&used, &now, BOOT, &facts);
	ck_assert(facts.was_cached == blamed[_i].was_cached);
}
END_TEST

/* ------------------------------------------------------------- telling it */

static const struct {
	enum denied_cause cause;
	const char *dns_now, *note;
} notes[] = {
	{DENIED_OUR_DATA, "10 new.test (TTL 1m)",
	 "old.test is an MX of far.test with preference 20 by an answer of 12s "
	 "ago, TTL 10m; DNS says now: 10 new.test (TTL 1m)"},
	{DENIED_BACKUP_MX, "",
	 "old.test is an MX of far.test with preference 20 by an answer of 12s "
	 "ago, TTL 10m; mx1.far.test with preference 10 could not be reached; "
	 "no later answer of DNS differs"},
	{DENIED_UNKNOWN, "",
	 "old.test is an MX of far.test with preference 20 by an answer of 12s "
	 "ago, TTL 10m; DNS has no answer that can be relied on now"},
	{DENIED_NO_LOGIN, "",
	 "old.test is the smarthost of route out, which has no user to log in "
	 "with"},
	{DENIED_LOGIN, "",
	 "old.test is the smarthost of route out; it took our login and still "
	 "refuses"},
	{DENIED_INNER, "",
	 "old.test is where route out delivers, and does not take mail for it "
	 "from us"},
};

static struct denied_story
story_of(enum denied_cause cause, const char *dns_now)
{
	struct denied_story story = {
		.cause = cause,
		.host = "old.test",
		.domain = "far.test",
		.hop_key = "route out",
		.mx = view(BOOT - 12000),
		.boot_ms = BOOT,
	};

	(void)snprintf(story.dns_now, sizeof(story.dns_now), "%s", dns_now);
	story.mx.preference = 20;
	story.mx.expires_ms = story.mx.asked_ms + 600000;
	return story;
}

START_TEST(the_evidence_is_told_in_one_note)
{
	struct denied_story story =
		story_of(notes[_i].cause, notes[_i].dns_now);
	char note[DENIED_NOTE_MAX + 1];

	denied_note(&story, note);
	ck_assert_str_eq(note, notes[_i].note);
}
END_TEST

/* Every word but names: none is left of the English. */
START_TEST(the_evidence_is_told_in_the_language_of_the_report)
{
	struct texts *texts = texts_builtin();
	static const char *const tags[] = {"de", "fr"};
	static const char *const english[] = {" is ",	"an MX", " the ",
					      "answer", "ago",	 "later",
					      "says",	"which", "login",
					      "could"};

	for (size_t i = 0; i < COUNT(tags); i++) {
		struct denied_story story =
			story_of(notes[_i].cause, notes[_i].dns_now);
		struct buf told;

		buf_init(&told, 4096);
		denied_tell(&story, texts_language(texts, str_of(tags[i])),
			    &told);
		ck_assert_ptr_nonnull(strstr(buf_text(&told), "old.test"));
		for (size_t k = 0; k < COUNT(english); k++)
			ck_assert_msg(strstr(buf_text(&told), english[k]) ==
					      NULL,
				      "%s", buf_text(&told));
		buf_done(&told);
	}
	texts_unref(texts);
}
END_TEST

START_TEST(a_note_of_the_longest_names_is_cut)
{
	struct denied_story story = story_of(DENIED_BACKUP_MX, "");
	char note[DENIED_NOTE_MAX + 1];

	memset(story.host, 'h', sizeof(story.host) - 1);
	memset(story.domain, 'd', sizeof(story.domain) - 1);
	memset(story.mx.best, 'b', sizeof(story.mx.best) - 1);
	memset(story.dns_now, 'n', sizeof(story.dns_now) - 1);
	denied_note(&story, note);
	ck_assert_uint_eq(strlen(note), DENIED_NOTE_MAX);
}
END_TEST

START_TEST(every_cause_has_advice_of_its_own)
{
	for (enum denied_cause cause = DENIED_OUR_DATA; cause <= DENIED_INNER;
	     cause++) {
		struct classification class = {
			.category = CATEGORY_RELAYING_ISSUES,
			.advice = advice_id(str_of(denied_cause_advice(cause))),
		};
		struct advice advice, plain;

		ck_assert_ptr_nonnull(class.advice);
		advice_find(&class, NULL, &advice);
		class.advice = NULL;
		advice_find(&class, NULL, &plain);
		ck_assert_str_ne(advice.admin, plain.admin);
	}
}
END_TEST

UNIT_MAIN("relay_denied",
	  tcase_add_loop_test(tc, a_refusal_is_final_once_dns_has_been_heard, 0,
			      (int)COUNT(cases));
	  tcase_add_loop_test(
		  tc, a_next_hop_that_was_configured_never_waits_for_dns, 0, 3);
	  tcase_add_loop_test(tc, a_stubborn_host_is_asked_a_few_times_only, 0,
			      2);
	  tcase_add_loop_test(tc, only_a_final_refusal_of_mail_or_rcpt_counts,
			      0, (int)COUNT(outcomes));
	  tcase_add_loop_test(
		  tc, the_newest_answer_is_compared_with_the_one_that_was_used,
		  0, (int)COUNT(compared));
	  tcase_add_loop_test(tc, only_what_changed_is_to_blame, 0,
			      (int)COUNT(blamed));
	  tcase_add_loop_test(tc, the_evidence_is_told_in_one_note, 0,
			      (int)COUNT(notes));
	  tcase_add_loop_test(
		  tc, the_evidence_is_told_in_the_language_of_the_report, 0,
		  (int)COUNT(notes));
	  tcase_add_test(tc, a_note_of_the_longest_names_is_cut);
	  tcase_add_test(tc, every_cause_has_advice_of_its_own);)
