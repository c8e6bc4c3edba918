/* SPDX-License-Identifier: ISC */
#include "queue/bounce/mime_text.h"

#include <string.h>

#define COLUMNS 72
/* RFC 2047, 2: an encoded word has at most 75 characters, a line 76. */
#define ENCODED_MAX	75
#define ENCODED_FRONT	"=?utf-8?Q?"
#define ENCODED_BACK	"?="
#define QP_LINE_MAX	76
#define HEADER_WORD_MAX 900 /* more makes a line of more than 998 octets */

static const char hex[] = "0123456789ABCDEF";

/* What does not fit is lost: callers size their buffers for what they have
 * to say, and a cut report is better than none. */
static void
put(struct buf *out, const char *bytes, size_t len)
{
	(void)buf_add(out, bytes, len);
}

/* Bytes of the UTF-8 sequence at the front; 0 when there is none. */
static size_t
sequence_length(struct str text)
{
	unsigned char c = (unsigned char)text.at[0];
	size_t len = c < 0x80	? 1
		     : c < 0xc2 ? 0
		     : c < 0xe0 ? 2
		     : c < 0xf0 ? 3
		     : c < 0xf5 ? 4
				: 0;

	if (len > text.len || !str_is_utf8(str_from(text.at, len)))
		return 0;
	return len;
}

static uint32_t
code_point(const char *at, size_t len)
{
	uint32_t point = (unsigned char)at[0];

	if (len > 1)
		point &= 0x7fu >> len;
	for (size_t i = 1; i < len; i++)
		point = point << 6 | ((unsigned char)at[i] & 0x3f);
	return point;
}

/* --- cleaning ------------------------------------------------------------ */

/* C1 controls, line and paragraph separators, and what turns the reading
 * direction around: a peer could dress one text up as another. */
static bool
is_deceptive(uint32_t point)
{
	return (point >= 0x80 && point < 0xa0) || point == 0x200e ||
	       point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

size_t
mime_character(struct str text, bool *out_is_deceptive)
{
	size_t len = sequence_length(text);

	*out_is_deceptive = len > 1 && is_deceptive(code_point(text.at, len));
	return len;
}

void
mime_clean(struct str text, struct buf *out)
{
	while (text.len > 0) {
		bool is_hidden;
		size_t len = mime_character(text, &is_hidden);
		unsigned char c = (unsigned char)text.at[0];

		if (len == 0)
			put(out, "?", 1);
		else if (len == 1)
			put(out, c < 0x20 || c == 0x7f ? " " : text.at, 1);
		else if (!is_hidden)
			put(out, text.at, len);
		len += len == 0;
		text = str_from(text.at + len, text.len - len);
	}
}

void
mime_clean_ascii(struct str text, struct buf *out)
{
	while (text.len > 0) {
		size_t len = sequence_length(text);
		unsigned char c = (unsigned char)text.at[0];

		if (len != 1)
			put(out, "?", 1);
		else
			put(out, c < 0x20 || c == 0x7f ? " " : text.at, 1);
		len += len == 0;
		text = str_from(text.at + len, text.len - len);
	}
}

/* --- wrapping ------------------------------------------------------------ */

size_t
mime_columns(struct str text)
{
	size_t count = 0;

	while (text.len > 0) {
		size_t len = sequence_length(text);
		uint32_t point;

		len += len == 0;
		point = code_point(text.at, len);
		/* East Asian scripts and pictures */
		count += (point >= 0x1100 && point <= 0x115f) ||
					 (point >= 0x2e80 && point <= 0xa4cf) ||
					 (point >= 0xac00 && point <= 0xd7a3) ||
					 (point >= 0xf900 && point <= 0xfaff) ||
					 (point >= 0xfe30 && point <= 0xfe6f) ||
					 (point >= 0xff00 && point <= 0xff60) ||
					 point >= 0x1f300
				 ? 2
				 : 1;
		text = str_from(text.at + len, text.len - len);
	}
	return count;
}

void
mime_wrap(const char *first, const char *other, struct str text,
	  struct buf *out)
{
	size_t at = mime_columns(str_of(first));
	bool is_line_empty = true;
	struct str word;

	put(out, first, strlen(first));
	while (str_cut(&text, ' ', &word)) {
		size_t width = mime_columns(word);

		if (word.len == 0)
			continue;
		if (!is_line_empty && at + 1 + width > COLUMNS) {
			put(out, "\r\n", 2);
			put(out, other, strlen(other));
			at = mime_columns(str_of(other));
			is_line_empty = true;
		}
		if (!is_line_empty) {
			put(out, " ", 1);
			at++;
		}
		put(out, word.at, word.len);
		at += width;
		is_line_empty = false;
	}
	put(out, "\r\n", 2);
}

/* --- headers ------------------------------------------------------------- */

/* RFC 2047, 4.2 and 5 (3): what needs no escape beside letters and digits, in
 * text and in a phrase, where a comma would begin another address */
#define TEXT_SAFE   "!*+-/.,:@"
#define PHRASE_SAFE "!*+-/"

static bool
is_word_safe(unsigned char c, const char *safe)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z') || strchr(safe, c) != NULL;
}

