/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "queue/bounce/mime_text.h"

static struct buf out;

static void
setup(void)
{
	buf_init(&out, 1 << 20);
}

static void
teardown(void)
{
	buf_done(&out);
}

static const struct {
	const char *text, *utf8, *ascii;
} cleans[] = {
	{"plain", "plain", "plain"},
	{"a\r\nb\tc\x1b[2J\x7f", "a  b c [2J ", "a  b c [2J "},
	{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr??"},
	{"\xe0\xa4\xb9 \xe0\xa4", "\xe0\xa4\xb9 ??", "? ??"},
	{"\xff\xfe", "??", "??"},
	/* overlong, surrogate, C1, right-to-left override, line separator */
	{"\xc0\xaf", "??", "??"},
	{"\xed\xa0\x80", "???", "???"},
	{"a\xc2\x85z", "az", "a?z"},
	{"a\xe2\x80\xaez", "az", "a?z"},
	{"a\xe2\x80\xa8z", "az", "a?z"},
};

START_TEST(foreign_text_becomes_one_harmless_line)
{
	mime_clean(str_of(cleans[_i].text), &out);
	ck_assert_str_eq(buf_text(&out), cleans[_i].utf8);
	buf_clear(&out);
	mime_clean_ascii(str_of(cleans[_i].text), &out);
	ck_assert_str_eq(buf_text(&out), cleans[_i].ascii);
}
END_TEST

START_TEST(text_wraps_between_words_at_72_columns)
{
	char text[400];
	struct str rest, line;

	for (size_t i = 0; i < 390; i++)
		text[i] = i % 7 == 6 ? ' ' : 'x';
	text[390] = '\0';
	mime_wrap("Why:  ", "      ", str_of(text), &out);
	rest = str_of(buf_text(&out));
	while (str_cut(&rest, '\n', &line)) {
		ck_assert_uint_le(line.len, 73); /* with CR */
		ck_assert_int_eq(line.at[line.len - 1], '\r');
	}
	buf_clear(&out);
	/* wide characters count two */
	memset(text, 0, sizeof(text));
	for (size_t i = 0; i < 20; i++)
		strcat(text, "\xe6\xb2\xa1\xe6\xb2\xa1 ");
	mime_wrap("", "", str_of(text), &out);
	rest = str_of(buf_text(&out));
	ck_assert(str_cut(&rest, '\n', &line));
	ck_assert_uint_eq(line.len, 14 * 6 + 13 + 1);
}
END_TEST

static const struct {
	const char *text, *header;
} headers[] = {
	{"short", "Subject: short\r\n"},
	{"", "Subject: \r\n"},
	{"Gr\xc3\xbc\xc3\x9f"
	 "e",
	 "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"},
	{"looks =?utf-8?Q?like?= one",
	 "Subject: =?utf-8?Q?looks_=3D=3Futf-8=3FQ=3Flike=3F=3D_one?=\r\n"},
	{"twelve letter words make a line that has to be folded somewhere "
	 "before its end",
	 "Subject: twelve letter words make a line that has to be folded "
	 "somewhere\r\n before its end\r\n"},
	{"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
	 "\xc3\xa4\xc3\xa4",
	 "Subject: =?utf-8?Q?=C3=A4=C3=A4=C3=A4=C3=A4=C3=A4=C3=A4=C3=A4=C3=A4"
	 "=C3=A4?=\r\n =?utf-8?Q?=C3=A4?=\r\n"},
};

START_TEST(headers_fold_and_encode_what_is_not_ascii)
{
	mime_header("Subject", str_of(headers[_i].text), &out);
	ck_assert_str_eq(buf_text(&out), headers[_i].header);
}
END_TEST

START_TEST(a_word_that_no_line_can_hold_is_encoded)
{
	char text[1300];
	struct str rest, line;
	struct buf again;

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	mime_header("Subject", str_of(text), &out);
	rest = str_of(buf_text(&out));
	while (str_cut(&rest, '\n', &line))
		ck_assert_uint_le(line.len, 77); /* with CR */
	rest = str_of(buf_text(&out));
	ck_assert(str_cut(&rest, ' ', &line));
	buf_init(&again, 4096);
	ck_assert(mime_decode_header(rest, &again));
	ck_assert_str_eq(buf_text(&again), text);
	buf_done(&again);
}
END_TEST

static const struct {
	const char *text, *encoded;
} quoted[] = {
	{"plain\r\n", "plain\r\n"},
	{"a=b", "a=3Db"},
	{"end \r\n", "end=20\r\n"},
	{"tab\t", "tab=09"},
	{".\r\n..\r\n", "=2E\r\n=2E.\r\n"},
	{"From me\r\nFrost", "=46rom me\r\nFrost"},
	{"\xc3\xbc", "=C3=BC"},
	{"bare\nlf\rcr", "bare=0Alf=0Dcr"},
	{"0123456789012345678901234567890123456789012345678901234567890123456"
	 "789012345678",
	 "01234567890123456789012345678901234567890123456789012345678901234567"
	 "8901234=\r\n5678"},
};

START_TEST(quoted_printable_survives_every_server)
{
	mime_quoted_printable(str_of(quoted[_i].text), &out);
	ck_assert_str_eq(buf_text(&out), quoted[_i].encoded);
}
END_TEST

START_TEST(a_name_is_a_phrase_or_stands_in_encoded_words)
{
	ck_assert(mime_is_phrase(str_of("Mail-Zustellung AZ az 09")));
	ck_assert(!mime_is_phrase(str_of("")));
	ck_assert(!mime_is_phrase(str_of("Mail.")));
	ck_assert(!mime_is_phrase(str_of("Mail (host)")));
	ck_assert(!mime_is_phrase(str_of("Mail/")));
	ck_assert(!mime_is_phrase(str_of("Mail:")));
	ck_assert(!mime_is_phrase(str_of("a@b")));
	ck_assert(!mime_is_phrase(str_of("a[")));
	ck_assert(!mime_is_phrase(str_of("a{")));
	ck_assert(!mime_is_phrase(str_of("Zust\xc3\xa4nde")));
	/* also what would be a header as it is: "Mail: x" is not one */
	mime_encoded_header("From", str_of("Mail: <x>"), &out);
	ck_assert_str_eq(buf_text(&out),
			 "From: =?utf-8?Q?Mail=3A_=3Cx=3E?=\r\n");
	/* nor two addresses */
	buf_clear(&out);
	mime_encoded_header("From", str_of("Mail, a@b.c"), &out);
	ck_assert_str_eq(buf_text(&out),
			 "From: =?utf-8?Q?Mail=2C_a=40b=2Ec?=\r\n");
}
END_TEST

static const struct {
	const char *value;
	bool is_known;
	const char *text;
} decoded[] = {
	{" plain text ", true, "plain text"},
	{"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", true,
	 "Gr\xc3\xbc\xc3\x9f"
	 "e"},
	{"=?UTF-8?b?R3LDvMOfZQ==?= aus =?iso-8859-1?Q?K=F6ln?=", true,
	 "Gr\xc3\xbc\xc3\x9f"
	 "e aus K\xc3\xb6ln"},
	{"=?utf-8?Q?a?=\r\n =?utf-8?Q?b?=", true, "ab"},
	{"=?utf-8?Q?a_b?= c", true, "a b c"},
	{"=?koi8-r?B?8NLJ18XU?=", false, ""},
	{"not =?closed", true, "not =?closed"},
	{"=?utf-8?Q?x", true, "=?utf-8?Q?x"},
	{"=?utf-8?X", true, "=?utf-8?X"},
	{"folded\r\n\tvalue", true, "folded value"},
	{"=?utf-8?Q?a=0D=0AX:_y?=", true, "a  X: y"},
	{"", true, ""},
};

START_TEST(encoded_words_are_read)
{
	ck_assert_int_eq(mime_decode_header(str_of(decoded[_i].value), &out),
			 decoded[_i].is_known);
	ck_assert_str_eq(buf_text(&out), decoded[_i].text);
}
END_TEST

UNIT_MAIN("mime_text", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_add_loop_test(tc, foreign_text_becomes_one_harmless_line, 0,
			      (int)COUNT(cleans));
	  tcase_add_test(tc, text_wraps_between_words_at_72_columns);
	  tcase_add_loop_test(tc, headers_fold_and_encode_what_is_not_ascii, 0,
			      (int)COUNT(headers));
	  tcase_add_test(tc, a_word_that_no_line_can_hold_is_encoded);
	  tcase_add_loop_test(tc, quoted_printable_survives_every_server, 0,
			      (int)COUNT(quoted));
	  tcase_add_test(tc, a_name_is_a_phrase_or_stands_in_encoded_words);
	  tcase_add_loop_test(tc, encoded_words_are_read, 0,
			      (int)COUNT(decoded));)
