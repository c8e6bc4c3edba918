/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/deliver/pace.h"

#define PORT 25

static struct ip
host_ip(unsigned number)
{
	char text[32];
	struct ip ip;

	(void)snprintf(text, sizeof(text), "10.1.%u.%u", number / 256,
		       number % 256);
	ck_assert(ip_parse(str_of(text), &ip));
	return ip;
}

static void
enter(struct pace *pace, const struct ip *ip, unsigned count, uint64_t now_ms)
{
	while (count-- != 0)
		pace_enter(pace, ip, PORT, now_ms);
}

/* How many more connections it may have. */
static unsigned
room(struct pace *pace, const struct ip *ip, uint64_t now_ms)
{
	unsigned count = 0;

	while (count < 100 && pace_has_room(pace, ip, PORT, now_ms)) {
		pace_enter(pace, ip, PORT, now_ms);
		count++;
	}
	for (unsigned i = 0; i < count; i++)
		pace_leave(pace, ip, PORT);
	return count;
}

START_TEST(a_host_that_asks_gets_half_and_earns_the_rest_again)
{
	struct pace *pace = mem_zalloc(sizeof(*pace));
	const struct ip ip = host_ip(1), other = host_ip(2);
	uint64_t now_ms = 5000;

	ck_assert_uint_eq(room(pace, &ip, now_ms), 100);
	enter(pace, &ip, 10, now_ms);
	enter(pace, &other, 10, now_ms);
	ck_assert_uint_eq(pace_slow_down(pace, &ip, PORT, "421 less", now_ms),
			  5);
	/* the other nine say the same of the same crowd */
	for (unsigned i = 0; i < 9; i++)
		ck_assert_uint_eq(pace_slow_down(pace, &ip, PORT, "421 less",
						 now_ms),
				  0);
	ck_assert(!pace_has_room(pace, &ip, PORT, now_ms));
	ck_assert(pace_has_room(pace, &ip, PORT + 1, now_ms));
	ck_assert(pace_has_room(pace, &other, PORT, now_ms));
	for (unsigned i = 0; i < 10; i++)
		pace_leave(pace, &ip, PORT);
	ck_assert_uint_eq(room(pace, &ip, now_ms), 5);
	/* a round of messages earns one more */
	for (unsigned window = 5; window < 8; window++) {
		ck_assert_uint_eq(room(pace, &ip, now_ms), window);
		for (unsigned i = 0; i < window; i++)
			pace_take(pace, &ip, PORT);
	}
	ck_assert_uint_eq(room(pace, &ip, now_ms), 8);
	now_ms += PACE_ROUND_MS;
	ck_assert_uint_eq(pace_slow_down(pace, &ip, PORT, "421", now_ms), 4);
	now_ms += PACE_ROUND_MS;
	ck_assert_uint_eq(pace_slow_down(pace, &ip, PORT, "421", now_ms), 2);
	now_ms += PACE_ROUND_MS;
	ck_assert_uint_eq(pace_slow_down(pace, &ip, PORT, "421", now_ms), 1);
	now_ms += PACE_ROUND_MS;
	/* never none */
	ck_assert_uint_eq(pace_slow_down(pace, &ip, PORT, "421", now_ms), 1);
	ck_assert_uint_eq(room(pace, &ip, now_ms), 1);
	ck_assert_uint_eq(room(pace, &ip, now_ms + PACE_FORGET_MS - 1), 1);
	ck_assert_uint_eq(room(pace, &ip, now_ms + PACE_FORGET_MS), 100);
	free(pace);
}
END_TEST

static void
count_host(void *arg, const struct pace_host *host)
{
	ck_assert_str_eq(host->reply, "450 slow down");
	++*(unsigned *)arg;
}

START_TEST(the_table_is_bounded_and_drops_the_oldest_complaint)
{
	struct pace *pace = mem_zalloc(sizeof(*pace));
	const struct ip first = host_ip(0), late = host_ip(PACE_MAX);
	unsigned count = 0;

	for (unsigned i = 0; i < PACE_MAX; i++) {
		const struct ip ip = host_ip(i);

		enter(pace, &ip, 2, 1000 + i);
		(void)pace_slow_down(pace, &ip, PORT, "450 slow down",
				     1000 + i);
	}
	/* all are in use: one more is not counted, and not limited */
	enter(pace, &late, 2, 2000);
	ck_assert_uint_eq(pace_slow_down(pace, &late, PORT, "421", 2000), 0);
	ck_assert_uint_eq(room(pace, &late, 2000), 100);
	pace_leave(pace, &late, PORT);
	pace_each(pace, 2000, count_host, &count);
	ck_assert_uint_eq(count, PACE_MAX);
	/* the first is idle: its place is needed more */
	pace_leave(pace, &first, PORT);
	pace_leave(pace, &first, PORT);
	ck_assert_uint_eq(room(pace, &first, 2000), 1);
	enter(pace, &late, 2, 2000);
	ck_assert_uint_eq(pace_slow_down(pace, &late, PORT, "450 slow down",
					 2000),
			  1);
	ck_assert_uint_eq(room(pace, &first, 2000), 100);
	free(pace);
}
END_TEST

