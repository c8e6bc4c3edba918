/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/route/sts_policy.h"

#define HEAD "version: STSv1\nmode: enforce\nmax_age: 86400\n"

static const struct {
	const char *text;
	const char *wrong; /* NULL: it is good */
	enum sts_mode mode;
	uint64_t max_age_s;
	const char *mx; /* with a space behind each */
} cases[] = {
	{HEAD "mx: mx.example\n", NULL, STS_ENFORCE, 86400, "mx.example "},
	{"version: STSv1\r\nmode: testing\r\nmax_age: 0\r\nmx: a.example\r\n"
	 "mx: *.Example.ORG\r\n",
	 NULL, STS_TESTING, 0, "a.example *.example.org "},
	{"max_age:31557600\n\n mode :none\nversion:STSv1", NULL, STS_NONE,
	 31557600, ""},
	/* the first counts; what is unknown is an extension */
	{HEAD "mode: none\nmax_age: 1\nversion: STSv2\nmx: mx.example\n"
	      "color: blue\n",
	 NULL, STS_ENFORCE, 86400, "mx.example "},
	{HEAD "mx: M\303\274ller.example\n", NULL, STS_ENFORCE, 86400,
	 "xn--mller-kva.example "},
	{HEAD, "no mx line", 0, 0, NULL},
	{"", "no version", 0, 0, NULL},
	{"mode: none\nmax_age: 1\n", "no version", 0, 0, NULL},
	{"version: STSv1\nmax_age: 1\n", "no mode", 0, 0, NULL},
	{"version: STSv1\nmode: none\n", "no max_age", 0, 0, NULL},
	{"version: STSv2\nmode: none\nmax_age: 1\n", "an unknown version", 0, 0,
	 NULL},
	{"version: STSv1\nmode: maybe\nmax_age: 1\n", "an unknown mode", 0, 0,
	 NULL},
	{"version: STSv1\nmode: none\nmax_age: 31557601\n",
	 "a max_age that is no number of seconds within a year", 0, 0, NULL},
	{"version: STSv1\nmode: none\nmax_age: -1\n",
	 "a max_age that is no number of seconds within a year", 0, 0, NULL},
	{HEAD "mx: *.*.example\n", "an mx line that names no host", 0, 0, NULL},
	{HEAD "mx: 192.0.2.1\n", "an mx line that names no host", 0, 0, NULL},
	{HEAD "mx:\n", "an mx line that names no host", 0, 0, NULL},
	{HEAD "mx mx.example\n", "a line that is no \"name: value\"", 0, 0,
	 NULL},
};

START_TEST(a_policy_is_read_as_rfc_8461_writes_it)
{
	struct sts_policy *policy = NULL;
	const char *wrong = sts_policy_parse(str_of(cases[_i].text), &policy);
	char mx[256] = "";

	if (cases[_i].wrong != NULL) {
		ck_assert_str_eq(wrong, cases[_i].wrong);
		ck_assert_ptr_null(policy);
		return;
	}
	ck_assert_msg(wrong == NULL, "%s", wrong);
	ck_assert_int_eq((int)policy->mode, (int)cases[_i].mode);
	ck_assert_uint_eq(policy->max_age_s, cases[_i].max_age_s);
	for (size_t i = 0; i < policy->mx_count; i++)
		(void)snprintf(mx + strlen(mx), sizeof(mx) - strlen(mx), "%s ",
			       policy->mx[i]);
	ck_assert_str_eq(mx, cases[_i].mx);
	sts_policy_unref(policy);
}
END_TEST

START_TEST(a_policy_has_a_largest_size_and_number_of_hosts)
{
	struct sts_policy *policy = NULL;
	struct buf text;

	buf_init(&text, 1 << 20);
	(void)buf_adds(&text, HEAD);
	for (unsigned i = 0; i < STS_MX_MAX; i++)
		(void)buf_addf(&text, "mx: mx%u.example\n", i);
	ck_assert_ptr_null(sts_policy_parse(str_of(buf_text(&text)), &policy));
	ck_assert_uint_eq(policy->mx_count, STS_MX_MAX);
	sts_policy_unref(policy);
	(void)buf_adds(&text, "mx: one.more.example\n");
	ck_assert_str_eq(sts_policy_parse(str_of(buf_text(&text)), &policy),
			 "too many mx lines");
	buf_clear(&text);
	(void)buf_adds(&text, HEAD "mx: mx.example\n");
	while (buf_len(&text) <= STS_TEXT_MAX)
		(void)buf_adds(&text, "more: and more\n");
	ck_assert_str_eq(sts_policy_parse(str_of(buf_text(&text)), &policy),
			 "more than 64 KiB");
	buf_done(&text);
}
END_TEST

