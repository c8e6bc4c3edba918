/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "queue/route/resolver.h"
#include "tests/unit/dns_fake.h"

static uv_loop_t loop;
static struct fake *fake;
static struct resolver *resolver;

/* What callers heard, in order: "OK hit 10 mx.example" lines. */
static char heard[4096];
static unsigned heard_count;

static const char *
status_name(enum dns_status status)
{
	static const char *const names[] = {"OK", "NODATA", "NXDOMAIN",
					    "FAILED", "BOGUS"};

	return names[status];
}

static void
on_set(void *owner, struct dns_set *set)
{
	size_t used = strlen(heard);
	const char *tag = owner;

	heard_count++;
	if (used + 200 > sizeof(heard))
		return;
	used += (size_t)snprintf(heard + used, sizeof(heard) - used, "%s%s%s%s",
				 tag != NULL ? tag : "",
				 status_name(set->status),
				 set->is_cached ? " hit" : "",
				 set->is_secure ? " secure" : "");
	if (set->why != NULL)
		used += (size_t)snprintf(heard + used, sizeof(heard) - used,
					 " %s", set->why);
	for (size_t i = 0; i < set->count; i++)
		used += (size_t)snprintf(heard + used, sizeof(heard) - used,
					 " %s", set->records[i].name);
	(void)snprintf(heard + used, sizeof(heard) - used, "\n");
}

/* What was heard since the last time. */
static const char *
news(void)
{
	static char copy[sizeof(heard)];

	for (unsigned i = 0; i < 4; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	memcpy(copy, heard, sizeof(copy));
	heard[0] = '\0';
	return copy;
}

static void
start(size_t servers, size_t cache_bytes)
{
	struct resolver_opts opts = {
		.attempts = 3,
		.ttl_max_s = 86400,
		.negative_ttl_max_s = 900,
		.cache_bytes = cache_bytes,
		.now_ms = fake_now,
	};
	struct err err = ERR_INIT;

	fake = fake_new(servers);
	opts.now_arg = fake;
	opts.backend = &fake->backend;
	heard[0] = '\0';
	heard_count = 0;
	(void)uv_loop_init(&loop);
	ck_assert_int_eq(resolver_new(&loop, &opts, &resolver, &err), 0);
}

static void
stop(void)
{
	resolver_free(resolver);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert(fake->is_closed);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	free(fake);
}

static struct resolver_query *
ask(const char *name, unsigned flags)
{
	return resolver_ask(resolver, name, DNS_MX, flags, on_set, NULL);
}

#define MX_60  "%\nan a.example 60 MX 10 old.example\n"
#define MX_NEW "%\nan a.example 60 MX 10 new.example\n"

START_TEST(a_set_lives_as_long_as_its_ttl_says_from_the_question_on)
{
	start(1, 0);
	(void)ask("a.example", 0);
	ck_assert_str_eq(news(), ""); /* never before it returned */
	fake->now_ms += 500;	      /* the answer takes its time */
	fake_answer(fake, 0, MX_60);
	ck_assert_str_eq(news(), "OK old.example\n");
	fake->now_ms += 59499;
	(void)ask("A.Example", 0);
	ck_assert_str_eq(heard, "");
	ck_assert_str_eq(news(), "OK hit old.example\n");
	ck_assert_uint_eq(fake->count, 1);
	fake->now_ms += 1;
	(void)ask("a.example", 0);
	ck_assert_uint_eq(fake->count, 2);
	fake_answer(fake, 1, MX_NEW);
	ck_assert_str_eq(news(), "OK new.example\n");
	stop();
}
END_TEST

static const struct {
	const char *answer;
	uint64_t kept_ms; /* 0: not at all */
} lives[] = {
	{"% rcode=3\nau example 3600 SOA 40\n", 40000},
	{"%\nau example 30 SOA 999\n", 30000},
	{"%\nau example 9999 SOA 9999\n", 900000}, /* capped */
	{"%\nan a.example 9999999 MX 1 x\n", 86400000},
	{"% rcode=3\n", 0},
	{"%\nan a.example 0 MX 1 x\n", 0},
	{"%\nan a.example 4294967295 MX 1 x\n", 0},
	{"%\nan a.example 30 MX 1 x\nar . OPT 0 3\n", 0}, /* stale */
	{"%\nan a.example 30 MX 1 x\nan a.example 3 MX 2 y\n", 3000},
};

START_TEST(what_is_kept_and_how_long)
{
	start(1, 0);
	(void)ask("a.example", 0);
	fake_answer(fake, 0, lives[_i].answer);
	if (lives[_i].kept_ms != 0) {
		fake->now_ms += lives[_i].kept_ms - 1;
		(void)ask("a.example", 0);
		ck_assert_uint_eq(fake->count, 1);
		fake->now_ms += 1;
	}
	(void)ask("a.example", 0);
	ck_assert_uint_eq(fake->count, 2);
	stop();
}
END_TEST

START_TEST(ttl_0_serves_all_who_waited_and_nobody_else)
{
	start(1, 0);
	for (unsigned i = 0; i < 3; i++)
		(void)ask("a.example", 0);
	fake_answer(fake, 0, "%\nan a.example 0 MX 1 x\n");
	ck_assert_str_eq(news(), "OK x\nOK x\nOK x\n");
	for (size_t i = 1; i < 3; i++) {
		(void)ask("a.example", 0);
		ck_assert_uint_eq(fake->count, i + 1);
		fake_answer(fake, i, "%\nan a.example 0 MX 1 x\n");
	}
	ck_assert_str_eq(news(), "OK x\nOK x\n");
	stop();
}
END_TEST

START_TEST(a_hundred_callers_share_one_query)
{
	struct resolver_stats stats;

	start(1, 0);
	for (unsigned i = 0; i < 100; i++)
		(void)ask("a.example", 0);
	(void)resolver_ask(resolver, "a.example", DNS_A, 0, on_set, NULL);
	ck_assert_uint_eq(fake->count, 2); /* another type is another set */
	fake_answer(fake, 0, MX_60);
	ck_assert_uint_eq(heard_count, 100);
	resolver_stats(resolver, &stats);
	ck_assert_uint_eq(stats.joined, 99);
	ck_assert_uint_eq(stats.queries, 2);
	stop();
	ck_assert_uint_eq(heard_count, 101);
}
END_TEST

START_TEST(ten_thousand_at_once_keep_to_the_window_and_none_is_lost)
{
	start(1, 0);
	for (unsigned i = 0; i < 10000; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "d%u.example", i);
		(void)ask(name, 0);
	}
	for (size_t i = 0; i < 10000; i++)
		fake_answer(fake, i, "%\nau example 60 SOA 60\n");
	ck_assert_uint_eq(heard_count, 10000);
	ck_assert_uint_eq(fake->count, 10000);
	ck_assert_uint_eq(fake->flying_max, 128);
	stop();
}
END_TEST

