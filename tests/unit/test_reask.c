/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/route/reask.h"
#include "tests/unit/dns_fake.h"

static uv_loop_t loop;
static struct fake *fake;
static struct resolver *resolver;
static struct reask *reask;

/* What a caller heard. */
struct caller {
	unsigned calls;
	uint64_t made_ms; /* of the route; 0: none came */
	struct reask_wait *wait, **cancels;
	const char *asks; /* another domain, from the callback */
	bool frees;	  /* the last one may */
};

static const struct route_opts opts = {.port = 25, .hostname = "me.test"};

static void
start(void)
{
	struct resolver_opts resolver_opts = {
		.ttl_max_s = 86400,
		.negative_ttl_max_s = 900,
		.attempts = 1,
		.now_ms = fake_now,
	};
	struct err err = ERR_INIT;

	fake = fake_new(1);
	resolver_opts.now_arg = fake;
	resolver_opts.backend = &fake->backend;
	(void)uv_loop_init(&loop);
	ck_assert_int_eq(resolver_new(&loop, &resolver_opts, &resolver, &err),
			 0);
	reask = reask_new(resolver);
}

static void
stop(void)
{
	reask_free(reask);
	resolver_free(resolver);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	free(fake);
}

static void
on_route(void *owner, struct route *route)
{
	struct caller *caller = owner;

	caller->calls++;
	caller->made_ms = route != NULL ? route->made_ms : 0;
	if (caller->cancels != NULL)
		reask_cancel(*caller->cancels);
	if (caller->frees) {
		reask_free(reask);
		reask = NULL;
	}
	if (caller->asks != NULL) {
		struct next_hop hop = {.kind = HOP_MX};

		(void)str_copy(hop.domain, sizeof(hop.domain),
			       str_of(caller->asks));
		caller->wait = reask_start(reask, &hop, &opts, "h.test",
					   on_route, caller);
		caller->asks = NULL;
	}
}

static void
ask(const char *domain, struct caller *caller)
{
	struct next_hop hop = {.kind = HOP_MX};
	unsigned calls = caller->calls;

	(void)str_copy(hop.domain, sizeof(hop.domain), str_of(domain));
	caller->wait =
		reask_start(reask, &hop, &opts, "h.test", on_route, caller);
	ck_assert_uint_eq(caller->calls, calls);
}

/* Every domain has the same host. */
static void
serve(void)
{
	bool is_busy;

	do {
		is_busy = false;
		for (size_t i = 0; i < fake->count; i++) {
			char text[512];

			if (fake->sent[i].request == NULL)
				continue;
			is_busy = true;
			(void)snprintf(text, sizeof(text),
				       fake->sent[i].type == 15
					       ? "%%\nan %s 60 MX 5 h.test\n"
				       : fake->sent[i].type == 1
					       ? "%%\nan %s 60 A 192.0.2.1\n"
					       : "%%\nau test 60 SOA 60\n",
				       fake->sent[i].name);
			fake_answer(fake, i, text);
		}
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	} while (is_busy);
}

static unsigned
questions(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < fake->count; i++)
		count += fake->sent[i].type == 15;
	return count;
}

/* What is known of the host may be as old as what is known of the domain. */
START_TEST(the_domain_and_its_host_are_asked_about_again)
{
	struct caller first = {0}, again = {0};
	unsigned types[3] = {0};

	start();
	ask("far.test", &first);
	serve();
	ck_assert_uint_eq(first.calls, 1);
	fake->now_ms += REASK_EACH_MS; /* all records live for longer */
	ck_assert_uint_eq(fake->count, 3);
	ask("far.test", &again);
	serve();
	ck_assert_uint_eq(again.calls, 1);
	ck_assert_uint_eq(again.made_ms, fake->now_ms);
	for (size_t i = 3; i < fake->count; i++) {
		types[0] += fake->sent[i].type == DNS_MX;
		types[1] += fake->sent[i].type == DNS_A;
		types[2] += fake->sent[i].type == DNS_AAAA;
	}
	for (size_t i = 0; i < COUNT(types); i++)
		ck_assert_uint_eq(types[i], 1);
	stop();
}
END_TEST

START_TEST(a_domain_is_asked_about_once_in_half_a_minute)
{
	struct caller first = {0}, second = {0}, third = {0};
	uint64_t began;

	start();
	began = fake->now_ms;
	ask("far.test", &first);
	ask("far.test", &second); /* joins */
	serve();
	ck_assert_uint_eq(first.calls, 1);
	ck_assert_uint_eq(second.calls, 1);
	ck_assert_uint_eq(second.made_ms, began);
	fake->now_ms += REASK_EACH_MS - 1;
	ask("far.test", &third);
	serve();
	ck_assert_uint_eq(third.calls, 1);
	ck_assert_uint_eq(third.made_ms, began);
	ck_assert_uint_eq(questions(), 1);
	fake->now_ms += 1;
	ask("far.test", &third);
	serve();
	ck_assert_uint_eq(third.made_ms, fake->now_ms);
	ck_assert_uint_eq(questions(), 2);
	ask("near.test", &first);
	serve();
	ck_assert_uint_eq(questions(), 3);
	stop();
}
END_TEST

