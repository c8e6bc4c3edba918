/* SPDX-License-Identifier: ISC */
#include "server/submission.h"

#include <stdio.h>
#include <string.h>

enum submission_at {
	AT_LINE,     /* a line begins, or what it is is not known yet: held */
	AT_NAME,     /* within what may be a field's name: held */
	AT_GAP,	     /* white space between a name and its colon: held */
	AT_LONG,     /* within a name too long to be held, given out */
	AT_LONG_GAP, /* within such a gap */
	AT_FIELD,    /* within a field, or a folded line of it */
	AT_BODY,     /* the header is over */
};

void
submission_init(struct submission *submission, const char *date,
		const char *message_id)
{
	memset(submission, 0, sizeof(*submission));
	submission->date_len =
		(uint16_t)snprintf(submission->add, sizeof(submission->add),
				   "Date: %.64s\r\n", date);
	submission->add_len =
		(uint16_t)(submission->date_len +
			   snprintf(submission->add + submission->date_len,
				    sizeof(submission->add) -
					    submission->date_len,
				    "Message-ID: <%.336s>\r\n", message_id));
}

/* The fields that are missing. */
static struct str
submission_missing(const struct submission *submission)
{
	size_t from = submission->has_date ? submission->date_len : 0;
	size_t end = submission->has_message_id ? submission->date_len
						: submission->add_len;

	return str_from(submission->add + from, end - from);
}

/*
 * The header is over: what is missing goes before what was kept back.
 *
 * needs_empty_line  what follows is no field, and must not become one
 */
static struct str
submission_close(struct submission *submission, bool needs_empty_line)
{
	struct str missing = submission_missing(submission);
	size_t extra = missing.len;

	submission->at = AT_BODY;
	if (extra != 0 && needs_empty_line)
		extra += 2;
	memmove(submission->held + extra, submission->held,
		submission->held_len);
	memcpy(submission->held, missing.at, missing.len);
	if (extra != missing.len)
		memcpy(submission->held + missing.len, "\r\n", 2);
	extra += submission->held_len;
	submission->held_len = 0;
	return str_from(submission->held, extra);
}

static bool
is_bcc(struct str name)
{
	return str_is_nocase(name, "Bcc") || str_is_nocase(name, "Resent-Bcc");
}

/* Behind the colon: what this field is, and whether it goes on. */
static struct str
submission_field(struct submission *submission, size_t name_len)
{
	struct str name = str_from(submission->held, name_len);
	struct str run = str_from(submission->held, submission->held_len);

	submission->at = AT_FIELD;
	submission->has_field = true;
	submission->held_len = 0;
	submission->is_after_cr = false;
	submission->is_removing =
		str_is_nocase(name, "Bcc") || str_is_nocase(name, "Resent-Bcc");
	if (str_is_nocase(name, "Date"))
		submission->has_date = true;
	else if (str_is_nocase(name, "Message-ID"))
		submission->has_message_id = true;
	if (submission->is_removing)
		run.len = 0;
	return run;
}

/* ftext of RFC 5322, 3.6.8 */
static bool
is_name_byte(uint8_t c)
{
	return c > ' ' && c < 0x7f && c != ':';
}

static size_t
held_name_len(const struct submission *submission)
{
	size_t len = 0;

	while (len < submission->held_len &&
	       is_name_byte((uint8_t)submission->held[len]))
		len++;
	return len;
}

/* The first byte of a line. */
static struct str
submission_first(struct submission *submission, uint8_t c)
{
	struct str nothing = str_from(NULL, 0);

	if (c == '\r') /* the empty line, if a LF comes */
		return nothing;
	if ((c == ' ' || c == '\t') && submission->has_field) {
		submission->at = AT_FIELD;
		submission->is_after_cr = false;
		submission->held_len = 0;
		return submission->is_removing ? nothing
					       : str_from(submission->held, 1);
	}
	if (!is_name_byte(c))
		return submission_close(submission, true);
	submission->at = AT_NAME;
	return nothing;
}

/* What may be a field's beginning is longer than what can be kept back. */
static struct str
submission_overflow(struct submission *submission)
{
	size_t name_len = held_name_len(submission);

	/* no Bcc hides behind much white space */
	if (is_bcc(str_from(submission->held, name_len)))
		return submission_field(submission, name_len);
	if (submission_missing(submission).len != 0)
		return submission_close(submission, true);
	submission->at = submission->at == AT_NAME ? AT_LONG : AT_LONG_GAP;
	submission->is_removing = false;
	return str_from(submission->held, submission->held_len);
}