START_TEST(a_failure_is_remembered_for_a_growing_while)
{
	static const uint64_t delays_ms[] = {1000,  2000,  4000,  8000,
					     16000, 32000, 60000, 60000};

	start(1, 0);
	for (size_t i = 0; i < COUNT(delays_ms); i++) {
		(void)ask("a.example", 0);
		ck_assert_uint_eq(fake->count, i + 1);
		fake_answer(fake, i, "% rcode=2\n");
		ck_assert_str_eq(news(), "FAILED SERVFAIL\n");
		fake->now_ms += delays_ms[i] - 1;
		(void)ask("a.example", 0);
		ck_assert_str_eq(news(), "FAILED hit SERVFAIL\n");
		fake->now_ms += 1;
	}
	(void)ask("a.example", 0);
	fake_answer(fake, COUNT(delays_ms), MX_60);
	fake->now_ms += 60000;
	(void)ask("a.example", 0);
	fake_answer(fake, COUNT(delays_ms) + 1, "% rcode=2\n");
	fake->now_ms += 1000; /* an answer in between began it anew */
	(void)news();
	(void)ask("a.example", 0);
	ck_assert_str_eq(news(), "");
	stop();
}
END_TEST

START_TEST(no_failure_hides_data_that_is_still_valid)
{
	start(1, 0);
	(void)ask("a.example", 0);
	fake_answer(fake, 0, MX_60);
	(void)ask("a.example", RESOLVER_FRESH);
	fake_answer(fake, 1, "% rcode=2\n");
	ck_assert_str_eq(news(), "OK old.example\nFAILED SERVFAIL\n");
	(void)ask("a.example", 0);
	ck_assert_str_eq(news(), "OK hit old.example\n");
	/* but an outage longer than the TTL is one: nothing stale, ever */
	fake->now_ms += 60000;
	(void)ask("a.example", 0);
	fake_answer(fake, 2, "% rcode=2\n");
	ck_assert_str_eq(news(), "FAILED SERVFAIL\n");
	stop();
}
END_TEST

