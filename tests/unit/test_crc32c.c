/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdint.h>
#include <string.h>

#include "lib/crc32c.h"

static const struct {
	uint8_t first, step;
	size_t len;
	uint32_t crc;
} known[] = {
	/* RFC 3720, B.4 */
	{0x00, 0, 32, 0x8a9136aa},
	{0xff, 0, 32, 0x62a8ab43},
	{0x00, 1, 32, 0x46dd794e},
	{0x1f, 0xff, 32, 0x113fdb5c},
};

START_TEST(the_rfc_examples_come_out)
{
	uint8_t bytes[32];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(known[_i].first + i * known[_i].step);
	ck_assert_uint_eq(crc32c(0, bytes, known[_i].len), known[_i].crc);
	ck_assert_uint_eq(crc32c_by_table(0, bytes, known[_i].len),
			  known[_i].crc);
}
END_TEST

START_TEST(instruction_and_tables_agree_at_every_length_and_split)
{
	static uint8_t bytes[9000];
	uint32_t seed = 1;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		seed = seed * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(seed >> 24);
	}
	for (size_t len = 0; len <= sizeof(bytes); len += 1 + len / 7) {
		size_t cut = len * 5 / 11;
		uint32_t whole = crc32c(0, bytes, len);

		ck_assert_uint_eq(crc32c_by_table(0, bytes, len), whole);
		ck_assert_uint_eq(crc32c(crc32c(0, bytes, cut), bytes + cut,
					 len - cut),
				  whole);
	}
	ck_assert_uint_eq(crc32c(0, NULL, 0), 0);
}
END_TEST

UNIT_MAIN("crc32c",
	  tcase_add_loop_test(tc, the_rfc_examples_come_out, 0, COUNT(known));
	  tcase_add_test(
		  tc, instruction_and_tables_agree_at_every_length_and_split);)
