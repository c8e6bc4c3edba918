/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"

START_TEST(digits_are_those_of_printf)
{
	static const uint64_t values[] = {
		0,
		1,
		9,
		10,
		99,
		100,
		1000,
		65535,
		4294967295,
		4294967296,
		UINT64_MAX - 1,
		UINT64_MAX,
	};

	for (size_t i = 0; i < COUNT(values); i++) {
		for (unsigned least = 1; least <= 20; least++) {
			char is[STR_DIGITS_MAX], wanted[STR_DIGITS_MAX];
			const char *end = str_digits(is, values[i], least);

			(void)snprintf(wanted, sizeof(wanted), "%0*" PRIu64,
				       (int)least, values[i]);
			ck_assert_str_eq(is, wanted);
			ck_assert_ptr_eq(end, is + strlen(is));
		}
	}
}
END_TEST

START_TEST(texts_are_joined_as_far_as_they_fit)
{
	static const struct {
		size_t size;
		const char *wanted;
	} cases[] = {
		{20, "from <\xc3\xa4"
		     "b> to"},
		{12, "from <\xc3\xa4"
		     "b> "},
		{9, "from <\xc3\xa4"},
		{8, "from <"}, /* half a letter is none */
		{7, "from <"},
		{1, ""},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char *to = malloc(cases[i].size); /* its end is watched */

		str_join(to, cases[i].size, "from <", "",
			 "\xc3\xa4"
			 "b",
			 "> ", "to", NULL);
		ck_assert_str_eq(to, cases[i].wanted);
		free(to);
	}
}
END_TEST

START_TEST(nothing_joined_is_the_empty_text)
{
	char to[4] = "abc";

	str_join(to, sizeof(to), NULL);
	ck_assert_str_eq(to, "");
}
END_TEST

UNIT_MAIN("str", tcase_add_test(tc, digits_are_those_of_printf);
	  tcase_add_test(tc, texts_are_joined_as_far_as_they_fit);
	  tcase_add_test(tc, nothing_joined_is_the_empty_text);)