START_TEST(a_fresh_answer_left_after_the_question)
{
	start(1, 0);
	(void)ask("a.example", 0);
	(void)resolver_ask(resolver, "a.example", DNS_MX, RESOLVER_FRESH,
			   on_set, (void *)(uintptr_t) "fresh ");
	fake_answer(fake, 0, MX_60);
	ck_assert_str_eq(news(), "OK old.example\n");
	ck_assert_uint_eq(fake->count, 2);
	fake_answer(fake, 1, MX_NEW);
	ck_assert_str_eq(news(), "fresh OK new.example\n");
	(void)ask("a.example", 0);
	ck_assert_str_eq(news(), "OK hit new.example\n");
	stop();
}
END_TEST

START_TEST(what_is_dropped_is_not_delivered_even_from_the_wire)
{
	start(1, 0);
	(void)ask("a.example", 0);
	resolver_drop(resolver, "A.example", DNS_MX);
	fake_answer(fake, 0, MX_60);
	ck_assert_str_eq(news(), "");
	ck_assert_uint_eq(fake->count, 2);
	fake_answer(fake, 1, MX_NEW);
	ck_assert_str_eq(news(), "OK new.example\n");
	resolver_drop(resolver, "a.example", DNS_MX);
	(void)ask("a.example", 0);
	ck_assert_uint_eq(fake->count, 3);
	resolver_drop(resolver, "never.asked.example", DNS_MX);
	stop();
}
END_TEST

START_TEST(one_caller_can_leave_without_the_others)
{
	struct resolver_query *first, *hit;

	start(1, 0);
	first = ask("a.example", 0);
	(void)ask("a.example", 0);
	resolver_cancel(first);
	fake_answer(fake, 0, MX_60);
	ck_assert_str_eq(news(), "OK old.example\n");
	hit = ask("a.example", 0);
	resolver_cancel(hit);
	/* nobody waits any more: the answer is kept all the same */
	resolver_cancel(ask("b.example", 0));
	fake_answer(fake, 1, "%\nan b.example 60 MX 1 x\n");
	ck_assert_str_eq(news(), "");
	(void)ask("b.example", 0);
	ck_assert_str_eq(news(), "OK hit x\n");
	stop();
}
END_TEST

START_TEST(who_leaves_the_waiting_line_costs_no_packet)
{
	struct resolver_stats stats;
	struct resolver_query *last = NULL;

	start(1, 0);
	for (unsigned i = 0; i < 129; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "d%u.example", i);
		last = ask(name, 0);
	}
	resolver_stats(resolver, &stats);
	ck_assert_uint_eq(stats.waiting, 1);
	resolver_cancel(last);
	resolver_stats(resolver, &stats);
	ck_assert_uint_eq(stats.waiting, 0);
	ck_assert_uint_eq(stats.entries, 128);
	fake_answer(fake, 0, "%\n");
	ck_assert_uint_eq(fake->count, 128);
	stop();
}
END_TEST

START_TEST(strangers_have_a_small_window_and_deliveries_never_wait_there)
{
	struct resolver_stats stats;
	unsigned busy = 0;

	start(1, 0);
	for (unsigned i = 0; i < 100; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "s%u.example", i);
		(void)ask(name, RESOLVER_STRANGER);
	}
	ck_assert_uint_eq(fake->count, 8);
	for (const char *at = news(); *at != '\0'; at = strchr(at, '\n') + 1)
		busy += strncmp(at, "FAILED hit busy", 15) == 0;
	ck_assert_uint_eq(busy, 100 - 8 - 64);
	resolver_stats(resolver, &stats);
	ck_assert_uint_eq(stats.refused, busy);
	/* a delivery asks at once, also what a stranger is waiting for */
	(void)ask("own.example", 0);
	ck_assert_uint_eq(fake->count, 9);
	(void)ask("s70.example", 0);
	ck_assert_uint_eq(fake->count, 10);
	ck_assert_str_eq(fake->sent[9].name, "s70.example");
	fake_answer(fake, 9, "%\nan s70.example 60 MX 1 x\n");
	ck_assert_str_eq(news(), "OK x\nOK x\n");
	/* and a place that is given back is taken by the next in line */
	fake_answer(fake, 0, "%\n");
	ck_assert_str_eq(fake->sent[10].name, "s8.example");
	stop();
}
END_TEST

