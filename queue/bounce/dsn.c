/* SPDX-License-Identifier: ISC */
#include "queue/bounce/dsn.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/str.h"
#include "lib/wire/header_scan.h"
#include "queue/bounce/advice.h"
#include "queue/bounce/dsn_parts.h"
#include "queue/bounce/mime_text.h"

#define WHOLE_MAX    ((size_t)64 << 10) /* originals returned whole */
#define HEADER_MAX   ((size_t)32 << 10) /* of a header that is returned */
#define TEXT_MAX     ((size_t)64 << 10)
#define STATUS_MAX   ((size_t)2 << 20)
#define LINE_MAX     998 /* RFC 5322, 2.1.1 */
#define BOUNDARY_MAX 80

enum part_form {
	PART_NONE,
	PART_WHOLE,   /* message/rfc822 or message/global */
	PART_HEADERS, /* text/rfc822-headers or message/global-headers */
};

/* What comes back of the original, and how it has to be labelled. */
struct original {
	enum part_form form;
	struct str bytes;
	const char *encoding; /* "7bit", "8bit", "quoted-printable" */
	bool is_global;	      /* RFC 6532: its header is UTF-8 */
};

static struct str
str_of_buf(const struct buf *buf)
{
	return str_from((const char *)buf_bytes(buf), buf_len(buf));
}

/* --- the original -------------------------------------------------------- */

static struct str
header_of(const struct dsn_input *input)
{
	struct header_scan scan = {0};
	size_t len;

	header_scan_feed(&scan, input->original, input->original_len);
	header_scan_end(&scan);
	len = scan.header_bytes < input->original_len
		      ? (size_t)scan.header_bytes
		      : input->original_len;
	return str_from((const char *)input->original, len);
}

bool
dsn_original_field(const struct dsn_input *input, const char *name,
		   struct str *out)
{
	struct str rest = header_of(input), line;
	size_t name_len = strlen(name);

	while (str_cut(&rest, '\n', &line)) {
		struct str more;

		if (line.len <= name_len || line.at[name_len] != ':' ||
		    !str_is_nocase(str_from(line.at, name_len), name))
			continue;
		/* continuation lines belong to it */
		while (rest.len > 0 &&
		       (rest.at[0] == ' ' || rest.at[0] == '\t') &&
		       str_cut(&rest, '\n', &more))
			line.len = (size_t)(more.at + more.len - line.at);
		while (line.len > 0 && line.at[line.len - 1] == '\r')
			line.len--;
		*out = str_trim(str_from(line.at + name_len + 1,
					 line.len - name_len - 1));
		return true;
	}
	return false;
}

/* CR LF line ends alone, no NUL, no line that is too long (RFC 5321, 2.3.8;
 * RFC 2045, 2.7). */
static bool
has_good_lines(struct str text)
{
	size_t at = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];

		if (c == '\r' && i + 1 < text.len && text.at[i + 1] == '\n') {
			at = 0;
			i++;
			continue;
		}
		if (c == '\0' || c == '\r' || c == '\n' || ++at > LINE_MAX)
			return false;
	}
	return true;
}

/* RFC 3461, 4.3: RET is about failures; other reports return the header. */
static bool
is_whole_wanted(const struct dsn_input *input)
{
	return input->kind == DSN_FAILED && input->envelope->ret != 'H' &&
	       input->original_size <= WHOLE_MAX &&
	       input->original_len == input->original_size;
}

static struct original
choose_original(const struct dsn_input *input)
{
	struct str whole =
		str_from((const char *)input->original, input->original_len);
	struct str header = header_of(input);
	bool is_global = input->may_be_utf8 && !str_is_ascii(header) &&
			 str_is_utf8(header);

	/* RFC 2046, 5.2.1: a message in a message has no other encodings
	 * than 7bit and 8bit, and without 8BITMIME on the whole way back the
	 * second would lose the report. */
	if (is_whole_wanted(input) && has_good_lines(whole)) {
		if (str_is_ascii(whole))
			return (struct original){PART_WHOLE, whole, "7bit",
						 false};
		if (input->may_be_8bit || input->may_be_utf8)
			return (struct original){PART_WHOLE, whole, "8bit",
						 is_global};
	}
	if (header.len > HEADER_MAX) {
		header.len = HEADER_MAX;
		while (header.len > 0 && header.at[header.len - 1] != '\n')
			header.len--;
	}
	if (header.len == 0)
		return (struct original){PART_NONE, header, "7bit", false};
	if (is_global && has_good_lines(header))
		return (struct original){PART_HEADERS, header, "8bit", true};
	return (struct original){PART_HEADERS, header,
				 str_is_ascii(header) && has_good_lines(header)
					 ? "7bit"
					 : "quoted-printable",
				 false};
}

static bool
is_8bit(const struct original *original, const struct buf *status)
{
	return strcmp(original->encoding, "8bit") == 0 ||
	       !str_is_ascii(str_of_buf(status));
}

