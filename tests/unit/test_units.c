/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include "lib/units.h"

static const struct {
	const char *text;
	bool is_valid;
	uint64_t value;
} durations[] =
	{
		{"0", true, 0},
		{"1s", true, 1},
		{"90s", true, 90},
		{"1h30m", true, 5400},
		{"5d", true, 432000},
		{"1w", true, 604800},
		{"", false, 0},
		{"5", false, 0},
		{"h", false, 0},
		{"-1s", false, 0},
		{"1h ", false, 0},
		{"1x", false, 0},
		{"99999999999999w", false, 0},
},
  sizes[] = {
	  {"0", true, 0},	    {"1", true, 1},
	  {"1K", true, 1024},	    {"50M", true, 52428800},
	  {"2G", true, 2147483648}, {"", false, 0},
	  {"1k", false, 0},	    {"1MB", false, 0},
	  {"M", false, 0},	    {"1.5M", false, 0},
	  {"-1", false, 0},	    {"99999999999999999999G", false, 0},
};

START_TEST(durations_are_read_whole_or_refused)
{
	uint64_t got = 77;

	ck_assert_int_eq(units_duration(durations[_i].text, &got),
			 durations[_i].is_valid);
	ck_assert_uint_eq(got,
			  durations[_i].is_valid ? durations[_i].value : 77);
}
END_TEST

START_TEST(sizes_are_read_whole_or_refused)
{
	uint64_t got = 77;

	ck_assert_int_eq(units_size(sizes[_i].text, &got), sizes[_i].is_valid);
	ck_assert_uint_eq(got, sizes[_i].is_valid ? sizes[_i].value : 77);
}
END_TEST

START_TEST(rates_are_count_per_duration)
{
	struct units_rate rate;

	ck_assert(units_rate("500/1h", &rate));
	ck_assert_uint_eq(rate.count, 500);
	ck_assert_uint_eq(rate.period_s, 3600);
	ck_assert(units_rate("0", &rate));
	ck_assert_uint_eq(rate.count, 0);
	ck_assert(!units_rate("5", &rate));
	ck_assert(!units_rate("5/0", &rate));
	ck_assert(!units_rate("0/1h", &rate));
}
END_TEST

START_TEST(durations_print_two_units)
{
	char to[16];

	ck_assert_str_eq(units_format_duration(0, to, sizeof(to)), "0s");
	ck_assert_str_eq(units_format_duration(45, to, sizeof(to)), "45s");
	ck_assert_str_eq(units_format_duration(5400, to, sizeof(to)), "1h30m");
	ck_assert_str_eq(units_format_duration(432001, to, sizeof(to)), "5d1s");
	ck_assert_str_eq(units_format_duration(93784, to, sizeof(to)), "1d2h");
}
END_TEST

UNIT_MAIN("units", tcase_add_loop_test(tc, durations_are_read_whole_or_refused,
				       0, (int)COUNT(durations));
	  tcase_add_loop_test(tc, sizes_are_read_whole_or_refused, 0,
			      (int)COUNT(sizes));
	  tcase_add_test(tc, rates_are_count_per_duration);
	  tcase_add_test(tc, durations_print_two_units);)
