/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "lib/buf.h"
#include "lib/wire/smtp_data.h"

#define WIRE(text) text, sizeof(text) - 1

/* Flags as letters: c bare CR, l bare LF, 0 NUL, 8 8-bit, L long line. */
static const struct {
	const char *wire;
	size_t len;
	const char *message;
	size_t message_len;
	size_t left; /* bytes behind the end; SIZE_MAX: no end was read */
	const char *flags;
} cases[] = {
	{WIRE(".\r\n"), WIRE(""), 0, ""},
	{WIRE("a\r\n.\r\n"), WIRE("a\r\n"), 0, ""},
	{WIRE("a\r\n.\r\nQUIT\r\n"), WIRE("a\r\n"), 6, ""},
	{WIRE("\r\n.\r\n"), WIRE("\r\n"), 0, ""},
	{WIRE("..\r\n.\r\n"), WIRE(".\r\n"), 0, ""},
	{WIRE("...\r\n.a\r\na.\r\n.\r\n"), WIRE("..\r\na\r\na.\r\n"), 0, ""},
	{WIRE("..\r\n..\r\n.\r\n"), WIRE(".\r\n.\r\n"), 0, ""},
	{WIRE("\xc3\xa4\r\n.\r\n"), WIRE("\xc3\xa4\r\n"), 0, "8"},
	{WIRE("0123456789012345678901234567890\xe4\r\n.\r\n"),
	 WIRE("0123456789012345678901234567890\xe4\r\n"), 0, "8"},
	{WIRE("0123456789012345678901234567890x\xe4\r\n.\r\n"),
	 WIRE("0123456789012345678901234567890x\xe4\r\n"), 0, "8"},
	{WIRE("a\0b\r\n.\r\n"), WIRE("a\0b\r\n"), 0, "0"},
	{WIRE("a"), WIRE("a"), SIZE_MAX, ""},
	{WIRE("a\r\n."), WIRE("a\r\n"), SIZE_MAX, ""},
	{WIRE("a\r\n.\r"), WIRE("a\r\n"), SIZE_MAX, ""},

	/* what other servers take, or took, for the end: none of it is */
	{WIRE("a\n.\nX\r\n.\r\n"), WIRE("a\n.\nX\r\n"), 0, "l"},
	{WIRE("a\n.\r\nX\r\n.\r\n"), WIRE("a\n.\r\nX\r\n"), 0, "l"},
	{WIRE("a\r\n.\nX\r\n.\r\n"), WIRE("a\r\n\nX\r\n"), 0, "l"},
	{WIRE("a\r\n.\rX\r\n.\r\n"), WIRE("a\r\n\rX\r\n"), 0, "c"},
	{WIRE("a\r.\rX\r\n.\r\n"), WIRE("a\r.\rX\r\n"), 0, "c"},
	{WIRE("a\r.\r\nX\r\n.\r\n"), WIRE("a\r.\r\nX\r\n"), 0, "c"},
	{WIRE("a\n\n.\r\nX\r\n.\r\n"), WIRE("a\n\n.\r\nX\r\n"), 0, "l"},
	{WIRE("a\r\r\n.\r\r\nX\r\n.\r\n"), WIRE("a\r\r\n\r\r\nX\r\n"), 0, "c"},
	{WIRE("a\r\n.\0\r\nX\r\n.\r\n"), WIRE("a\r\n\0\r\nX\r\n"), 0, "0"},
	{WIRE("a\r\n\0.\r\nX\r\n.\r\n"), WIRE("a\r\n\0.\r\nX\r\n"), 0, "0"},
	{WIRE("a\r\n .\r\nX\r\n.\r\n"), WIRE("a\r\n .\r\nX\r\n"), 0, ""},
	{WIRE("a\r\n. \r\nX\r\n.\r\n"), WIRE("a\r\n \r\nX\r\n"), 0, ""},
	{WIRE("\n.\n\r\n.\r\n"), WIRE("\n.\n\r\n"), 0, "l"},
	{WIRE(".\n.\r\nX\r\n.\r\n"), WIRE("\n.\r\nX\r\n"), 0, "l"},
	{WIRE(".\r.\r\nX\r\n.\r\n"), WIRE("\r.\r\nX\r\n"), 0, "c"},
	{WIRE(".\r\r\n.\r\n"), WIRE("\r\r\n"), 0, "c"},
	{WIRE("a\n\r\n.\r\n"), WIRE("a\n\r\n"), 0, "l"},
	{WIRE("a\r\r\n.\r\n"), WIRE("a\r\r\n"), 0, "c"},
};