/* One byte of a line's beginning, which is kept back with it. */
static struct str
submission_byte(struct submission *submission, uint8_t c)
{
	submission->held[submission->held_len++] = (char)c;
	switch ((enum submission_at)submission->at) {
	case AT_LINE:
		if (submission->held_len == 1)
			return submission_first(submission, c);
		return submission_close(submission, c != '\n');
	case AT_NAME:
	case AT_GAP:
		if (c == ':')
			return submission_field(submission,
						held_name_len(submission));
		if (c == ' ' || c == '\t')
			/* RFC 5322, 4.5: obsolete, and read */
			submission->at = AT_GAP;
		else if (submission->at == AT_GAP || !is_name_byte(c))
			return submission_close(submission, true);
		break;
	case AT_LONG:
	case AT_LONG_GAP:
	case AT_FIELD:
	case AT_BODY:
		break; /* nothing is kept back there */
	}
	if (submission->held_len < SUBMISSION_HELD_MAX)
		return str_from(NULL, 0);
	return submission_overflow(submission);
}

/* More of a long name, up to where it is known what it is; the bytes used. */
static size_t
submission_long(struct submission *submission, const uint8_t *bytes, size_t len)
{
	size_t used = 0;

	submission->held_len = 0;
	while (used < len) {
		uint8_t c = bytes[used++];

		if (c == ':') {
			submission->at = AT_FIELD;
			submission->has_field = true;
			submission->is_after_cr = false;
			break;
		}
		if (c == ' ' || c == '\t') {
			submission->at = AT_LONG_GAP;
		} else if (submission->at == AT_LONG_GAP || !is_name_byte(c)) {
			submission->at = AT_BODY;
			break;
		}
	}
	return used;
}

/* The rest of a line up to its CR LF; the bytes used. */
static size_t
submission_line(struct submission *submission, const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const uint8_t *lf = memchr(bytes + at, '\n', len - at);
		bool is_crlf;

		if (lf == NULL)
			break;
		is_crlf = lf > bytes ? lf[-1] == '\r' : submission->is_after_cr;
		at = (size_t)(lf - bytes) + 1;
		if (is_crlf) {
			submission->at = AT_LINE;
			return at;
		}
	}
	submission->is_after_cr = bytes[len - 1] == '\r';
	return len;
}

size_t
submission_feed(struct submission *submission, const uint8_t *bytes, size_t len,
		struct str *out_run)
{
	size_t used = 0;

	*out_run = str_from((const char *)bytes, len);
	if (submission->at == AT_BODY || len == 0)
		return len;
	if (submission->at == AT_FIELD) {
		out_run->len = submission_line(submission, bytes, len);
		used = out_run->len;
		if (submission->is_removing)
			out_run->len = 0;
		return used;
	}
	if (submission->at == AT_LONG || submission->at == AT_LONG_GAP) {
		out_run->len = submission_long(submission, bytes, len);
		return out_run->len;
	}
	out_run->len = 0;
	while (used < len && out_run->len == 0 &&
	       (submission->at == AT_LINE || submission->at == AT_NAME ||
		submission->at == AT_GAP))
		*out_run = submission_byte(submission, bytes[used++]);
	return used;
}

struct str
submission_end(struct submission *submission)
{
	switch ((enum submission_at)submission->at) {
	case AT_LINE:
	case AT_NAME:
	case AT_GAP:
		return submission_close(submission, submission->held_len != 0);
	case AT_FIELD:
		/* a line that was cut off (BDAT) is ended first; of a removed
		 * one nothing went out */
		if (!submission->is_removing &&
		    submission_missing(submission).len != 0) {
			struct str run;

			submission->held_len = 0;
			run = submission_close(submission, false);
			memmove(submission->held + 2, submission->held,
				run.len);
			memcpy(submission->held, "\r\n", 2);
			return str_from(submission->held, run.len + 2);
		}
		return submission_close(submission, false);
	case AT_LONG:
	case AT_LONG_GAP:
	case AT_BODY:
		break;
	}
	return str_from(NULL, 0);
}
