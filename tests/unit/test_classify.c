/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/category.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/normalize.h"

/* --- normalisation ------------------------------------------------------- */

static const struct {
	const char *reply, *words;
	unsigned code;
	const char *enhanced;
	size_t inner;
} normals[] = {
	{"550 5.1.1 <anna@example.net>: User unknown", "user unknown", 550,
	 "5.1.1", 0},
	{"550-5.1.1 The account\n550-5.1.1 does not exist.\n550 5.1.1 Bye",
	 "the account does not exist bye", 550, "5.1.1", 0},
	{"550-5.1.1 a\r\n550 5.1.1 b\r\n", "a b", 550, "5.1.1", 0},
	{"550 RecipientNotFound", "recipient not found", 550, "", 0},
	{"550 Empf\xc3\xa4nger ung\xc3\xbcltig", "empfaenger ungueltig", 550,
	 "", 0},
	{"550 Empf\xe4nger unbekannt", "empfaenger unbekannt", 550, "", 0},
	{"550 Bo\xc3\xaete pleine d'\xc3\xa9t\xc3\xa9", "boite pleine d ete",
	 550, "", 0},
	{"550 \xd0\x9d\xd0\x95\xd0\xa2", "\xd0\xbd\xd0\xb5\xd1\x82", 550, "",
	 0},
	{"550 \xe6\xb2\xa1\xe6\x9c\x89", "\xe6\xb2\xa1 \xe6\x9c\x89", 550, "",
	 0},
	{"554 5.7.1 blocked using zen.spamhaus.org; see "
	 "https://www.spamhaus.org/query/ip/192.0.2.1",
	 "blocked using zen.spamhaus.org see spamhaus.org", 554, "5.7.1", 0},
	{"554 mailbox.Please try", "mailbox please try", 554, "", 0},
	{"<a@b.example>: host mx.example[192.0.2.1] said: 550 5.1.1 gone (in "
	 "reply to RCPT TO command)",
	 "host mx.example 192 0 2 1 said gone", 550, "5.1.1", 7},
	{"451 4.4.0 answered with: \"421 4.4.2 dropped\"",
	 "answered with dropped", 421, "4.4.2", 2},
	{"552 size limit: 500 messages", "size limit 500 messages", 552, "", 0},
	{"host said: nobody here", "host said nobody here", 0, "", 2},
	{"smtp; 550 5.2.2 full", "smtp full", 550, "5.2.2", 1},
	{"550 see [#4.16.1] 5.2.1", "see 4 16 1", 550, "5.2.1", 0},
	{"550 no, relay=[192.0.2.44]", "no 192 0 2 44", 550, "", 0},
	{"", "", 0, "", 0},
	{"550", "", 550, "", 0},
	{"550 \xff\xfe\x80", "yth", 550, "", 0},
};

START_TEST(replies_become_words_and_codes)
{
	struct normal got;
	char enhanced[16] = "";

	normal_reply(normals[_i].reply, &got);
	if (got.class != 0)
		snprintf(enhanced, sizeof(enhanced), "%u.%u.%u", got.class,
			 got.subject, got.detail);
	ck_assert_uint_eq(strlen(normals[_i].words),
			  got.text_len - (got.text_len != 0));
	ck_assert_mem_eq(got.text, normals[_i].words,
			 strlen(normals[_i].words));
	ck_assert_uint_eq(got.code, normals[_i].code);
	ck_assert_str_eq(enhanced, normals[_i].enhanced);
	ck_assert_uint_eq(got.inner, normals[_i].inner);
}
END_TEST

START_TEST(a_flood_of_words_stays_within_bounds)
{
	static const char *const pieces[] = {"a ",	  "ab.example.org ",
					     "\xc3\xa4 ", "\xe6\xb2\xa1",
					     "aB",	  "550 5.1.1 \n"};
	struct normal got;

	for (size_t i = 0; i < COUNT(pieces); i++) {
		size_t len = strlen(pieces[i]);
		char *text = mem_zalloc(20001);

		for (size_t at = 0; at + len <= 20000; at += len)
			memcpy(text + at, pieces[i], len);
		normal_reply(text, &got);
		ck_assert_uint_lt(got.count, NORMAL_WORDS_MAX);
		ck_assert_uint_le(got.text_len, NORMAL_TEXT_MAX);
		memset(text, 'x', 20000);
		normal_reply(text, &got);
		ck_assert_uint_le(got.text_len, NORMAL_TEXT_MAX);
		free(text);
	}
}
END_TEST