bool
dsn_is_8bit(const struct dsn_input *input)
{
	struct original original = choose_original(input);
	struct buf status;
	bool yes;

	buf_init(&status, STATUS_MAX);
	if (input->may_be_utf8)
		dsn_status(input, &status);
	yes = is_8bit(&original, &status);
	buf_done(&status);
	return yes;
}

static const char *
type_of(const struct original *original)
{
	if (original->form == PART_WHOLE)
		return original->is_global ? "message/global"
					   : "message/rfc822";
	return original->is_global ? "message/global-headers"
				   : "text/rfc822-headers";
}

static void
put_original(const struct original *original, const struct language *language,
	     struct buf *out)
{
	bool is_whole = original->form == PART_WHOLE;

	(void)buf_addf(out, "Content-Type: %s\r\n", type_of(original));
	mime_header("Content-Description",
		    str_of(language_text(language, is_whole
							   ? TEXT_PART_MESSAGE
							   : TEXT_PART_HEADER)),
		    out);
	(void)buf_addf(out, "Content-Transfer-Encoding: %s\r\n\r\n",
		       original->encoding);
	if (strcmp(original->encoding, "quoted-printable") == 0)
		mime_quoted_printable(original->bytes, out);
	else
		(void)buf_add(out, original->bytes.at, original->bytes.len);
}

/* --- header fields ------------------------------------------------------- */

static void
put_to(const struct dsn_input *input, struct buf *out)
{
	struct str address = str_of(input->envelope->sender);
	struct buf group;

	if (str_is_ascii(address)) {
		(void)buf_adds(out, "To: <");
		mime_clean_ascii(address, out);
		(void)buf_adds(out, ">\r\n");
		return;
	}
	if (input->may_be_utf8) {
		(void)buf_adds(out, "To: <");
		mime_clean(address, out);
		(void)buf_adds(out, ">\r\n");
		return;
	}
	/* RFC 6857, 3.1.6: an address that no 7-bit header can hold shows as
	 * the name of an empty group; the envelope has the real one. */
	buf_init(&group, 4096);
	mime_clean(address, &group);
	mime_header("To", str_of(buf_text(&group)), out);
	buf_done(&group);
	out->end -= 2; /* CR LF */
	(void)buf_adds(out, " :;\r\n");
}

static enum text
subject_of(const struct dsn_input *input)
{
	bool is_one = input->recipient_count == 1;

	if (input->is_late)
		return is_one ? TEXT_SUBJECT_LATE : TEXT_SUBJECT_LATE_MANY;
	switch (input->kind) {
	case DSN_FAILED:
		return is_one ? TEXT_SUBJECT_FAILED : TEXT_SUBJECT_FAILED_MANY;
	case DSN_DELAYED:
		return is_one ? TEXT_SUBJECT_DELAYED
			      : TEXT_SUBJECT_DELAYED_MANY;
	case DSN_DELIVERED:
		return is_one ? TEXT_SUBJECT_DELIVERED
			      : TEXT_SUBJECT_DELIVERED_MANY;
	case DSN_RELAYED:
		break;
	}
	return is_one ? TEXT_SUBJECT_RELAYED : TEXT_SUBJECT_RELAYED_MANY;
}

static void
put_subject(const struct dsn_input *input, const struct language *language,
	    struct buf *out)
{
	const char *first = input->recipients[0].recipient->address;
	struct buf subject, recipient;
	struct advice advice;
	char n[24];

	advice_find(&input->recipients[0].classification, language, &advice);
	buf_init(&subject, 4096);
	buf_init(&recipient, 4096);
	mime_clean(str_of(first), &recipient);
	(void)snprintf(n, sizeof(n), "%zu", input->recipient_count - 1);
	language_put(language, subject_of(input),
		     TEXT_VALUES({"recipient", buf_text(&recipient)}, {"n", n},
				 {"cause", advice.cause}),
		     &subject);
	mime_header("Subject", str_of(buf_text(&subject)), out);
	buf_done(&recipient);
	buf_done(&subject);
}

/* RFC 5322, 3.4: name-addr; a name in letters alone needs no quotes. */
static void
put_from(const struct dsn_input *input, const struct language *language,
	 struct buf *out)
{
	struct str name = str_of(language_text(language, TEXT_FROM));

	if (mime_is_phrase(name))
		mime_header("From", name, out);
	else
		mime_encoded_header("From", name, out);
	out->end -= 2; /* CR LF */
	(void)buf_adds(out, " <");
	mime_clean_ascii(str_of(input->from), out);
	(void)buf_adds(out, ">\r\n");
}

/* "<...@...>" without anything that could leave the line. */
static bool
is_message_id(struct str text)
{
	if (text.len < 5 || text.len > 900 || text.at[0] != '<' ||
	    text.at[text.len - 1] != '>' ||
	    memchr(text.at, '@', text.len) == NULL)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] <= ' ' || text.at[i] > '~' ||
		    ((text.at[i] == '<') != (i == 0)) ||
		    ((text.at[i] == '>') != (i + 1 == text.len)))
			return false;
	return true;
}

