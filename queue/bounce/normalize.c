/* SPDX-License-Identifier: ISC */
#include "queue/bounce/normalize.h"

#include <string.h>

#include "lib/str.h"

/* U+00C0 to U+00FF and U+0100 to U+017F without their accents. */
static const char *const latin1[64] = {
	"a", "a", "a",	"a", "ae", "a",	 "ae", "c", "e",  "e",	"e",  "e", "i",
	"i", "i", "i",	"d", "n",  "o",	 "o",  "o", "o",  "oe", "",   "o", "u",
	"u", "u", "ue", "y", "th", "ss", "a",  "a", "a",  "a",	"ae", "a", "ae",
	"c", "e", "e",	"e", "e",  "i",	 "i",  "i", "i",  "d",	"n",  "o", "o",
	"o", "o", "oe", "",  "o",  "u",	 "u",  "u", "ue", "y",	"th", "y"};
static const char latin_extended[] = "aaaaaaccccccccddddeeeeeeeeeegggggggghhhh"
				     "iiiiiiiiiiiijjkkklllllllllnnnnnnnnnooooo"
				     "ooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyy"
				     "zzzzzzs";

struct scan {
	const unsigned char *at; /* what comes next */
	const unsigned char *end;
	struct normal *out;
	bool is_reply; /* codes and quotations count */
};

/* --- one character ------------------------------------------------------- */

/* The next code point; a byte that is no UTF-8 is taken as Latin-1. */
static uint32_t
next_point(const unsigned char **at, const unsigned char *end)
{
	const unsigned char *p = *at;
	size_t len = *p < 0x80	 ? 1
		     : *p < 0xc2 ? 0
		     : *p < 0xe0 ? 2
		     : *p < 0xf0 ? 3
		     : *p < 0xf5 ? 4
				 : 0;
	uint32_t point;

	if (len == 1 || len == 0 || (size_t)(end - p) < len ||
	    !str_is_utf8(str_from((const char *)p, len))) {
		*at = p + 1;
		return *p;
	}
	point = *p & (0x7fu >> len);
	for (size_t i = 1; i < len; i++)
		point = point << 6 | (p[i] & 0x3f);
	*at = p + len;
	return point;
}

/* Scripts that set no spaces between words, and Hangul, whose particles
 * stick to them. */
static bool
is_dense_script(uint32_t point)
{
	return (point >= 0x0e00 && point <= 0x0eff) ||
	       (point >= 0x3041 && point <= 0x30ff && point != 0x30fb) ||
	       (point >= 0x3400 && point <= 0x9fff) ||
	       (point >= 0xac00 && point <= 0xd7a3);
}

static bool
is_combining(uint32_t point)
{
	return point >= 0x300 && point <= 0x36f;
}

static bool
is_letter(uint32_t point)
{
	if (point < 0x80)
		return (point >= 'a' && point <= 'z') ||
		       (point >= 'A' && point <= 'Z') ||
		       (point >= '0' && point <= '9');
	if (point < 0xc0)
		return false;
	if (point < 0x2000)
		return point != 0xd7 && point != 0xf7;
	return is_dense_script(point);
}

static uint32_t
lower_point(uint32_t point)
{
	if (point >= 'A' && point <= 'Z')
		return point + 32;
	if (point >= 0x391 && point <= 0x3a9) /* Greek */
		return point + 0x20;
	if (point >= 0x410 && point <= 0x42f) /* Cyrillic */
		return point + 0x20;
	if (point >= 0x400 && point <= 0x40f)
		point += 0x50;
	return point == 0x451 ? 0x435 : point; /* yo is written as ye */
}

/* --- output -------------------------------------------------------------- */

static void
put_bytes(struct normal *out, const char *bytes, size_t len)
{
	if (out->text_len + len + 1 > NORMAL_TEXT_MAX)
		return;
	memcpy(out->text + out->text_len, bytes, len);
	out->text_len += len;
	out->words[out->count].len =
		(uint16_t)(out->words[out->count].len + len);
}

