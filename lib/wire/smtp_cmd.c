/* SPDX-License-Identifier: ISC */
#include "lib/wire/smtp_cmd.h"

#include <string.h>

static const struct {
	const char *name;
	enum smtp_verb verb;
} verbs[] = {
	{"EHLO", SMTP_EHLO},	 {"HELO", SMTP_HELO},
	{"LHLO", SMTP_LHLO},	 {"MAIL", SMTP_MAIL},
	{"RCPT", SMTP_RCPT},	 {"DATA", SMTP_DATA},
	{"BDAT", SMTP_BDAT},	 {"RSET", SMTP_RSET},
	{"NOOP", SMTP_NOOP},	 {"QUIT", SMTP_QUIT},
	{"VRFY", SMTP_VRFY},	 {"EXPN", SMTP_EXPN},
	{"HELP", SMTP_HELP},	 {"STARTTLS", SMTP_STARTTLS},
	{"AUTH", SMTP_AUTH},	 {"GET", SMTP_FOREIGN},
	{"POST", SMTP_FOREIGN},	 {"PUT", SMTP_FOREIGN},
	{"HEAD", SMTP_FOREIGN},	 {"OPTIONS", SMTP_FOREIGN},
	{"PATCH", SMTP_FOREIGN}, {"DELETE", SMTP_FOREIGN},
	{"TRACE", SMTP_FOREIGN}, {"CONNECT", SMTP_FOREIGN},
	{"PRI", SMTP_FOREIGN},
};

#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

const char *
smtp_verb_name(enum smtp_verb verb)
{
	if (verb != SMTP_UNKNOWN && verb != SMTP_FOREIGN)
		for (size_t i = 0; i < VERB_COUNT; i++)
			if (verbs[i].verb == verb)
				return verbs[i].name;
	return "?";
}

static enum smtp_verb
verb_of(struct str word)
{
	for (size_t i = 0; i < VERB_COUNT; i++)
		if (str_is_nocase(word, verbs[i].name))
			return verbs[i].verb;
	return SMTP_UNKNOWN;
}

/*
 * How long this line may be, CR LF included. Its first bytes tell, and where
 * the answer matters there are more than enough of them.
 */
static size_t
line_limit(enum smtp_cmd_mode mode, struct str line)
{
	if (mode == SMTP_CMD_AUTH_LINES)
		return SMTP_CMD_AUTH_MAX;
	if (str_starts_nocase(line, "AUTH "))
		return SMTP_CMD_AUTH_COMMAND_MAX;
	if (str_starts_nocase(line, "MAIL ") ||
	    str_starts_nocase(line, "RCPT "))
		return SMTP_CMD_PATH_MAX;
	return SMTP_CMD_LINE_MAX;
}

/* Bytes up to and with the next CR LF, or 0. */
static size_t
crlf_end(const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const uint8_t *lf = memchr(bytes + at, '\n', len - at);

		if (lf == NULL)
			return 0;
		at = (size_t)(lf - bytes) + 1;
		if (lf != bytes && lf[-1] == '\r')
			return at;
	}
	return 0;
}

/* Where a bad byte stops being possibly good: bytes up to and with it, or 0.
 * A CR is bad once the byte behind it is there and is no LF. */
static size_t
bad_byte_end(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\0')
			return i + 1;
		if (bytes[i] == '\n' && (i == 0 || bytes[i - 1] != '\r'))
			return i + 1;
		if (bytes[i] == '\r' && i + 1 < len && bytes[i + 1] != '\n')
			return i + 1;
	}
	return 0;
}

static void
split_line(enum smtp_cmd_mode mode, struct str line, struct smtp_cmd_event *out)
{
	size_t len = 0;

	out->kind = SMTP_CMD_LINE;
	if (mode == SMTP_CMD_AUTH_LINES) {
		out->arg = line;
		return;
	}
	while (len < line.len && line.at[len] != ' ' && line.at[len] != '\t')
		len++;
	out->word = str_from(line.at, len);
	out->verb = verb_of(out->word);
	/* RFC 5321, 4.1.1: white space before CR LF is tolerated */
	out->arg = str_trim(str_from(line.at + len, line.len - len));
}

/* One event from a line that begins at bytes; the bytes used. */
static size_t
next_line(struct smtp_cmd *cmd, enum smtp_cmd_mode mode, const uint8_t *bytes,
	  size_t len, struct smtp_cmd_event *out)
{
	size_t limit = line_limit(mode, str_from((const char *)bytes, len));
	size_t seen = len < limit ? len : limit;
	size_t line = crlf_end(bytes, seen);
	size_t bad = bad_byte_end(bytes, line != 0 ? line : seen);

	if (bad != 0) {
		out->kind = SMTP_CMD_BAD_BYTE;
		cmd->is_dropping = true;
		return bad;
	}
	if (line != 0) {
		split_line(mode, str_from((const char *)bytes, line - 2), out);
		return line;
	}
	if (len < limit)
		return 0;
	out->kind = SMTP_CMD_TOO_LONG;
	cmd->is_dropping = true;
	/* a CR may be half of the line's end: it stays for the next call */
	return bytes[limit - 1] == '\r' ? limit - 1 : limit;
}

size_t
smtp_cmd_next(struct smtp_cmd *cmd, enum smtp_cmd_mode mode,
	      const uint8_t *bytes, size_t len, struct smtp_cmd_event *out)
{
	size_t dropped = 0;

	*out = (struct smtp_cmd_event){.kind = SMTP_CMD_NEED_MORE};
	if (len == 0)
		return 0;
	if (cmd->is_dropping) {
		dropped = crlf_end(bytes, len);
		if (dropped == 0)
			return bytes[len - 1] == '\r' ? len - 1 : len;
		cmd->is_dropping = false;
		if (dropped == len)
			return dropped;
	}
	return dropped +
	       next_line(cmd, mode, bytes + dropped, len - dropped, out);
}