static void
encode_words(size_t at, struct str text, const char *safe, struct buf *out)
{
	const size_t frame = strlen(ENCODED_FRONT) + strlen(ENCODED_BACK);
	size_t used = 0; /* characters of the open word, 0: none is open */

	while (text.len > 0) {
		char piece[12];
		size_t len = sequence_length(text);
		size_t piece_len = 0;

		len += len == 0;
		for (size_t i = 0; i < len; i++) {
			unsigned char c = (unsigned char)text.at[i];

			if (c == ' ') {
				piece[piece_len++] = '_';
			} else if (c < 0x80 && c != 0 &&
				   is_word_safe(c, safe)) {
				piece[piece_len++] = (char)c;
			} else {
				piece[piece_len++] = '=';
				piece[piece_len++] = hex[c >> 4];
				piece[piece_len++] = hex[c & 15];
			}
		}
		if (used != 0 && at + used + piece_len > ENCODED_MAX) {
			put(out, ENCODED_BACK "\r\n ",
			    strlen(ENCODED_BACK) + 3);
			at = 1;
			used = 0;
		}
		if (used == 0) {
			put(out, ENCODED_FRONT, strlen(ENCODED_FRONT));
			used = frame;
		}
		put(out, piece, piece_len);
		used += piece_len;
		text = str_from(text.at + len, text.len - len);
	}
	if (used != 0)
		put(out, ENCODED_BACK, strlen(ENCODED_BACK));
}

void
mime_encoded_header(const char *name, struct str text, struct buf *out)
{
	put(out, name, strlen(name));
	put(out, ": ", 2);
	encode_words(strlen(name) + 2, text, PHRASE_SAFE, out);
	put(out, "\r\n", 2);
}

bool
mime_is_phrase(struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = str_lower(text.at[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
		    c != ' ' && c != '-')
			return false;
	}
	return text.len != 0;
}

/* May it stand in a header as it is? "=?" would be read as an encoded word,
 * and a line ends after 998 octets (RFC 5322, 2.1.1). */
static bool
is_plain(struct str text)
{
	struct str word;

	if (!str_is_ascii(text) ||
	    (text.len != 0 && memmem(text.at, text.len, "=?", 2) != NULL))
		return false;
	while (str_cut(&text, ' ', &word))
		if (word.len > HEADER_WORD_MAX)
			return false;
	return true;
}

void
mime_header(const char *name, struct str text, struct buf *out)
{
	size_t at = strlen(name) + 2;
	bool is_line_empty = true;
	struct str word;

	put(out, name, strlen(name));
	put(out, ": ", 2);
	if (!is_plain(text)) {
		encode_words(at, text, TEXT_SAFE, out);
		put(out, "\r\n", 2);
		return;
	}
	while (str_cut(&text, ' ', &word)) {
		if (word.len == 0)
			continue;
		if (!is_line_empty && at + 1 + word.len > QP_LINE_MAX) {
			put(out, "\r\n", 2);
			at = 0;
		}
		if (!is_line_empty) {
			put(out, " ", 1);
			at++;
		}
		put(out, word.at, word.len);
		at += word.len;
		is_line_empty = false;
	}
	put(out, "\r\n", 2);
}

/* --- quoted-printable ---------------------------------------------------- */

/* Mailbox files escape this, and signatures break. */
static bool
is_from(struct str text, size_t at)
{
	return text.len - at >= 5 && memcmp(text.at + at, "From ", 5) == 0;
}

void
mime_quoted_printable(struct str text, struct buf *out)
{
	size_t at = 0;

	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];
		bool is_line_end =
			i + 1 < text.len && c == '\r' && text.at[i + 1] == '\n';
		bool is_before_end =
			i + 1 == text.len ||
			(text.at[i + 1] == '\r' && i + 2 < text.len &&
			 text.at[i + 2] == '\n');
		/* A space at a line's end is lost on the way; a dot or "From "
		 * at its front is changed by some. */
		bool is_plain =
			(c > ' ' && c < 0x7f && c != '=' &&
			 !(at == 0 && (c == '.' || is_from(text, i)))) ||
			((c == ' ' || c == '\t') && !is_before_end);
		size_t len = is_plain ? 1 : 3;

		if (is_line_end) {
			put(out, "\r\n", 2);
			at = 0;
			i++;
			continue;
		}
		if (at + len > QP_LINE_MAX - 1) {
			put(out, "=\r\n", 3);
			at = 0;
		}
		if (is_plain) {
			put(out, text.at + i, 1);
		} else {
			char escape[3] = {'=', hex[c >> 4], hex[c & 15]};

			put(out, escape, 3);
		}
		at += len;
	}
}

