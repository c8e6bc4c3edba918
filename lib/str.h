/* SPDX-License-Identifier: ISC */
/*
 * lib/str.h - text without a NUL: a pointer and a length
 *
 * A struct str borrows somebody else's bytes. All comparisons ignore ASCII
 * case only where the name says so and never look at the locale.
 */
#ifndef OSTLER_LIB_STR_H
#define OSTLER_LIB_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *at; /* borrowed; may be NULL when len is 0 */
	size_t len;
};

static inline struct str
str_of(const char *text)
{
	return (struct str){text, strlen(text)};
}

static inline struct str
str_from(const char *at, size_t len)
{
	return (struct str){at, len};
}

/* printf("%.*s", STR_ARG(s)) */
#define STR_ARG(s) (int)(s).len, (s).at != NULL ? (s).at : ""

bool str_is(struct str a, const char *text);
bool str_is_nocase(struct str a, const char *text);
bool str_equal(struct str a, struct str b);
bool str_equal_nocase(struct str a, struct str b);
bool str_starts_nocase(struct str a, const char *prefix);
bool str_ends_nocase(struct str a, struct str suffix);

/* Without spaces and tabs at both ends. */
struct str str_trim(struct str a);

/*
 * Cuts the part before the first byte `by` off the front of rest.
 *
 * Returns false when rest was empty; without a separator all of rest is the
 * part and rest becomes empty.
 */
bool str_cut(struct str *rest, char by, struct str *out_part);

/* Decimal digits only, all of them, at most max; false otherwise. */
bool str_u64(struct str a, uint64_t max, uint64_t *out);

/*
 * Writes value in decimal with a NUL, with zeros in front up to `least` digits.
 * It is done several times for each message, and printf takes ten times as
 * long.
 *
 * to     room for STR_DIGITS_MAX bytes, or for as many as value has at most
 * least  1..20
 * Returns the end, where the NUL is.
 */
#define STR_DIGITS_MAX 21
char *str_digits(char *to, uint64_t value, unsigned least);

/*
 * Copies texts one behind the other as far as they fit, with a NUL; size > 0.
 * The last argument is NULL. A UTF-8 sequence is never cut.
 */
void str_join(char *to, size_t size, ...) __attribute__((sentinel));

/* ASCII lower case. */
static inline char
str_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* In place, NUL-terminated. */
void str_lower_all(char *text);

/*
 * Copies as much as fits with a NUL; size > 0.
 *
 * Returns false when it was cut (never inside a UTF-8 sequence).
 */
bool str_copy(char *to, size_t size, struct str from);

/* Takes away what a cut left of a UTF-8 sequence at the end; in place. For what
 * vsnprintf wrote into too little room. */
void str_mend_end(char *text);

/* Valid UTF-8 without surrogates and overlong forms (RFC 3629). */
bool str_is_utf8(struct str a);

/* All bytes below 128. */
bool str_is_ascii(struct str a);

#endif
