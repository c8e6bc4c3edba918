/* SPDX-License-Identifier: ISC */
#include "lib/str.h"

#include <stdarg.h>

bool
str_equal(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool
str_equal_nocase(struct str a, struct str b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (str_lower(a.at[i]) != str_lower(b.at[i]))
			return false;
	return true;
}

bool
str_is(struct str a, const char *text)
{
	return str_equal(a, str_of(text));
}

bool
str_is_nocase(struct str a, const char *text)
{
	return str_equal_nocase(a, str_of(text));
}

bool
str_starts_nocase(struct str a, const char *prefix)
{
	size_t len = strlen(prefix);

	return a.len >= len &&
	       str_equal_nocase(str_from(a.at, len), str_from(prefix, len));
}

bool
str_ends_nocase(struct str a, struct str suffix)
{
	return a.len >= suffix.len &&
	       str_equal_nocase(str_from(a.at + (a.len - suffix.len),
					 suffix.len),
				suffix);
}

struct str
str_trim(struct str a)
{
	while (a.len != 0 && (a.at[0] == ' ' || a.at[0] == '\t')) {
		a.at++;
		a.len--;
	}
	while (a.len != 0 &&
	       (a.at[a.len - 1] == ' ' || a.at[a.len - 1] == '\t'))
		a.len--;
	return a;
}

bool
str_cut(struct str *rest, char by, struct str *out_part)
{
	const char *found;

	if (rest->len == 0)
		return false;
	found = memchr(rest->at, by, rest->len);
	if (found == NULL) {
		*out_part = *rest;
		*rest = str_from(rest->at + rest->len, 0);
		return true;
	}
	*out_part = str_from(rest->at, (size_t)(found - rest->at));
	rest->len -= out_part->len + 1;
	rest->at = found + 1;
	return true;
}

bool
str_u64(struct str a, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (a.len == 0)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		uint64_t digit = (uint64_t)(a.at[i] - '0');

		if (a.at[i] < '0' || a.at[i] > '9')
			return false;
		if (value > (max - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (value > max)
		return false;
	*out = value;
	return true;
}

char *
str_digits(char *to, uint64_t value, unsigned least)
{
	unsigned count = 1;

	for (uint64_t rest = value / 10; rest != 0; rest /= 10)
		count++;
	if (count < least)
		count = least;
	to[count] = '\0';
	for (unsigned i = count; i-- > 0; value /= 10)
		to[i] = (char)('0' + value % 10);
	return to + count;
}

void
str_join(char *to, size_t size, ...)
{
	bool is_whole = true;
	const char *text;
	va_list args;

	to[0] = '\0';
	va_start(args, size);
	for (text = va_arg(args, const char *); text != NULL && is_whole;
	     text = va_arg(args, const char *)) {
		size_t len;

		is_whole = str_copy(to, size, str_of(text));
		len = strlen(to);
		to += len;
		size -= len;
	}
	va_end(args);
}

void
str_lower_all(char *text)
{
	for (; *text != '\0'; text++)
		*text = str_lower(*text);
}

bool
str_copy(char *to, size_t size, struct str from)
{
	size_t len = from.len < size ? from.len : size - 1;

	/* step back to the first byte of a sequence that would be cut */
	if (len < from.len)
		while (len != 0 && ((unsigned char)from.at[len] & 0xc0) == 0x80)
			len--;
	if (len != 0)
		memcpy(to, from.at, len);
	to[len] = '\0';
	return len == from.len;
}

void
str_mend_end(char *text)
{
	size_t len = strlen(text), back = 0, wanted;
	unsigned char first;

	while (back < 3 && back < len &&
	       ((unsigned char)text[len - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back == len)
		return; /* no sequence begins: it is no UTF-8 */
	first = (unsigned char)text[len - 1 - back];
	wanted = first < 0xc0 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
	if (back < wanted)
		text[len - 1 - back] = '\0';
}

/* Length of the UTF-8 sequence at the front of a, 0 when it is not one. */
static size_t
utf8_sequence(struct str a)
{
	const unsigned char *s = (const unsigned char *)a.at;
	unsigned char low = 0x80, high = 0xbf;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	/* RFC 3629, section 4: the second byte rules out overlong forms */
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (a.len < len || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

bool
str_is_utf8(struct str a)
{
	while (a.len != 0) {
		size_t len = utf8_sequence(a);

		if (len == 0)
			return false;
		a.at += len;
		a.len -= len;
	}
	return true;
}

bool
str_is_ascii(struct str a)
{
	for (size_t i = 0; i < a.len; i++)
		if ((unsigned char)a.at[i] >= 0x80)
			return false;
	return true;
}
