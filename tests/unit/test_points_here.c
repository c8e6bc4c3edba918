/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/route/resolver.h"
#include "server/points_here.h"
#include "tests/unit/dns_fake.h"

#define DAY UINT64_C(86400000)

static uv_loop_t loop;
static struct fake *fake;
static struct resolver *resolver;
static struct points_here *points;

/* 192.0.2.1 and 2001:db8::1 are ours. */
static bool
is_ours(void *arg, const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	(void)arg;
	(void)ip_format(ip, text);
	return strcmp(text, "192.0.2.1") == 0 ||
	       strcmp(text, "2001:db8::1") == 0;
}

static void
start(void)
{
	struct resolver_opts opts = {
		.attempts = 1,
		.ttl_max_s = 86400,
		.negative_ttl_max_s = 900,
		.now_ms = fake_now,
	};
	struct err err = ERR_INIT;

	fake = fake_new(1);
	opts.now_arg = fake;
	opts.backend = &fake->backend;
	(void)uv_loop_init(&loop);
	ck_assert_int_eq(resolver_new(&loop, &opts, &resolver, &err), 0);
	points = points_here_new(resolver, is_ours, NULL);
}

static void
stop(void)
{
	points_here_free(points);
	resolver_free(resolver);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert(fake->is_closed);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	free(fake);
}

/* One who asked, and what it heard. */
struct asker {
	unsigned calls;
	struct points_here_answer answer;
};

static void
on_answer(void *owner, const struct points_here_answer *answer)
{
	struct asker *asker = owner;

	asker->calls++;
	asker->answer = *answer;
}

static struct points_here_query *
ask(struct asker *asker, const char *client, const char *domain)
{
	struct ip ip = {.family = IP_NONE};

	memset(asker, 0, sizeof(*asker));
	if (client != NULL)
		ck_assert(ip_parse(str_of(client), &ip));
	return points_here_ask(points, &ip, domain, "mail.example", on_answer,
			       asker);
}

