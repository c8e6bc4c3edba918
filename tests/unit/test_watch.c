/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/deliver/watch.h"

static char told[4000];

static void
on_line(void *arg, bool is_ours, const char *line)
{
	size_t len = strlen(told);

	ck_assert_ptr_eq(arg, told);
	(void)snprintf(told + len, sizeof(told) - len, "%c %s|",
		       is_ours ? '>' : '<', line);
}

static const struct delivery_watch watch = {.arg = told, .on_line = on_line};

static const struct {
	bool is_ours, is_secret;
	const char *bytes, *told;
} cases[] = {
	{false, false, "220 a\r\n250 b\r\n", "< 220 a|< 250 b|"},
	{false, false, "250-a\n250 b", "< 250-a|"}, /* the rest may come */
	{true, false, "EHLO me\r\n", "> EHLO me|"},
	{true, false, "\r\n", "> |"},
	{true, true, "AUTH PLAIN c2VjcmV0\r\n", "> AUTH PLAIN (hidden)|"},
	{true, true, "auth login\r\n", "> auth login|"},
	{true, true, "AUTH X =\r\nc2VjcmV0\r\n*\r\n",
	 "> AUTH X (hidden)|> (hidden)|> (hidden)|"},
	{true, true, "\r\n", "> (hidden)|"},
	/* the server's side of a login is no secret of ours */
	{false, true, "334 Y2hhbGxlbmdl\r\n", "< 334 Y2hhbGxlbmdl|"},
};

START_TEST(lines_are_told_the_same_however_they_come)
{
	size_t len = strlen(cases[_i].bytes);

	for (size_t cut = 0; cut <= len; cut++) {
		struct watch_lines lines = {.len = 0};

		told[0] = '\0';
		watch_bytes(&watch, &lines, cases[_i].is_ours,
			    cases[_i].is_secret,
			    (const uint8_t *)cases[_i].bytes, cut);
		watch_bytes(&watch, &lines, cases[_i].is_ours,
			    cases[_i].is_secret,
			    (const uint8_t *)cases[_i].bytes + cut, len - cut);
		ck_assert_str_eq(told, cases[_i].told);
	}
}
END_TEST

START_TEST(a_long_line_is_cut)
{
	struct watch_lines lines = {.len = 0};
	uint8_t bytes[WATCH_LINE_MAX + 100];

	memset(bytes, 'x', sizeof(bytes));
	told[0] = '\0';
	watch_bytes(&watch, &lines, false, false, bytes, sizeof(bytes));
	watch_bytes(&watch, &lines, false, false, (const uint8_t *)"\r\n", 2);
	ck_assert_uint_eq(strlen(told), WATCH_LINE_MAX + 3);
	watch_bytes(&watch, &lines, false, false, (const uint8_t *)"b\n", 2);
	ck_assert_str_eq(told + WATCH_LINE_MAX + 3, "< b|");
}
END_TEST

UNIT_MAIN("watch",
	  tcase_add_loop_test(tc, lines_are_told_the_same_however_they_come, 0,
			      (int)COUNT(cases));
	  tcase_add_test(tc, a_long_line_is_cut);)
