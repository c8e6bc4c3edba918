/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/faults.h"
#include "server/admin.h"

static char told[4096];

static void
on_fault(void *arg, const struct fault *fault)
{
	size_t len = strlen(told);

	(void)snprintf(told + len, sizeof(told) - len, "%s %s %s %d%s\n",
		       fault_kind_name(fault->kind), fault->where, fault->words,
		       (int)fault->count, fault->is_over ? " over" : "");
}

static void
told_is(const char *want)
{
	ck_assert_str_eq(told, want);
	told[0] = '\0';
}

START_TEST(a_fault_is_told_at_its_begin_each_hour_and_at_its_end)
{
	struct faults faults = {.on_fault = on_fault};

	for (unsigned i = 0; i < 1000; i++)
		faults_met(&faults, FAULT_LOGIN, "smtp:a:25", "535 no",
			   1000 + i);
	told_is("login smtp:a:25 535 no 1\n");
	faults_met(&faults, FAULT_LOGIN, "smtp:b:25", "535 no", 3000);
	told_is("login smtp:b:25 535 no 1\n");
	faults_met(&faults, FAULT_LOGIN, "smtp:a:25", "535 still", 3601000);
	told_is("login smtp:a:25 535 still 1001\n");
	ck_assert_uint_eq(faults.count, 2);
	faults_over(&faults, FAULT_LOGIN, "smtp:a:25", 3602000);
	told_is("login smtp:a:25 535 still 1001 over\n");
	faults_over(&faults, FAULT_LOGIN, "smtp:a:25", 3603000);
	faults_over(&faults, FAULT_NAME, NULL, 3603000);
	told_is("");
	ck_assert_uint_eq(faults.count, 1);
	ck_assert_str_eq(faults.list[0].where, "smtp:b:25");
	faults_done(&faults);
}
END_TEST

START_TEST(what_was_seen_last_longest_ago_makes_room)
{
	struct faults faults = {0};
	char where[16];

	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		(void)snprintf(where, sizeof(where), "w%u", i);
		faults_met(&faults, FAULT_ROUTE, where, "", 1000 + i);
	}
	/* all but two of them go on */
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		(void)snprintf(where, sizeof(where), "w%u", i);
		if (i != 5 && i != 9)
			faults_met(&faults, FAULT_ROUTE, where, "", 5000);
	}
	faults_met(&faults, FAULT_ROUTE, "new", "", 6000);
	ck_assert_uint_eq(faults.count, FAULTS_MAX);
	for (size_t i = 0; i < faults.count; i++)
		ck_assert_str_ne(faults.list[i].where, "w5");
	ck_assert_str_eq(faults.list[5].where, "w6");
	ck_assert_str_eq(faults.list[8].where, "w9");
	ck_assert_str_eq(faults.list[FAULTS_MAX - 1].where, "new");
	/* of a kind all may end at once, and no others */
	faults_met(&faults, FAULT_LOGIN, "smtp:a:25", "", 7000);
	faults_over(&faults, FAULT_ROUTE, NULL, 8000);
	ck_assert_uint_eq(faults.count, 1);
	ck_assert_int_eq(faults.list[0].kind, FAULT_LOGIN);
	faults_done(&faults);
}
END_TEST

START_TEST(the_table_is_bounded)
{
	struct faults faults = {0};
	char where[300];

	for (unsigned i = 0; i < 3 * FAULTS_MAX; i++) {
		(void)snprintf(where, sizeof(where), "%0290u", i);
		faults_met(&faults, FAULT_ROUTE, where, "", 1000 + i);
	}
	ck_assert_uint_eq(faults.count, FAULTS_MAX);
	faults_done(&faults);
}
END_TEST

START_TEST(where_it_is_may_be_longer_than_what_is_kept)
{
	static const size_t lengths[] = {258, FAULT_WHERE_MAX + 90};
	struct faults faults = {0};

	for (size_t i = 0; i < COUNT(lengths); i++) {
		char where[FAULT_WHERE_MAX + 100];

		memset(where, 'a', lengths[i]);
		where[lengths[i]] = '\0';
		faults_met(&faults, FAULT_ROUTE, where, "", 1000);
		faults_met(&faults, FAULT_ROUTE, where, "", 2000);
		ck_assert_uint_eq(faults.count, 1);
		ck_assert_uint_eq(faults.list[0].count, 2);
		faults_over(&faults, FAULT_ROUTE, where, 3000);
		ck_assert_uint_eq(faults.count, 0);
		for (unsigned k = 0; k < FAULT_DNS_DOMAINS; k++)
			faults_dns_failed(&faults, where, "", 4000);
		ck_assert_uint_eq(faults.count, 0);
		faults_dns_answered(&faults, 5000);
	}
	faults_done(&faults);
}
END_TEST

