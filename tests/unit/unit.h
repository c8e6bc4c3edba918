/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/unit.h - what every unit test's main would repeat
 *
 *	UNIT_MAIN("buf", tcase_add_test(tc, buf_keeps_order);
 *			 tcase_add_loop_test(tc, buf_table, 0, 12);)
 */
#ifndef OSTLER_TESTS_UNIT_UNIT_H
#define OSTLER_TESTS_UNIT_UNIT_H

#include <check.h>
#include <stdlib.h>

#define UNIT_MAIN(name, tests)                                                 \
	int main(void)                                                         \
	{                                                                      \
		Suite *suite = suite_create(name);                             \
		TCase *tc = tcase_create(name);                                \
		SRunner *runner;                                               \
		int failed;                                                    \
                                                                               \
		tcase_set_timeout(tc, 300);                                    \
		tests;                                                         \
		suite_add_tcase(suite, tc);                                    \
		runner = srunner_create(suite);                                \
		srunner_run_all(runner, CK_NORMAL);                            \
		failed = srunner_ntests_failed(runner);                        \
		srunner_free(runner);                                          \
		return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;              \
	}

/*
 * How long a test waits before it gives up, longer by the factor that
 * libcheck's own limits get: under memcheck all takes its time.
 */
static inline unsigned
unit_patience_ms(unsigned ms)
{
	const char *factor = getenv("CK_TIMEOUT_MULTIPLIER");
	double times = factor != NULL ? strtod(factor, NULL) : 1;

	return times > 1 ? (unsigned)(ms * times) : ms;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
