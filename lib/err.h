/* SPDX-License-Identifier: ISC */
/*
 * lib/err.h - a failure that an operator has to understand
 *
 * Functions return 0 or a negative errno; where the number alone does not
 * tell the story, the last parameter is a struct err that gets one line of
 * text. A refused recipient or a failed login is no error: see lib/status.h.
 */
#ifndef OSTLER_LIB_ERR_H
#define OSTLER_LIB_ERR_H

#define ERR_TEXT_MAX 512

struct err {
	int code;		 /* negative errno, 0: nothing happened */
	char text[ERR_TEXT_MAX]; /* one line, no newline, NUL-terminated */
};

#define ERR_INIT                                                               \
	{                                                                      \
		0, ""                                                          \
	}

/*
 * Records what failed and why: the formatted text, then ": " and the name of
 * the errno.
 *
 * err   NULL is allowed, then nothing is recorded
 * code  negative errno
 * Returns code, so that it can stand in a return statement.
 */
int err_set(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same without the errno's name behind the text. */
int err_text(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
