/* SPDX-License-Identifier: ISC */
/*
 * lib/status.h - an SMTP answer as data
 *
 * Three-digit code (RFC 5321, 4.2), enhanced status code (RFC 2034, 3463) and
 * one line of text. Refusals travel as this, not as errors.
 */
#ifndef OSTLER_LIB_STATUS_H
#define OSTLER_LIB_STATUS_H

#include <stdbool.h>
#include <stdint.h>

/* "NNN N.NNN.NNN text CRLF" stays within the 512 octets of a reply line. */
#define STATUS_TEXT_MAX 480

struct status {
	uint16_t code;		    /* 200..599; 0: none yet */
	uint8_t class;		    /* 2, 4, 5; 0: no enhanced code */
	uint16_t subject, detail;   /* x.SUBJECT.DETAIL, 0..999 */
	char text[STATUS_TEXT_MAX]; /* one line without codes */
};

/*
 * Fills status.
 *
 * enhanced  "5.7.1", or NULL for none
 * A text that is too long is cut; CR, LF and other control characters in it
 * become '?', so that no echoed peer byte can start a line of its own.
 */
void status_set(struct status *status, unsigned code, const char *enhanced,
		const char *format, ...) __attribute__((format(printf, 4, 5)));

/* "5.7.1" at the front of text; the number of bytes it takes, 0 for none. */
unsigned status_parse_enhanced(const char *text, unsigned len,
			       struct status *out);

/* "5.7.1" into to (12 bytes are enough); "" when there is none. */
char *status_enhanced(const struct status *status, char to[12]);

static inline bool
status_is_ok(const struct status *status)
{
	return status->code >= 200 && status->code < 400;
}

static inline bool
status_is_permanent(const struct status *status)
{
	return status->code >= 500;
}

#endif