/* --- the language of rules ----------------------------------------------- */

static const struct {
	const char *rules, *reply, *rule;
} matches[] = {
	{"a other : red green", "red green", "a"},
	{"a other : red green", "green red", "none"},
	{"a other : red green", "red blue green", "none"},
	{"a other : red . green", "red blue green", "a"},
	{"a other : red . green", "red blue blue green", "none"},
	{"a other : red .. green", "red 1 2 3 4 5 6 blue blue green", "a"},
	{"a other : red .. green", "red b b b b green", "a"},
	{"a other : red .. green", "red b b b b b green", "none"},
	{"a other : red ... green", "red b b b b b b green", "a"},
	{"a other : red ... green", "green b red", "none"},
	/* the nearest beginning counts */
	{"a other : red . green", "red b b red b green", "a"},
	/* and each phrase of an element is tried */
	{"a other : (red | red is) (is | not) green", "red is green", "a"},
	{"a other : (red | light blue) green", "light blue green", "a"},
	{"a other : (red | light blue) green", "blue green", "none"},
	{"a other : red | blue", "blue", "a"},
	{"a other : red & blue", "blue and red", "a"},
	{"a other : red & blue", "blue and green", "none"},
	{"a other : red ! blue", "red and green", "a"},
	{"a other : red ! blue", "red and blue", "none"},
	{"a other : gree*", "Greetings", "a"},
	{"a other : gree*", "gre", "none"},
	{"a other : gree* light", "greenish light", "a"},
	{"a other : don't", "DON'T!", "a"},
	{"let c = red | blue\na other : $c wine", "blue wine", "a"},
	{"let c = red\nlet d = $c | blue\na other : $d", "red", "a"},
	{"a other : by @host", "by mx.example.org", "a"},
	{"a other : by @host", "by them", "none"},
	{"a other : example.org", "by mx.example.org", "a"},
	{"a other : example.org", "see https://x.example.org/y", "a"},
	{"a other : example.org", "by example.com", "none"},
	{"a other : example.org", "by notexample.org", "none"},
	{"a other code=550 : red", "550 red", "a"},
	{"a other code=55x : red", "554 red", "a"},
	{"a other code=4xx : red", "554 red", "none"},
	{"a other code=4xx,554 : red", "554 red", "a"},
	{"a other code!=5xx : red", "554 red", "none"},
	{"a other code!=5xx : red", "red", "a"},
	{"a other status=x.7.1 : red", "554 5.7.1 red", "a"},
	{"a other status=x.7.x code=4xx : red", "454 4.7.1 red", "a"},
	{"a other status=x.7.1 : red", "550 red", "none"},
	{"a other phase=rcpt : red",
	 "host said: red (in reply to RCPT TO "
	 "command)",
	 "a"},
	{"a other : red\nb other : red", "red", "a"},
	{"a other : blue\nb other : red", "red blue", "a"},
	/* the innermost quotation decides, unless it says nothing */
	{"a other : red\nb other : blue", "red host said: blue", "b"},
	{"a other : red\nb other : blue", "red host said: green", "a"},
	{"a other whole : red\nb other : blue", "red host said: blue", "a"},
	{"# a comment\n\na other : red\r\n", "red", "a"},
	{"a other :\n# why\n\tred\n  green\nb other : blue", "red green", "a"},
};

START_TEST(rules_mean_what_their_language_says)
{
	struct classifier *classifier;
	struct classification got;
	struct err err = ERR_INIT;

	ck_assert_msg(classifier_load(NULL, NULL, matches[_i].rules, "test",
				      &classifier, &err) == 0,
		      "%s", err.text);
	classify_reply(classifier, matches[_i].reply, PHASE_NONE, &got);
	if (strcmp(matches[_i].rule, "none") == 0)
		ck_assert_msg(strchr("abc", got.rule[0]) == NULL ||
				      strlen(got.rule) > 1,
			      "%s", got.rule);
	else
		ck_assert_str_eq(got.rule, matches[_i].rule);
	classifier_unref(classifier);
}
END_TEST