START_TEST(a_star_stands_for_one_label)
{
	static const struct {
		const char *host;
		bool is_named;
	} hosts[] = {
		{"mx.example", true},
		{"a.example.org", true},
		{"b.example.org", true},
		{"example.org", false},
		{"a.b.example.org", false},
		{"mx.example.com", false},
		{"a.mx.example", false},
		{"example", false},
		{"xexample.org", false},
		{".example.org", false},
		{"", false},
	};
	struct sts_policy *policy = NULL;

	ck_assert_ptr_null(sts_policy_parse(
		str_of(HEAD "mx: mx.example\nmx: *.example.org\n"), &policy));
	for (size_t i = 0; i < COUNT(hosts); i++)
		ck_assert_msg(sts_policy_names(policy, hosts[i].host) ==
				      hosts[i].is_named,
			      "%s", hosts[i].host);
	sts_policy_unref(policy);
}
END_TEST

START_TEST(a_record_has_an_id)
{
	static const struct {
		const char *record, *id; /* NULL: none */
	} records[] = {
		{"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
		{"v=STSv1;id=1", "1"},
		{"v=STSv1 ; x=y ; id = 1 ;", "1"},
		{"v=STSv1; id=12345678901234567890123456789012;",
		 "12345678901234567890123456789012"},
		{"v=STSv1; id=123456789012345678901234567890123;", NULL},
		{"v=STSv1; id=;", NULL},
		{"v=STSv1; id=a-b;", NULL},
		{"v=STSv1;", NULL},
		{"v=STSv1", NULL},
		{"v=STSv2; id=1;", NULL},
		{"id=1; v=STSv1;", NULL},
		{"v=spf1 -all", NULL},
		{"", NULL},
	};

	for (size_t i = 0; i < COUNT(records); i++) {
		char id[STS_ID_MAX + 1] = "";
		bool is_one = sts_record_parse(str_of(records[i].record), id);

		ck_assert_msg(is_one == (records[i].id != NULL), "%s",
			      records[i].record);
		if (is_one)
			ck_assert_str_eq(id, records[i].id);
	}
}
END_TEST

START_TEST(what_is_stored_is_read_back_around_what_is_damaged)
{
	struct sts_policy *policy = NULL, *again;
	char domain[256];
	struct buf file;
	struct str text;

	buf_init(&file, 1 << 16);
	ck_assert_ptr_null(sts_policy_parse(
		str_of(HEAD "mx: mx.example\nmx: *.b.example\n"), &policy));
	(void)snprintf(policy->id, sizeof(policy->id), "abc1");
	policy->fetched_s = 1763700000;
	sts_policy_format(policy, "a.example", &file);
	(void)buf_adds(&file, "domain: b.example\nid: 1\nmode: enforce\n\n");
	(void)buf_adds(&file, "domain: ../../etc\nid: 1\n" HEAD "\n");
	(void)buf_adds(&file, "\n\nnonsense\n\n");
	sts_policy_format(policy, "c.example", &file);
	text = str_of(buf_text(&file));

	ck_assert(sts_policy_next(&text, domain, sizeof(domain), &again));
	ck_assert_str_eq(domain, "a.example");
	ck_assert_ptr_nonnull(again);
	ck_assert_str_eq(again->id, "abc1");
	ck_assert_uint_eq(again->fetched_s, 1763700000);
	ck_assert_uint_eq(sts_policy_ends_s(again), 1763700000 + 86400);
	ck_assert_int_eq((int)again->mode, STS_ENFORCE);
	ck_assert_uint_eq(again->mx_count, 2);
	ck_assert(sts_policy_names(again, "x.b.example"));
	sts_policy_unref(again);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(
			sts_policy_next(&text, domain, sizeof(domain), &again));
		ck_assert_ptr_null(again);
	}
	ck_assert(sts_policy_next(&text, domain, sizeof(domain), &again));
	ck_assert_str_eq(domain, "c.example");
	sts_policy_unref(again);
	ck_assert(!sts_policy_next(&text, domain, sizeof(domain), &again));
	sts_policy_unref(policy);
	buf_done(&file);
}
END_TEST

UNIT_MAIN("sts_policy",
	  tcase_add_loop_test(tc, a_policy_is_read_as_rfc_8461_writes_it, 0,
			      (int)COUNT(cases));
	  tcase_add_test(tc, a_policy_has_a_largest_size_and_number_of_hosts);
	  tcase_add_test(tc, a_star_stands_for_one_label);
	  tcase_add_test(tc, a_record_has_an_id);
	  tcase_add_test(tc,
			 what_is_stored_is_read_back_around_what_is_damaged);)