START_TEST(an_answer_in_the_cache_is_not_good_enough)
{
	struct next_hop hop = {.kind = HOP_MX, .domain = "far.test"};
	struct caller caller = {0};

	start();
	ask("far.test", &caller);
	serve();
	fake->now_ms += REASK_EACH_MS; /* half of the TTL */
	ck_assert_uint_eq(fake->count, 3);
	ask("far.test", &caller);
	serve();
	ck_assert_uint_eq(fake->count, 6);
	/* what it heard is in the cache then */
	caller.calls = 0;
	route_cancel(route_find(resolver, &hop, &opts, NULL, NULL));
	serve();
	ck_assert_uint_eq(fake->count, 6);
	stop();
}
END_TEST

START_TEST(without_an_answer_the_old_data_are_gone)
{
	struct next_hop hop = {.kind = HOP_MX, .domain = "far.test"};
	struct caller caller = {0};

	start();
	ask("far.test", &caller);
	serve();
	fake->now_ms += REASK_EACH_MS;
	ask("far.test", &caller);
	fake_answer(fake, 3, "% rcode=2\n");
	serve();
	ck_assert_uint_eq(caller.calls, 2);
	ck_assert_uint_eq(fake->count, 4);
	fake->now_ms += 2000; /* the failure is remembered for a second */
	route_cancel(route_find(resolver, &hop, &opts, NULL, NULL));
	ck_assert_uint_eq(fake->count, 5);
	serve();
	stop();
}
END_TEST

START_TEST(callers_may_leave_at_any_time)
{
	struct caller stays = {0}, leaves = {0}, late = {0};

	start();
	ask("far.test", &leaves);
	ask("far.test", &stays);
	reask_cancel(leaves.wait);
	serve();
	ck_assert_uint_eq(leaves.calls, 0);
	ck_assert_uint_eq(stays.calls, 1);
	ask("far.test", &late); /* known already */
	reask_cancel(late.wait);
	serve();
	ck_assert_uint_eq(late.calls, 0);
	/* all of them, and then the end */
	ask("near.test", &late);
	reask_cancel(late.wait);
	stop();
}
END_TEST

START_TEST(a_callback_may_cancel_and_ask)
{
	struct caller first = {0}, second = {0};

	start();
	ask("far.test", &first);
	ask("far.test", &second);
	first.cancels = &second.wait;
	first.asks = "near.test";
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	fake_answer(fake, 0, "% rcode=3\nau test 60 SOA 60\n");
	first.cancels = NULL;
	ck_assert_uint_eq(first.calls, 1);
	ck_assert_uint_eq(second.calls, 0);
	serve();
	ck_assert_uint_eq(first.calls, 2);
	ck_assert_uint_eq(questions(), 2);
	stop();
}
END_TEST

START_TEST(the_last_callback_may_be_the_end)
{
	struct caller asker = {.frees = true}, late = {.frees = true};

	start();
	ask("far.test", &asker);
	serve();
	ck_assert_ptr_null(reask);
	stop();
	/* the same when the answer was known */
	start();
	asker.frees = false;
	ask("far.test", &asker);
	serve();
	ask("far.test", &late);
	serve();
	ck_assert_ptr_null(reask);
	stop();
}
END_TEST

START_TEST(too_many_domains_are_not_asked_about)
{
	struct caller caller = {0};
	char domain[32];

	start();
	for (unsigned i = 0; i < REASK_DOMAINS_MAX; i++) {
		(void)snprintf(domain, sizeof(domain), "d%u.test", i);
		ask(domain, &caller);
		serve();
	}
	ck_assert_uint_eq(questions(), REASK_DOMAINS_MAX);
	caller.calls = 0;
	ask("one-more.test", &caller);
	serve();
	ck_assert_uint_eq(caller.calls, 1);
	ck_assert_uint_eq(caller.made_ms, 0);
	ck_assert_uint_eq(questions(), REASK_DOMAINS_MAX);
	fake->now_ms += REASK_EACH_MS;
	ask("one-more.test", &caller);
	serve();
	ck_assert_uint_ne(caller.made_ms, 0);
	stop();
}
END_TEST

UNIT_MAIN("reask",
	  tcase_add_test(tc, the_domain_and_its_host_are_asked_about_again);
	  tcase_add_test(tc, a_domain_is_asked_about_once_in_half_a_minute);
	  tcase_add_test(tc, an_answer_in_the_cache_is_not_good_enough);
	  tcase_add_test(tc, without_an_answer_the_old_data_are_gone);
	  tcase_add_test(tc, callers_may_leave_at_any_time);
	  tcase_add_test(tc, a_callback_may_cancel_and_ask);
	  tcase_add_test(tc, the_last_callback_may_be_the_end);
	  tcase_add_test(tc, too_many_domains_are_not_asked_about);)
