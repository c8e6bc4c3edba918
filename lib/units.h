/* SPDX-License-Identifier: ISC */
/*
 * lib/units.h - sizes, times and rates as people write them
 *
 * "50M" (K, M, G: powers of 1024), "1h30m" (s, m, h, d, w), "500/1h". Pure.
 */
#ifndef OSTLER_LIB_UNITS_H
#define OSTLER_LIB_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number with an optional K, M or G; false when it is none or too large. */
bool units_size(const char *text, uint64_t *out_bytes);

/* Numbers each with s, m, h, d or w, largest first or not; a bare 0 is 0. */
bool units_duration(const char *text, uint64_t *out_s);

struct units_rate {
	uint32_t count;	   /* 0: no limit */
	uint32_t period_s; /* > 0 when count is */
};

/* "COUNT/DURATION", or "0" for no limit. */
bool units_rate(const char *text, struct units_rate *out);

/* "1h30m", "45s": the two largest units; size >= 16. Returns to. */
char *units_format_duration(uint64_t s, char *to, size_t size);

/* "1.5M", "900": size >= 16. Returns to. */
char *units_format_size(uint64_t bytes, char *to, size_t size);

#endif