static const char *
flags_of(const struct smtp_data_facts *facts, char to[8])
{
	(void)snprintf(to, 8, "%s%s%s%s", facts->has_bare_cr ? "c" : "",
		       facts->has_bare_lf ? "l" : "", facts->has_nul ? "0" : "",
		       facts->has_8bit ? "8" : "");
	return to;
}

static bool
decode_part(struct smtp_data_decoder *decoder, const uint8_t *wire, size_t len,
	    size_t *used, struct buf *message)
{
	/* an exact copy, so that a look behind its end is found */
	uint8_t *copy = malloc(len != 0 ? len : 1);
	bool is_end = false;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, wire, len);
	*used = 0;
	while (*used < len && !is_end) {
		struct str run;

		*used += smtp_data_decode(decoder, copy + *used, len - *used,
					  &run, &is_end);
		ck_assert_uint_le(*used, len);
		ck_assert_int_eq(buf_add(message, run.at, run.len), 0);
	}
	free(copy);
	return is_end;
}

static void
check_decoded(const uint8_t *wire, size_t len, size_t first, size_t step, int i)
{
	struct smtp_data_decoder decoder = {0};
	struct buf message;
	size_t used, start = 0, end = first < len ? first : len;
	bool is_end;
	char flags[8];

	buf_init(&message, 65536);
	for (;;) {
		is_end = decode_part(&decoder, wire + start, end - start, &used,
				     &message);
		start += used;
		if (is_end || end == len)
			break;
		end = end + step < len ? end + step : len;
	}
	ck_assert_int_eq(is_end, cases[i].left != SIZE_MAX);
	if (is_end)
		ck_assert_uint_eq(len - start, cases[i].left);
	ck_assert_uint_eq(buf_len(&message), cases[i].message_len);
	ck_assert_int_eq(memcmp(buf_text(&message), cases[i].message,
				cases[i].message_len),
			 0);
	ck_assert_uint_eq(decoder.facts.bytes, cases[i].message_len);
	ck_assert_str_eq(flags_of(&decoder.facts, flags), cases[i].flags);
	buf_done(&message);
}

START_TEST(data_is_the_same_at_every_split)
{
	const uint8_t *wire = (const uint8_t *)cases[_i].wire;

	for (size_t cut = 0; cut <= cases[_i].len; cut++)
		check_decoded(wire, cases[_i].len, cut, SIZE_MAX / 2, _i);
	for (size_t step = 1; step <= 4; step++)
		check_decoded(wire, cases[_i].len, step, step, _i);
}
END_TEST

/* Bytes are looked at in blocks: their borders make no difference. */
START_TEST(a_fault_is_noticed_wherever_it_stands)
{
	static const struct {
		const char *bytes, *flags;
	} faults[] = {
		{"\rx", "c"}, {"x\n", "l"},	 {"\n\r", "cl"},
		{"x\0", "0"}, {"\xc3\xa4", "8"}, {"\r\n", ""},
	};
	static const size_t cuts[] = {1, 2, 127, 128, 129, 256, 400};
	uint8_t text[400];

	for (size_t at = 0; at + 2 <= sizeof(text); at++) {
		for (size_t i = 0; i < COUNT(cuts); i++) {
			struct smtp_data_facts facts = {0};
			size_t done = 0;
			char flags[8];

			memset(text, 'x', sizeof(text));
			memcpy(text + at, faults[_i].bytes, 2);
			while (done < sizeof(text)) {
				size_t part = sizeof(text) - done;

				if (part > cuts[i])
					part = cuts[i];
				smtp_data_inspect(&facts, text + done, part);
				done += part;
			}
			smtp_data_inspect_end(&facts);
			ck_assert_str_eq(flags_of(&facts, flags),
					 faults[_i].flags);
		}
	}
}
END_TEST