static void
put_header(const struct dsn_input *input, const struct language *language,
	   const char *boundary, bool has_8bit, struct buf *out)
{
	char date[CLOCK_DATE_MAX];
	struct str id;

	(void)buf_addf(out, "Date: %s\r\n",
		       clock_format_rfc5322(input->now_ms, date));
	put_from(input, language, out);
	put_to(input, out);
	put_subject(input, language, out);
	(void)buf_addf(out, "Message-ID: <%s@%s>\r\n", input->report_id,
		       input->hostname);
	if (dsn_original_field(input, "Message-ID", &id) && is_message_id(id))
		(void)buf_addf(out, "In-Reply-To: %.*s\r\nReferences: %.*s\r\n",
			       STR_ARG(id), STR_ARG(id));
	(void)buf_addf(out,
		       "Auto-Submitted: auto-replied\r\n"
		       "MIME-Version: 1.0\r\n"
		       "Content-Type: multipart/report; "
		       "report-type=delivery-status;\r\n"
		       "\tboundary=\"%s\"\r\n"
		       "Content-Transfer-Encoding: %s\r\n\r\n",
		       boundary, has_8bit ? "8bit" : "7bit");
}

/* --- the whole ----------------------------------------------------------- */

static bool
occurs(const char *boundary, struct str in)
{
	return in.len != 0 &&
	       memmem(in.at, in.len, boundary, strlen(boundary)) != NULL;
}

/* RFC 2046, 5.1.1: a line that occurs in no part. */
static void
choose_boundary(const struct dsn_input *input, const struct buf *text,
		const struct buf *status, const struct original *original,
		char to[BOUNDARY_MAX])
{
	unsigned number = 0;

	do {
		(void)snprintf(to, BOUNDARY_MAX, "=_%.40s_%u", input->report_id,
			       number++);
	} while (occurs(to, str_of_buf(text)) ||
		 occurs(to, str_of_buf(status)) || occurs(to, original->bytes));
}

static void
put_text_part(const struct buf *text, const struct language *language,
	      struct buf *out)
{
	struct str body = str_of_buf(text);
	bool is_plain = str_is_ascii(body) && has_good_lines(body);

	(void)buf_addf(out,
		       "Content-Type: text/plain; charset=%s\r\n"
		       "Content-Language: %s\r\n"
		       "Content-Transfer-Encoding: %s\r\n\r\n",
		       is_plain ? "us-ascii" : "utf-8", language_tag(language),
		       is_plain ? "7bit" : "quoted-printable");
	if (is_plain)
		(void)buf_add(out, body.at, body.len);
	else
		mime_quoted_printable(body, out);
}

/* RFC 6533, 4: the global form where it holds UTF-8. */
static void
put_status_part(const struct buf *status, const struct language *language,
		struct buf *out)
{
	bool is_ascii = str_is_ascii(str_of_buf(status));

	(void)buf_addf(out, "Content-Type: message/%sdelivery-status\r\n",
		       is_ascii ? "" : "global-");
	mime_header("Content-Description",
		    str_of(language_text(language, TEXT_PART_STATUS)), out);
	(void)buf_addf(out, "Content-Transfer-Encoding: %s\r\n\r\n",
		       is_ascii ? "7bit" : "8bit");
	(void)buf_add(out, buf_bytes(status), buf_len(status));
}

static const struct language *
choose_language(const struct dsn_input *input)
{
	struct str accept = str_of(""), content = str_of("");

	/* both stay empty where the original has no such field */
	(void)dsn_original_field(input, "Accept-Language", &accept);
	(void)dsn_original_field(input, "Content-Language", &content);
	return texts_choose(input->texts, accept, content, input->language);
}

void
dsn_format(const struct dsn_input *input, struct buf *out)
{
	const struct language *language = choose_language(input);
	struct original original = choose_original(input);
	char boundary[BOUNDARY_MAX];
	struct buf text, status;

	buf_init(&text, TEXT_MAX);
	buf_init(&status, STATUS_MAX);
	dsn_text(input, language, &text);
	dsn_status(input, &status);
	choose_boundary(input, &text, &status, &original, boundary);

	put_header(input, language, boundary, is_8bit(&original, &status), out);
	(void)buf_addf(out, "--%s\r\n", boundary);
	put_text_part(&text, language, out);
	(void)buf_addf(out, "\r\n--%s\r\n", boundary);
	put_status_part(&status, language, out);
	if (original.form != PART_NONE) {
		(void)buf_addf(out, "\r\n--%s\r\n", boundary);
		put_original(&original, language, out);
	}
	(void)buf_addf(out, "\r\n--%s--\r\n", boundary);
	buf_done(&text);
	buf_done(&status);
}
