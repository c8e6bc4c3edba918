/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include "lib/hash.h"
#include "lib/random.h"

/* key 00..0f, message 00..len-1: the vectors of the SipHash paper */
static const struct {
	size_t len;
	uint64_t hash;
} vectors[] = {
	{0, 0x726fdb47dd0e0e31U},
	{1, 0x74f839c593dc67fdU},
	{8, 0x93f5f5799a932462U},
	{15, 0xa129ca6149be45e5U},
};

START_TEST(hashes_are_those_of_the_paper)
{
	struct hash_seed seed = {0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
	uint8_t message[16];

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)i;
	ck_assert(hash_bytes(&seed, message, vectors[_i].len) ==
		  vectors[_i].hash);
}
END_TEST

START_TEST(random_numbers_stay_below_and_reach_everything)
{
	unsigned seen[7] = {0};

	for (unsigned i = 0; i < 7000; i++) {
		uint32_t value = random_below(7);

		ck_assert_uint_lt(value, 7);
		seen[value]++;
	}
	for (unsigned i = 0; i < 7; i++)
		ck_assert_uint_gt(seen[i], 700);
	ck_assert_uint_eq(random_below(1), 0);
}
END_TEST

UNIT_MAIN("hash", tcase_add_loop_test(tc, hashes_are_those_of_the_paper, 0,
				      (int)COUNT(vectors));
	  tcase_add_test(tc, random_numbers_stay_below_and_reach_everything);)
