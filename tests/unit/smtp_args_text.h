/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/smtp_args_text.h - what was understood of MAIL and RCPT, as text
 *
 * "FROM:<...> SIZE=..." with the parameters of the extensions in ext only.
 * -ENOBUFS when it does not fit.
 */
#ifndef OSTLER_TESTS_UNIT_SMTP_ARGS_TEXT_H
#define OSTLER_TESTS_UNIT_SMTP_ARGS_TEXT_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "lib/buf.h"
#include "lib/wire/smtp_args.h"

/* xtext of RFC 3461, 4; to: size bytes. False when it does not fit. */
static inline bool
smtp_args_xtext(struct str from, char *to, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < from.len; i++) {
		unsigned char c = (unsigned char)from.at[i];
		bool is_plain = c > ' ' && c < 0x7f && c != '+' && c != '=';

		if (used + (is_plain ? 1 : 3) >= size)
			return false;
		used += (size_t)snprintf(to + used, size - used,
					 is_plain ? "%c" : "+%02X", c);
	}
	to[used] = '\0';
	return true;
}

static inline int
smtp_args_format_body(enum smtp_body body, struct buf *out)
{
	switch (body) {
	case SMTP_BODY_NONE:
		break;
	case SMTP_BODY_7BIT:
		return buf_adds(out, " BODY=7BIT");
	case SMTP_BODY_8BIT:
		return buf_adds(out, " BODY=8BITMIME");
	case SMTP_BODY_BINARY:
		return buf_adds(out, " BODY=BINARYMIME");
	}
	return 0;
}

static inline int
smtp_args_format_mail(const struct smtp_mail *mail, unsigned ext,
		      struct buf *out)
{
	char auth[ADDR_MAX * 3 + 1];
	int rc = buf_addf(out, "FROM:<%s>", mail->sender.text);

	if (rc == 0 && (ext & SMTP_EXT_SIZE) != 0 && mail->has_size)
		rc = buf_addf(out, " SIZE=%" PRIu64, mail->size);
	if (rc == 0 && (ext & (SMTP_EXT_8BITMIME | SMTP_EXT_BINARYMIME)) != 0)
		rc = smtp_args_format_body(mail->body, out);
	if (rc == 0 && (ext & SMTP_EXT_SMTPUTF8) != 0 && mail->is_utf8)
		rc = buf_adds(out, " SMTPUTF8");
	if (rc == 0 && (ext & SMTP_EXT_DSN) != 0 && mail->ret != 0)
		rc = buf_adds(out,
			      mail->ret == 'F' ? " RET=FULL" : " RET=HDRS");
	if (rc == 0 && (ext & SMTP_EXT_DSN) != 0 && mail->envid[0] != '\0')
		rc = buf_addf(out, " ENVID=%s", mail->envid);
	if (rc != 0 || (ext & SMTP_EXT_AUTH) == 0 || !mail->has_auth)
		return rc;
	if (!smtp_args_xtext(str_of(mail->auth.text), auth, sizeof(auth)))
		return -ENOBUFS;
	return buf_addf(out, " AUTH=%s", auth[0] != '\0' ? auth : "<>");
}

static inline int
smtp_args_format_rcpt(const struct smtp_rcpt *rcpt, unsigned ext,
		      struct buf *out)
{
	static const char *const names[] = {"NEVER", "SUCCESS", "FAILURE",
					    "DELAY"};
	int rc = buf_addf(out, "TO:<%s>", rcpt->address.text);
	const char *before = " NOTIFY=";

	if ((ext & SMTP_EXT_DSN) == 0)
		return rc;
	for (unsigned i = 0; rc == 0 && i < 4; i++) {
		if ((rcpt->notify & (1u << i)) == 0)
			continue;
		rc = buf_addf(out, "%s%s", before, names[i]);
		before = ",";
	}
	if (rc == 0 && rcpt->orcpt[0] != '\0')
		rc = buf_addf(out, " ORCPT=%s", rcpt->orcpt);
	return rc;
}

#endif
