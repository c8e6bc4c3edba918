/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "lib/buf.h"
#include "lib/wire/smtp_cmd.h"

#define WIRE(text) text, sizeof(text) - 1

/* What the events come to, as "verb|word|arg;", "long;", "bad;". */
static const struct {
	const char *wire;
	size_t len;
	const char *events;
} cases[] = {
	{WIRE(""), ""},
	{WIRE("NOOP\r\n"), "NOOP|NOOP|;"},
	{WIRE("noop\r\n"), "NOOP|noop|;"},
	{WIRE("\r\n"), "?||;"},
	{WIRE("EHLO"), ""},
	{WIRE("EHLO\r"), ""},
	{WIRE("EHLO a.example\r\n"), "EHLO|EHLO|a.example;"},
	{WIRE("EHLO \t a  \t\r\n"), "EHLO|EHLO|a;"},
	{WIRE(" EHLO a\r\n"), "?||EHLO a;"},
	{WIRE("EHLOX a\r\n"), "?|EHLOX|a;"},
	{WIRE("MAIL FROM:<a@b> SIZE=1\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
	 "MAIL|MAIL|FROM:<a@b> SIZE=1;RCPT|RCPT|TO:<c@d>;DATA|DATA|;"},
	{WIRE("LHLO a\r\nHELO a\r\nBDAT 1\r\nRSET\r\nQUIT\r\nVRFY a\r\n"),
	 "LHLO|LHLO|a;HELO|HELO|a;BDAT|BDAT|1;RSET|RSET|;QUIT|QUIT|;"
	 "VRFY|VRFY|a;"},
	{WIRE("EXPN a\r\nHELP\r\nSTARTTLS\r\nAUTH PLAIN =\r\n"),
	 "EXPN|EXPN|a;HELP|HELP|;STARTTLS|STARTTLS|;AUTH|AUTH|PLAIN =;"},
	{WIRE("GET / HTTP/1.1\r\nHost: x\r\n"),
	 "foreign|GET|/ HTTP/1.1;?|Host:|x;"},

	{WIRE("NOOP\r\nNO\0P\r\nQUIT\r\n"), "NOOP|NOOP|;bad;QUIT|QUIT|;"},
	{WIRE("NOOP\r\nNOOP\nQUIT\r\n"), "NOOP|NOOP|;bad;"},
	{WIRE("NOOP\nNOOP\r\nQUIT\r\n"), "bad;QUIT|QUIT|;"},
	{WIRE("\nQUIT\r\n"), "bad;"},
	{WIRE("NOOP\rQUIT\r\nRSET\r\n"), "bad;RSET|RSET|;"},
	{WIRE("NOOP\r\r\nRSET\r\n"), "bad;RSET|RSET|;"},
	{WIRE("NO\0P\r\nRSET\r\n"), "bad;RSET|RSET|;"},
	{WIRE("NO\0P\n\r\0\r\nRSET\r\n"), "bad;RSET|RSET|;"},
	{WIRE("\0\r\n\0\r\nRSET\r\n"), "bad;bad;RSET|RSET|;"},
	{WIRE("NOOP\n"), "bad;"},
	{WIRE("NOOP\nNOOP\nNOOP\n"), "bad;"},
	{WIRE("NOOP\n\r\n\r\n"), "bad;?||;"},
	{WIRE("NOOP \xff\x01\r\n"), "NOOP|NOOP|\xff\x01;"},
};

static void
log_event(const struct smtp_cmd_event *event, struct buf *log)
{
	switch (event->kind) {
	case SMTP_CMD_NEED_MORE:
		break;
	case SMTP_CMD_LINE:
		(void)buf_addf(log, "%s|%.*s|%.*s;",
			       event->verb == SMTP_FOREIGN
				       ? "foreign"
				       : smtp_verb_name(event->verb),
			       STR_ARG(event->word), STR_ARG(event->arg));
		break;
	case SMTP_CMD_TOO_LONG:
		(void)buf_adds(log, "long;");
		break;
	case SMTP_CMD_BAD_BYTE:
		(void)buf_adds(log, "bad;");
		break;
	}
}

/* Feeds the window until it wants more; returns where it now begins. */
static size_t
drain(struct smtp_cmd *cmd, enum smtp_cmd_mode mode, const uint8_t *wire,
      size_t start, size_t end, struct buf *log)
{
	struct smtp_cmd_event event;

	do {
		/* an exact copy, so that a look behind its end is found */
		uint8_t *window = malloc(end - start + 1);
		size_t used;

		ck_assert_ptr_nonnull(window);
		memcpy(window, wire + start, end - start);
		window = realloc(window, end - start != 0 ? end - start : 1);
		used = smtp_cmd_next(cmd, mode, window, end - start, &event);
		ck_assert_uint_le(used, end - start);
		log_event(&event, log);
		free(window);
		start += used;
	} while (event.kind != SMTP_CMD_NEED_MORE);
	return start;
}

static void
check_events(enum smtp_cmd_mode mode, const uint8_t *wire, size_t len,
	     const char *events, size_t step)
{
	struct smtp_cmd cmd = {0};
	struct buf log;
	size_t start = 0;

	buf_init(&log, 65536);
	for (size_t end = step < len ? step : len;;
	     end = end + step < len ? end + step : len) {
		start = drain(&cmd, mode, wire, start, end, &log);
		if (end == len)
			break;
	}
	ck_assert_str_eq(buf_text(&log), events);
	buf_done(&log);
}

START_TEST(the_same_events_come_at_every_split)
{
	const uint8_t *wire = (const uint8_t *)cases[_i].wire;
	size_t len = cases[_i].len;

	for (size_t cut = 0; cut <= len; cut++) {
		struct smtp_cmd cmd = {0};
		struct buf log;
		size_t start;

		buf_init(&log, 65536);
		start = drain(&cmd, SMTP_CMD_COMMANDS, wire, 0, cut, &log);
		(void)drain(&cmd, SMTP_CMD_COMMANDS, wire, start, len, &log);
		ck_assert_str_eq(buf_text(&log), cases[_i].events);
		buf_done(&log);
	}
	for (size_t step = 1; step <= 5; step++)
		check_events(SMTP_CMD_COMMANDS, wire, len, cases[_i].events,
			     step);
}
END_TEST

static const struct {
	enum smtp_cmd_mode mode;
	const char *begin;
	size_t limit;
} limits[] = {
	{SMTP_CMD_COMMANDS, "NOOP ", SMTP_CMD_LINE_MAX},
	{SMTP_CMD_COMMANDS, "", SMTP_CMD_LINE_MAX},
	{SMTP_CMD_COMMANDS, "AUTHX", SMTP_CMD_LINE_MAX},
	{SMTP_CMD_COMMANDS, "mail ", SMTP_CMD_PATH_MAX},
	{SMTP_CMD_COMMANDS, "RCPT ", SMTP_CMD_PATH_MAX},
	{SMTP_CMD_COMMANDS, "Auth ", SMTP_CMD_AUTH_COMMAND_MAX},
	{SMTP_CMD_AUTH_LINES, "", SMTP_CMD_AUTH_MAX},
	{SMTP_CMD_AUTH_LINES, "MAIL ", SMTP_CMD_AUTH_MAX},
};

/* begin, x's, CR LF: octets in all; then QUIT. The new line may stand at any
 * place relative to the cuts. */
START_TEST(a_line_may_be_as_long_as_its_limit_and_no_longer)
{
	static const size_t steps[] = {1, 511, 512, 513, 4096, 20000};
	static uint8_t wire[SMTP_CMD_AUTH_COMMAND_MAX + 64];
	size_t limit = limits[_i].limit;

	for (size_t size = limit - 1; size <= limit + 2; size++) {
		memset(wire, 'x', sizeof(wire));
		memcpy(wire, limits[_i].begin, strlen(limits[_i].begin));
		memcpy(wire + size - 2, "\r\n*\r\n", 5);
		for (size_t i = 0; i < COUNT(steps); i++) {
			struct smtp_cmd cmd = {0};
			struct buf log;
			size_t start = 0, end = 0;

			if (steps[i] == 1 && limit > 4096)
				continue; /* quadratic in this test's copies */
			buf_init(&log, 65536);
			while (end < size + 3) {
				end = end + steps[i] < size + 3 ? end + steps[i]
								: size + 3;
				start = drain(&cmd, limits[_i].mode, wire,
					      start, end, &log);
			}
			ck_assert_int_eq(strncmp(buf_text(&log), "long;", 5) ==
						 0,
					 size > limit);
			ck_assert_ptr_nonnull(
				strstr(buf_text(&log),
				       limits[_i].mode == SMTP_CMD_COMMANDS
					       ? "?|*|;"
					       : "|*;"));
			buf_done(&log);
		}
	}
}
END_TEST

START_TEST(an_endless_line_is_dropped_as_it_comes)
{
	static uint8_t flood[4096];
	struct smtp_cmd cmd = {0};
	struct smtp_cmd_event event;
	size_t used;

	memset(flood, 'x', sizeof(flood));
	used = smtp_cmd_next(&cmd, SMTP_CMD_COMMANDS, flood, sizeof(flood),
			     &event);
	ck_assert_int_eq(event.kind, SMTP_CMD_TOO_LONG);
	ck_assert_uint_eq(used, SMTP_CMD_LINE_MAX);
	for (int i = 0; i < 3; i++) {
		used = smtp_cmd_next(&cmd, SMTP_CMD_COMMANDS, flood,
				     sizeof(flood), &event);
		ck_assert_int_eq(event.kind, SMTP_CMD_NEED_MORE);
		ck_assert_uint_eq(used, sizeof(flood));
	}
}
END_TEST

START_TEST(a_window_of_the_promised_size_never_stalls)
{
	static const struct {
		enum smtp_cmd_mode mode;
		size_t limit;
	} longest[] = {
		{SMTP_CMD_COMMANDS, SMTP_CMD_AUTH_COMMAND_MAX},
		{SMTP_CMD_AUTH_LINES, SMTP_CMD_AUTH_MAX},
	};
	static uint8_t window[SMTP_CMD_WINDOW_MIN];

	memset(window, 'x', sizeof(window));
	memcpy(window, "AUTH ", 5);
	for (size_t i = 0; i < COUNT(longest); i++) {
		struct smtp_cmd cmd = {0};
		struct smtp_cmd_event event;
		size_t limit = longest[i].limit;

		ck_assert_uint_le(limit, sizeof(window));
		ck_assert_uint_eq(smtp_cmd_next(&cmd, longest[i].mode, window,
						limit - 1, &event),
				  0);
		ck_assert_int_eq(event.kind, SMTP_CMD_NEED_MORE);
		ck_assert_uint_eq(smtp_cmd_next(&cmd, longest[i].mode, window,
						limit, &event),
				  limit);
		ck_assert_int_eq(event.kind, SMTP_CMD_TOO_LONG);
	}
}
END_TEST

START_TEST(bytes_behind_the_event_are_not_touched)
{
	static const char wire[] = "STARTTLS\r\nEHLO x\r\n";
	struct smtp_cmd cmd = {0};
	struct smtp_cmd_event event;

	ck_assert_uint_eq(smtp_cmd_next(&cmd, SMTP_CMD_COMMANDS,
					(const uint8_t *)wire, strlen(wire),
					&event),
			  10);
	ck_assert_int_eq(event.verb, SMTP_STARTTLS);
}
END_TEST

START_TEST(auth_lines_come_whole)
{
	check_events(SMTP_CMD_AUTH_LINES, (const uint8_t *)"abc= \r\n*\r\n", 10,
		     "?||abc= ;?||*;", 1);
	check_events(SMTP_CMD_AUTH_LINES, (const uint8_t *)"\r\na\nb\r\nc\r\n",
		     10, "?||;bad;?||c;", 3);
}
END_TEST

UNIT_MAIN("smtp_cmd",
	  tcase_add_loop_test(tc, the_same_events_come_at_every_split, 0,
			      (int)COUNT(cases));
	  tcase_add_loop_test(tc,
			      a_line_may_be_as_long_as_its_limit_and_no_longer,
			      0, (int)COUNT(limits));
	  tcase_add_test(tc, an_endless_line_is_dropped_as_it_comes);
	  tcase_add_test(tc, a_window_of_the_promised_size_never_stalls);
	  tcase_add_test(tc, bytes_behind_the_event_are_not_touched);
	  tcase_add_test(tc, auth_lines_come_whole);)