static void
turn(void)
{
	for (unsigned i = 0; i < 6; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
}

/*
 * A small world: answers whatever is asked until nothing is. Names not listed
 * do not exist; fail.example is broken.
 */
static const struct {
	const char *name;
	unsigned type;
	const char *answer;
} world[] = {
	{"byname.example", 15,
	 "%\nan byname.example 60 MX 5 mx.other.example\n"
	 "an byname.example 60 MX 10 mail.example\n"},
	{"by4.example", 15, "%\nan by4.example 60 MX 5 mx4.example\n"},
	{"mx4.example", 1,
	 "%\nan mx4.example 30 A 192.0.2.9\n"
	 "an mx4.example 30 A 192.0.2.1\n"},
	{"by6.example", 15, "%\nan by6.example 60 MX 5 mx6.example\n"},
	{"mx6.example", 28, "%\nan mx6.example 60 AAAA 2001:db8::1\n"},
	{"second.example", 15,
	 "%\nan second.example 60 MX 5 mx.other.example\n"
	 "an second.example 60 MX 9 mx6.example\n"},
	{"elsewhere.example", 15,
	 "%\nan elsewhere.example 60 MX 5 mx.other.example\n"},
	{"mx.other.example", 1, "%\nan mx.other.example 60 A 192.0.2.9\n"},
	{"null.example", 15, "%\nan null.example 60 MX 0 .\n"},
	/* eleven names: the last one, ours, is not looked at */
	{"many.example", 15,
	 "%\nan many.example 60 MX 1 a.example\nan many.example 60 MX 2 "
	 "b.example\nan many.example 60 MX 3 c.example\nan many.example 60 MX "
	 "4 d.example\nan many.example 60 MX 5 e.example\nan many.example 60 "
	 "MX 6 f.example\nan many.example 60 MX 7 g.example\nan many.example "
	 "60 MX 8 h.example\nan many.example 60 MX 9 i.example\nan "
	 "many.example 60 MX 10 j.example\nan many.example 60 MX 11 "
	 "mail.example\n"},
	{"halffail.example", 15,
	 "%\nan halffail.example 60 MX 5 fail.example\n"},
};

static void
answer_world(void)
{
	for (size_t i = 0; i < fake->count; i++) {
		struct fake_sent *sent = &fake->sent[i];
		const char *answer = "% rcode=3\nau example 60 SOA 60\n";

		if (sent->request == NULL)
			continue;
		if (strcmp(sent->name, "fail.example") == 0)
			answer = "% rcode=2\n";
		for (size_t j = 0; j < COUNT(world); j++)
			if (strcmp(world[j].name, sent->name) == 0) {
				answer = world[j].type == sent->type
						 ? world[j].answer
						 : "%\nau example 60 SOA 60\n";
				if (world[j].type == sent->type)
					break;
			}
		fake_answer(fake, i, answer);
		turn();
	}
}

static const struct {
	const char *domain;
	enum policy_points_here wanted;
} cases[] = {
	{"byname.example", POINTS_HERE},
	{"by4.example", POINTS_HERE},
	{"by6.example", POINTS_HERE},
	{"second.example", POINTS_HERE},
	{"elsewhere.example", POINTS_ELSEWHERE},
	{"unknown.example", POINTS_ELSEWHERE},
	{"mx4.example", POINTS_ELSEWHERE}, /* an address and no MX */
	{"null.example", POINTS_ELSEWHERE},
	{"many.example", POINTS_ELSEWHERE},
	{"fail.example", POINTS_UNKNOWN},
	{"halffail.example", POINTS_UNKNOWN},
};

START_TEST(an_mx_points_here_by_name_or_by_address)
{
	struct asker asker;

	start();
	(void)ask(&asker, "198.51.100.7", cases[_i].domain);
	ck_assert_uint_eq(asker.calls, 0);
	turn();
	answer_world();
	ck_assert_uint_eq(asker.calls, 1);
	ck_assert_int_eq(asker.answer.points_here, cases[_i].wanted);
	ck_assert_int_eq(asker.answer.is_news, cases[_i].wanted == POINTS_HERE);
	ck_assert(!asker.answer.is_too_long);
	ck_assert_uint_eq(points_here_stats(points)->lookups, 1);
	ck_assert_uint_eq(points_here_stats(points)->here,
			  cases[_i].wanted == POINTS_HERE);
	stop();
}
END_TEST

/* Asks, lets DNS answer, and returns what was heard. */
static struct points_here_answer
hear(const char *client, const char *domain)
{
	struct asker asker;

	(void)ask(&asker, client, domain);
	turn();
	answer_world();
	ck_assert_uint_eq(asker.calls, 1);
	return asker.answer;
}

START_TEST(an_answer_is_good_as_long_as_its_ttl)
{
	start();
	(void)hear("198.51.100.7", "by4.example"); /* MX 60, A 30 */
	ck_assert_uint_eq(fake->count, 3);
	fake->now_ms += 29999;
	ck_assert_int_eq(hear("198.51.100.7", "by4.example").points_here,
			 POINTS_HERE);
	ck_assert_uint_eq(fake->count, 3);
	fake->now_ms += 1;
	ck_assert_int_eq(hear("198.51.100.7", "by4.example").points_here,
			 POINTS_HERE);
	ck_assert_uint_eq(fake->count, 4); /* the A alone */
	stop();
}
END_TEST

START_TEST(news_is_told_once_a_domain_and_day)
{
	start();
	ck_assert(hear("198.51.100.7", "byname.example").is_news);
	fake->now_ms += DAY - 1;
	ck_assert(!hear("198.51.100.8", "byname.example").is_news);
	ck_assert(hear("198.51.100.8", "by6.example").is_news);
	fake->now_ms += 1;
	ck_assert(hear("198.51.100.7", "byname.example").is_news);
	stop();
}
END_TEST

START_TEST(after_five_days_it_is_too_long)
{
	start();
	for (unsigned day = 0; day <= 5; day++) {
		ck_assert(!hear("198.51.100.7", "byname.example").is_too_long);
		fake->now_ms += DAY;
	}
	ck_assert(hear("198.51.100.7", "byname.example").is_too_long);
	ck_assert(hear(NULL, "byname.example").is_too_long);
	/* nobody has asked for a long time: it begins anew */
	fake->now_ms += 6 * DAY;
	ck_assert(!hear("198.51.100.7", "byname.example").is_too_long);
	stop();
}
END_TEST

START_TEST(one_client_asks_one_question_at_a_time)
{
	struct points_here_query *second;
	struct asker asker[5];

	start();
	(void)ask(&asker[0], "2001:db8:7::1", "byname.example");
	second = ask(&asker[1], "2001:db8:7::2", "by4.example");
	(void)ask(&asker[2], "2001:db8:7::1", "elsewhere.example");
	turn();
	ck_assert_uint_eq(fake->count, 1);
	/* another client does not wait */
	(void)ask(&asker[3], "198.51.100.7", "unknown.example");
	turn();
	ck_assert_uint_eq(fake->count, 2);
	/* nor is the line broken by one who leaves it */
	points_here_cancel(second);
	answer_world();
	ck_assert_uint_eq(asker[0].calls, 1);
	ck_assert_uint_eq(asker[1].calls, 0);
	ck_assert_uint_eq(asker[2].calls, 1);
	ck_assert_uint_eq(asker[3].calls, 1);
	ck_assert_int_eq(asker[2].answer.points_here, POINTS_ELSEWHERE);
	for (size_t i = 0; i < fake->count; i++)
		ck_assert_str_ne(fake->sent[i].name, "by4.example");
	/* and it goes on when the first one leaves */
	second = ask(&asker[0], "198.51.100.7", "fail.example");
	(void)ask(&asker[4], "198.51.100.7", "by6.example");
	turn();
	points_here_cancel(second);
	turn();
	answer_world();
	ck_assert_uint_eq(asker[0].calls, 0);
	ck_assert_int_eq(asker[4].answer.points_here, POINTS_HERE);
	stop();
}
END_TEST

START_TEST(at_most_64_lookups_a_minute_in_all)
{
	unsigned unknown = 0;
	char client[32], domain[32];

	start();
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(client, sizeof(client), "198.51.100.%u", i);
		(void)snprintf(domain, sizeof(domain), "d%u.example", i);
		unknown += hear(client, domain).points_here == POINTS_UNKNOWN;
	}
	ck_assert_uint_eq(unknown, 36);
	ck_assert_uint_eq(fake->count, 64);
	ck_assert_uint_eq(points_here_stats(points)->lookups, 64);
	ck_assert_uint_eq(points_here_stats(points)->refused, 36);
	/* the operator is no stranger */
	ck_assert_int_eq(hear(NULL, "byname.example").points_here, POINTS_HERE);
	ck_assert_int_eq(hear("198.51.100.7", "byname.example").points_here,
			 POINTS_UNKNOWN);
	fake->now_ms += 60000;
	ck_assert_int_eq(hear("198.51.100.7", "byname.example").points_here,
			 POINTS_HERE);
	/* what is in the cache costs nothing */
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_eq(
			hear("198.51.100.7", "elsewhere.example").points_here,
			POINTS_ELSEWHERE);
	stop();
}
END_TEST

