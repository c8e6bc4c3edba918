/* SPDX-License-Identifier: ISC */
/* Foreign bytes on their way into a report's header and text. */
#include "tests/fuzz/fuzz.h"

#include "queue/bounce/mime_text.h"

#define OUT_MAX (1u << 20)

static struct str
taken(const struct buf *buf)
{
	return str_from((const char *)buf_bytes(buf), buf_len(buf));
}

/* Nothing in it begins a line, and it is what mail may hold. */
static void
check_line(struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];

		FUZZ_CHECK(c >= ' ' && c != 0x7f);
	}
	FUZZ_CHECK(str_is_utf8(text));
}

/* Lines of our own: CR LF, folded, never empty within, none too long. */
static void
check_field(struct str text, const char *name)
{
	size_t column = 0;

	FUZZ_CHECK(str_starts_nocase(text, name));
	FUZZ_CHECK(text.len > 2 && text.at[text.len - 1] == '\n');
	for (size_t i = 0; i < text.len; i++) {
		column++;
		if (text.at[i] != '\n')
			continue;
		FUZZ_CHECK(i > 0 && text.at[i - 1] == '\r');
		FUZZ_CHECK(column > 2 && column <= 1000);
		FUZZ_CHECK(i + 1 == text.len || text.at[i + 1] == ' ' ||
			   text.at[i + 1] == '\t');
		column = 0;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	struct str text = str_from((const char *)copy, size);
	struct buf clean, out;

	buf_init(&clean, OUT_MAX);
	buf_init(&out, OUT_MAX);
	mime_clean(text, &clean);
	check_line(taken(&clean));
	FUZZ_CHECK(mime_columns(taken(&clean)) <= 2 * buf_len(&clean));

	mime_clean_ascii(text, &out);
	check_line(taken(&out));
	FUZZ_CHECK(str_is_ascii(taken(&out)));

	buf_clear(&out);
	mime_header("Subject", taken(&clean), &out);
	check_field(taken(&out), "Subject:");

	buf_clear(&out);
	mime_encoded_header("Subject", taken(&clean), &out);
	check_field(taken(&out), "Subject:");
	FUZZ_CHECK(str_is_ascii(taken(&out)));

	buf_clear(&out);
	mime_wrap("* ", "  ", taken(&clean), &out);
	FUZZ_CHECK(str_is_utf8(taken(&out)));

	buf_clear(&out);
	mime_quoted_printable(taken(&clean), &out);
	FUZZ_CHECK(str_is_ascii(taken(&out)));

	buf_clear(&out);
	if (mime_decode_header(text, &out))
		check_line(taken(&out));
	else
		FUZZ_CHECK(buf_len(&out) == 0);
	(void)mime_is_phrase(text); /* any bytes; the answer is not checked */
	buf_done(&clean);
	buf_done(&out);
	free(copy);
	return 0;
}
