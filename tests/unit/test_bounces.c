/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "queue/bounce/record.h"
#include "server/bounces.h"

struct line {
	uint64_t at_ms;
	enum record_kind kind;
	const char *recipient, *category, *enhanced, *host;
};

static void
feed_line(struct bounces *bounces, const struct line *line)
{
	struct record record = {
		.at_ms = line->at_ms,
		.kind = line->kind,
		.id = str_of("00000000000A1"),
		.sender = str_of("anna@home.test"),
		.recipient = str_of(line->recipient),
		.category = str_of(line->category),
		.rule = str_of("r"),
		.cause = str_of("reply"),
		.code = 550,
		.enhanced = str_of(line->enhanced),
		.host = str_of(line->host),
		.ip = str_of("192.0.2.1"),
		.words = str_of("550 no"),
	};
	struct buf text;

	buf_init(&text, RECORD_LINE_MAX);
	record_format(&record, &text);
	bounces_line(bounces, str_of(buf_text(&text)));
	buf_done(&text);
}

/* "kind name count" of each row, then failures and dead as their address. */
static char *
answer(struct bounces *bounces)
{
	json_t *rows = bounces_rows(bounces), *row;
	static char text[4096];
	size_t i, len = 0;

	text[0] = '\0';
	json_array_foreach(rows, i, row)
	{
		const char *name, *kind;
		json_int_t count = 0;

		ck_assert_int_eq(json_unpack(row, "{s:s}", "kind", &kind), 0);
		(void)json_unpack(row, "{s:I}", "count", &count);
		if (json_unpack(row, "{s:s}", "name", &name) != 0 &&
		    json_unpack(row, "{s:s}", "recipient", &name) != 0)
			(void)json_unpack(row, "{s:s}", "address", &name);
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%s %s %d\n", kind, name, (int)count);
	}
	json_decref(rows);
	return text;
}

static const struct line lines[] = {
	{1000, RECORD_BOUNCED, "a@far.test", "bad-mailbox", "5.1.1",
	 "mx.far.test"},
	{2000, RECORD_BOUNCED, "b@far.test", "spam-related", "5.7.1",
	 "mx.far.test"},
	{3000, RECORD_EXPIRED, "c@slow.test", "no-answer-from-host", "4.4.1",
	 ""},
	{4000, RECORD_DELIVERED, "z@far.test", "", "2.0.0", "mx.far.test"},
	{5000, RECORD_BOUNCED, "A@far.test", "bad-mailbox", "5.1.1",
	 "MX2.far.test"},
};

static const struct {
	struct bounces_query query;
	const char *want;
} asked[] = {
	{{.until_ms = UINT64_MAX, .limit = 2},
	 "total all 4\n"
	 "category bad-mailbox 2\ncategory no-answer-from-host 1\n"
	 "category spam-related 1\n"
	 "domain far.test 3\ndomain slow.test 1\n"
	 "host mx.far.test 2\nhost - 1\nhost mx2.far.test 1\n"
	 "failure c@slow.test 0\nfailure A@far.test 0\n"},
	{{.until_ms = UINT64_MAX, .category = "bad-mailbox", .limit = 0},
	 "total all 2\ncategory bad-mailbox 2\ndomain far.test 2\n"
	 "host mx.far.test 1\nhost mx2.far.test 1\n"},
	{{.until_ms = UINT64_MAX, .domain = "SLOW.test", .limit = 5},
	 "total all 1\ncategory no-answer-from-host 1\ndomain slow.test 1\n"
	 "host - 1\nfailure c@slow.test 0\n"},
	{{.until_ms = UINT64_MAX, .host = "-"},
	 "total all 1\ncategory no-answer-from-host 1\ndomain slow.test 1\n"
	 "host - 1\n"},
	{{.since_ms = 2000, .until_ms = 3000, .host = "mx.far.test"},
	 "total all 1\ncategory spam-related 1\ndomain far.test 1\n"
	 "host mx.far.test 1\n"},
	{{.until_ms = 500}, "total all 0\n"},
};

START_TEST(failures_are_counted_by_what_is_asked)
{
	struct bounces *bounces = bounces_new(&asked[_i].query);

	for (size_t i = 0; i < COUNT(lines); i++)
		feed_line(bounces, &lines[i]);
	ck_assert_str_eq(answer(bounces), asked[_i].want);
	bounces_free(bounces);
}
END_TEST