START_TEST(strangers_cannot_pile_up_behind_one_name)
{
	start(1, 0);
	for (unsigned i = 0; i < 1000; i++)
		(void)ask("a.example", RESOLVER_STRANGER);
	(void)news();
	ck_assert_uint_eq(heard_count, 1000 - 256);
	fake_answer(fake, 0, MX_60);
	ck_assert_uint_eq(heard_count, 1000);
	/* answers from the cache are for everybody */
	(void)news();
	(void)ask("a.example", RESOLVER_STRANGER);
	ck_assert_str_eq(news(), "OK hit old.example\n");
	stop();
}
END_TEST

START_TEST(strangers_who_leave_give_their_place_back)
{
	start(1, 0);
	for (unsigned i = 0; i < 1000; i++)
		resolver_cancel(ask("a.example", RESOLVER_STRANGER));
	(void)ask("a.example", RESOLVER_STRANGER);
	ck_assert_str_eq(news(), "");
	fake_answer(fake, 0, MX_60);
	ck_assert_str_eq(news(), "OK old.example\n");
	stop();
}
END_TEST

START_TEST(the_cache_stays_within_its_bytes)
{
	struct resolver_stats stats;

	start(1, 20000);
	for (size_t i = 0; i < 1000; i++) {
		char name[32], answer[128];

		/* one that is used all the time stays */
		if (i != 0) {
			(void)ask("d0.example", 0);
			ck_assert_str_eq(news(), "OK hit x.example\n");
		}
		(void)snprintf(name, sizeof(name), "d%zu.example", i);
		(void)snprintf(answer, sizeof(answer),
			       "%%\nan %s 600 MX 1 x.example\n", name);
		(void)ask(name, 0);
		fake_answer(fake, i, answer);
		(void)news();
		resolver_stats(resolver, &stats);
		ck_assert_uint_le(stats.bytes, 20000);
	}
	ck_assert_uint_gt(stats.evicted, 900);
	ck_assert_uint_le(stats.evicted, 1000);
	ck_assert_uint_gt(stats.entries, 20);
	/* what is expired goes by itself, four at each store */
	fake->now_ms += 600000;
	for (size_t i = 0; i < 20; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "e%zu.example", i);
		(void)ask(name, 0);
		fake_answer(fake, 1000 + i, "%\nau example 60 SOA 60\n");
	}
	resolver_stats(resolver, &stats);
	ck_assert_uint_eq(stats.entries, 20);
	stop();
}
END_TEST

static const struct {
	bool is_remote;
	const char *answer;
	const char *heard;
} trust[] = {
	{false, "% ad\nan a.example 60 MX 1 x\n", "OK secure x\n"},
	{false, "%\nan a.example 60 MX 1 x\n", "OK x\n"},
	{true, "% ad\nan a.example 60 MX 1 x\n", "OK x\n"},
	{false, "% ad rcode=3\nau example 60 SOA 60\n", "NXDOMAIN secure\n"},
};

START_TEST(only_this_host_is_believed_about_security)
{
	start(1, 0);
	if (trust[_i].is_remote)
		fake->servers[0].ip.bytes[0] = 192;
	(void)ask("a.example", 0);
	fake_answer(fake, 0, trust[_i].answer);
	ck_assert_str_eq(news(), trust[_i].heard);
	stop();
}
END_TEST

START_TEST(bogus_is_final_whatever_other_servers_say)
{
	start(2, 0);
	(void)ask("a.example", 0);
	fake_answer(fake, 0, "% rcode=2\nar . OPT 0 6\n");
	ck_assert_str_eq(news(), "BOGUS DNSSEC validation failed\n");
	ck_assert_uint_eq(fake->count, 1);
	stop();
}
END_TEST

START_TEST(no_name_no_question)
{
	static const char *const names[] = {"", "a..b", "x.", ".x"};

	start(1, 0);
	for (size_t i = 0; i < COUNT(names); i++) {
		(void)ask(names[i], 0);
		ck_assert_str_eq(heard, "");
		ck_assert_str_eq(news(), "FAILED hit not a domain name\n");
	}
	ck_assert_uint_eq(fake->count, 0);
	stop();
}
END_TEST

