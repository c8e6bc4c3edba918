/* SPDX-License-Identifier: ISC */
#include "lib/clock.h"

#include <stdlib.h>
#include <time.h>

#include "lib/str.h"

static uint64_t
clock_ms(clockid_t id)
{
	struct timespec now;

	(void)clock_gettime(id, &now); /* these clocks always exist */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t
clock_boot_ms(void)
{
	return clock_ms(CLOCK_BOOTTIME);
}

uint64_t
clock_wall_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

/*
 * Dates stand in each message and in each line of the log; printf would take
 * ten times as long. What is put has a largest length, so it always fits.
 */
static char *
put_text(char *to, const char *text)
{
	while (*text != '\0')
		*to++ = *text++;
	return to;
}

/* digits digits and what stands behind them */
static char *
put_number(char *to, int value, unsigned digits, const char *behind)
{
	static const unsigned limits[] = {1, 10, 100, 1000, 10000};

	to = str_digits(to, (unsigned)value % limits[digits], digits);
	return put_text(to, behind);
}

static char *
put_time(char *to, const struct tm *tm, const char *behind)
{
	to = put_number(to, tm->tm_hour, 2, ":");
	to = put_number(to, tm->tm_min, 2, ":");
	return put_number(to, tm->tm_sec, 2, behind);
}

char *
clock_format_rfc5322(uint64_t wall_ms, char to[CLOCK_DATE_MAX])
{
	/* not strftime's %a and %b: those follow the locale */
	static const char days[][4] = {"Sun", "Mon", "Tue", "Wed",
				       "Thu", "Fri", "Sat"};
	static const char months[][4] = {"Jan", "Feb", "Mar", "Apr",
					 "May", "Jun", "Jul", "Aug",
					 "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	int offset_min;
	char *at = to;

	(void)localtime_r(&seconds, &tm);
	offset_min = (int)(tm.tm_gmtoff / 60);
	at = put_text(at, days[tm.tm_wday % 7]);
	at = put_text(at, ", ");
	at = put_number(at, tm.tm_mday, 2, " ");
	at = put_text(at, months[tm.tm_mon % 12]);
	at = put_text(at, " ");
	at = put_number(at, tm.tm_year + 1900, 4, " ");
	at = put_time(at, &tm, offset_min < 0 ? " -" : " +");
	at = put_number(at, abs(offset_min) / 60, 2, "");
	at = put_number(at, abs(offset_min) % 60, 2, "");
	*at = '\0';
	return to;
}

char *
clock_format_rfc3339(uint64_t wall_ms, char to[CLOCK_DATE_MAX])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	char *at = to;

	(void)gmtime_r(&seconds, &tm);
	at = put_number(at, tm.tm_year + 1900, 4, "-");
	at = put_number(at, tm.tm_mon + 1, 2, "-");
	at = put_number(at, tm.tm_mday, 2, "T");
	at = put_time(at, &tm, ".");
	at = put_number(at, (int)(wall_ms % 1000), 3, "Z");
	*at = '\0';
	return to;
}
