/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/digest.h"
#include "queue/settle.h"

#define SENDER "author@example.org"
#define DAY_S  86400

static const uint32_t delays[] = {60, 3600};
static const struct settle_rules rules = {
	.retry = {delays, COUNT(delays), 5 * DAY_S},
	.bounce_expire_s = DAY_S,
	.warn_s = 4 * 3600,
	.grace_s = 2 * 3600,
};

/* the middle of the jitter's range */
#define MIDDLE 1000

enum said {
	TAKEN,
	TAKEN_DSN,
	LATER,
	NEVER,
	OWN_LATER, /* these and what follows are our own fault */
	OWN_NEVER,
	OWN_ADDRESS, /* whatever was thought: it is about one address */
	OWN_LOGIN,
};

static void
outcome_make(enum said said, struct outcome *out)
{
	memset(out, 0, sizeof(*out));
	out->cause = CAUSE_REPLY;
	out->phase = PHASE_RCPT;
	switch (said) {
	case TAKEN_DSN:
		out->has_dsn = true;
		/* fall through */
	case TAKEN:
		out->kind = OUTCOME_DELIVERED;
		status_set(&out->status, 250, "2.0.0", "taken");
		break;
	case OWN_LATER:
	case LATER:
		out->kind = OUTCOME_DEFERRED;
		status_set(&out->status, 450, "4.2.0", "later");
		break;
	case OWN_NEVER:
		out->kind = OUTCOME_FAILED;
		status_set(&out->status, 550, "5.7.1", "never");
		break;
	case OWN_ADDRESS:
	case NEVER:
		out->kind = OUTCOME_FAILED;
		status_set(&out->status, 550, "5.1.1", "never");
		break;
	case OWN_LOGIN:
		out->kind = OUTCOME_DEFERRED;
		out->cause = CAUSE_AUTH_FAILED;
		status_set(&out->status, 535, "5.7.8", "who are you");
		break;
	}
	out->is_own_fault = said >= OWN_LATER;
}

