/* SPDX-License-Identifier: ISC */
/* The small modules of policy/: cidr, limit, match, tables, trace. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "policy/cidr.h"
#include "policy/limit.h"
#include "policy/match.h"
#include "policy/policy.h"
#include "policy/routes.h"
#include "policy/tables.h"
#include "policy/trace.h"

/* ------------------------------------------------------------------ cidr */

static const struct {
	const char *text;
	const char *result; /* NULL: no network */
} networks[] = {
	{"192.0.2.0/24", "192.0.2.0/24"},
	{"192.0.2.7", "192.0.2.7/32"},
	{"192.0.2.7/32", "192.0.2.7/32"},
	{"0.0.0.0/0", "0.0.0.0/0"},
	{"128.0.0.0/1", "128.0.0.0/1"},
	{"192.0.2.128/25", "192.0.2.128/25"},
	{"2001:db8::/32", "2001:db8::/32"},
	{"2001:db8::1", "2001:db8::1/128"},
	{"::/0", "::/0"},
	{"2001:db8:8000::/33", "2001:db8:8000::/33"},
	{"::ffff:192.0.2.0/120", "192.0.2.0/24"},
	{"::ffff:0.0.0.0/96", "0.0.0.0/0"},
	{"::ffff:192.0.2.7", "192.0.2.7/32"},
	{"", NULL},
	{"/24", NULL},
	{"192.0.2.0/", NULL},
	{"192.0.2.0/33", NULL},
	{"192.0.2.0/-1", NULL},
	{"192.0.2.0/2x", NULL},
	{"192.0.2.1/24", NULL},
	{"192.0.2.64/25", NULL},
	{"2001:db8::1/32", NULL},
	{"2001:db8::/129", NULL},
	{"::ffff:0.0.0.0/95", NULL},
	{"[2001:db8::]/32", NULL},
	{"example.org/24", NULL},
	{"192.0.2.0/24 ", NULL},
	{"192.0.2/24", NULL},
};

START_TEST(networks_are_read_whole_or_refused)
{
	struct cidr network;
	char text[IP_TEXT_MAX + 4];
	bool is_one = cidr_parse(str_of(networks[_i].text), &network);

	ck_assert_msg(is_one == (networks[_i].result != NULL), "%s",
		      networks[_i].text);
	if (is_one)
		ck_assert_str_eq(cidr_format(&network, text),
				 networks[_i].result);
}
END_TEST

static const struct {
	const char *network, *ip;
	bool is_held;
} holdings[] = {
	{"192.0.2.0/24", "192.0.2.0", true},
	{"192.0.2.0/24", "192.0.2.255", true},
	{"192.0.2.0/24", "192.0.3.0", false},
	{"192.0.2.0/24", "192.0.1.255", false},
	{"192.0.2.128/25", "192.0.2.127", false},
	{"192.0.2.128/25", "192.0.2.128", true},
	{"192.0.2.7/32", "192.0.2.7", true},
	{"192.0.2.7/32", "192.0.2.6", false},
	{"0.0.0.0/0", "255.255.255.255", true},
	{"0.0.0.0/0", "2001:db8::1", false},
	{"::/0", "192.0.2.1", false},
	{"::/0", "2001:db8::1", true},
	{"2001:db8::/33", "2001:db8:7fff::1", true},
	{"2001:db8::/33", "2001:db8:8000::1", false},
	{"192.0.2.0/24", "::ffff:192.0.2.9", true},
};

START_TEST(networks_hold_what_their_prefix_says)
{
	struct cidr network;
	struct ip ip;

	ck_assert(cidr_parse(str_of(holdings[_i].network), &network));
	ck_assert(ip_parse(str_of(holdings[_i].ip), &ip));
	ck_assert_int_eq(cidr_holds(&network, &ip), holdings[_i].is_held);
	ck_assert_int_eq(cidr_find(&network, 1, &ip) == &network,
			 holdings[_i].is_held);
}
END_TEST

START_TEST(no_network_holds_a_client_without_an_address)
{
	struct cidr network;
	struct ip none = {.family = IP_NONE};

	ck_assert(cidr_parse(str_of("0.0.0.0/0"), &network));
	ck_assert(!cidr_holds(&network, &none));
	ck_assert_ptr_null(cidr_find(NULL, 0, &none));
}
END_TEST

/* ----------------------------------------------------------------- limit */