static const struct {
	const char *condition, *host;
	bool fits;
} hosts[] = {
	{"host=example.com", "example.com", true},
	{"host=example.com", "MX.Example.COM", true},
	{"host=example.com", "a.mx.example.com", true},
	{"host=example.com", "notexample.com", false},
	{"host=example.com", "com", false},
	{"host=example.com", "", false},
	{"host=example.net,example.com", "mx.example.com", true},
	{"host!=example.com", "mx.example.com", false},
	{"host!=example.com", "mx.example.net", true},
};

START_TEST(a_rule_can_ask_who_answered)
{
	struct outcome outcome = {.kind = OUTCOME_FAILED, .phase = PHASE_RCPT};
	char rules[80];
	struct classifier *classifier;
	struct classification got;
	struct err err = ERR_INIT;

	(void)snprintf(rules, sizeof(rules), "a spam-related %s : red",
		       hosts[_i].condition);
	ck_assert_msg(classifier_load(NULL, NULL, rules, "test", &classifier,
				      &err) == 0,
		      "%s", err.text);
	(void)snprintf(outcome.reply, sizeof(outcome.reply), "550 red");
	(void)snprintf(outcome.host, sizeof(outcome.host), "%s",
		       hosts[_i].host);
	classify_outcome(classifier, &outcome, &got);
	ck_assert_str_eq(got.rule, hosts[_i].fits ? "a" : "code-550");
	classifier_unref(classifier);
}
END_TEST

static const struct {
	const char *rules, *error;
} mistakes[] = {
	{"a nothing : red", "test:1: 'nothing' is not a category"},
	{"a other", "test:1: expected ': PATTERN'"},
	{"\n\na other : (red", "test:3: a parenthesis is not closed"},
	{"a other : red)", "test:1: a ')' too many"},
	{"a other : ()", "test:1: empty parentheses"},
	{"a other : (red (blue))", "test:1: '(' cannot stand here"},
	{"a other : (red . blue)", "test:1: '.' cannot stand here"},
	{"a other :", "test:1: an alternative is empty"},
	{"a other : red |", "test:1: an alternative is empty"},
	{"a other : red ..", "test:1: dots must stand between words"},
	{"a other : .. red", "test:1: dots must stand between words"},
	{"a other : red .... blue", "test:1: '....' is not a gap"},
	{"a other : ! red", "test:1: an alternative is empty"},
	{"a other : red & blue | green",
	 "test:1: '|' behind & or ! needs parentheses"},
	{"a other : re*", "test:1: 're*': at least 3 letters before '*'"},
	{"a other : ---", "test:1: '---' holds no word"},
	{"a other : $c", "test:1: '$c' is not defined above"},
	{"let c = red\nlet c = blue", "test:2: 'c' is defined twice"},
	{"let c =", "test:1: 'c' stands for nothing"},
	{"let c red", "test:1: expected: let NAME = words | words"},
	{"a other code=7xx : red", "test:1: '7xx' cannot be asked for"},
	{"a other status=5.7 : red", "test:1: '5.7' cannot be asked for"},
	{"a other phase=lunch : red", "test:1: 'lunch' cannot be asked for"},
	{"a other advice=x : red", "test:1: there is no advice 'x'"},
	{"a other colour=x : red", "test:1: 'colour=x' is not known here"},
	{"a other : a b c d e f g h i j k l m",
	 "test:1: the phrase has too many words"},
	{"a other : a & b & c & d & e & f & g & h",
	 "test:1: more than 7 parts"},
	{"a other : \xff\xfe", "test:1: not UTF-8"},
};

START_TEST(a_mistake_in_rules_names_its_line)
{
	struct classifier *classifier = NULL;
	struct err err = ERR_INIT;

	ck_assert_int_lt(classifier_load(NULL, NULL, mistakes[_i].rules, "test",
					 &classifier, &err),
			 0);
	ck_assert_str_eq(err.text, mistakes[_i].error);
	ck_assert_ptr_null(classifier);
}
END_TEST

START_TEST(own_rules_come_before_the_shipped_ones)
{
	struct classifier *classifier;
	struct classification got;
	struct err err = ERR_INIT;

	ck_assert_int_eq(classifier_load("mine spam-related : full", "own",
					 "theirs quota-issues : full",
					 "shipped", &classifier, &err),
			 0);
	classify_reply(classifier, "552 full", PHASE_NONE, &got);
	ck_assert_str_eq(got.rule, "mine");
	ck_assert_int_eq(got.category, CATEGORY_SPAM_RELATED);
	ck_assert_uint_eq(classifier_rule_count(classifier), 2);
	classifier_unref(classifier);
}
END_TEST

