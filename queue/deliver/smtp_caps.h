/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/smtp_caps.h - what a server said it can do (EHLO)
 *
 * Pure. RFC 5321, 4.1.1.1.
 */
#ifndef OSTLER_QUEUE_DELIVER_SMTP_CAPS_H
#define OSTLER_QUEUE_DELIVER_SMTP_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SMTP_CAPS_MECHANISMS_MAX 512

struct smtp_caps {
	bool has_pipelining, has_chunking, has_8bitmime, has_smtputf8, has_dsn;
	bool has_starttls, has_size;
	uint64_t size;				   /* 0: no limit was told */
	char mechanisms[SMTP_CAPS_MECHANISMS_MAX]; /* "" when none offered */
};

/*
 * Reads the lines of a 250 reply to EHLO or LHLO.
 *
 * lines  borrows; with their codes, joined by \n
 */
void smtp_caps_parse(const char *lines, struct smtp_caps *out);

#endif