START_TEST(a_bucket_gives_its_count_then_fills_evenly)
{
	struct limit *limit = limit_new(10);
	const struct units_rate rate = {6, 60};
	uint64_t wait_ms = 1;

	for (unsigned i = 0; i < 6; i++)
		ck_assert(limit_take(limit, "a", &rate, 1, 1000, &wait_ms));
	ck_assert_uint_eq(wait_ms, 0);
	ck_assert(!limit_take(limit, "a", &rate, 1, 1000, &wait_ms));
	ck_assert_uint_ge(wait_ms, 10000);
	ck_assert_uint_le(wait_ms, 10002);
	ck_assert(!limit_take(limit, "a", &rate, 1, 10900, &wait_ms));
	ck_assert(limit_take(limit, "a", &rate, 1, 11001, &wait_ms));
	ck_assert(!limit_take(limit, "a", &rate, 1, 11001, &wait_ms));
	/* others are not concerned */
	ck_assert(limit_take(limit, "b", &rate, 6, 11001, &wait_ms));
	limit_free(limit);
}
END_TEST

START_TEST(what_is_refused_takes_nothing)
{
	struct limit *limit = limit_new(10);
	const struct units_rate rate = {10, 10};
	uint64_t wait_ms;

	ck_assert(limit_take(limit, "a", &rate, 8, 0, NULL));
	ck_assert(!limit_take(limit, "a", &rate, 3, 0, &wait_ms));
	ck_assert_uint_ge(wait_ms, 1000);
	ck_assert_uint_le(wait_ms, 1002);
	ck_assert(limit_take(limit, "a", &rate, 2, 0, NULL));
	ck_assert(!limit_take(limit, "a", &rate, 11, 100000, &wait_ms));
	ck_assert_uint_eq(wait_ms, UINT64_MAX);
	ck_assert(limit_take(limit, "a", &rate, 10, 100000, NULL));
	limit_give(limit, "a", &rate, 4);
	ck_assert(limit_take(limit, "a", &rate, 4, 100000, NULL));
	ck_assert(!limit_take(limit, "a", &rate, 1, 100000, NULL));
	limit_free(limit);
}
END_TEST

START_TEST(a_bucket_never_holds_more_than_its_count)
{
	struct limit *limit = limit_new(10);
	const struct units_rate rate = {10, 10};

	/* idle for half as long again as it takes to fill */
	ck_assert(limit_take(limit, "a", &rate, 10, 0, NULL));
	ck_assert(limit_take(limit, "a", &rate, 10, 15000, NULL));
	ck_assert(!limit_take(limit, "a", &rate, 1, 15000, NULL));
	/* more is given back than was taken */
	limit_give(limit, "a", &rate, 9);
	limit_give(limit, "a", &rate, 9);
	ck_assert(limit_take(limit, "a", &rate, 10, 15000, NULL));
	ck_assert(!limit_take(limit, "a", &rate, 1, 15000, NULL));
	/* nor does a new one */
	ck_assert(limit_take(limit, "b", &rate, 10, 15000, NULL));
	ck_assert(!limit_take(limit, "b", &rate, 1, 15000, NULL));
	limit_give(limit, "nobody", &rate, 5);
	ck_assert_uint_eq(limit_count(limit), 2);
	limit_free(limit);
}
END_TEST

START_TEST(waiting_as_told_is_always_enough)
{
	struct limit *limit = limit_new(4);
	const struct units_rate rate = {7, 3600};
	uint64_t now_ms = 12345, wait_ms;

	ck_assert(limit_take(limit, "a", &rate, 7, now_ms, NULL));
	for (unsigned i = 0; i < 1000; i++) {
		uint32_t count = i % 7 + 1;

		if (!limit_take(limit, "a", &rate, count, now_ms, &wait_ms)) {
			now_ms += wait_ms;
			ck_assert(limit_take(limit, "a", &rate, count, now_ms,
					     &wait_ms));
		}
		now_ms += i * 37 % 1000;
	}
	/* 4,000 tokens at 7 an hour take about 570 hours */
	ck_assert_uint_ge(now_ms, UINT64_C(565) * 3600 * 1000);
	limit_free(limit);
}
END_TEST

