/* SPDX-License-Identifier: ISC */
/* message/delivery-status and, where UTF-8 may travel, its global form: the
 * part of a report that programs read. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/str.h"
#include "queue/bounce/dsn_parts.h"
#include "queue/bounce/mime_text.h"

#define FIELD_MAX     4096
#define RECIPIENT_MAX ((size_t)16 << 10) /* more than one recipient takes */
#define LINE_MAX      900		 /* RFC 5322 allows 998 */

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* RFC 3461, 4: "+HH" stands for a byte. */
static void
decode_xtext(struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];

		if (c == '+' && i + 2 < text.len &&
		    hex_value(text.at[i + 1]) >= 0 &&
		    hex_value(text.at[i + 2]) >= 0) {
			c = (char)(hex_value(text.at[i + 1]) * 16 +
				   hex_value(text.at[i + 2]));
			i += 2;
		}
		(void)buf_add(out, &c, 1); /* a cut value is still one */
	}
}

/* Where fields go, and what they may hold. */
struct fields {
	struct buf *out;
	bool may_be_utf8;
};

static void
clean(const struct fields *fields, struct str text, struct buf *out)
{
	if (fields->may_be_utf8)
		mime_clean(text, out);
	else
		mime_clean_ascii(text, out);
}

/* Where a line that is too long may end: after a character. */
static size_t
cut_before(struct str text, size_t len)
{
	while (len > 0 && ((unsigned char)text.at[len] & 0xc0) == 0x80)
		len--;
	return len;
}

/*
 * A field from foreign text: printable characters. Each line of the text
 * becomes a line of the field; lines that are too long are broken at a space.
 */
static void
put_lines(const struct fields *fields, const char *name, const char *prefix,
	  struct str text)
{
	struct buf *out = fields->out, shown;
	struct str line;
	bool is_first = true;

	(void)buf_addf(out, "%s: %s", name, prefix);
	buf_init(&shown, FIELD_MAX);
	while (str_cut(&text, '\n', &line)) {
		struct str rest;

		buf_clear(&shown);
		clean(fields, str_trim(line), &shown);
		rest = str_trim(str_of(buf_text(&shown)));
		while (rest.len != 0) {
			size_t len = rest.len;

			if (len > LINE_MAX) {
				len = LINE_MAX;
				while (len > 1 && rest.at[len] != ' ')
					len--;
				len = len == 1 ? cut_before(rest, LINE_MAX)
					       : len;
			}
			(void)buf_addf(out, "%s%.*s", is_first ? "" : "\r\n ",
				       (int)len, rest.at);
			rest = str_trim(
				str_from(rest.at + len, rest.len - len));
			is_first = false;
		}
	}
	(void)buf_adds(out, "\r\n");
	buf_done(&shown);
}

/* The same from text of one line. */
static void
put_field(const struct fields *fields, const char *name, const char *prefix,
	  struct str text)
{
	struct buf line;

	buf_init(&line, FIELD_MAX);
	clean(fields, text, &line);
	put_lines(fields, name, prefix, str_of(buf_text(&line)));
	buf_done(&line);
}

static void
put_date(struct buf *out, const char *name, uint64_t wall_ms)
{
	char date[CLOCK_DATE_MAX];

	(void)buf_addf(out, "%s: %s\r\n", name,
		       clock_format_rfc5322(wall_ms, date));
}

/* RFC 6533, 3: an address as utf-8-addr-xtext, where each character that is
 * no QCHAR stands as \x{HEX}; as it is where UTF-8 may travel. */
static void
put_utf8_address(const struct fields *fields, const char *name,
		 struct str address)
{
	struct buf encoded;

	if (fields->may_be_utf8) { /* as it is */
		put_field(fields, name, "utf-8; ", address);
		return;
	}
	buf_init(&encoded, FIELD_MAX);
	while (address.len > 0) {
		unsigned char c = (unsigned char)address.at[0];
		size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		uint32_t point = c;

		if (len > address.len)
			len = address.len;
		if (len > 1)
			point &= 0x7fu >> len;
		for (size_t i = 1; i < len; i++)
			point = point << 6 |
				((unsigned char)address.at[i] & 0x3f);
		if (point > 0x20 && point < 0x7f && point != '+' &&
		    point != '=' && point != '\\')
			(void)buf_addf(&encoded, "%c", (char)point);
		else
			(void)buf_addf(&encoded, "\\x{%02X}", point);
		address = str_from(address.at + len, address.len - len);
	}
	put_field(fields, name, "utf-8; ", str_of(buf_text(&encoded)));
	buf_done(&encoded);
}