/* --- without text -------------------------------------------------------- */

static const struct {
	const char *reply;
	enum smtp_phase phase;
	enum category category;
	const char *rule;
} silents[] = {
	{"550 5.1.1 x", PHASE_NONE, CATEGORY_BAD_MAILBOX, "code-5.1.1"},
	{"550 x", PHASE_NONE, CATEGORY_BAD_MAILBOX, "code-550"},
	{"550 x", PHASE_RCPT, CATEGORY_BAD_MAILBOX, "code-550"},
	{"550 x", PHASE_MAIL, CATEGORY_POLICY_RELATED, "phase-before-rcpt"},
	{"550 5.0.0 x", PHASE_NONE, CATEGORY_BAD_MAILBOX, "code-550"},
	{"554 x", PHASE_NONE, CATEGORY_OTHER, "none"},
	{"554 x", PHASE_RCPT, CATEGORY_BAD_MAILBOX, "phase-rcpt"},
	{"554 x", PHASE_BODY, CATEGORY_CONTENT_RELATED, "phase-body"},
	{"554 x", PHASE_AUTH, CATEGORY_RELAYING_ISSUES, "phase-auth"},
	{"554 x", PHASE_STARTTLS, CATEGORY_BAD_CONFIGURATION, "phase-tls"},
	{"554 x", PHASE_TLS, CATEGORY_BAD_CONFIGURATION, "phase-tls"},
	{"554 x", PHASE_LOCAL, CATEGORY_OTHER, "none"},
	{"521 x", PHASE_NONE, CATEGORY_BAD_DOMAIN, "code-521"},
	{"451 x", PHASE_RCPT, CATEGORY_OTHER, "none"},
	{"451 4.7.1 x", PHASE_NONE, CATEGORY_POLICY_RELATED, "code-4.7.1"},
	{"550 5.7.8 x", PHASE_NONE, CATEGORY_RELAYING_ISSUES, "code-5.7.8"},
	{"451 4.3.2 x", PHASE_NONE, CATEGORY_OTHER, "code-4.3.2"},
	{"550 5.9.9 x", PHASE_NONE, CATEGORY_BAD_MAILBOX, "code-550"},
	{"", PHASE_NONE, CATEGORY_OTHER, "none"},
};

START_TEST(codes_and_commands_decide_where_the_text_is_silent)
{
	struct classifier *classifier = classifier_builtin();
	struct classification got;

	classify_reply(classifier, silents[_i].reply, silents[_i].phase, &got);
	ck_assert_str_eq(got.rule, silents[_i].rule);
	ck_assert_int_eq(got.category, silents[_i].category);
	ck_assert_str_eq(got.words, "");
	classifier_unref(classifier);
}
END_TEST

