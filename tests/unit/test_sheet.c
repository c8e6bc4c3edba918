/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/bounce/sheet.h"

static void
add(struct sheet *sheet, const char *recipient, uint64_t at_ms)
{
	struct sheet_item item = {
		.why = SHEET_NO_SENDER,
		.category = CATEGORY_BAD_MAILBOX,
		.at_ms = at_ms,
		.id = "00000000000A1",
		.sender = "",
		.recipient = recipient,
		.recipients = 1,
		.words = "550 5.1.1 no\tsuch\r\nuser",
	};

	sheet_add(sheet, &item);
}

static void
read_back(const struct sheet *sheet, struct sheet *out)
{
	struct str rest, line;
	struct buf text;

	memset(out, 0, sizeof(*out));
	buf_init(&text, SHEET_FILE_MAX);
	sheet_write(sheet, &text);
	rest = str_of(buf_text(&text));
	while (str_cut(&rest, '\n', &line))
		ck_assert(sheet_read_line(out, line));
	buf_done(&text);
}

START_TEST(a_sheet_comes_back_from_its_file_as_it_was)
{
	struct sheet sheet = {0}, again;

	add(&sheet, "a@far.test", 1000);
	add(&sheet, "b@far.test", 2000);
	add(&sheet, "a@far.test", 3000);
	read_back(&sheet, &again);
	ck_assert_uint_eq(sheet_total(&again), 3);
	ck_assert_uint_eq(again.first_ms, 1000);
	ck_assert_uint_eq(again.last_ms, 3000);
	ck_assert_uint_eq(again.line_count, 2);
	ck_assert_uint_eq(again.lines[0].messages, 2);
	ck_assert_uint_eq(again.lines[0].last_ms, 3000);
	ck_assert_str_eq(again.lines[0].recipient, "a@far.test");
	ck_assert_str_eq(again.lines[1].words, "550 5.1.1 no such  user");
	sheet_done(&sheet);
	sheet_done(&again);
}
END_TEST

START_TEST(a_storm_is_counted_and_stays_small)
{
	struct sheet sheet = {0}, again;
	struct sheet_letter letter = {"relay.test", "postmaster@home.test",
				      "00000000000B1", 1795271234567};
	struct buf text;
	char to[400];

	for (unsigned i = 0; i < 10000; i++) {
		(void)snprintf(to, sizeof(to), "%0300u@far.test", i);
		add(&sheet, to, 1000 + i);
	}
	ck_assert_uint_eq(sheet_total(&sheet), 10000);
	ck_assert_uint_eq(sheet.line_count, SHEET_LINES_MAX);
	read_back(&sheet, &again);
	ck_assert_uint_eq(sheet_total(&again), 10000);
	buf_init(&text, SHEET_FILE_MAX);
	sheet_format(&sheet, &letter, &text);
	ck_assert_uint_gt(buf_room(&text), SHEET_FILE_MAX / 2);
	ck_assert_ptr_nonnull(
		strstr(buf_text(&text), "Subject: 10000 failed messages"));
	ck_assert_ptr_nonnull(
		strstr(buf_text(&text), "     10000  bad-mailbox\r\n"));
	ck_assert_ptr_nonnull(
		strstr(buf_text(&text), "\r\n9800 more are counted above"));
	buf_done(&text);
	sheet_done(&sheet);
	sheet_done(&again);
}
END_TEST

START_TEST(two_sheets_become_one)
{
	struct sheet sheet = {0}, other = {0};

	add(&sheet, "a@far.test", 5000);
	add(&other, "a@far.test", 1000);
	add(&other, "b@far.test", 2000);
	sheet_merge(&sheet, &other);
	ck_assert_uint_eq(sheet_total(&other), 0);
	ck_assert_uint_eq(other.line_count, 0);
	ck_assert_uint_eq(sheet_total(&sheet), 3);
	ck_assert_uint_eq(sheet.first_ms, 1000);
	ck_assert_uint_eq(sheet.last_ms, 5000);
	ck_assert_uint_eq(sheet.line_count, 2);
	ck_assert_uint_eq(sheet.lines[0].messages, 2);
	ck_assert_uint_eq(sheet.lines[0].first_ms, 1000);
	sheet_done(&sheet);
}
END_TEST

START_TEST(foreign_bytes_stay_within_their_line)
{
	struct sheet sheet = {0};
	struct sheet_letter letter = {"relay.test", "postmaster@home.test",
				      "00000000000B1", 1795271234567};
	struct buf text;

	add(&sheet, "a\r\nBcc: x@y\xc3\xa4@far.test", 1000);
	buf_init(&text, SHEET_FILE_MAX);
	sheet_format(&sheet, &letter, &text);
	ck_assert(str_is_ascii(str_of(buf_text(&text))));
	ck_assert_ptr_null(strstr(buf_text(&text), "\nBcc:"));
	buf_done(&text);
	sheet_done(&sheet);
}
END_TEST

static const char *const strange_lines[] = {
	"",
	"ostler-digest 1",
	"time",
	"time\tx\t1",
	"count",
	"count\tno-sender",
	"count\tno-sender\tno-category\t1",
	"count\tsomething\tother\t1",
	"count\tno-sender\tother\t99999999999999999999999",
	"line\tno-sender\tother\t1\t2\t3",
	"line\tno-sender\tother\t1\t2\t3\t-4\ta\tb\tc\td",
};

START_TEST(lines_that_are_none_are_left_alone)
{
	struct sheet sheet = {0};

	ck_assert(!sheet_read_line(&sheet, str_of(strange_lines[_i])));
	ck_assert_uint_eq(sheet_total(&sheet), 0);
	ck_assert_uint_eq(sheet.line_count, 0);
	sheet_done(&sheet);
}
END_TEST

UNIT_MAIN("sheet",
	  tcase_add_test(tc, a_sheet_comes_back_from_its_file_as_it_was);
	  tcase_add_test(tc, a_storm_is_counted_and_stays_small);
	  tcase_add_test(tc, two_sheets_become_one);
	  tcase_add_test(tc, foreign_bytes_stay_within_their_line);
	  tcase_add_loop_test(tc, lines_that_are_none_are_left_alone, 0,
			      COUNT(strange_lines));)