static const struct line lives[] = {
	{1000, RECORD_BOUNCED, "gone@far.test", "bad-mailbox", "5.1.1", "mx"},
	{1001, RECORD_BOUNCED, "twice@far.test", "inactive-mailbox", "5.2.1",
	 "mx"},
	{1002, RECORD_BOUNCED, "once@far.test", "inactive-mailbox", "5.2.1",
	 "mx"},
	{1003, RECORD_BOUNCED, "back@far.test", "bad-mailbox", "5.1.1", "mx"},
	{1004, RECORD_BOUNCED, "nodomain@none.test", "bad-domain", "5.1.2", ""},
	{1005, RECORD_BOUNCED, "spam@far.test", "spam-related", "5.7.1", "mx"},
	{1006, RECORD_BOUNCED, "spam@far.test", "spam-related", "5.7.1", "mx"},
	{1007, RECORD_EXPIRED, "slow@far.test", "bad-mailbox", "4.1.1", "mx"},
	{1008, RECORD_DELIVERED, "Back@far.test", "", "2.0.0", "mx"},
	{1009, RECORD_BOUNCED, "twice@far.test", "inactive-mailbox", "5.2.1",
	 "mx"},
	{1010, RECORD_BOUNCED, "Gone@far.test", "bad-mailbox", "5.1.1", "mx"},
};

START_TEST(who_is_gone_for_good_is_listed_until_a_delivery)
{
	struct bounces_query query = {.until_ms = UINT64_MAX, .is_dead = true};
	struct bounces *bounces = bounces_new(&query);

	for (size_t i = 0; i < COUNT(lives); i++)
		feed_line(bounces, &lives[i]);
	ck_assert_str_eq(answer(bounces), "dead gone@far.test 2\n"
					  "dead twice@far.test 2\n"
					  "dead nodomain@none.test 1\n");
	bounces_free(bounces);
}
END_TEST

START_TEST(a_record_comes_back_from_its_line)
{
	struct record record = {
		.at_ms = 1795271234567,
		.kind = RECORD_BOUNCED,
		.id = str_of("00000000000A1"),
		.sender = str_of(""),
		.recipient = str_of("a\tb@far.test"),
		.category = str_of("bad-mailbox"),
		.rule = str_of("box.nosuch"),
		.cause = str_of("reply"),
		.code = 550,
		.enhanced = str_of("5.1.1"),
		.host = str_of("mx.far.test"),
		.ip = str_of("192.0.2.1"),
		.words = str_of("550-no\n550 such\tuser"),
	};
	struct record again;
	struct buf text;
	struct str line;

	buf_init(&text, RECORD_LINE_MAX);
	record_format(&record, &text);
	line = str_of(buf_text(&text));
	line.len--;
	ck_assert(record_parse(line, &again));
	ck_assert_uint_eq(again.at_ms, record.at_ms);
	ck_assert_uint_eq(again.code, 550);
	ck_assert(str_is(again.sender, ""));
	ck_assert(str_is(again.recipient, "a b@far.test"));
	ck_assert(str_is(record_domain(&again), "far.test"));
	ck_assert(str_is(again.words, "550-no 550 such user"));
	/* cut anywhere before the words, it is none */
	for (size_t cut = 0; cut < (size_t)(again.words.at - line.at); cut++)
		ck_assert(!record_parse(str_from(line.at, cut), &record));
	buf_done(&text);
}
END_TEST

START_TEST(the_longest_record_fits_its_line)
{
	static char longest[5000];
	struct record record = {.at_ms = UINT64_MAX, .code = 999};
	struct buf text;

	memset(longest, 'x', sizeof(longest) - 1);
	record.id = record.sender = record.recipient = record.category =
		record.rule = record.cause = record.enhanced = record.host =
			record.ip = record.words = str_of(longest);
	buf_init(&text, RECORD_LINE_MAX - 1);
	record_format(&record, &text);
	ck_assert_uint_gt(buf_len(&text), 3000);
	ck_assert_int_eq(buf_text(&text)[buf_len(&text) - 1], '\n');
	buf_done(&text);
}
END_TEST

UNIT_MAIN("bounces",
	  tcase_add_loop_test(tc, failures_are_counted_by_what_is_asked, 0,
			      COUNT(asked));
	  tcase_add_test(tc, who_is_gone_for_good_is_listed_until_a_delivery);
	  tcase_add_test(tc, a_record_comes_back_from_its_line);
	  tcase_add_test(tc, the_longest_record_fits_its_line);)