static const struct {
	const char *code, *category;
} codes[] = {
	{"0.0", "other"},
	{"1.0", "bad-mailbox"},
	{"1.1", "bad-mailbox"},
	{"1.2", "bad-domain"},
	{"1.3", "bad-mailbox"},
	{"1.4", "bad-mailbox"},
	{"1.5", "other"},
	{"1.6", "inactive-mailbox"},
	{"1.7", "policy-related"},
	{"1.8", "policy-related"},
	{"1.9", "other"},
	{"1.10", "bad-domain"},
	{"1.11", "none"},
	{"2.0", "bad-mailbox"},
	{"2.1", "inactive-mailbox"},
	{"2.2", "quota-issues"},
	{"2.3", "content-related"},
	{"2.4", "bad-configuration"},
	{"2.5", "none"},
	{"3.0", "other"},
	{"3.1", "quota-issues"},
	{"3.2", "other"},
	{"3.3", "protocol-errors"},
	{"3.4", "content-related"},
	{"3.5", "bad-configuration"},
	{"4.0", "other"},
	{"4.1", "no-answer-from-host"},
	{"4.2", "bad-connection"},
	{"4.3", "routing-errors"},
	{"4.4", "routing-errors"},
	{"4.5", "other"},
	{"4.6", "routing-errors"},
	{"4.7", "message-expired"},
	{"5.0", "protocol-errors"},
	{"5.1", "protocol-errors"},
	{"5.2", "protocol-errors"},
	{"5.3", "policy-related"},
	{"5.4", "protocol-errors"},
	{"5.6", "protocol-errors"},
	{"6.0", "content-related"},
	{"6.6", "content-related"},
	{"6.7", "protocol-errors"},
	{"6.8", "protocol-errors"},
	{"6.9", "content-related"},
	{"6.10", "protocol-errors"},
	{"7.0", "policy-related"},
	{"7.1", "policy-related"},
	{"7.7", "policy-related"},
	{"7.8", "relaying-issues"},
	{"7.9", "policy-related"},
	{"7.13", "inactive-mailbox"},
	{"7.17", "inactive-mailbox"},
	{"7.18", "bad-domain"},
	{"7.25", "policy-related"},
	{"8.0", "none"},
	/* without an enhanced one */
	{"452", "quota-issues"},
	{"500", "protocol-errors"},
	{"501", "protocol-errors"},
	{"502", "protocol-errors"},
	{"503", "protocol-errors"},
	{"504", "protocol-errors"},
	{"521", "bad-domain"},
	{"530", "relaying-issues"},
	{"535", "relaying-issues"},
	{"550", "bad-mailbox"},
	{"551", "relaying-issues"},
	{"552", "quota-issues"},
	{"553", "bad-mailbox"},
	{"555", "protocol-errors"},
	{"556", "bad-domain"},
	/* these say no more than that it failed */
	{"421", "none"},
	{"450", "none"},
	{"451", "none"},
	{"454", "none"},
	{"554", "none"},
};

START_TEST(a_code_alone_has_the_category_of_what_must_change)
{
	for (size_t i = 0; i < COUNT(codes); i++) {
		unsigned subject, detail;
		enum category category;
		const char *got = "none";
		bool is_known;

		if (sscanf(codes[i].code, "%u.%u", &subject, &detail) == 2)
			is_known = category_by_enhanced(subject, detail,
							&category);
		else
			is_known = category_by_code(subject, &category);
		if (is_known)
			got = category_name(category);
		ck_assert_msg(strcmp(got, codes[i].category) == 0, "%s: %s",
			      codes[i].code, got);
	}
}
END_TEST

static const struct {
	enum cause cause;
	const char *category;
} causes[] = {
	{CAUSE_DNS_NO_DOMAIN, "bad-domain"},
	{CAUSE_DNS_NO_ADDRESS, "bad-domain"},
	{CAUSE_DNS_NULL_MX, "bad-domain"},
	{CAUSE_DNS_BAD_MX, "routing-errors"},
	{CAUSE_DNS_FAILED, "routing-errors"},
	{CAUSE_DNS_BOGUS, "routing-errors"},
	{CAUSE_SELF_IN_MX, "routing-errors"},
	{CAUSE_PRIVATE_TARGET, "routing-errors"},
	{CAUSE_LOOP, "routing-errors"},
	{CAUSE_CONNECT_REFUSED, "bad-connection"},
	{CAUSE_CONNECT_UNREACHABLE, "bad-connection"},
	{CAUSE_CONNECTION_LOST, "bad-connection"},
	{CAUSE_CONNECT_TIMEOUT, "no-answer-from-host"},
	{CAUSE_REPLY_TIMEOUT, "no-answer-from-host"},
	{CAUSE_REPLY_GARBLED, "protocol-errors"},
	{CAUSE_NO_8BITMIME, "protocol-errors"},
	{CAUSE_NO_SMTPUTF8, "protocol-errors"},
	{CAUSE_HOST_BUSY, "policy-related"},
	{CAUSE_TLS_REQUIRED, "policy-related"},
	{CAUSE_TLS_POLICY, "policy-related"},
	{CAUSE_OPERATOR, "policy-related"},
	{CAUSE_AUTH_NOT_OFFERED, "relaying-issues"},
	{CAUSE_AUTH_FAILED, "relaying-issues"},
	{CAUSE_TOO_BIG, "content-related"},
	{CAUSE_LOCAL_QUOTA, "quota-issues"},
	{CAUSE_LOCAL_ADDRESS, "bad-mailbox"},
	{CAUSE_EXPIRED, "message-expired"},
	{CAUSE_TLS_FAILED, "bad-configuration"},
	{CAUSE_DANE_LOOKUP, "bad-configuration"},
	{CAUSE_DANE_FAILED, "bad-configuration"},
	{CAUSE_STS_FAILED, "bad-configuration"},
	{CAUSE_LOCAL_FILE, "bad-configuration"},
	{CAUSE_SPOOL, "bad-configuration"},
	{CAUSE_CONFIGURATION, "bad-configuration"},
};

