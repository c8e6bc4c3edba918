/* SPDX-License-Identifier: ISC */
#include "lib/wire/smtp_reply.h"

#include <string.h>

#include "lib/str.h"

/* A line's content as it may be sent and shown: printable, ASCII unless
 * has_utf8. */
static void
reply_clean(char *text, bool has_utf8)
{
	while (*text >= ' ' && *text < 0x7f)
		text++; /* mostly all of it */
	if (!str_is_utf8(str_of(text)))
		has_utf8 = false;
	for (char *c = text; *c != '\0'; c++) {
		unsigned char byte = (unsigned char)*c;

		/* U+0080 to U+009F: some terminals obey them */
		if (has_utf8 && byte == 0xc2 && (unsigned char)c[1] < 0xa0)
			c[0] = c[1] = '?';
		else if (byte < ' ' || byte == 0x7f ||
			 (byte > 0x7f && !has_utf8))
			*c = '?';
	}
}

void
smtp_reply_add(struct buf *out, const struct status *status, bool has_utf8)
{
	char line[SMTP_REPLY_LINE_MAX - 5]; /* "250 " and CRLF, with a NUL */
	char enhanced[12], code[STR_DIGITS_MAX];

	(void)status_enhanced(status, enhanced);
	str_join(line, sizeof(line), enhanced, enhanced[0] != '\0' ? " " : "",
		 status->text, NULL);
	reply_clean(line, has_utf8);
	(void)str_digits(code, status->code % 1000, 3);
	(void)buf_join(out, code, " ", line, "\r\n", NULL);
}

void
smtp_reply_init(struct smtp_reply *reply)
{
	memset(reply, 0, sizeof(*reply));
	buf_init(&reply->text, SMTP_REPLY_KEEP);
	/* a little more than is kept: the cut does not split a UTF-8 sequence
	 */
	buf_init(&reply->line, SMTP_REPLY_KEEP_LINE + 4);
}

void
smtp_reply_done(struct smtp_reply *reply)
{
	buf_done(&reply->text);
	buf_done(&reply->line);
}

static void
reply_begin(struct smtp_reply *reply)
{
	buf_clear(&reply->text);
	buf_clear(&reply->line);
	memset(&reply->status, 0, sizeof(reply->status));
	reply->state = SMTP_REPLY_MORE;
	reply->total = 0;
	reply->lines = 0;
}

/* Keeps the line for people: what does not fit is left out. */
static void
reply_keep(struct smtp_reply *reply, struct str line)
{
	size_t room = buf_room(&reply->text);
	char text[SMTP_REPLY_KEEP_LINE + 1];

	if (buf_len(&reply->text) != 0) {
		if (room < 2)
			return;
		(void)buf_add(&reply->text, "\n", 1);
		room--;
	}
	(void)str_copy(text,
		       room < SMTP_REPLY_KEEP_LINE ? room + 1 : sizeof(text),
		       line);
	(void)buf_adds(&reply->text, text);
}

/*
 * Reply-line = Reply-code [ ( SP / "-" ) textstring ] CRLF
 * Reply-code = %x32-35 %x30-35 %x30-39
 *
 * The second digit is not held to the grammar: servers use 0 to 9.
 */
static bool
reply_code(struct str line, unsigned *out)
{
	unsigned code = 0;

	if (line.len < 3)
		return false;
	for (size_t i = 0; i < 3; i++) {
		if (line.at[i] < '0' || line.at[i] > '9')
			return false;
		code = code * 10 + (unsigned)(line.at[i] - '0');
	}
	if (code < 200 || code > 599)
		return false;
	/* "2500" is no code with its space missing, it is not SMTP */
	if (line.len > 3 && line.at[3] >= '0' && line.at[3] <= '9')
		return false;
	*out = code;
	return true;
}

/* Enhanced code and first text that a person can read. */
static void
reply_status(struct smtp_reply *reply, struct str text, unsigned code)
{
	struct status *status = &reply->status;
	struct status found;
	unsigned used;

	memset(&found, 0, sizeof(found));
	used = status_parse_enhanced(text.at, (unsigned)text.len, &found);
	/* RFC 2034, 4: the class is the code's first digit, or it is chance */
	if (used != 0 && found.class == code / 100) {
		if (status->class == 0) {
			status->class = found.class;
			status->subject = found.subject;
			status->detail = found.detail;
		}
		text = str_trim(str_from(text.at + used, text.len - used));
	}
	if (status->text[0] == '\0')
		(void)str_copy(status->text, sizeof(status->text), text);
}

/* One whole line is in reply->line. */
static void
reply_line(struct smtp_reply *reply)
{
	char bytes[SMTP_REPLY_KEEP_LINE + 5];
	struct str line;
	unsigned code;
	size_t len = buf_len(&reply->line);

	if (len != 0)
		memcpy(bytes, buf_bytes(&reply->line), len);
	if (len > SMTP_REPLY_KEEP_LINE)
		for (len = SMTP_REPLY_KEEP_LINE;
		     len != 0 && ((unsigned char)bytes[len] & 0xc0) == 0x80;)
			len--;
	buf_clear(&reply->line);
	while (len != 0 && (bytes[len - 1] == '\r' || bytes[len - 1] == ' '))
		len--;
	/* a NUL or a tab is no reason to lose what stands behind it */
	for (size_t i = 0; i < len; i++)
		if (bytes[i] == '\0' || bytes[i] == '\t')
			bytes[i] = bytes[i] == '\t' ? ' ' : '?';
	bytes[len] = '\0';
	reply_clean(bytes, true);
	line = str_from(bytes, len);
	reply_keep(reply, line);
	reply->lines++;

	if (!reply_code(line, &code)) {
		reply->state = SMTP_REPLY_GARBLED;
		return;
	}
	if (reply->status.class != code / 100)
		reply->status.class = 0; /* said by a line of another class */
	reply->status.code = (uint16_t)code;
	if (len > 3) {
		bool has_mark = line.at[3] == ' ' || line.at[3] == '-';

		reply_status(reply,
			     str_trim(str_from(line.at + 3 + has_mark,
					       len - 3 - has_mark)),
			     code);
	}
	if (len <= 3 || line.at[3] != '-')
		reply->state = SMTP_REPLY_DONE;
}

size_t
smtp_reply_feed(struct smtp_reply *reply, const void *bytes, size_t len)
{
	const char *at = bytes;
	size_t used = 0;

	if (reply->state == SMTP_REPLY_DONE)
		reply_begin(reply);
	while (used < len && reply->state == SMTP_REPLY_MORE) {
		const char *lf = memchr(at + used, '\n', len - used);
		size_t part = (lf != NULL ? (size_t)(lf - at) : len) - used;
		size_t room = buf_room(&reply->line);

		if (part > SMTP_REPLY_WHOLE_MAX - reply->total) {
			reply_keep(reply, str_of("(a reply without end)"));
			reply->state = SMTP_REPLY_GARBLED;
			break;
		}
		(void)buf_add(&reply->line, at + used,
			      part < room ? part : room);
		used += part + (lf != NULL);
		reply->total += part;
		if (lf != NULL)
			reply_line(reply);
	}
	return used;
}

const char *
smtp_reply_text(struct smtp_reply *reply)
{
	return buf_text(&reply->text);
}