static const struct {
	const char *sender;
	unsigned notify, attempts;
	bool is_warned, is_local;
	enum said said;
	uint64_t age_s;
	/* what follows */
	enum recipient_state state;
	int report;	 /* enum dsn_kind, -1: none */
	uint64_t next_s; /* from now */
} cases[] = {
	/* taken: told only who asked, and only once along the way */
	{SENDER, 0, 0, false, false, TAKEN, 1, RCPT_DELIVERED, -1, 0},
	{SENDER, NOTIFY_SUCCESS, 0, false, false, TAKEN, 1, RCPT_DELIVERED,
	 DSN_RELAYED, 0},
	{SENDER, NOTIFY_SUCCESS, 0, false, true, TAKEN, 1, RCPT_DELIVERED,
	 DSN_DELIVERED, 0},
	{SENDER, NOTIFY_SUCCESS, 0, false, false, TAKEN_DSN, 1, RCPT_DELIVERED,
	 -1, 0},
	{SENDER, NOTIFY_FAILURE, 0, false, false, TAKEN, 1, RCPT_DELIVERED, -1,
	 0},
	{"", NOTIFY_SUCCESS, 0, false, false, TAKEN, 1, RCPT_DELIVERED, -1, 0},
	/* who was told of a delay is told of its end, whoever reports success;
	 * not if he said what he wants to hear */
	{SENDER, 0, 6, true, false, TAKEN, 5 * 3600, RCPT_DELIVERED,
	 DSN_RELAYED, 0},
	{SENDER, 0, 6, true, true, TAKEN, 5 * 3600, RCPT_DELIVERED,
	 DSN_DELIVERED, 0},
	{SENDER, 0, 6, true, false, TAKEN_DSN, 5 * 3600, RCPT_DELIVERED,
	 DSN_RELAYED, 0},
	{SENDER, NOTIFY_DELAY, 6, true, false, TAKEN, 5 * 3600, RCPT_DELIVERED,
	 -1, 0},
	{SENDER, NOTIFY_SUCCESS | NOTIFY_DELAY, 6, true, false, TAKEN_DSN,
	 5 * 3600, RCPT_DELIVERED, -1, 0},
	/* refused for good */
	{SENDER, 0, 0, false, false, NEVER, 1, RCPT_FAILED, DSN_FAILED, 0},
	{SENDER, NOTIFY_FAILURE, 0, false, false, NEVER, 1, RCPT_FAILED,
	 DSN_FAILED, 0},
	{SENDER, NOTIFY_NEVER, 0, false, false, NEVER, 1, RCPT_FAILED, -1, 0},
	{SENDER, NOTIFY_SUCCESS, 0, false, false, NEVER, 1, RCPT_FAILED, -1, 0},
	{"", 0, 0, false, false, NEVER, 1, RCPT_FAILED, -1, 0},
	/* refused for now: the schedule */
	{SENDER, 0, 0, false, false, LATER, 1, RCPT_QUEUED, -1, 60},
	{SENDER, 0, 1, false, false, LATER, 90, RCPT_QUEUED, -1, 3600},
	{SENDER, 0, 9, false, false, LATER, 90, RCPT_QUEUED, -1, 3600},
	/* an attempt when the warning is due, the warning, once */
	{SENDER, 0, 4, false, false, LATER, 4 * 3600 - 600, RCPT_QUEUED, -1,
	 600},
	{SENDER, 0, 5, false, false, LATER, 4 * 3600, RCPT_QUEUED, DSN_DELAYED,
	 3600},
	{SENDER, 0, 6, true, false, LATER, 5 * 3600, RCPT_QUEUED, -1, 3600},
	{SENDER, NOTIFY_DELAY, 5, false, false, LATER, 5 * 3600, RCPT_QUEUED,
	 DSN_DELAYED, 3600},
	{SENDER, NOTIFY_FAILURE, 5, false, false, LATER, 5 * 3600, RCPT_QUEUED,
	 -1, 3600},
	{SENDER, NOTIFY_NEVER, 5, false, false, LATER, 5 * 3600, RCPT_QUEUED,
	 -1, 3600},
	{"", 0, 5, false, false, LATER, 5 * 3600, RCPT_QUEUED, -1, 3600},
	/* expiry: a last attempt at the time itself, then the end */
	{SENDER, 0, 50, true, false, LATER, 5 * DAY_S - 100, RCPT_QUEUED, -1,
	 100},
	{SENDER, 0, 50, true, false, LATER, 5 * DAY_S, RCPT_EXPIRED, DSN_FAILED,
	 0},
	{SENDER, NOTIFY_NEVER, 50, true, false, LATER, 5 * DAY_S, RCPT_EXPIRED,
	 -1, 0},
	{"", 0, 50, false, false, LATER, DAY_S - 100, RCPT_QUEUED, -1, 100},
	{"", 0, 50, false, false, LATER, DAY_S, RCPT_EXPIRED, -1, 0},
	/* faults of our own have time to be repaired in */
	{SENDER, 0, 0, false, false, OWN_NEVER, 1, RCPT_QUEUED, -1, 60},
	{SENDER, 0, 9, false, false, OWN_NEVER, 2 * 3600 - 1, RCPT_QUEUED, -1,
	 3600},
	{SENDER, 0, 9, false, false, OWN_NEVER, 2 * 3600, RCPT_FAILED,
	 DSN_FAILED, 0},
	{SENDER, 0, 0, false, false, OWN_LATER, 1, RCPT_QUEUED, -1, 60},
	{SENDER, 0, 0, false, false, OWN_LATER, 3 * 3600, RCPT_QUEUED, -1, 60},
	{SENDER, 0, 0, false, false, OWN_ADDRESS, 1, RCPT_FAILED, DSN_FAILED,
	 0},
	{SENDER, 0, 9, false, false, OWN_LOGIN, 2 * 3600 - 1, RCPT_QUEUED, -1,
	 3600},
	{SENDER, 0, 9, false, false, OWN_LOGIN, 2 * 3600, RCPT_FAILED,
	 DSN_FAILED, 0},
};

static void
envelope_make(const char *sender, struct envelope *out)
{
	envelope_init(out);
	out->sender = mem_strdup(sender);
	out->received_ms = 1000000;
	(void)envelope_add(out, "somebody@example.net");
}