/* --- decoding ------------------------------------------------------------ */

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static void
decode_q(struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.at[i];

		if (c == '_') {
			c = ' ';
		} else if (c == '=' && i + 2 < text.len &&
			   hex_value(text.at[i + 1]) >= 0 &&
			   hex_value(text.at[i + 2]) >= 0) {
			c = (char)(hex_value(text.at[i + 1]) * 16 +
				   hex_value(text.at[i + 2]));
			i += 2;
		}
		put(out, &c, 1);
	}
}

static void
decode_b(struct str text, struct buf *out)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm"
				      "nopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < text.len; i++) {
		const char *letter = memchr(letters, text.at[i], 64);

		if (letter == NULL)
			continue;
		bits = (bits << 6 | (uint32_t)(letter - letters)) & 0xffffff;
		have += 6;
		if (have >= 8) {
			char byte = (char)(bits >> (have - 8));

			have -= 8;
			put(out, &byte, 1);
		}
	}
}

/* Latin-1 as UTF-8. */
static void
put_latin1(struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];
		char two[2] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 63))};

		if (c < 0x80)
			put(out, text.at + i, 1);
		else
			put(out, two, 2);
	}
}

/*
 * encoded-word = "=?" charset "?" encoding "?" encoded-text "?="
 *
 * Takes it from the front of rest. Returns 1 when it did, 0 when there is
 * none, -1 for an unknown character set.
 */
static int
decode_word(struct str *rest, struct buf *out)
{
	struct str text = *rest, charset, encoding, encoded;
	struct buf bytes;
	bool is_latin1;

	if (text.len < 8 || memcmp(text.at, "=?", 2) != 0)
		return 0;
	text = str_from(text.at + 2, text.len - 2);
	if (memchr(text.at, '?', text.len) == NULL ||
	    !str_cut(&text, '?', &charset) || !str_cut(&text, '?', &encoding) ||
	    !str_cut(&text, '?', &encoded) || text.len == 0 ||
	    text.at[0] != '=' || encoding.len != 1)
		return 0;
	is_latin1 = str_is_nocase(charset, "iso-8859-1") ||
		    str_is_nocase(charset, "iso-8859-15") ||
		    str_is_nocase(charset, "windows-1252");
	if (!is_latin1 && !str_is_nocase(charset, "utf-8") &&
	    !str_is_nocase(charset, "us-ascii"))
		return -1;
	buf_init(&bytes, 4096);
	if (str_lower(encoding.at[0]) == 'b')
		decode_b(encoded, &bytes);
	else
		decode_q(encoded, &bytes);
	if (buf_len(&bytes) != 0) {
		struct str got = str_from((const char *)buf_bytes(&bytes),
					  buf_len(&bytes));

		if (is_latin1)
			put_latin1(got, out);
		else
			put(out, got.at, got.len);
	}
	buf_done(&bytes);
	*rest = str_from(text.at + 1, text.len - 1);
	return 1;
}

bool
mime_decode_header(struct str value, struct buf *out)
{
	struct buf plain;
	bool was_word = false;

	value = str_trim(value);
	buf_init(&plain, value.len * 2 + 64);
	while (value.len > 0) {
		size_t spaces = 0;
		int got;

		while (spaces < value.len &&
		       strchr(" \t\r\n", value.at[spaces]) != NULL &&
		       value.at[spaces] != '\0')
			spaces++;
		value = str_from(value.at + spaces, value.len - spaces);
		/* RFC 2047, 6.2: space between two encoded words is none */
		if (spaces != 0 && value.len != 0 &&
		    !(was_word && value.len > 2 &&
		      memcmp(value.at, "=?", 2) == 0))
			put(&plain, " ", 1);
		got = value.len == 0 ? 0 : decode_word(&value, &plain);
		if (got < 0) {
			buf_done(&plain);
			return false;
		}
		was_word = got > 0;
		if (got > 0 || value.len == 0)
			continue;
		put(&plain, value.at, 1);
		value = str_from(value.at + 1, value.len - 1);
		while (value.len > 0 &&
		       strchr(" \t\r\n", value.at[0]) == NULL &&
		       value.at[0] != '=') {
			put(&plain, value.at, 1);
			value = str_from(value.at + 1, value.len - 1);
		}
	}
	if (buf_len(&plain) != 0)
		mime_clean(str_from((const char *)buf_bytes(&plain),
				    buf_len(&plain)),
			   out);
	buf_done(&plain);
	return true;
}
