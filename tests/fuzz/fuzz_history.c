/* SPDX-License-Identifier: ISC */
/* The file of failures that were, line by line, and what is told of it. */
#include "tests/fuzz/fuzz.h"

#include "queue/bounce/record.h"
#include "server/bounces.h"

/* What was read, written and read again is the same, in one line. */
static void
check_line(struct str line)
{
	struct record record, again;
	struct buf out, out2;
	struct str text;
	bool is_hard;

	if (!record_parse(line, &record))
		return;
	(void)record_is_against(&record, &is_hard); /* any answer */
	FUZZ_CHECK(record_domain(&record).len <= record.recipient.len);
	buf_init(&out, 2 * RECORD_LINE_MAX);
	buf_init(&out2, 2 * RECORD_LINE_MAX);
	record_format(&record, &out);
	FUZZ_CHECK(buf_len(&out) <= RECORD_LINE_MAX);
	text = str_from((const char *)buf_bytes(&out), buf_len(&out) - 1);
	FUZZ_CHECK(memchr(text.at, '\n', text.len) == NULL);
	FUZZ_CHECK(record_parse(text, &again));
	FUZZ_CHECK(again.at_ms == record.at_ms && again.kind == record.kind &&
		   again.code == record.code);
	record_format(&again, &out2);
	FUZZ_CHECK(strcmp(buf_text(&out), buf_text(&out2)) == 0);
	buf_done(&out);
	buf_done(&out2);
}

static void
check_rows(struct str text, const struct bounces_query *query)
{
	struct bounces *bounces = bounces_new(query);
	struct str line;
	char *dumped;
	json_t *rows;

	while (str_cut(&text, '\n', &line))
		bounces_line(bounces, line);
	rows = bounces_rows(bounces);
	dumped = json_dumps(rows, JSON_COMPACT);
	FUZZ_CHECK(dumped != NULL && strchr(dumped, '\n') == NULL);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *row = json_array_get(rows, i);

		FUZZ_CHECK(json_is_string(json_object_get(row, "kind")));
	}
	free(dumped);
	json_decref(rows);
	bounces_free(bounces);
}

/* The first byte says what is asked. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bounces_query query = {.until_ms = UINT64_MAX};
	struct str text, rest, line;
	uint8_t *copy;

	if (size == 0)
		return 0;
	copy = fuzz_copy(data + 1, size - 1);
	rest = text = str_from((const char *)copy, size - 1);
	query.limit = data[0] & 7;
	query.is_dead = (data[0] & 8) != 0;
	query.domain = (data[0] & 16) != 0 ? "far.test" : NULL;
	query.host = (data[0] & 32) != 0 ? "-" : NULL;
	while (str_cut(&rest, '\n', &line))
		check_line(line);
	check_rows(text, &query);
	free(copy);
	return 0;
}
