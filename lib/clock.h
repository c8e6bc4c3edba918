/* SPDX-License-Identifier: ISC */
/*
 * lib/clock.h - what time it is
 *
 * Everything that decides takes the time as a parameter; only shells ask here.
 */
#ifndef OSTLER_LIB_CLOCK_H
#define OSTLER_LIB_CLOCK_H

#include <stdint.h>

/* Milliseconds since boot, suspended time included; never goes back. */
uint64_t clock_boot_ms(void);

/* Milliseconds since 1970; follows the wall clock, jumps included. */
uint64_t clock_wall_ms(void);

#define CLOCK_DATE_MAX 40

/* RFC 5322 date-time in local time: "Sat, 21 Nov 2026 14:03:05 +0100". */
char *clock_format_rfc5322(uint64_t wall_ms, char to[CLOCK_DATE_MAX]);

/* RFC 3339 in UTC: "2026-11-21T13:03:05.123Z". */
char *clock_format_rfc3339(uint64_t wall_ms, char to[CLOCK_DATE_MAX]);

#endif
