/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include "queue/retry.h"

static const uint32_t delays[] = {60, 300, 900};
static const struct retry_plan plan = {delays, COUNT(delays), 86400};

/* the middle of the jitter's range: the delay as configured */
#define MIDDLE 1000

static const struct {
	unsigned attempts;
	uint64_t received_s, now_s;
	uint64_t next_s; /* 0: give up */
} cases[] = {
	{1, 1000, 1000, 1060},
	{2, 1000, 1061, 1361},
	{3, 1000, 1400, 2300},
	/* the last delay repeats */
	{4, 1000, 2300, 3200},
	{4000000000u, 1000, 2300, 3200},
	/* a last attempt at the expiry itself */
	{9, 1000, 87000, 87400},
	{9, 1000, 87399, 87400},
	{9, 1000, 87400, 0},
	{1, 1000, 999999, 0},
	/* the clock went back behind the message's arrival */
	{1, 1000, 10, 70},
};

START_TEST(the_schedule_is_followed_until_the_expiry)
{
	uint64_t next = retry_next(&plan, cases[_i].attempts,
				   cases[_i].received_s * 1000,
				   cases[_i].now_s * 1000, MIDDLE);

	ck_assert_uint_eq(next, cases[_i].next_s * 1000);
}
END_TEST

START_TEST(jitter_stays_within_a_tenth_and_uses_all_of_it)
{
	uint64_t low = UINT64_MAX, high = 0;

	for (uint32_t random = 0; random < 10000; random++) {
		uint64_t next = retry_next(&plan, 1, 0, 0, random);

		low = next < low ? next : low;
		high = next > high ? next : high;
	}
	ck_assert_uint_eq(low, 54000);
	ck_assert_uint_eq(high, 66000);
}
END_TEST

START_TEST(a_message_that_is_always_deferred_ends_at_its_expiry)
{
	uint64_t now = 5000;
	unsigned attempts = 0;

	for (;;) {
		uint64_t next;

		attempts++;
		next = retry_next(&plan, attempts, 5000, now, attempts * 7919);
		if (next == 0)
			break;
		ck_assert_uint_gt(next, now);
		now = next;
	}
	ck_assert_uint_eq(now, 5000 + 86400 * 1000);
	ck_assert_uint_gt(attempts, 86400 / 990);
}
END_TEST

UNIT_MAIN("retry",
	  tcase_add_loop_test(tc, the_schedule_is_followed_until_the_expiry, 0,
			      (int)COUNT(cases));
	  tcase_add_test(tc, jitter_stays_within_a_tenth_and_uses_all_of_it);
	  tcase_add_test(tc,
			 a_message_that_is_always_deferred_ends_at_its_expiry);)