START_TEST(a_complaint_is_kept_while_there_are_free_places)
{
	struct pace *pace = mem_zalloc(sizeof(*pace));
	const struct ip slow = host_ip(1), other = host_ip(2);
	unsigned count = 0;

	enter(pace, &slow, 6, 1000);
	ck_assert_uint_eq(pace_slow_down(pace, &slow, PORT, "450 slow down",
					 1000),
			  3);
	for (unsigned i = 0; i < 6; i++)
		pace_leave(pace, &slow, PORT);
	enter(pace, &other, 1, 1000);
	/* who never complained is not held to anything by what he takes */
	pace_take(pace, &other, PORT);
	ck_assert_uint_eq(room(pace, &other, 1000), 100);
	enter(pace, &slow, 2, 1000);
	ck_assert_uint_eq(pace_room(pace, &slow, PORT, 1000), 1);
	pace_each(pace, 1000, count_host, &count);
	ck_assert_uint_eq(count, 1);
	free(pace);
}
END_TEST

START_TEST(who_was_not_counted_says_so)
{
	struct pace *pace = mem_zalloc(sizeof(*pace));
	const struct ip first = host_ip(0), late = host_ip(PACE_MAX);

	for (unsigned i = 0; i < PACE_MAX; i++) {
		const struct ip ip = host_ip(i);

		ck_assert(pace_enter(pace, &ip, PORT, 1000));
	}
	ck_assert(!pace_enter(pace, &late, PORT, 1000));
	pace_leave(pace, &first, PORT);
	ck_assert(pace_enter(pace, &late, PORT, 1000));
	ck_assert_uint_eq(pace_slow_down(pace, &late, PORT, "421", 1000), 1);
	ck_assert(!pace_has_room(pace, &late, PORT, 1000));
	free(pace);
}
END_TEST

START_TEST(hosts_that_nobody_uses_are_forgotten)
{
	struct pace *pace = mem_zalloc(sizeof(*pace));
	const struct ip none = {.family = IP_NONE};

	for (unsigned i = 0; i < 3 * PACE_MAX; i++) {
		const struct ip ip = host_ip(i);

		enter(pace, &ip, 1, 1000);
		pace_leave(pace, &ip, PORT);
		pace_leave(pace, &ip, PORT); /* once too often */
	}
	for (size_t i = 0; i < PACE_MAX; i++)
		ck_assert_int_eq(pace->at[i].ip.family, IP_NONE);
	enter(pace, &none, 1, 1000);
	ck_assert_uint_eq(pace->at[0].active, 0);
	ck_assert(pace_has_room(pace, &none, PORT, 1000));
	free(pace);
}
END_TEST

static const struct {
	bool is_asked;
	unsigned code;
	const char *enhanced, *reply;
} words[] = {
	{true, 421, NULL, "421 closing"},
	{true, 421, "4.7.0", "421 4.7.0 try again later"},
	{true, 451, "4.3.2", "451 4.3.2 system not accepting messages"},
	{true, 451, "4.4.5", "451 4.4.5 congestion"},
	{true, 450, "4.7.1", "450 4.7.1 Error: too many connections from you"},
	{true, 452, "4.2.2", "452-4.2.2 the box\n452 4.2.2 gets mail Too Fast"},
	{true, 450, "4.2.1", "450 4.2.1 message rate exceeded"},
	{true, 451, NULL, "451 Please slow down"},
	{true, 454, NULL, "454 throttled"},
	{false, 450, "4.7.1", "450 4.7.1 greylisted, come back later"},
	{false, 452, "4.5.3", "452 4.5.3 too many recipients"},
	{false, 451, "4.3.1", "451 4.3.1 mail system full"},
	{false, 450, "4.2.2", "450 4.2.2 the box is full"},
	{false, 451, "4.4.2", "451 4.4.2 bad connection"},
	{false, 451, "4.3.5", "451 4.3.5 it is not configured well"},
	{false, 451, NULL, "451 local error"},
	{false, 450, NULL, "450"},
	{false, 550, "5.7.1", "550 5.7.1 too many connections"},
	{false, 250, "2.0.0", "250 slow down"},
};

START_TEST(asking_for_less_is_told_from_not_wanting_a_message)
{
	struct outcome outcome = {.cause = CAUSE_REPLY};

	status_set(&outcome.status, words[_i].code, words[_i].enhanced, "%s",
		   "text");
	(void)snprintf(outcome.reply, sizeof(outcome.reply), "%s",
		       words[_i].reply);
	ck_assert_msg(pace_is_asked(&outcome) == words[_i].is_asked, "%s",
		      words[_i].reply);
	outcome.cause = CAUSE_CONNECTION_LOST;
	ck_assert(!pace_is_asked(&outcome));
}
END_TEST

UNIT_MAIN(
	"pace",
	tcase_add_test(tc, a_host_that_asks_gets_half_and_earns_the_rest_again);
	tcase_add_test(tc, the_table_is_bounded_and_drops_the_oldest_complaint);
	tcase_add_test(tc, a_complaint_is_kept_while_there_are_free_places);
	tcase_add_test(tc, who_was_not_counted_says_so);
	tcase_add_test(tc, hosts_that_nobody_uses_are_forgotten);
	tcase_add_loop_test(tc,
			    asking_for_less_is_told_from_not_wanting_a_message,
			    0, (int)COUNT(words));)