START_TEST(what_we_found_out_ourselves_has_its_category)
{
	for (size_t i = 0; i < COUNT(causes); i++) {
		const char *got =
			category_name(category_by_cause(causes[i].cause));

		ck_assert_msg(strcmp(got, causes[i].category) == 0, "%s: %s",
			      cause_name(causes[i].cause), got);
	}
}
END_TEST

START_TEST(every_cause_has_its_category_whatever_the_text_says)
{
	struct classifier *classifier = classifier_builtin();
	struct outcome outcome;
	struct classification got;
	char rule[64];

	for (int c = CAUSE_REPLY + 1; c <= CAUSE_CONFIGURATION; c++) {
		memset(&outcome, 0, sizeof(outcome));
		outcome_own(&outcome, (enum cause)c, PHASE_DNS, "virus found");
		classify_outcome(classifier, &outcome, &got);
		ck_assert_int_eq(got.category,
				 category_by_cause((enum cause)c));
		ck_assert_int_ne(got.category, CATEGORY_OTHER);
		ck_assert_int_ne(got.category, CATEGORY_VIRUS_RELATED);
		snprintf(rule, sizeof(rule), "cause-%s",
			 cause_name((enum cause)c));
		ck_assert_str_eq(got.rule, rule);
	}
	classifier_unref(classifier);
}
END_TEST

/* Who is told to act, and what about, where nobody but us has failed. */
static const struct {
	enum cause cause;
	const char *advice, *who;
} of_ours[] = {
	{CAUSE_AUTH_FAILED, "our-login", "your mail administrator"},
	{CAUSE_AUTH_NOT_OFFERED, "our-login", "your mail administrator"},
	{CAUSE_CONFIGURATION, "our-configuration", "your mail administrator"},
	{CAUSE_SELF_IN_MX, "leads-here", "the mail administrators"},
	{CAUSE_DNS_FAILED, "dns-failed", "the mail administrators"},
	{CAUSE_DNS_BOGUS, "dns-failed", "the mail administrators"},
	{CAUSE_HOST_BUSY, "rate-limited", "your mail administrator"},
	{CAUSE_NO_SMTPUTF8, "no-smtputf8", "you"},
};

START_TEST(a_failure_of_ours_is_nobody_else_s_to_mend)
{
	struct classifier *classifier = classifier_builtin();
	struct outcome outcome = {0};
	struct classification got;
	struct advice advice;

	outcome_own(&outcome, of_ours[_i].cause, PHASE_DNS, "whatever");
	classify_outcome(classifier, &outcome, &got);
	ck_assert_str_eq(got.advice, of_ours[_i].advice);
	advice_find(&got, NULL, &advice);
	ck_assert_str_eq(advice.who, of_ours[_i].who);
	classifier_unref(classifier);
}
END_TEST

START_TEST(an_outcome_with_a_reply_is_read)
{
	struct classifier *classifier = classifier_builtin();
	struct outcome outcome = {.kind = OUTCOME_FAILED,
				  .cause = CAUSE_REPLY,
				  .phase = PHASE_RCPT,
				  .host = "mx.example.net"};
	struct classification got;

	snprintf(outcome.reply, sizeof(outcome.reply),
		 "550-5.2.2 The mailbox\n550 5.2.2 is full");
	classify_outcome(classifier, &outcome, &got);
	ck_assert_int_eq(got.category, CATEGORY_QUOTA_ISSUES);
	ck_assert_str_eq(got.advice, "mailbox-full");
	ck_assert_str_eq(got.words, "mailbox is full");

	outcome.reply[0] = '\0';
	status_set(&outcome.status, 554, "5.7.1", "Relay access denied");
	classify_outcome(classifier, &outcome, &got);
	ck_assert_int_eq(got.category, CATEGORY_RELAYING_ISSUES);
	classifier_unref(classifier);
}
END_TEST