static void
put_point(struct normal *out, uint32_t point)
{
	char utf8[4];

	if (point >= 0xc0 && point <= 0xff) {
		put_bytes(out, latin1[point - 0xc0],
			  strlen(latin1[point - 0xc0]));
		return;
	}
	if (point >= 0x100 && point <= 0x17f) {
		put_bytes(out, &latin_extended[point - 0x100], 1);
		return;
	}
	point = lower_point(point);
	if (point < 0x80) {
		utf8[0] = (char)point;
		put_bytes(out, utf8, 1);
	} else if (point < 0x800) {
		utf8[0] = (char)(0xc0 | point >> 6);
		utf8[1] = (char)(0x80 | (point & 0x3f));
		put_bytes(out, utf8, 2);
	} else if (point < 0x10000) {
		utf8[0] = (char)(0xe0 | point >> 12);
		utf8[1] = (char)(0x80 | (point >> 6 & 0x3f));
		utf8[2] = (char)(0x80 | (point & 0x3f));
		put_bytes(out, utf8, 3);
	}
}

/* Ends the word under construction, if there is one. */
static void
end_word(struct normal *out, enum normal_kind kind)
{
	struct normal_word *word = &out->words[out->count];

	if (word->len == 0)
		return;
	word->kind = kind;
	out->text[out->text_len++] = ' ';
	/* The last place stays a scratch word, so that a flood of words
	 * overwrites it instead of the ones before. */
	if (out->count + 1 < NORMAL_WORDS_MAX)
		out->count++;
	else
		out->text_len = word->at;
	out->words[out->count].at = (uint16_t)out->text_len;
	out->words[out->count].len = 0;
}

/* --- pieces -------------------------------------------------------------- */

