/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "lib/buf.h"

START_TEST(bytes_leave_in_the_order_they_came)
{
	unsigned char next_in = 0, next_out = 0;
	struct buf buf;

	buf_init(&buf, 1000);
	for (unsigned round = 0; round < 5000; round++) {
		size_t add = round * 7 % 61, take;
		unsigned char chunk[64];

		for (size_t i = 0; i < add; i++)
			chunk[i] = (unsigned char)(next_in + i);
		if (buf_add(&buf, chunk, add) == 0)
			next_in = (unsigned char)(next_in + add);
		take = round * 13 % 53;
		if (take > buf_len(&buf))
			take = buf_len(&buf);
		for (size_t i = 0; i < take; i++)
			ck_assert_uint_eq(buf_bytes(&buf)[i], next_out++);
		buf_consume(&buf, take);
		ck_assert_uint_le(buf_len(&buf), 1000);
	}
	buf_done(&buf);
}
END_TEST

START_TEST(the_maximum_holds_and_nothing_is_half_added)
{
	struct buf buf;

	buf_init(&buf, 10);
	ck_assert_int_eq(buf_adds(&buf, "12345678"), 0);
	ck_assert_int_eq(buf_adds(&buf, "abc"), -ENOBUFS);
	ck_assert_int_eq(buf_adds(&buf, "ab"), 0);
	ck_assert_str_eq(buf_text(&buf), "12345678ab");
	ck_assert_int_eq(buf_adds(&buf, "c"), -ENOBUFS);
	ck_assert_uint_eq(buf_room(&buf), 0);
	buf_consume(&buf, 3);
	ck_assert_int_eq(buf_adds(&buf, "xyz"), 0);
	ck_assert_str_eq(buf_text(&buf), "45678abxyz");
	buf_done(&buf);
}
END_TEST

START_TEST(an_empty_buffer_holds_no_memory_after_release)
{
	struct buf buf;

	buf_init(&buf, 100);
	ck_assert_ptr_null(buf.data);
	ck_assert_int_eq(buf_adds(&buf, "x"), 0);
	buf_consume(&buf, 1);
	buf_release(&buf);
	ck_assert_ptr_null(buf.data);
}
END_TEST

/* Wherever the memory's end lies, within the text or behind it. */
START_TEST(a_format_is_the_same_at_every_fill)
{
	for (size_t held = 0; held < 600; held++) {
		struct buf buf;

		buf_init(&buf, held + 12);
		for (size_t i = 0; i < held; i++)
			ck_assert_int_eq(buf_adds(&buf, "x"), 0);
		ck_assert_int_eq(buf_addf(&buf, "%s=%d;", "code", 45012), 0);
		ck_assert_uint_eq(buf_len(&buf), held + 11);
		ck_assert_str_eq(buf_text(&buf) + held, "code=45012;");
		/* one byte is left, and the content is as it was */
		ck_assert_int_eq(buf_addf(&buf, "%d", 99), -ENOBUFS);
		ck_assert_uint_eq(buf_len(&buf), held + 11);
		ck_assert_str_eq(buf_text(&buf) + held, "code=45012;");
		buf_done(&buf);
	}
}
END_TEST

START_TEST(texts_are_joined_all_or_none)
{
	struct buf buf;

	buf_init(&buf, 12);
	ck_assert_int_eq(buf_join(&buf, "to", "", " <", "a", ">", NULL), 0);
	ck_assert_str_eq(buf_text(&buf), "to <a>");
	ck_assert_int_eq(buf_join(&buf, "12345", "67", NULL), -ENOBUFS);
	ck_assert_str_eq(buf_text(&buf), "to <a>");
	buf_consume(&buf, 1);
	ck_assert_int_eq(buf_join(&buf, "1234567", "8", NULL), -ENOBUFS);
	ck_assert_int_eq(buf_join(&buf, "123456", "7", NULL), 0);
	ck_assert_str_eq(buf_text(&buf), "o <a>1234567");
	buf_done(&buf);
}
END_TEST

START_TEST(a_number_that_does_not_fit_is_not_half_added)
{
	struct buf buf;

	buf_init(&buf, 5);
	ck_assert_int_eq(buf_add_number(&buf, 0), 0);
	ck_assert_int_eq(buf_add_number(&buf, 1234), 0);
	ck_assert_int_eq(buf_add_number(&buf, 5), -ENOBUFS);
	ck_assert_str_eq(buf_text(&buf), "01234");
	buf_done(&buf);
}
END_TEST

UNIT_MAIN("buf", tcase_add_test(tc, bytes_leave_in_the_order_they_came);
	  tcase_add_test(tc, the_maximum_holds_and_nothing_is_half_added);
	  tcase_add_test(tc, a_format_is_the_same_at_every_fill);
	  tcase_add_test(tc, texts_are_joined_all_or_none);
	  tcase_add_test(tc, a_number_that_does_not_fit_is_not_half_added);
	  tcase_add_test(tc, an_empty_buffer_holds_no_memory_after_release);)