START_TEST(what_an_outcome_means_follows_from_rules_and_age)
{
	struct envelope envelope;
	struct outcome outcome;
	struct settlement got;
	struct settle_input input = {
		.envelope = &envelope,
		.outcome = &outcome,
		.is_local = cases[_i].is_local,
		.now_ms = 1000000 + cases[_i].age_s * 1000,
		.random = MIDDLE,
	};

	envelope_make(cases[_i].sender, &envelope);
	envelope.recipients[0].notify = (uint8_t)cases[_i].notify;
	envelope.recipients[0].attempts = cases[_i].attempts;
	envelope.recipients[0].is_warned = cases[_i].is_warned;
	outcome_make(cases[_i].said, &outcome);
	settle_decide(&rules, &input, &got);
	ck_assert_int_eq(got.state, cases[_i].state);
	ck_assert_int_eq(got.has_report ? (int)got.report : -1,
			 cases[_i].report);
	ck_assert_uint_eq(got.next_try_ms,
			  cases[_i].next_s != 0
				  ? input.now_ms + cases[_i].next_s * 1000
				  : 0);
	envelope_done(&envelope);
}
END_TEST

static const struct {
	const char *sender, *listener;
	enum said said;
	enum settle_digest digest;
} digests[] = {
	{SENDER, DIGEST_LISTENER, NEVER, DIGEST_NOTHING},
	{SENDER, NULL, TAKEN, DIGEST_NOTHING},
	{"", NULL, NEVER, DIGEST_FAILURE},
	{"", "mx", NEVER, DIGEST_FAILURE},
	{"", "mx", TAKEN, DIGEST_NOTHING},
	{"", "mx", LATER, DIGEST_NOTHING},
	{"", DIGEST_LISTENER, NEVER, DIGEST_LOST},
	{"", DIGEST_LISTENER, TAKEN, DIGEST_DELIVERED},
};

START_TEST(what_nobody_can_be_told_of_goes_into_the_digest)
{
	struct envelope envelope;
	struct outcome outcome;
	struct settlement got;
	struct settle_input input = {
		.envelope = &envelope,
		.outcome = &outcome,
		.random = MIDDLE,
	};

	envelope_make(digests[_i].sender, &envelope);
	if (digests[_i].listener != NULL)
		envelope.listener = mem_strdup(digests[_i].listener);
	input.now_ms = envelope.received_ms + 1000;
	outcome_make(digests[_i].said, &outcome);
	settle_decide(&rules, &input, &got);
	ck_assert_int_eq(got.digest, digests[_i].digest);
	envelope_done(&envelope);
}
END_TEST

static const struct {
	enum cause cause;
	bool is_own_fault, is_past;
} graces[] = {
	{CAUSE_AUTH_FAILED, true, true},
	{CAUSE_AUTH_NOT_OFFERED, true, true},
	{CAUSE_CONFIGURATION, true, true},
	{CAUSE_AUTH_FAILED, false, false},
	/* waiting may mend these */
	{CAUSE_REPLY, true, false},
	{CAUSE_SELF_IN_MX, true, false},
	{CAUSE_CONNECT_REFUSED, true, false},
};

START_TEST(what_waiting_does_not_mend_ends_with_the_time_of_grace)
{
	struct outcome outcome;
	uint64_t end_ms = 1000000 + rules.grace_s * 1000;

	outcome_make(OWN_LATER, &outcome);
	outcome.cause = graces[_i].cause;
	outcome.is_own_fault = graces[_i].is_own_fault;
	ck_assert(!settle_is_past_grace(&rules, &outcome, 1000000, end_ms - 1));
	ck_assert_int_eq(settle_is_past_grace(&rules, &outcome, 1000000,
					      end_ms),
			 graces[_i].is_past);
}
END_TEST

