/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"

/* All the years that a date has four digits for, at every time of day. */
#define LAST_S	   253402214400u
#define STEP_S	   7654321u
#define LOOKED_MS  987u
#define ZONE_COUNT 5

static const char *const zones[ZONE_COUNT] = {
	"UTC0", "NPT-5:45", "NST+3:30", "CET-1CEST,M3.5.0,M10.5.0/3", "LIT-14",
};

START_TEST(a_message_s_date_is_that_of_strftime)
{
	ck_assert_int_eq(setenv("TZ", zones[_i], 1), 0);
	tzset();
	for (uint64_t s = 0; s < LAST_S; s += STEP_S) {
		char is[CLOCK_DATE_MAX], wanted[64];
		time_t seconds = (time_t)s;
		struct tm tm;

		/* the test runs in the C locale */
		ck_assert_ptr_nonnull(localtime_r(&seconds, &tm));
		ck_assert_uint_ne(strftime(wanted, sizeof(wanted),
					   "%a, %d %b %Y %H:%M:%S %z", &tm),
				  0);
		ck_assert_str_eq(clock_format_rfc5322(s * 1000 + LOOKED_MS, is),
				 wanted);
	}
}
END_TEST

START_TEST(a_log_line_s_date_is_that_of_strftime)
{
	for (uint64_t s = 0; s < LAST_S; s += STEP_S) {
		unsigned ms = (unsigned)(s % 1000);
		char is[CLOCK_DATE_MAX], wanted[64];
		time_t seconds = (time_t)s;
		struct tm tm;
		size_t len;

		ck_assert_ptr_nonnull(gmtime_r(&seconds, &tm));
		len = strftime(wanted, sizeof(wanted), "%Y-%m-%dT%H:%M:%S",
			       &tm);
		(void)snprintf(wanted + len, sizeof(wanted) - len, ".%03uZ",
			       ms);
		ck_assert_str_eq(clock_format_rfc3339(s * 1000 + ms, is),
				 wanted);
	}
}
END_TEST

UNIT_MAIN("clock", tcase_add_loop_test(tc, a_message_s_date_is_that_of_strftime,
				       0, ZONE_COUNT);
	  tcase_add_test(tc, a_log_line_s_date_is_that_of_strftime);)