START_TEST(dns_is_our_fault_when_no_domain_has_an_answer)
{
	struct faults faults = {.on_fault = on_fault};

	faults_dns_failed(&faults, "a.test", "timeout", 1000);
	faults_dns_failed(&faults, "a.test", "timeout", 1001);
	faults_dns_failed(&faults, "b.test", "timeout", 1002);
	told_is("");
	/* one answer between them: theirs are down, not ours */
	faults_dns_answered(&faults, 1003);
	faults_dns_failed(&faults, "c.test", "timeout", 1004);
	faults_dns_failed(&faults, "a.test", "timeout", 1005);
	told_is("");
	faults_dns_failed(&faults, "b.test", "timeout", 1006);
	told_is("dns  timeout 1\n");
	faults_dns_failed(&faults, "d.test", "timeout", 1007);
	told_is("");
	faults_dns_answered(&faults, 1008);
	told_is("dns  timeout 2 over\n");
	faults_done(&faults);
}
END_TEST

static const struct {
	enum outcome_kind kind;
	enum cause cause;
	const char *enhanced, *advice;
	enum fault_kind want;
} outcomes[] = {
	{OUTCOME_DEFERRED, CAUSE_AUTH_FAILED, "5.7.8", NULL, FAULT_LOGIN},
	{OUTCOME_DEFERRED, CAUSE_AUTH_NOT_OFFERED, "4.7.0", NULL, FAULT_LOGIN},
	{OUTCOME_DEFERRED, CAUSE_CONFIGURATION, "4.3.5", NULL,
	 FAULT_CONFIGURATION},
	{OUTCOME_FAILED, CAUSE_SELF_IN_MX, "5.4.6", NULL, FAULT_ROUTE},
	{OUTCOME_FAILED, CAUSE_REPLY, "5.7.25", "no-reverse-dns", FAULT_NAME},
	{OUTCOME_DEFERRED, CAUSE_REPLY, "4.7.25", "no-reverse-dns", FAULT_NAME},
	{OUTCOME_FAILED, CAUSE_REPLY, "5.7.1", "helo-name", FAULT_NAME},
	{OUTCOME_FAILED, CAUSE_REPLY, NULL, "no-reverse-dns", FAULT_NAME},
	{OUTCOME_FAILED, CAUSE_REPLY, "5.1.1", "no-reverse-dns", FAULT_NONE},
	{OUTCOME_FAILED, CAUSE_REPLY, "5.7.1", "spf", FAULT_NONE},
	{OUTCOME_FAILED, CAUSE_REPLY, "5.7.1", NULL, FAULT_NONE},
	{OUTCOME_DEFERRED, CAUSE_CONNECT_REFUSED, "4.4.1", NULL, FAULT_NONE},
	{OUTCOME_DELIVERED, CAUSE_REPLY, "2.0.0", NULL, FAULT_NONE},
};

START_TEST(only_what_is_ours_is_a_fault_of_ours)
{
	static struct outcome outcome;
	struct classification classification = {0};

	memset(&outcome, 0, sizeof(outcome));
	outcome.kind = outcomes[_i].kind;
	outcome.cause = outcomes[_i].cause;
	status_set(&outcome.status, 550, outcomes[_i].enhanced, "no");
	classification.advice = outcomes[_i].advice;
	ck_assert_int_eq(fault_of(&outcome, &classification),
			 outcomes[_i].want);
}
END_TEST

static const struct {
	const char *command, *want;
} commands[] = {
	{"", ""},
	{"  ", ""},
	{"/bin/page", "[/bin/page]"},
	{" /bin/page  me\tnow ", "[/bin/page][me][now]"},
	{"page \"a b\" 'c \"d' e\\ f", "[page][a b][c \"d][e f]"},
	{"page \"\" $HOME;ls|x", "[page][][$HOME;ls|x]"},
	{"page \"never closed", ""},
	{"a b c d e f g h", "[a][b][c][d]"},
};

START_TEST(a_command_is_parted_without_a_shell)
{
	char *words[5], text[256] = "";
	size_t count = admin_words(commands[_i].command, words, COUNT(words));

	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(text);

		(void)snprintf(text + len, sizeof(text) - len, "[%s]",
			       words[i]);
		free(words[i]);
	}
	ck_assert_ptr_null(words[count]);
	ck_assert_str_eq(text, commands[_i].want);
}
END_TEST

UNIT_MAIN("faults",
	  tcase_add_test(tc,
			 a_fault_is_told_at_its_begin_each_hour_and_at_its_end);
	  tcase_add_test(tc, the_table_is_bounded);
	  tcase_add_test(tc, what_was_seen_last_longest_ago_makes_room);
	  tcase_add_test(tc, where_it_is_may_be_longer_than_what_is_kept);
	  tcase_add_test(tc, dns_is_our_fault_when_no_domain_has_an_answer);
	  tcase_add_loop_test(tc, only_what_is_ours_is_a_fault_of_ours, 0,
			      COUNT(outcomes));
	  tcase_add_loop_test(tc, a_command_is_parted_without_a_shell, 0,
			      COUNT(commands));)