static void
put_address(const struct fields *fields, const char *name, const char *address)
{
	struct str text = str_of(address);

	if (!str_is_ascii(text) && str_is_utf8(text))
		put_utf8_address(fields, name, text);
	else
		put_field(fields, name, "rfc822; ", text);
}

/* UTF-8; what is no character is cleaned away with other such bytes. */
static void
put_point(uint32_t point, struct buf *out)
{
	uint8_t bytes[4];
	size_t len = point < 0x80      ? 1
		     : point < 0x800   ? 2
		     : point < 0x10000 ? 3
				       : 4;

	for (size_t i = len; i-- > 1; point >>= 6)
		bytes[i] = (uint8_t)(0x80 | (point & 0x3f));
	bytes[0] = (uint8_t)(len == 1 ? point : (0xf00 >> len) | point);
	(void)buf_add(out, bytes, len); /* a cut value is still one */
}

/* RFC 6533, 3: "\x{HEX}" stands for a character. */
static void
decode_unitext(struct str text, struct buf *out)
{
	while (text.len > 0) {
		uint32_t point = 0;
		size_t at = 3;

		if (text.len > 4 && memcmp(text.at, "\\x{", 3) == 0)
			while (at < text.len && at < 9 &&
			       hex_value(text.at[at]) >= 0)
				point = point << 4 |
					(uint32_t)hex_value(text.at[at++]);
		if (at > 3 && at < text.len && text.at[at] == '}' &&
		    point >= 0x20) {
			put_point(point, out);
			at++;
		} else {
			(void)buf_add(out, text.at, 1);
			at = 1;
		}
		text = str_from(text.at + at, text.len - at);
	}
}

/* RFC 3461, 4.2 and 6.3: what the sender wrote, without the xtext. */
static void
put_original_recipient(const struct fields *fields, const char *orcpt)
{
	struct str rest = str_of(orcpt), type;
	struct buf text;
	char prefix[80];

	if (!str_cut(&rest, ';', &type) || type.len == 0 ||
	    type.len > sizeof(prefix) - 4 || !str_is_ascii(type) ||
	    rest.len == 0)
		return;
	buf_init(&text, FIELD_MAX);
	mime_clean_ascii(type, &text);
	(void)snprintf(prefix, sizeof(prefix), "%s; ", buf_text(&text));
	buf_clear(&text);
	if (!str_is_nocase(type, "utf-8"))
		decode_xtext(rest, &text);
	else if (str_is_ascii(rest) && !fields->may_be_utf8)
		(void)buf_add(&text, rest.at, rest.len);
	else
		decode_unitext(rest, &text);
	if (!fields->may_be_utf8 && !str_is_ascii(str_of(buf_text(&text))) &&
	    str_is_nocase(type, "utf-8"))
		put_utf8_address(fields, "Original-Recipient",
				 str_of(buf_text(&text)));
	else
		put_field(fields, "Original-Recipient", prefix,
			  str_of(buf_text(&text)));
	buf_done(&text);
}

/* An enhanced code for a reply that came without one. */
static const char *
usual_code(enum category category)
{
	switch (category) {
	case CATEGORY_OTHER:
	case CATEGORY_VIRUS_RELATED:
		break;
	case CATEGORY_BAD_CONFIGURATION:
		return "3.5";
	case CATEGORY_BAD_CONNECTION:
		return "4.2";
	case CATEGORY_BAD_DOMAIN:
		return "1.2";
	case CATEGORY_BAD_MAILBOX:
		return "1.1";
	case CATEGORY_CONTENT_RELATED:
		return "6.0";
	case CATEGORY_INACTIVE_MAILBOX:
		return "2.1";
	case CATEGORY_MESSAGE_EXPIRED:
		return "4.7";
	case CATEGORY_NO_ANSWER_FROM_HOST:
		return "4.1";
	case CATEGORY_POLICY_RELATED:
	case CATEGORY_RELAYING_ISSUES:
	case CATEGORY_SPAM_RELATED:
		return "7.1";
	case CATEGORY_PROTOCOL_ERRORS:
		return "5.0";
	case CATEGORY_QUOTA_ISSUES:
		return "2.2";
	case CATEGORY_ROUTING_ERRORS:
		return "4.4";
	case CATEGORY_COUNT:
		break;
	}
	return "0.0";
}