START_TEST(no_limit_is_no_bucket)
{
	struct limit *limit = limit_new(4);
	const struct units_rate none = {0, 0};
	uint64_t wait_ms = 7;

	ck_assert(limit_take(limit, "a", &none, 1000000, 0, &wait_ms));
	ck_assert_uint_eq(wait_ms, 0);
	ck_assert_uint_eq(limit_count(limit), 0);
	limit_give(limit, "a", &none, 5);
	limit_free(limit);
}
END_TEST

START_TEST(memory_is_bounded_and_the_idlest_bucket_is_forgotten)
{
	struct limit *limit = limit_new(100);
	const struct units_rate rate = {1, 3600};
	char key[32];

	for (unsigned i = 0; i < 10000; i++) {
		(void)snprintf(key, sizeof(key), "client %u", i);
		ck_assert(limit_take(limit, key, &rate, 1, i, NULL));
		ck_assert_uint_le(limit_count(limit), 100);
		/* one that keeps asking keeps its bucket */
		(void)limit_take(limit, "eager", &rate, 1, i, NULL);
	}
	ck_assert(!limit_take(limit, "eager", &rate, 1, 10000, NULL));
	ck_assert(!limit_take(limit, "client 9999", &rate, 1, 10000, NULL));
	ck_assert(limit_take(limit, "client 0", &rate, 1, 10000, NULL));
	limit_free(limit);
	limit_free(NULL);
}
END_TEST

START_TEST(keys_longer_than_the_maximum_share_a_bucket)
{
	struct limit *limit = limit_new(4);
	const struct units_rate rate = {1, 60};
	char key[LIMIT_KEY_MAX + 10];

	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 1] = '\0';
	ck_assert(limit_take(limit, key, &rate, 1, 0, NULL));
	key[sizeof(key) - 2] = 'x';
	ck_assert(!limit_take(limit, key, &rate, 1, 0, NULL));
	limit_free(limit);
}
END_TEST

/* ----------------------------------------------------------------- match */

static const struct {
	const char *address, *delimiter;
	const char *name; /* NULL: cannot name a folder */
} mailboxes[] = {
	{"bob@x.org", "+", "bob"},
	{"Bob@x.org", "+", "bob"},
	{"bob+list@x.org", "+", "bob"},
	{"b+list@x.org", "+", "b"},
	{"bob+list+more@x.org", "+", "bob"},
	{"bob+list@x.org", "", "bob+list"},
	{"bob-list@x.org", "-", "bob"},
	{"+x@x.org", "+", "+x"},
	{"\"Bob\"@x.org", "+", "bob"},
	{"\"b\\\"o b\"@x.org", "+", "b\"o b"},
	{"b.o.b@x.org", "+", "b.o.b"},
	{"\"\"@x.org", "+", NULL},
	{"\".bob\"@x.org", "+", NULL},
	{"\"..\"@x.org", "+", NULL},
	{"a/b@x.org", "+", NULL},
	{"bob+a/b@x.org", "+", NULL},
	{"\"a\\/b\"@x.org", "+", NULL},
};

START_TEST(mailboxes_are_named_safely_or_not_at_all)
{
	char name[ADDR_LOCAL_MAX + 1] = "untouched";
	struct addr addr;
	bool is_named;

	ck_assert_ptr_null(addr_parse(str_of(mailboxes[_i].address), 0, &addr));
	is_named = policy_mailbox_name(&addr, mailboxes[_i].delimiter, name,
				       sizeof(name));
	ck_assert_str_eq(is_named ? name : "(none)",
			 mailboxes[_i].name != NULL ? mailboxes[_i].name
						    : "(none)");
}
END_TEST

START_TEST(names_are_a_set)
{
	struct names names = {NULL, 0};

	ck_assert(!names_has(&names, "a"));
	names_sort(&names);
	for (unsigned i = 0; i < 100; i++) {
		char text[16];

		(void)snprintf(text, sizeof(text), "n%u", i * 7 % 50);
		names_add(&names, text);
	}
	names_sort(&names);
	ck_assert_uint_eq(names.count, 50);
	ck_assert(names_has(&names, "n49"));
	ck_assert(!names_has(&names, "n50"));
	ck_assert(!names_has(&names, ""));
	names_done(&names);
	names_add(&names, "b");
	names_add(&names, "b");
	names_sort(&names);
	ck_assert_uint_eq(names.count, 1);
	names_done(&names);
}
END_TEST

/* ---------------------------------------------------------------- tables */

