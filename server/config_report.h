/* SPDX-License-Identifier: ISC */
/*
 * server/config_report.h - what is wrong with a configuration, line by line
 *
 * Everything that reads the configuration reports here, so that all errors
 * come at once. A syntax error comes alone: what was found before it may be
 * its consequence.
 */
#ifndef OSTLER_SERVER_CONFIG_REPORT_H
#define OSTLER_SERVER_CONFIG_REPORT_H

#include <stdarg.h>
#include <stdbool.h>

#include "lib/buf.h"

struct config_report {
	const char *file;     /* borrows: named when a place is not known */
	struct buf *errors;   /* borrows */
	struct buf *warnings; /* borrows */
	bool has_errors;
	bool has_syntax_error; /* later reports are dropped */
};

/* at  "FILE:LINE", or NULL. Each adds "AT: text\n". */
void config_error(struct config_report *report, const char *at,
		  const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void config_warn(struct config_report *report, const char *at,
		 const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Replaces all errors so far; nothing is added afterwards. */
void config_syntax_error(struct config_report *report, const char *at,
			 const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