static void
put_status_code(const struct dsn_input *input,
		const struct dsn_recipient *recipient, struct buf *out)
{
	const struct status *status = &recipient->outcome->status;
	char enhanced[12];

	switch (input->kind) {
	case DSN_DELIVERED:
	case DSN_RELAYED:
		(void)buf_addf(out, "Status: %s\r\n",
			       status->class == 2
				       ? status_enhanced(status, enhanced)
				       : "2.0.0");
		return;
	case DSN_FAILED:
	case DSN_DELAYED:
		break;
	}
	if (status->class == 4 || status->class == 5)
		(void)buf_addf(out, "Status: %s\r\n",
			       status_enhanced(status, enhanced));
	else
		(void)buf_addf(out, "Status: %c.%s\r\n",
			       input->kind == DSN_FAILED ? '5' : '4',
			       usual_code(recipient->classification.category));
}

const char *
dsn_kind_name(enum dsn_kind kind)
{
	switch (kind) {
	case DSN_FAILED:
		return "failed";
	case DSN_DELAYED:
		return "delayed";
	case DSN_DELIVERED:
		return "delivered";
	case DSN_RELAYED:
		return "relayed";
	}
	return "failed";
}

struct str
dsn_words(const struct outcome *outcome)
{
	if (outcome->kind == OUTCOME_DELIVERED && outcome->phase == PHASE_LOCAL)
		return str_of("Saved in the mailbox");
	if (outcome->reply[0] != '\0')
		return str_of(outcome->reply);
	return str_of(outcome->status.text);
}

static void
put_diagnostic(const struct fields *fields, const struct outcome *outcome)
{
	if (outcome->reply[0] != '\0')
		put_lines(fields, "Diagnostic-Code", "smtp; ",
			  dsn_words(outcome));
	else if (outcome->status.text[0] != '\0')
		/* RFC 3464, 2.3.6: a type of our own */
		put_field(fields, "Diagnostic-Code", "X-Ostler; ",
			  dsn_words(outcome));
}

static void
put_recipient(const struct dsn_input *input,
	      const struct dsn_recipient *recipient,
	      const struct fields *fields)
{
	struct buf *out = fields->out;
	const struct outcome *outcome = recipient->outcome;
	bool is_bad = input->kind == DSN_FAILED || input->kind == DSN_DELAYED;

	(void)buf_adds(out, "\r\n");
	if (recipient->recipient->orcpt != NULL)
		put_original_recipient(fields, recipient->recipient->orcpt);
	put_address(fields, "Final-Recipient", recipient->recipient->address);
	(void)buf_addf(out, "Action: %s\r\n", dsn_kind_name(input->kind));
	put_status_code(input, recipient, out);
	if (outcome->host[0] != '\0')
		put_field(fields, "Remote-MTA", "dns; ", str_of(outcome->host));
	put_diagnostic(fields, outcome);
	if (recipient->recipient->last_attempt_ms != 0)
		put_date(out, "Last-Attempt-Date",
			 recipient->recipient->last_attempt_ms);
	if (input->kind == DSN_DELAYED && input->retry_until_ms != 0)
		put_date(out, "Will-Retry-Until", input->retry_until_ms);
	if (is_bad) {
		(void)buf_addf(out, "X-Ostler-Category: %s\r\n",
			       category_name(
				       recipient->classification.category));
		put_field(fields, "X-Ostler-Rule", "",
			  str_of(recipient->classification.rule));
	}
}

void
dsn_status(const struct dsn_input *input, struct buf *out)
{
	const struct fields fields = {out, input->may_be_utf8};
	struct buf envid;

	put_field(&fields, "Reporting-MTA", "dns; ", str_of(input->hostname));
	if (input->envelope->envid != NULL &&
	    input->envelope->envid[0] != '\0') {
		buf_init(&envid, FIELD_MAX);
		decode_xtext(str_of(input->envelope->envid), &envid);
		put_field(&fields, "Original-Envelope-Id", "",
			  str_of(buf_text(&envid)));
		buf_done(&envid);
	}
	/* RFC 3464, 2.2.4: an MTA's name; clients who log in are none */
	if (input->envelope->login == NULL && input->envelope->helo != NULL &&
	    input->envelope->helo[0] != '\0')
		put_field(&fields, "Received-From-MTA", "dns; ",
			  str_of(input->envelope->helo));
	put_date(out, "Arrival-Date", input->envelope->received_ms);
	put_field(&fields, "X-Ostler-Queue-ID", "", str_of(input->id));
	for (size_t i = 0; i < input->recipient_count; i++) {
		/* whole recipients only */
		if (buf_room(out) < RECIPIENT_MAX)
			break;
		put_recipient(input, &input->recipients[i], &fields);
	}
}