static const struct {
	enum table_kind kind;
	const char *text;
	const char *rows; /* "LINE key|value" each, or "LINE !" */
} tables[] = {
	{TABLE_RECIPIENTS, "", ""},
	{TABLE_RECIPIENTS, "\n# all\n\n", ""},
	{TABLE_RECIPIENTS, "bob\n carol \r\ndave # why\n",
	 "1 bob|;2 carol|;3 dave|;"},
	{TABLE_RECIPIENTS, "a#b\nlast", "1 a#b|;2 last|;"},
	{TABLE_ALIASES, "a: b, c\n", "1 a|b, c;"},
	{TABLE_ALIASES, "a: b,\n  c\n\td\n", "1 a|b,;2 |c;3 |d;"},
	{TABLE_ALIASES, "*: x", "1 *|x;"},
	{TABLE_ALIASES, "\"a:b\": c\n", "1 \"a:b\"|c;"},
	{TABLE_ALIASES, "a b\n: c\n", "1 !;2 !;"},
	{TABLE_ALIASES, "a:\n", "1 a|;"},
	{TABLE_SENDERS, "alice a@b.org\nbob\t@b.org # all\n",
	 "1 alice|a@b.org;2 bob|@b.org;"},
	{TABLE_SENDERS, "alice\n", "1 !;"},
};

START_TEST(table_rows_come_with_their_lines)
{
	struct table table;
	struct table_row row;
	char got[512] = "";
	size_t len = 0;

	table_init(&table, tables[_i].kind, str_of(tables[_i].text));
	while (table_next(&table, &row)) {
		if (row.problem != NULL)
			(void)snprintf(got + len, sizeof(got) - len, "%u !;",
				       row.line);
		else
			(void)snprintf(got + len, sizeof(got) - len,
				       "%u %.*s|%.*s;", row.line,
				       STR_ARG(row.key), STR_ARG(row.value));
		len = strlen(got);
	}
	ck_assert_str_eq(got, tables[_i].rows);
}
END_TEST

START_TEST(addresses_are_cut_at_commas_outside_quotes)
{
	struct str rest = str_of("a@b.org, \"x, y\"@c.org ,,\"\\\",\"@d.org");
	static const char *const parts[] = {"a@b.org", "\"x, y\"@c.org", "",
					    "\"\\\",\"@d.org"};
	struct str part;

	for (size_t i = 0; i < COUNT(parts); i++) {
		ck_assert(table_cut_address(&rest, &part));
		ck_assert_msg(str_is(part, parts[i]), "%.*s", STR_ARG(part));
	}
	ck_assert(!table_cut_address(&rest, &part));
}
END_TEST

/* --------------------------------------------------------------- targets */

static const struct {
	const char *text, *result;
} targets[] = {
	{"mx", "0 || 0"},
	{"discard", "4 || 0"},
	{"maildir:/var/mail/%d/%u", "3 /var/mail/%d/%u|| 0"},
	{"lmtp:unix:/run/lmtp", "2 /run/lmtp|| 0"},
	{"lmtp:localhost:24", "2 |localhost| 24"},
	{"smtp:inner.example:25", "1 |inner.example| 25"},
	{"smtp:192.0.2.1:25", "1 |192.0.2.1| 25"},
	{"smtps:[2001:db8::1]:465", "1 |2001:db8::1| 465 tls"},
	{"", NULL},
	{"mx ", NULL},
	{"pipe:/bin/sh", NULL},
	{"maildir:", NULL},
	{"maildir:relative", NULL},
	{"lmtp:unix:relative", NULL},
	{"lmtp:unix:", NULL},
	{"smtp:", NULL},
	{"smtp:host", NULL},
	{"smtp:host:", NULL},
	{"smtp:host:0", NULL},
	{"smtp:host:65536", NULL},
	{"smtp::25", NULL},
	{"smtp:2001:db8::1:25", NULL},
	{"smtp:a b:25", NULL},
	{"smtp:[]:25", NULL},
};

START_TEST(targets_are_read_whole_or_refused)
{
	struct target_text target;
	char got[256];
	const char *problem = target_parse(str_of(targets[_i].text), &target);

	if (targets[_i].result == NULL) {
		ck_assert_msg(problem != NULL, "%s", targets[_i].text);
		return;
	}
	ck_assert_msg(problem == NULL, "%s: %s", targets[_i].text, problem);
	(void)snprintf(got, sizeof(got), "%d %.*s|%.*s| %u%s", target.kind,
		       STR_ARG(target.path), STR_ARG(target.host), target.port,
		       target.is_implicit_tls ? " tls" : "");
	ck_assert_str_eq(got, targets[_i].result);
}
END_TEST