START_TEST(the_operators_question_leaves_no_trace)
{
	start();
	ck_assert_int_eq(hear(NULL, "byname.example").points_here, POINTS_HERE);
	ck_assert_uint_eq(points_here_stats(points)->here, 0);
	ck_assert(hear("198.51.100.7", "byname.example").is_news);
	stop();
}
END_TEST

static void
on_domain(void *arg, const struct points_here_domain *domain)
{
	ck_assert(!domain->is_too_long);
	ck_assert_uint_eq(domain->count, 1);
	(*(unsigned *)arg)++;
}

START_TEST(many_made_up_domains_fill_neither_memory_nor_the_log)
{
	unsigned news = 0, domains = 0;
	char domain[32], answer[200];

	start();
	for (unsigned i = 0; i < 400; i++) {
		struct asker asker;

		fake->now_ms += 1000;
		(void)snprintf(domain, sizeof(domain), "d%u.example", i);
		(void)snprintf(answer, sizeof(answer),
			       "%%\nan %s 0 MX 1 mail.example\n", domain);
		(void)ask(&asker, "198.51.100.7", domain);
		turn();
		fake_answer(fake, fake->count - 1, answer);
		turn();
		ck_assert_int_eq(asker.answer.points_here, POINTS_HERE);
		news += asker.answer.is_news;
	}
	/* 16 at once, and one more in each 225 s */
	ck_assert_uint_eq(news, 17);
	points_here_each(points, on_domain, &domains);
	ck_assert_uint_eq(domains, 256);
	stop();
}
END_TEST

START_TEST(at_most_256_wait_and_all_can_leave)
{
	static struct asker askers[300];
	struct points_here_query *queries[300];
	unsigned told = 0;

	start();
	for (unsigned i = 0; i < 300; i++)
		queries[i] =
			ask(&askers[i], "198.51.100.7", "elsewhere.example");
	turn();
	for (unsigned i = 0; i < 300; i++) {
		if (askers[i].calls != 0) {
			ck_assert_int_eq(askers[i].answer.points_here,
					 POINTS_UNKNOWN);
			told++;
			continue;
		}
		points_here_cancel(queries[i]);
	}
	ck_assert_uint_eq(told, 44);
	answer_world();
	turn();
	stop();
}
END_TEST

UNIT_MAIN("points_here", {
	tcase_add_loop_test(tc, an_mx_points_here_by_name_or_by_address, 0,
			    (int)COUNT(cases));
	tcase_add_test(tc, an_answer_is_good_as_long_as_its_ttl);
	tcase_add_test(tc, news_is_told_once_a_domain_and_day);
	tcase_add_test(tc, after_five_days_it_is_too_long);
	tcase_add_test(tc, one_client_asks_one_question_at_a_time);
	tcase_add_test(tc, at_most_64_lookups_a_minute_in_all);
	tcase_add_test(tc, the_operators_question_leaves_no_trace);
	tcase_add_test(tc,
		       many_made_up_domains_fill_neither_memory_nor_the_log);
	tcase_add_test(tc, at_most_256_wait_and_all_can_leave);
})
