/* SPDX-License-Identifier: ISC */
#include "lib/units.h"

#include <stdio.h>
#include <string.h>

#include "lib/str.h"

#define UNITS_MAX_S 3153600000u /* a hundred years */

/* Reads digits at *at; false when there are none or they overflow. */
static bool
units_number(const char **at, uint64_t max, uint64_t *out)
{
	size_t len = strspn(*at, "0123456789");

	if (!str_u64(str_from(*at, len), max, out))
		return false;
	*at += len;
	return true;
}

bool
units_size(const char *text, uint64_t *out_bytes)
{
	uint64_t value;
	unsigned shift = 0;

	if (!units_number(&text, UINT64_C(1) << 40, &value))
		return false;
	if (*text == 'K')
		shift = 10;
	else if (*text == 'M')
		shift = 20;
	else if (*text == 'G')
		shift = 30;
	if (shift != 0)
		text++;
	if (*text != '\0' || value > UINT64_MAX >> (shift + 1))
		return false;
	*out_bytes = value << shift;
	return true;
}

static uint64_t
units_seconds_of(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	case 'w':
		return 7 * 86400;
	}
	return 0;
}

bool
units_duration(const char *text, uint64_t *out_s)
{
	uint64_t sum = 0, value, unit;

	if (strcmp(text, "0") == 0) {
		*out_s = 0;
		return true;
	}
	do {
		if (!units_number(&text, UNITS_MAX_S, &value))
			return false;
		unit = units_seconds_of(*text);
		if (unit == 0)
			return false;
		text++;
		sum += value * unit;
		if (sum > UNITS_MAX_S)
			return false;
	} while (*text != '\0');
	*out_s = sum;
	return true;
}

bool
units_rate(const char *text, struct units_rate *out)
{
	uint64_t count, period_s;

	if (strcmp(text, "0") == 0) {
		*out = (struct units_rate){0, 0};
		return true;
	}
	if (!units_number(&text, 1000000000, &count) || *text != '/')
		return false;
	text++;
	if (!units_duration(text, &period_s) || count == 0 || period_s == 0)
		return false;
	*out = (struct units_rate){(uint32_t)count, (uint32_t)period_s};
	return true;
}

char *
units_format_duration(uint64_t s, char *to, size_t size)
{
	static const char names[] = "wdhms";
	unsigned shown = 0;
	size_t len = 0;

	to[0] = '\0';
	for (size_t i = 0; names[i] != '\0' && shown < 2; i++) {
		uint64_t unit = units_seconds_of(names[i]);

		if (s < unit && !(names[i] == 's' && len == 0))
			continue;
		len += (size_t)snprintf(to + len, size - len, "%llu%c",
					(unsigned long long)(s / unit),
					names[i]);
		s %= unit;
		shown++;
		if (s == 0)
			break;
	}
	return to;
}

char *
units_format_size(uint64_t bytes, char *to, size_t size)
{
	static const char names[] = "KMG";
	double value = (double)bytes;
	int unit = -1;

	while (value >= 1024 && unit < 2) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		(void)snprintf(to, size, "%llu", (unsigned long long)bytes);
	else
		(void)snprintf(to, size, value < 10 ? "%.1f%c" : "%.0f%c",
			       value, names[unit]);
	return to;
}
