/* SPDX-License-Identifier: ISC */
#include "lib/random.h"

#include <pthread.h>
#include <string.h>

#include "tests/unit/unit.h"

#define THREADS 4
#define DRAWN	100000

struct draw {
	uint8_t bytes[12];
};

static struct draw drawn[THREADS][DRAWN];
static pthread_barrier_t gate;

static void *
draw_many(void *arg)
{
	struct draw *at = arg;

	(void)pthread_barrier_wait(&gate); /* one of them is told so */
	for (size_t i = 0; i < DRAWN; i++)
		random_bytes(at[i].bytes, sizeof(at[i].bytes));
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct draw));
}

/* 400,000 numbers of 96 bits: two alike by chance have a probability of
 * 1e-18. */
START_TEST(threads_that_draw_at_once_never_get_the_same)
{
	struct draw *all = &drawn[0][0];
	pthread_t threads[THREADS];

	ck_assert_int_eq(pthread_barrier_init(&gate, NULL, THREADS), 0);
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, draw_many,
						drawn[i]),
				 0);
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	(void)pthread_barrier_destroy(&gate); /* nobody waits there */
	qsort(all, THREADS * DRAWN, sizeof(*all), compare);
	for (size_t i = 1; i < THREADS * DRAWN; i++)
		ck_assert_int_ne(compare(&all[i - 1], &all[i]), 0);
}
END_TEST

START_TEST(more_bytes_than_are_fetched_at_once_are_all_filled)
{
	uint8_t bytes[1000] = {0};
	size_t zeros = 0;

	random_bytes(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		zeros += bytes[i] == 0;
	ck_assert_uint_lt(zeros, 100); /* about 4 */
}
END_TEST

START_TEST(numbers_stay_below_and_all_of_them_come)
{
	static const uint32_t below[] = {1, 2, 3, 10};

	for (size_t i = 0; i < COUNT(below); i++) {
		unsigned seen[10] = {0};

		for (size_t n = 0; n < 2000; n++) {
			uint32_t got = random_below(below[i]);

			ck_assert_uint_lt(got, below[i]);
			seen[got]++;
		}
		for (size_t n = 0; n < below[i]; n++)
			ck_assert_uint_gt(seen[n], 0);
	}
}
END_TEST

UNIT_MAIN("random",
	  tcase_add_test(tc, threads_that_draw_at_once_never_get_the_same);
	  tcase_add_test(tc,
			 more_bytes_than_are_fetched_at_once_are_all_filled);
	  tcase_add_test(tc, numbers_stay_below_and_all_of_them_come))