/* ----------------------------------------------------------------- trace */

START_TEST(a_trace_keeps_what_fits_and_accepts_null)
{
	struct trace trace;

	trace_init(&trace);
	for (unsigned i = 0; i < TRACE_STEPS_MAX + 5; i++) {
		struct trace_step *step = trace_add(&trace, "rule", true);

		trace_looked_at(step, "%0200u", i);
		trace_outcome(step, "no %u", i);
		trace_advice(&trace, "advice %u", i);
	}
	ck_assert_uint_eq(trace.count, TRACE_STEPS_MAX);
	ck_assert_uint_eq(trace.advice_count, COUNT(trace.advice));
	ck_assert_uint_eq(strlen(trace.steps[0].looked_at),
			  sizeof(trace.steps[0].looked_at) - 1);
	ck_assert_str_eq(trace.steps[31].outcome, "no 31");
	trace_outcome(trace_add(NULL, "rule", true), "nothing");
	trace_advice(NULL, "nothing");
}
END_TEST

/* "(too long, and its last character is of N octets)" */
START_TEST(a_text_that_is_cut_ends_with_a_whole_character)
{
	static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac",
						 "\xf0\x9f\x93\xae"};
	struct trace trace;
	struct status status;

	for (size_t i = 0; i < COUNT(characters); i++)
		for (size_t pad = 0; pad < 4; pad++) {
			struct trace_step *step;
			size_t octets = strlen(characters[i]);
			char text[4000] = "";

			memset(text, 'x', pad);
			for (size_t at = pad; at + octets < sizeof(text);
			     at += octets)
				memcpy(text + at, characters[i], octets);
			trace_init(&trace);
			step = trace_add(&trace, "rule", true);
			trace_looked_at(step, "%s", text);
			trace_outcome(step, "%s", text);
			trace_advice(&trace, "%s", text);
			status_set(&status, 550, "5.1.1", "%s", text);
			ck_assert(str_is_utf8(str_of(step->looked_at)));
			ck_assert(str_is_utf8(str_of(step->outcome)));
			ck_assert(str_is_utf8(str_of(trace.advice[0])));
			ck_assert(str_is_utf8(str_of(status.text)));
			ck_assert_uint_gt(strlen(step->looked_at),
					  sizeof(step->looked_at) - 5);
		}
}
END_TEST

UNIT_MAIN("policy_parts",
	  tcase_add_loop_test(tc, networks_are_read_whole_or_refused, 0,
			      (int)COUNT(networks));
	  tcase_add_loop_test(tc, networks_hold_what_their_prefix_says, 0,
			      (int)COUNT(holdings));
	  tcase_add_test(tc, a_text_that_is_cut_ends_with_a_whole_character);
	  tcase_add_test(tc, no_network_holds_a_client_without_an_address);
	  tcase_add_test(tc, a_bucket_gives_its_count_then_fills_evenly);
	  tcase_add_test(tc, what_is_refused_takes_nothing);
	  tcase_add_test(tc, a_bucket_never_holds_more_than_its_count);
	  tcase_add_test(tc, waiting_as_told_is_always_enough);
	  tcase_add_test(tc, no_limit_is_no_bucket);
	  tcase_add_test(tc,
			 memory_is_bounded_and_the_idlest_bucket_is_forgotten);
	  tcase_add_test(tc, keys_longer_than_the_maximum_share_a_bucket);
	  tcase_add_loop_test(tc, mailboxes_are_named_safely_or_not_at_all, 0,
			      (int)COUNT(mailboxes));
	  tcase_add_test(tc, names_are_a_set);
	  tcase_add_loop_test(tc, table_rows_come_with_their_lines, 0,
			      (int)COUNT(tables));
	  tcase_add_test(tc, addresses_are_cut_at_commas_outside_quotes);
	  tcase_add_loop_test(tc, targets_are_read_whole_or_refused, 0,
			      (int)COUNT(targets));
	  tcase_add_test(tc, a_trace_keeps_what_fits_and_accepts_null);)