#define TEN "1234567890"

static const struct {
	const char *reply, *advice, *detail;
} details[] = {
	{"554 5.7.1 Client host blocked using zen.spamhaus.org; see "
	 "https://www.spamhaus.org/query/ip/192.0.2.1",
	 "blocklisted", "zen.spamhaus.org"},
	{"554 blacklisted, see https://check.example.org/?ip=192.0.2.1",
	 "blocklisted", "check.example.org"},
	{"552 5.3.4 message size 25165824 exceeds size limit 10485760 of "
	 "server mx.example.org",
	 "message-too-big", "10485760"},
	{"552 5.2.3 Message exceeds maximum size of 20 MB", "message-too-big",
	 "20 MB"},
	{"552 5.3.4 Message size exceeds fixed limit", "message-too-big", ""},
	{"552 5.3.4 Message size exceeds limit " TEN TEN TEN TEN TEN TEN TEN TEN
		 TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN,
	 "message-too-big", TEN TEN TEN TEN TEN TEN TEN TEN},
	{"451 4.7.1 Greylisted for 300 seconds", "greylisted", ""},
	{"550 5.7.25 no PTR record for 192.0.2.1", "no-reverse-dns", ""},
	{"550 5.7.23 SPF fail", "spf", ""},
	{"530 5.7.0 Authentication required", "login-missing", ""},
	{"452 4.2.2 Mailbox full", "mailbox-full", ""},
};

START_TEST(advice_is_as_exact_as_the_reply)
{
	struct classifier *classifier = classifier_builtin();
	struct classification got;
	struct advice advice, plain;

	classify_reply(classifier, details[_i].reply, PHASE_NONE, &got);
	ck_assert_ptr_nonnull(got.advice);
	ck_assert_str_eq(got.advice, details[_i].advice);
	ck_assert_str_eq(got.detail, details[_i].detail);
	advice_find(&got, NULL, &advice);
	got.advice = NULL;
	advice_find(&got, NULL, &plain);
	ck_assert_str_ne(advice.explanation, plain.explanation);
	classifier_unref(classifier);
}
END_TEST

START_TEST(every_category_has_a_name_and_four_texts)
{
	for (int c = 0; c < CATEGORY_COUNT; c++) {
		const struct classification of = {.category = (enum category)c};
		struct advice advice;
		enum category back;

		ck_assert(category_parse(category_name(of.category), &back));
		ck_assert_int_eq(back, c);
		advice_find(&of, NULL, &advice);
		ck_assert_uint_gt(strlen(advice.explanation), 20);
		ck_assert_uint_gt(strlen(advice.author), 20);
		ck_assert_uint_gt(strlen(advice.admin), 20);
		ck_assert_uint_gt(strlen(advice.who), 2);
	}
}
END_TEST

UNIT_MAIN(
	"classify", tcase_add_loop_test(tc, replies_become_words_and_codes, 0,
					(int)COUNT(normals));
	tcase_add_test(tc, a_flood_of_words_stays_within_bounds);
	tcase_add_loop_test(tc, a_rule_can_ask_who_answered, 0,
			    (int)COUNT(hosts));
	tcase_add_loop_test(tc, rules_mean_what_their_language_says, 0,
			    (int)COUNT(matches));
	tcase_add_loop_test(tc, a_mistake_in_rules_names_its_line, 0,
			    (int)COUNT(mistakes));
	tcase_add_test(tc, own_rules_come_before_the_shipped_ones);
	tcase_add_loop_test(tc,
			    codes_and_commands_decide_where_the_text_is_silent,
			    0, (int)COUNT(silents));
	tcase_add_test(tc, a_code_alone_has_the_category_of_what_must_change);
	tcase_add_test(tc, what_we_found_out_ourselves_has_its_category);
	tcase_add_test(tc, every_cause_has_its_category_whatever_the_text_says);
	tcase_add_loop_test(tc, a_failure_of_ours_is_nobody_else_s_to_mend, 0,
			    (int)COUNT(of_ours));
	tcase_add_test(tc, an_outcome_with_a_reply_is_read);
	tcase_add_loop_test(tc, advice_is_as_exact_as_the_reply, 0,
			    (int)COUNT(details));
	tcase_add_test(tc, every_category_has_a_name_and_four_texts);)
