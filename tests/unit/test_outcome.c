/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "queue/deliver/outcome.h"

START_TEST(every_cause_has_a_name_that_reads_back)
{
	for (int i = CAUSE_REPLY; i <= CAUSE_CONFIGURATION; i++) {
		enum cause got = CAUSE_OPERATOR;

		ck_assert_ptr_nonnull(cause_name((enum cause)i));
		ck_assert(cause_parse(cause_name((enum cause)i), &got));
		ck_assert_int_eq((int)got, i);
	}
	ck_assert(!cause_parse("no-such-cause", &(enum cause){0}));
	ck_assert(!cause_parse("", &(enum cause){0}));
}
END_TEST

START_TEST(every_phase_has_a_name_that_reads_back)
{
	for (int i = PHASE_NONE; i <= PHASE_LOCAL; i++) {
		enum smtp_phase got = PHASE_NONE;

		ck_assert_ptr_nonnull(smtp_phase_name((enum smtp_phase)i));
		ck_assert(smtp_phase_parse(smtp_phase_name((enum smtp_phase)i),
					   &got));
		ck_assert_int_eq((int)got, i);
	}
	ck_assert(!smtp_phase_parse("QUIT", &(enum smtp_phase){0}));
}
END_TEST

static const struct {
	enum cause cause;
	const char *enhanced;
	enum outcome_kind kind;
	bool is_own_fault;
} rows[] = {
	{CAUSE_DNS_NO_DOMAIN, "5.1.2", OUTCOME_FAILED, false},
	{CAUSE_DNS_NO_ADDRESS, "4.4.4", OUTCOME_DEFERRED, false},
	{CAUSE_DNS_NULL_MX, "5.1.10", OUTCOME_FAILED, false},
	{CAUSE_DNS_FAILED, "4.4.3", OUTCOME_DEFERRED, false},
	{CAUSE_SELF_IN_MX, "5.4.6", OUTCOME_FAILED, true},
	{CAUSE_CONNECT_TIMEOUT, "4.4.1", OUTCOME_DEFERRED, false},
	{CAUSE_CONNECTION_LOST, "4.4.2", OUTCOME_DEFERRED, false},
	{CAUSE_REPLY_GARBLED, "4.5.0", OUTCOME_DEFERRED, false},
	{CAUSE_TLS_REQUIRED, "4.7.10", OUTCOME_DEFERRED, false},
	{CAUSE_AUTH_FAILED, "4.7.8", OUTCOME_DEFERRED, true},
	{CAUSE_NO_8BITMIME, "5.6.3", OUTCOME_FAILED, false},
	{CAUSE_NO_SMTPUTF8, "5.6.7", OUTCOME_FAILED, false},
	{CAUSE_TOO_BIG, "5.3.4", OUTCOME_FAILED, false},
	{CAUSE_LOCAL_QUOTA, "4.2.2", OUTCOME_DEFERRED, false},
	{CAUSE_EXPIRED, "4.4.7", OUTCOME_FAILED, false},
	{CAUSE_OPERATOR, "5.7.0", OUTCOME_FAILED, false},
	{CAUSE_CONFIGURATION, "4.3.5", OUTCOME_DEFERRED, true},
};

START_TEST(a_failure_of_our_own_has_the_codes_of_its_cause)
{
	struct outcome outcome = {.port = 25, .host = "mx.example"};
	char enhanced[12];

	strcpy(outcome.reply, "250 left from before");
	outcome_own(&outcome, rows[_i].cause, PHASE_CONNECT, "because of %s",
		    "this");
	ck_assert_str_eq(status_enhanced(&outcome.status, enhanced),
			 rows[_i].enhanced);
	ck_assert_int_eq((int)outcome.kind, (int)rows[_i].kind);
	ck_assert_int_eq(outcome.is_own_fault, rows[_i].is_own_fault);
	ck_assert_uint_eq(outcome.status.code / 100, outcome.status.class);
	ck_assert_str_eq(outcome.status.text, "because of this");
	ck_assert_str_eq(outcome.reply, "");
	ck_assert_str_eq(outcome.host, "mx.example");
	ck_assert_uint_eq(outcome.port, 25);
}
END_TEST

START_TEST(an_outcome_can_be_made_final_and_back)
{
	struct outcome outcome = {0};
	char enhanced[12];

	outcome_own(&outcome, CAUSE_DNS_NO_ADDRESS, PHASE_DNS, "none");
	outcome_set_permanent(&outcome, true);
	ck_assert_int_eq((int)outcome.kind, OUTCOME_FAILED);
	ck_assert_uint_eq(outcome.status.code, 550);
	ck_assert_str_eq(status_enhanced(&outcome.status, enhanced), "5.1.2");

	outcome_own(&outcome, CAUSE_TLS_FAILED, PHASE_TLS, "expired");
	outcome_set_permanent(&outcome, true);
	ck_assert_str_eq(status_enhanced(&outcome.status, enhanced), "5.7.5");
	ck_assert_uint_eq(outcome.status.code, 554);
	outcome_set_permanent(&outcome, false);
	ck_assert_int_eq((int)outcome.kind, OUTCOME_DEFERRED);
	ck_assert_str_eq(status_enhanced(&outcome.status, enhanced), "4.7.5");
	ck_assert_uint_eq(outcome.status.code, 451);

	outcome.cause = CAUSE_REPLY;
	status_set(&outcome.status, 554, "5.7.1", "go away");
	outcome_set_permanent(&outcome, false);
	ck_assert_int_eq((int)outcome.kind, OUTCOME_DEFERRED);
	ck_assert_uint_eq(outcome.status.code, 554);
}
END_TEST

UNIT_MAIN("outcome", tcase_add_test(tc, every_cause_has_a_name_that_reads_back);
	  tcase_add_test(tc, every_phase_has_a_name_that_reads_back);
	  tcase_add_loop_test(tc,
			      a_failure_of_our_own_has_the_codes_of_its_cause,
			      0, (int)COUNT(rows));
	  tcase_add_test(tc, an_outcome_can_be_made_final_and_back);)