START_TEST(chunks_are_inspected_without_dots)
{
	static const char wire[] = "a\r\n.\r\n.\r\nb\r";
	char flags[8];

	for (size_t cut = 0; cut < sizeof(wire); cut++) {
		struct smtp_data_facts facts = {0};

		smtp_data_inspect(&facts, (const uint8_t *)wire, cut);
		smtp_data_inspect(&facts, (const uint8_t *)wire + cut,
				  sizeof(wire) - 1 - cut);
		ck_assert_str_eq(flags_of(&facts, flags), "");
		smtp_data_inspect_end(&facts);
		ck_assert_str_eq(flags_of(&facts, flags), "c");
		ck_assert_uint_eq(facts.bytes, sizeof(wire) - 1);
	}
}
END_TEST

static const struct {
	const char *message;
	size_t len;
	const char *wire;
} encodings[] = {
	{WIRE(""), ".\r\n"},
	{WIRE("a\r\n"), "a\r\n.\r\n"},
	{WIRE("a"), "a\r\n.\r\n"},
	{WIRE("."), "..\r\n.\r\n"},
	{WIRE(".\r\n"), "..\r\n.\r\n"},
	{WIRE("..\r\n.a\r\nb.\r\n"), "...\r\n..a\r\nb.\r\n.\r\n"},
	{WIRE("\r\n\r\n"), "\r\n\r\n.\r\n"},
	{WIRE("a\r"), "a\r\n.\r\n"},
	{WIRE("a\n"), "a\r\n.\r\n"},
	{WIRE("\n"), "\r\n.\r\n"},
	{WIRE("a\n.\nb"), "a\r\n..\r\nb\r\n.\r\n"},
	{WIRE("a\r.\rb"), "a\r\n..\r\nb\r\n.\r\n"},
	{WIRE("a\n.\r\nb"), "a\r\n..\r\nb\r\n.\r\n"},
	{WIRE("a\r\r\n.\r\n"), "a\r\n\r\n..\r\n.\r\n"},
	{WIRE("a\r\n\n.b"), "a\r\n\r\n..b\r\n.\r\n"},
	{WIRE("\r\r\r"), "\r\n\r\n\r\n.\r\n"},
};

static void
encode_part(struct smtp_data_encoder *encoder, const uint8_t *bytes, size_t len,
	    struct buf *wire)
{
	uint8_t *copy = malloc(len != 0 ? len : 1);
	size_t used = 0;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, len);
	while (used < len) {
		struct str run;

		used += smtp_data_encode(encoder, copy + used, len - used,
					 &run);
		ck_assert_uint_ne(run.len, 0);
		ck_assert_uint_le(used, len);
		ck_assert_int_eq(buf_add(wire, run.at, run.len), 0);
	}
	free(copy);
}

START_TEST(the_wire_is_the_same_at_every_split)
{
	const uint8_t *message = (const uint8_t *)encodings[_i].message;
	size_t len = encodings[_i].len;

	for (size_t cut = 0; cut <= len; cut++) {
		struct smtp_data_encoder encoder = {0};
		struct buf wire;
		struct str end;

		buf_init(&wire, 65536);
		encode_part(&encoder, message, cut, &wire);
		encode_part(&encoder, message + cut, len - cut, &wire);
		end = smtp_data_encode_end(&encoder);
		ck_assert_int_eq(buf_add(&wire, end.at, end.len), 0);
		ck_assert_str_eq(buf_text(&wire), encodings[_i].wire);
		buf_done(&wire);
	}
}
END_TEST

START_TEST(long_text_goes_out_in_one_run)
{
	static uint8_t text[8192];
	struct smtp_data_encoder encoder = {0};
	struct str run;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
	ck_assert_uint_eq(smtp_data_encode(&encoder, text, sizeof(text), &run),
			  sizeof(text));
	ck_assert_ptr_eq(run.at, text);
	ck_assert_uint_eq(run.len, sizeof(text));
	ck_assert(str_is(smtp_data_encode_end(&encoder), ".\r\n"));
}
END_TEST

UNIT_MAIN("smtp_data", tcase_add_loop_test(tc, data_is_the_same_at_every_split,
					   0, (int)COUNT(cases));
	  tcase_add_loop_test(tc, the_wire_is_the_same_at_every_split, 0,
			      (int)COUNT(encodings));
	  tcase_add_loop_test(tc, a_fault_is_noticed_wherever_it_stands, 0, 6);
	  tcase_add_test(tc, chunks_are_inspected_without_dots);
	  tcase_add_test(tc, long_text_goes_out_in_one_run);)
