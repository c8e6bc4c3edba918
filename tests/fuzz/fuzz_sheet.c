/* SPDX-License-Identifier: ISC */
/* The file in which failures wait for the digest. */
#include "tests/fuzz/fuzz.h"

#include "queue/bounce/sheet.h"

static void
read_all(struct str text, struct sheet *sheet)
{
	struct str line;

	while (str_cut(&text, '\n', &line))
		(void)sheet_read_line(sheet, line); /* most are none */
}

/* The report is mail: CR LF, 7 bits, no line too long. */
static void
check_letter(const struct sheet *sheet)
{
	struct sheet_letter letter = {"a.example", "postmaster@a.example",
				      "id@a.example", 1790000000000};
	const uint8_t *bytes;
	size_t column = 0;
	struct buf out;

	buf_init(&out, SHEET_FILE_MAX);
	sheet_format(sheet, &letter, &out);
	FUZZ_CHECK(buf_len(&out) < SHEET_FILE_MAX);
	bytes = buf_bytes(&out);
	for (size_t i = 0; i < buf_len(&out); i++) {
		FUZZ_CHECK(bytes[i] != 0 && bytes[i] < 0x80);
		FUZZ_CHECK(bytes[i] != '\n' || (i > 0 && bytes[i - 1] == '\r'));
		column = bytes[i] == '\n' ? 0 : column + 1;
		FUZZ_CHECK(column <= 999);
	}
	buf_done(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	struct sheet sheet = {0}, again = {0};
	struct buf out, out2;

	buf_init(&out, SHEET_FILE_MAX);
	buf_init(&out2, SHEET_FILE_MAX);
	read_all(str_from((const char *)copy, size), &sheet);
	FUZZ_CHECK(sheet.line_count <= SHEET_LINES_MAX);
	check_letter(&sheet);
	sheet_write(&sheet, &out);
	FUZZ_CHECK(buf_len(&out) < SHEET_FILE_MAX);
	read_all(str_from((const char *)buf_bytes(&out), buf_len(&out)),
		 &again);
	sheet_write(&again, &out2);
	FUZZ_CHECK(buf_len(&out) == buf_len(&out2) &&
		   memcmp(buf_bytes(&out), buf_bytes(&out2), buf_len(&out)) ==
			   0);
	FUZZ_CHECK(sheet_total(&sheet) == sheet_total(&again));
	sheet_merge(&sheet, &again);
	check_letter(&sheet);
	sheet_done(&sheet);
	sheet_done(&again);
	buf_done(&out);
	buf_done(&out2);
	free(copy);
	return 0;
}