START_TEST(a_recipient_remembers_what_was_said)
{
	struct envelope envelope;
	struct outcome outcome;
	struct settlement got;
	struct settle_input input = {
		.envelope = &envelope,
		.outcome = &outcome,
		.now_ms = 1000000,
	};
	struct recipient *recipient;

	envelope_make(SENDER, &envelope);
	recipient = &envelope.recipients[0];
	outcome_make(LATER, &outcome);
	(void)snprintf(outcome.host, sizeof(outcome.host), "mx.example.net");
	(void)snprintf(outcome.reply, sizeof(outcome.reply),
		       "450-4.2.0 one\n450 4.2.0 two");
	settle_decide(&rules, &input, &got);
	got.classification.category = CATEGORY_QUOTA_ISSUES;
	settle_apply(&got, recipient);
	ck_assert_int_eq(recipient->state, RCPT_QUEUED);
	ck_assert_uint_eq(recipient->attempts, 1);
	ck_assert_uint_eq(recipient->next_try_ms, got.next_try_ms);
	ck_assert_str_eq(recipient->last_reply, outcome.reply);
	ck_assert_str_eq(recipient->last_host, "mx.example.net");
	ck_assert_str_eq(recipient->category, "quota-issues");

	memset(&outcome, 0, sizeof(outcome));
	outcome_own(&outcome, CAUSE_CONNECT_REFUSED, PHASE_CONNECT,
		    "nobody is there");
	settle_decide(&rules, &input, &got);
	settle_apply(&got, recipient);
	ck_assert_str_eq(recipient->last_reply, "4.4.1 nobody is there");
	ck_assert_ptr_null(recipient->last_host);

	/* a reply without a text */
	outcome_make(LATER, &outcome);
	settle_decide(&rules, &input, &got);
	settle_apply(&got, recipient);
	ck_assert_str_eq(recipient->last_reply, "4.2.0 later");

	outcome_make(TAKEN, &outcome);
	settle_decide(&rules, &input, &got);
	settle_apply(&got, recipient);
	ck_assert_int_eq(recipient->state, RCPT_DELIVERED);
	ck_assert_uint_eq(recipient->attempts, 4);
	ck_assert_ptr_null(recipient->category);
	envelope_done(&envelope);
}
END_TEST

START_TEST(only_the_warning_of_a_delay_counts_as_one)
{
	static const enum dsn_kind kinds[] = {DSN_FAILED, DSN_DELIVERED,
					      DSN_RELAYED, DSN_DELAYED};
	struct envelope envelope;
	struct outcome outcome;
	struct recipient *recipient;
	struct settlement got = {.outcome = &outcome};

	envelope_make(SENDER, &envelope);
	recipient = &envelope.recipients[0];
	outcome_make(LATER, &outcome);
	got.report = DSN_DELAYED; /* but nobody wants it */
	settle_apply(&got, recipient);
	ck_assert(!recipient->is_warned);
	got.has_report = true;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		got.report = kinds[i];
		settle_apply(&got, recipient);
		ck_assert_int_eq(recipient->is_warned, kinds[i] == DSN_DELAYED);
	}
	envelope_done(&envelope);
}
END_TEST

/* Categories of the attempts, of which the last is what is settled. */
static const struct {
	unsigned count;
	enum category each[4];
	bool is_each_time;
} ends[] = {
	{1, {CATEGORY_QUOTA_ISSUES}, false}, /* not said of a single one */
	{2, {CATEGORY_QUOTA_ISSUES, CATEGORY_QUOTA_ISSUES}, true},
	{2, {CATEGORY_QUOTA_ISSUES, CATEGORY_BAD_CONNECTION}, false},
	{4,
	 {CATEGORY_QUOTA_ISSUES, CATEGORY_QUOTA_ISSUES, CATEGORY_QUOTA_ISSUES,
	  CATEGORY_QUOTA_ISSUES},
	 true},
	/* another one among them is remembered */
	{4,
	 {CATEGORY_QUOTA_ISSUES, CATEGORY_BAD_CONNECTION, CATEGORY_QUOTA_ISSUES,
	  CATEGORY_QUOTA_ISSUES},
	 false},
};

START_TEST(it_ended_alike_each_time_only_if_it_did)
{
	unsigned last = ends[_i].count - 1;
	struct envelope envelope;
	struct outcome outcome;
	struct settlement got = {.outcome = &outcome, .state = RCPT_QUEUED};

	envelope_make(SENDER, &envelope);
	outcome_make(LATER, &outcome);
	for (unsigned i = 0; i < last; i++) {
		got.classification.category = ends[_i].each[i];
		settle_apply(&got, &envelope.recipients[0]);
	}
	got.classification.category = ends[_i].each[last];
	got.classification.advice = "rate-limited";
	settle_each_time(&envelope.recipients[0], &got.classification, &got);
	ck_assert_int_eq(got.is_each_time, ends[_i].is_each_time);
	if (got.is_each_time) {
		ck_assert_int_eq(got.each_time.category, ends[_i].each[last]);
		ck_assert_ptr_null(got.each_time.advice);
	}
	envelope_done(&envelope);
}
END_TEST

