/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include "server/rates.h"

START_TEST(a_minute_is_forgotten_after_a_minute)
{
	struct rates rates = {.next = 0};
	uint64_t counts[RATE_KINDS] = {0};

	/* ten of it in each five seconds */
	for (unsigned i = 1; i <= 30; i++) {
		uint64_t want =
			i <= RATES_SAMPLES ? 10 * i : 10 * RATES_SAMPLES;

		counts[RATE_ACCEPTED] += 10;
		ck_assert_uint_eq(rates_last_minute(&rates, RATE_ACCEPTED,
						    counts),
				  want);
		ck_assert_uint_eq(rates_last_minute(&rates, RATE_BOUNCED,
						    counts),
				  0);
		rates_note(&rates, counts);
	}
	for (unsigned i = 0; i < RATES_SAMPLES; i++)
		rates_note(&rates, counts);
	ck_assert_uint_eq(rates_last_minute(&rates, RATE_ACCEPTED, counts), 0);
	for (unsigned i = 0; i < RATE_KINDS; i++)
		ck_assert_ptr_nonnull(rate_name((enum rate_kind)i));
}
END_TEST

UNIT_MAIN("rates", tcase_add_test(tc, a_minute_is_forgotten_after_a_minute);)