static bool
is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool
is_space(int c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
is_alnum(int c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_host_byte(int c)
{
	return is_alnum(c) || c == '-' || c == '.' || c == '_';
}

/* "5.7.1" with class 4 or 5; the number of bytes, 0 when it is none. */
static size_t
enhanced_length(const unsigned char *at, const unsigned char *end,
		unsigned out[3])
{
	const unsigned char *p = at;

	for (size_t i = 0; i < 3; i++) {
		size_t digits = 0;

		for (out[i] = 0; p < end && is_digit(*p) && digits < 4; p++) {
			out[i] = out[i] * 10 + (unsigned)(*p - '0');
			digits++;
		}
		if (digits == 0 || digits > 3)
			return 0;
		if (i < 2 && (p >= end || *p++ != '.'))
			return 0;
	}
	if (p < end &&
	    (is_alnum(*p) || (*p == '.' && p + 1 < end && is_digit(p[1]))))
		return 0;
	/* Subjects above 7 are somebody's own numbers ("4.16.1"). */
	if ((out[0] != 4 && out[0] != 5) || out[1] > 7)
		return 0;
	return (size_t)(p - at);
}

static void
set_enhanced(struct normal *out, const unsigned code[3])
{
	out->class = code[0];
	out->subject = code[1];
	out->detail = code[2];
}

/*
 * Codes at the front of a line or a quotation: "550 ", "550-5.1.1 ",
 * "#5.1.1 ", "550 #5.1.1". Takes them when they are there.
 */
static bool
take_codes(struct scan *s, bool is_quotation)
{
	const unsigned char *p = s->at;
	unsigned enhanced[3];
	unsigned code = 0;
	size_t len;

	if (s->end - p >= 3 && (p[0] == '4' || p[0] == '5') && is_digit(p[1]) &&
	    is_digit(p[2]) &&
	    (s->end - p == 3 || is_space(p[3]) || p[3] == '-')) {
		code = (p[0] - '0') * 100u + (p[1] - '0') * 10u + p[2] - '0';
		p += s->end - p == 3 ? 3 : 4;
	} else if (is_quotation) {
		return false;
	}
	while (p < s->end && (*p == ' ' || *p == '#'))
		p++;
	len = enhanced_length(p, s->end, enhanced);
	/* "limit: 500 messages" */
	if (is_quotation && len == 0 && code % 100 == 0 && p < s->end &&
	    (is_digit(*p) || (*p >= 'a' && *p <= 'z')))
		return false;
	if (code == 0 && len == 0)
		return false;
	if (code != 0) {
		/* Another code starts another story. */
		s->out->code = code;
		if (is_quotation)
			s->out->class = 0;
		s->at = p;
	}
	if (len != 0) {
		if (s->out->class == 0 || is_quotation)
			set_enhanced(s->out, enhanced);
		s->at = p + len;
	}
	return true;
}

static const char *const top_level[] = {
	"com",	 "net",		"org",	"edu",	    "gov",     "mil",
	"int",	 "info",	"biz",	"name",	    "pro",     "arpa",
	"asia",	 "mobi",	"jobs", "online",   "cloud",   "email",
	"site",	 "app",		"dev",	"shop",	    "store",   "tech",
	"xyz",	 "top",		"club", "space",    "network", "systems",
	"local", "localdomain", "lan",	"internal", "example", "invalid",
	"test",	 "localhost",	"cat",	"travel",   "museum",  "services",
};

/* Does it look like a host name, rather than two sentences without a space
 * between them? */
static bool
looks_like_host(const unsigned char *at, size_t len)
{
	size_t last = len;
	char label[16];

	while (last > 0 && at[last - 1] != '.')
		last--;
	if (last < 2 || len - last < 2 || len - last >= sizeof(label))
		return false;
	for (size_t i = last; i < len; i++) {
		if (is_digit(at[i]) || at[i] == '-' || at[i] == '_')
			return false;
		label[i - last] = str_lower((char)at[i]);
	}
	label[len - last] = '\0';
	if (len - last == 2)
		/* "full.It" */
		return str_lower((char)at[last]) == (char)at[last] ||
		       str_lower((char)at[last + 1]) != (char)at[last + 1];
	for (size_t i = 0; i < sizeof(top_level) / sizeof(top_level[0]); i++)
		if (strcmp(label, top_level[i]) == 0)
			return true;
	return strncmp(label, "xn--", 4) == 0;
}

static void
put_host(struct normal *out, const unsigned char *at, size_t len,
	 enum normal_kind kind)
{
	end_word(out, NORMAL_WORD);
	if (len > 4 && strncmp((const char *)at, "www.", 4) == 0) {
		at += 4;
		len -= 4;
	}
	for (size_t i = 0; i < len && i < ADDR_DOMAIN_MAX; i++)
		put_point(out, at[i] < 0x80 ? at[i] : '-');
	end_word(out, kind);
}

/* A URL at at: host out, the rest skipped. Returns its length or 0. */
static size_t
take_url(struct scan *s)
{
	const char *p = (const char *)s->at;
	size_t room = (size_t)(s->end - s->at);
	size_t host = 0, len;

	if (room > 8 && str_starts_nocase(str_from(p, room), "https://"))
		host = 8;
	else if (room > 7 && str_starts_nocase(str_from(p, room), "http://"))
		host = 7;
	else if (room > 4 && str_starts_nocase(str_from(p, room), "www."))
		host = 0;
	else
		return 0;
	for (len = host; len < room && is_host_byte(s->at[len]); len++)
		continue;
	put_host(s->out, s->at + host, len - host, NORMAL_URL);
	while (len < room && !is_space(s->at[len]) &&
	       strchr("<>\"'()[]{}", s->at[len]) == NULL)
		len++;
	return len;
}

/* Letters of one chunk without dots that mean something. */
static void
put_letters(struct normal *out, const unsigned char *at,
	    const unsigned char *end)
{
	bool was_lower = false, has_digit = false;

	while (at < end) {
		uint32_t point = next_point(&at, end);
		bool is_upper = point >= 'A' && point <= 'Z';

		if (is_combining(point))
			continue;
		if (!is_letter(point) || is_dense_script(point) ||
		    (was_lower && is_upper)) {
			end_word(out, has_digit ? NORMAL_ID : NORMAL_WORD);
			has_digit = false;
		}
		was_lower = !is_upper && !is_digit((int)point);
		if (!is_letter(point))
			continue;
		has_digit = has_digit || is_digit((int)point);
		put_point(out, point);
		if (is_dense_script(point))
			end_word(out, NORMAL_WORD);
	}
	end_word(out, has_digit ? NORMAL_ID : NORMAL_WORD);
}

/* Where a run without spaces and brackets ends. */
static const unsigned char *
chunk_end(const unsigned char *at, const unsigned char *end)
{
	while (at < end && !is_space(*at) &&
	       strchr("<>()[]{}\"',;:|", *at) == NULL)
		at++;
	return at;
}

static void
put_chunk(struct scan *s, const unsigned char *at, const unsigned char *end)
{
	const unsigned char *sign = memchr(at, '@', (size_t)(end - at));
	const unsigned char *stop;
	unsigned enhanced[3];

	if (sign != NULL && sign > at && sign + 1 < end &&
	    is_host_byte(sign[1]))
		return; /* an address */
	/* sendmail appends the client: "..., relay=[192.0.2.1]" */
	if (s->is_reply &&
	    str_starts_nocase(str_from((const char *)at, (size_t)(end - at)),
			      "relay="))
		return;
	if (enhanced_length(at, end, enhanced) != 0) {
		if (s->is_reply && s->out->class == 0)
			set_enhanced(s->out, enhanced);
		return;
	}
	for (stop = at; stop < end && is_host_byte(*stop); stop++)
		continue;
	if (stop == end || *stop == '/') {
		size_t len = (size_t)(stop - at);

		while (len > 0 && at[len - 1] == '.')
			len--;
		if (looks_like_host(at, len)) {
			put_host(s->out, at, len,
				 stop == end ? NORMAL_HOST : NORMAL_URL);
			return;
		}
	}
	put_letters(s->out, at, end);
}

/* --- quotations ---------------------------------------------------------- */

static bool
last_word_is(const struct normal *out, const char *text)
{
	const struct normal_word *word;

	if (out->count == 0)
		return false;
	word = &out->words[out->count - 1];
	return str_is(str_from(out->text + word->at, word->len), text);
}

/* Behind ':' '"' '<' '(' ';' '-': does somebody else's reply begin here? */
static void
try_quotation(struct scan *s, unsigned char mark)
{
	struct scan behind = *s;

	while (behind.at < s->end && is_space(*behind.at))
		behind.at++;
	if (behind.at >= s->end)
		return;
	if (take_codes(&behind, true)) {
		*s = behind;
		s->out->inner = s->out->count;
	} else if (mark == ':' && last_word_is(s->out, "said")) {
		s->out->inner = s->out->count;
	}
}

static const struct {
	const char *words;
	enum smtp_phase phase;
} in_reply_to[] = {
	{"rcpt ", PHASE_RCPT}, {"mail ", PHASE_MAIL},
	{"ehlo ", PHASE_EHLO}, {"helo ", PHASE_EHLO},
	{"end ", PHASE_BODY},  {"data ", PHASE_DATA},
	{"auth ", PHASE_AUTH}, {"starttls ", PHASE_STARTTLS},
};

/* "(in reply to RCPT TO command)": the command is a fact, its words are not
 * part of the reply. */
static void
cut_in_reply_to(struct normal *out)
{
	static const char words[] = "in reply to ";

	for (size_t i = 0; i + 3 < out->count; i++) {
		const char *at = out->text + out->words[i].at;

		if (strncmp(at, words, sizeof(words) - 1) != 0)
			continue;
		for (size_t k = 0;
		     k < sizeof(in_reply_to) / sizeof(in_reply_to[0]); k++)
			if (strncmp(at + sizeof(words) - 1,
				    in_reply_to[k].words,
				    strlen(in_reply_to[k].words)) == 0)
				out->quoted_phase = in_reply_to[k].phase;
		if (out->quoted_phase != PHASE_NONE) {
			out->count = i;
			out->text_len = out->words[i].at;
			return;
		}
	}
}

/* --- the whole ----------------------------------------------------------- */

static void
scan_text(struct scan *s)
{
	bool is_line_start = true;

	while (s->at < s->end) {
		unsigned char c = *s->at;
		const unsigned char *stop;
		size_t url;

		if (is_line_start && s->is_reply && !is_space(c)) {
			is_line_start = false;
			if (take_codes(s, false))
				continue;
		}
		if (c == '\n')
			is_line_start = true;
		url = take_url(s);
		if (url != 0) {
			s->at += url;
			continue;
		}
		stop = chunk_end(s->at, s->end);
		if (stop == s->at) {
			s->at++;
			if (s->is_reply && strchr(":\"<(;", c) != NULL)
				try_quotation(s, c);
			continue;
		}
		put_chunk(s, s->at, stop);
		s->at = stop;
	}
}

static void
normal_clear(struct normal *out)
{
	out->text_len = 0;
	out->words[0].at = 0;
	out->words[0].len = 0;
	out->count = 0;
	out->inner = 0;
	out->code = 0;
	out->class = 0;
	out->subject = 0;
	out->detail = 0;
	out->quoted_phase = PHASE_NONE;
}

void
normal_reply(const char *reply, struct normal *out)
{
	struct scan s = {
		.at = (const unsigned char *)reply,
		.end = (const unsigned char *)reply +
		       strnlen(reply, (size_t)2 * NORMAL_TEXT_MAX),
		.out = out,
		.is_reply = true,
	};

	normal_clear(out);
	scan_text(&s);
	cut_in_reply_to(out);
	if (out->inner >= out->count)
		out->inner = 0;
	out->text[out->text_len] = '\0';
}

void
normal_token(const char *word, size_t len, struct normal *out)
{
	struct scan s = {
		.at = (const unsigned char *)word,
		.end = (const unsigned char *)word + len,
		.out = out,
	};

	normal_clear(out);
	scan_text(&s);
	out->text[out->text_len] = '\0';
}
