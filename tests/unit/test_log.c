/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/log.h"

/* The line of one event with one value; lent until the next call. */
static const char *
logged(enum log_format format, struct str value)
{
	static struct log_line line;

	log_configure(format, LOG_LEVEL_INFO, false);
	log_begin(&line, LOG_LEVEL_INFO, "event");
	log_str(&line, "key", value);
	ck_assert_uint_lt(line.len, sizeof(line.text));
	line.text[line.len] = '\0';
	return line.text;
}

/* An object that lacks but its brace: no string is open, no word cut. */
static bool
is_whole(const char *text, size_t len)
{
	bool is_quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (is_quoted && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			is_quoted = !is_quoted;
	}
	return !is_quoted && str_is_utf8(str_from(text, len)) &&
	       (text[len - 1] == '"' || text[len - 1] == '9' ||
		text[len - 1] == 'e');
}

START_TEST(what_a_stranger_says_cannot_end_its_line_or_its_quotes)
{
	static const struct {
		const char *value, *text;
	} cases[] = {
		{"plain", "info event key=plain"},
		{"", "info event key=\"\""},
		{"two words", "info event key=\"two words\""},
		{"a\nerror event", "info event key=\"a\\u000aerror event\""},
		{"a\r", "info event key=\"a\\u000d\""},
		{"\"x", "info event key=\"\\\"x\""},
		{"\x1b[2J", "info event key=\"\\u001b[2J\""},
		{"\x7f", "info event key=\"\\u007f\""},
		/* one octet of a C1 control, and the same in UTF-8 */
		{"\x9b"
		 "2J",
		 "info event key=\"\\u009b2J\""},
		{"\xc2\x9b"
		 "2J",
		 "info event key=\"\\u009b2J\""},
		{"\xc2\xa0", "info event key=\"\xc2\xa0\""},
		{"\xc3\xa9t\xc3\xa9", "info event key=\"\xc3\xa9t\xc3\xa9\""},
		{"\xff", "info event key=\"\\u00ff\""},
	};
	const char *value = cases[_i].value;

	ck_assert_str_eq(logged(LOG_FORMAT_TEXT, str_of(value)),
			 cases[_i].text);
}
END_TEST

START_TEST(a_value_that_is_too_long_is_cut_between_two_characters)
{
	char value[LOG_VALUE_MAX + 100];
	const char *text;

	/* an e with an accent each, of which the limit would cut one */
	value[0] = 'x';
	for (size_t i = 1; i + 1 < sizeof(value); i += 2)
		memcpy(value + i, "\xc3\xa9", 2);
	text = logged(LOG_FORMAT_TEXT, str_from(value, LOG_VALUE_MAX + 51));
	text = strchr(text, '"') + 1;
	ck_assert_uint_eq(strcspn(text, "\""), LOG_VALUE_MAX - 1);
	ck_assert(str_is_utf8(str_from(text, LOG_VALUE_MAX - 1)));

	/* what is no text at all has no place to be cut at */
	memset(value, 0x80, sizeof(value));
	text = logged(LOG_FORMAT_JSON, str_from(value, sizeof(value)));
	ck_assert_ptr_nonnull(strstr(text, "\"key\":\""));
}
END_TEST

/* Whoever reads the log as JSON must not lose the events in which a stranger
 * said much. */
START_TEST(a_line_that_is_full_is_whole_all_the_same)
{
	static const char *const pieces[] = {"\x01", "\"", "\xc3\xa9"};
	const char *piece = pieces[_i];
	char value[LOG_VALUE_MAX];
	struct log_line line;
	size_t len = 0;

	while (len + strlen(piece) <= sizeof(value)) {
		memcpy(value + len, piece, strlen(piece));
		len += strlen(piece);
	}
	log_configure(LOG_FORMAT_JSON, LOG_LEVEL_INFO, true);
	log_begin(&line, LOG_LEVEL_INFO, "event");
	for (size_t i = 0; i < 6; i++) {
		log_str(&line, "key", str_from(value, len));
		log_number(&line, "number", -1234567890123456789);
		log_bool(&line, "flag", false);
		/* room for what log_end adds */
		ck_assert_uint_le(line.len + 2, sizeof(line.text));
		ck_assert(is_whole(line.text, line.len));
	}
}
END_TEST

UNIT_MAIN("log",
	  tcase_add_loop_test(
		  tc, what_a_stranger_says_cannot_end_its_line_or_its_quotes, 0,
		  13);
	  tcase_add_loop_test(tc, a_line_that_is_full_is_whole_all_the_same, 0,
			      3);
	  tcase_add_test(
		  tc, a_value_that_is_too_long_is_cut_between_two_characters);)
