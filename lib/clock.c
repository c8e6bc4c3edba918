/* SPDX-License-Identifier: ISC */
#include "lib/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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
	long offset_min;

	(void)localtime_r(&seconds, &tm);
	offset_min = tm.tm_gmtoff / 60;
	(void)snprintf(to, CLOCK_DATE_MAX,
		       "%s, %02u %s %04u %02u:%02u:%02u %c%02u%02u",
		       days[tm.tm_wday % 7], (unsigned)tm.tm_mday % 32,
		       months[tm.tm_mon % 12],
		       (unsigned)(tm.tm_year + 1900) % 10000,
		       (unsigned)tm.tm_hour % 24, (unsigned)tm.tm_min % 60,
		       (unsigned)tm.tm_sec % 61, offset_min < 0 ? '-' : '+',
		       (unsigned)(labs(offset_min) / 60) % 24,
		       (unsigned)(labs(offset_min) % 60));
	return to;
}

char *
clock_format_rfc3339(uint64_t wall_ms, char to[CLOCK_DATE_MAX])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;

	(void)gmtime_r(&seconds, &tm);
	(void)snprintf(to, CLOCK_DATE_MAX,
		       "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
		       (unsigned)(tm.tm_year + 1900) % 10000,
		       (unsigned)(tm.tm_mon + 1) % 13,
		       (unsigned)tm.tm_mday % 32, (unsigned)tm.tm_hour % 24,
		       (unsigned)tm.tm_min % 60, (unsigned)tm.tm_sec % 61,
		       (unsigned)(wall_ms % 1000));
	return to;
}