START_TEST(an_order_is_no_attempt)
{
	struct envelope envelope;
	struct outcome outcome;
	struct settlement got = {.outcome = &outcome, .state = RCPT_FAILED};

	envelope_make(SENDER, &envelope);
	outcome_own(&outcome, CAUSE_OPERATOR, PHASE_NONE, "given up");
	settle_apply(&got, &envelope.recipients[0]);
	ck_assert_uint_eq(envelope.recipients[0].attempts, 0);
	ck_assert_int_eq(envelope.recipients[0].state, RCPT_FAILED);
	envelope_done(&envelope);
}
END_TEST

static const struct {
	enum denied_action action;
	bool is_own_fault;
	uint64_t age_s, next_s; /* of the verdict; from now */
	/* what follows */
	enum recipient_state state;
	int report;
	uint64_t then_s;
} denials[] = {
	{DENIED_FINAL, false, 1, 0, RCPT_FAILED, DSN_FAILED, 0},
	{DENIED_FINAL, true, 1, 0, RCPT_QUEUED, -1, 60},
	{DENIED_FINAL, true, 3 * 3600, 0, RCPT_FAILED, DSN_FAILED, 0},
	{DENIED_AT_ONCE, false, 1, 0, RCPT_QUEUED, -1, 0},
	{DENIED_WAIT, false, 1, 61, RCPT_QUEUED, -1, 61},
	{DENIED_SCHEDULE, false, 1, 0, RCPT_QUEUED, -1, 60},
	/* the author hears of a long delay all the same */
	{DENIED_WAIT, false, 5 * 3600, 61, RCPT_QUEUED, DSN_DELAYED, 61},
	{DENIED_WAIT, false, 4 * 3600 - 10, 61, RCPT_QUEUED, -1, 10},
	/* no longer than the message's time, and then with the host's words */
	{DENIED_WAIT, false, 5 * DAY_S - 10, 61, RCPT_QUEUED, DSN_DELAYED, 10},
	{DENIED_WAIT, false, 5 * DAY_S, 61, RCPT_FAILED, DSN_FAILED, 0},
	{DENIED_AT_ONCE, false, 5 * DAY_S, 0, RCPT_FAILED, DSN_FAILED, 0},
	{DENIED_SCHEDULE, false, 5 * DAY_S, 0, RCPT_EXPIRED, DSN_FAILED, 0},
};

START_TEST(a_refusal_to_relay_is_settled_by_what_dns_said)
{
	struct envelope envelope;
	struct outcome outcome;
	struct denied_verdict verdict = {
		.action = denials[_i].action,
		.reroutes = 2,
		.dns_after_ms = 77,
	};
	struct settlement got;
	struct settle_input input = {
		.envelope = &envelope,
		.outcome = &outcome,
		.denied = &verdict,
		.random = MIDDLE,
	};

	envelope_make(SENDER, &envelope);
	input.now_ms = envelope.received_ms + denials[_i].age_s * 1000;
	verdict.next_ms = input.now_ms + denials[_i].next_s * 1000;
	outcome_make(denials[_i].is_own_fault ? OWN_NEVER : NEVER, &outcome);
	settle_decide(&rules, &input, &got);
	ck_assert_int_eq(got.state, denials[_i].state);
	ck_assert_int_eq(got.has_report ? (int)got.report : -1,
			 denials[_i].report);
	if (got.state == RCPT_QUEUED)
		ck_assert_uint_eq(got.next_try_ms,
				  input.now_ms + denials[_i].then_s * 1000);
	settle_apply(&got, &envelope.recipients[0]);
	ck_assert_uint_eq(envelope.recipients[0].reroutes, 2);
	ck_assert_uint_eq(envelope.recipients[0].dns_after_ms, 77);
	envelope_done(&envelope);
}
END_TEST