START_TEST(servers_are_named_and_known_to_be_near_or_not)
{
	char text[64], cut[8];

	start(2, 0);
	ck_assert(resolver_servers(resolver, text, sizeof(text)));
	ck_assert_str_eq(text, "127.0.0.1:53 127.0.0.2:53");
	(void)ip_parse(str_of("2001:db8::1"), &fake->servers[1].ip);
	ck_assert(!resolver_servers(resolver, text, sizeof(text)));
	ck_assert_str_eq(text, "127.0.0.1:53 [2001:db8::1]:53");
	ck_assert(!resolver_servers(resolver, cut, sizeof(cut)));
	ck_assert_str_eq(cut, "127.0.0");
	stop();
}
END_TEST

static void
on_set_free(void *owner, struct dns_set *set)
{
	on_set(NULL, set);
	resolver_free(resolver);
}

START_TEST(everybody_hears_before_the_end_even_from_inside)
{
	start(1, 0);
	(void)ask("b.example", 0);
	(void)resolver_ask(resolver, "a.example", DNS_MX, 0, on_set_free, NULL);
	(void)ask("a.example", 0);
	fake_answer(fake, 1, MX_60);
	ck_assert_str_eq(heard, "OK old.example\nOK old.example\n"
				"FAILED hit shutting down\n");
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(heard_count, 3);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	free(fake);
}
END_TEST

START_TEST(limits_change_and_the_cache_stays)
{
	struct resolver_opts opts = {.ttl_max_s = 10};
	struct err err = ERR_INIT;

	start(1, 0);
	(void)ask("a.example", 0);
	fake_answer(fake, 0, MX_60);
	ck_assert_int_eq(resolver_configure(resolver, &opts, &err), 0);
	(void)news();
	(void)ask("a.example", 0);
	ck_assert_str_eq(news(), "OK hit old.example\n");
	(void)ask("b.example", 0);
	fake_answer(fake, 1, "%\nan b.example 60 MX 1 x\n");
	fake->now_ms += 10000;
	(void)ask("b.example", 0);
	ck_assert_uint_eq(fake->count, 3);
	opts.timeout_ms = 666;
	ck_assert_int_eq(resolver_configure(resolver, &opts, &err), -EINVAL);
	stop();
}
END_TEST

UNIT_MAIN(
	"resolver",
	tcase_add_test(
		tc, a_set_lives_as_long_as_its_ttl_says_from_the_question_on);
	tcase_add_loop_test(tc, what_is_kept_and_how_long, 0,
			    (int)COUNT(lives));
	tcase_add_test(tc, ttl_0_serves_all_who_waited_and_nobody_else);
	tcase_add_test(tc, a_hundred_callers_share_one_query); tcase_add_test(
		tc, ten_thousand_at_once_keep_to_the_window_and_none_is_lost);
	tcase_add_test(tc, a_failure_is_remembered_for_a_growing_while);
	tcase_add_test(tc, no_failure_hides_data_that_is_still_valid);
	tcase_add_test(tc, a_fresh_answer_left_after_the_question);
	tcase_add_test(tc, what_is_dropped_is_not_delivered_even_from_the_wire);
	tcase_add_test(tc, one_caller_can_leave_without_the_others);
	tcase_add_test(tc, who_leaves_the_waiting_line_costs_no_packet);
	tcase_add_test(
		tc,
		strangers_have_a_small_window_and_deliveries_never_wait_there);
	tcase_add_test(tc, strangers_cannot_pile_up_behind_one_name);
	tcase_add_test(tc, strangers_who_leave_give_their_place_back);
	tcase_add_test(tc, the_cache_stays_within_its_bytes);
	tcase_add_loop_test(tc, only_this_host_is_believed_about_security, 0,
			    (int)COUNT(trust));
	tcase_add_test(tc, bogus_is_final_whatever_other_servers_say);
	tcase_add_test(tc, no_name_no_question);
	tcase_add_test(tc, everybody_hears_before_the_end_even_from_inside);
	tcase_add_test(tc, servers_are_named_and_known_to_be_near_or_not);
	tcase_add_test(tc, limits_change_and_the_cache_stays);)