static const struct {
	enum outcome_kind kind;
	enum cause cause;
	enum smtp_phase phase;
	unsigned code;
	enum settle_lesson lesson;
} lessons[] = {
	{OUTCOME_DELIVERED, CAUSE_REPLY, PHASE_BODY, 250, LESSON_ANSWERED},
	{OUTCOME_FAILED, CAUSE_REPLY, PHASE_RCPT, 550, LESSON_ANSWERED},
	{OUTCOME_DEFERRED, CAUSE_REPLY, PHASE_RCPT, 450, LESSON_ANSWERED},
	{OUTCOME_DEFERRED, CAUSE_REPLY, PHASE_GREETING, 421, LESSON_SLOW_DOWN},
	{OUTCOME_DEFERRED, CAUSE_CONNECT_REFUSED, PHASE_CONNECT, 0,
	 LESSON_DOWN},
	{OUTCOME_DEFERRED, CAUSE_CONNECT_TIMEOUT, PHASE_CONNECT, 0,
	 LESSON_DOWN},
	{OUTCOME_DEFERRED, CAUSE_DNS_FAILED, PHASE_DNS, 0, LESSON_DOWN},
	{OUTCOME_DEFERRED, CAUSE_CONNECTION_LOST, PHASE_GREETING, 0,
	 LESSON_DOWN},
	{OUTCOME_DEFERRED, CAUSE_CONNECTION_LOST, PHASE_BODY, 0, LESSON_NONE},
	{OUTCOME_DEFERRED, CAUSE_AUTH_FAILED, PHASE_AUTH, 0, LESSON_DOWN},
	{OUTCOME_FAILED, CAUSE_DNS_NO_DOMAIN, PHASE_DNS, 0, LESSON_NONE},
	{OUTCOME_DEFERRED, CAUSE_LOCAL_QUOTA, PHASE_LOCAL, 0, LESSON_NONE},
};

START_TEST(an_attempt_teaches_about_its_destination)
{
	struct outcome outcomes[2];

	outcome_make(LATER, &outcomes[0]);
	outcomes[0].kind = lessons[_i].kind;
	outcomes[0].cause = lessons[_i].cause;
	outcomes[0].phase = lessons[_i].phase;
	outcomes[0].status.code = (uint16_t)lessons[_i].code;
	ck_assert_int_eq(settle_lesson(outcomes, 1), lessons[_i].lesson);
	/* one that was taken says that it is well */
	outcome_make(TAKEN, &outcomes[1]);
	ck_assert_int_eq(settle_lesson(outcomes, 2), LESSON_ANSWERED);
}
END_TEST

START_TEST(an_operator_gives_up_at_once_whatever_was_thought_before)
{
	struct envelope envelope;
	struct outcome outcome;
	struct settlement got;
	struct settle_input input = {
		.envelope = &envelope,
		.outcome = &outcome,
		.now_ms = 1000000,
	};

	envelope_make(SENDER, &envelope);
	outcome_make(LATER, &outcome);
	memset(&got, 0xff, sizeof(got));
	settle_operator(&input, &got);
	ck_assert_int_eq(got.state, RCPT_FAILED);
	ck_assert_uint_eq(got.recipient, 0);
	ck_assert_ptr_eq(got.outcome, &outcome);
	ck_assert_ptr_eq(got.final, &outcome);
	ck_assert_int_eq(got.report, DSN_FAILED);
	ck_assert(got.has_report);
	ck_assert_uint_eq(got.next_try_ms, 0);
	envelope_done(&envelope);
}
END_TEST

UNIT_MAIN("settle",
	  tcase_add_loop_test(tc,
			      what_an_outcome_means_follows_from_rules_and_age,
			      0, (int)COUNT(cases));
	  tcase_add_test(
		  tc, an_operator_gives_up_at_once_whatever_was_thought_before);
	  tcase_add_loop_test(tc,
			      what_nobody_can_be_told_of_goes_into_the_digest,
			      0, (int)COUNT(digests));
	  tcase_add_loop_test(
		  tc, what_waiting_does_not_mend_ends_with_the_time_of_grace, 0,
		  (int)COUNT(graces));
	  tcase_add_test(tc, a_recipient_remembers_what_was_said);
	  tcase_add_test(tc, only_the_warning_of_a_delay_counts_as_one);
	  tcase_add_loop_test(tc, it_ended_alike_each_time_only_if_it_did, 0,
			      (int)COUNT(ends));
	  tcase_add_test(tc, an_order_is_no_attempt);
	  tcase_add_loop_test(tc,
			      a_refusal_to_relay_is_settled_by_what_dns_said, 0,
			      (int)COUNT(denials));
	  tcase_add_loop_test(tc, an_attempt_teaches_about_its_destination, 0,
			      (int)COUNT(lessons));)
