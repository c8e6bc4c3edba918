/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "queue/spool/body.h"

static void
fill(struct body *body, size_t len, size_t chunk)
{
	while (body->bytes < len) {
		size_t now =
			len - body->bytes < chunk ? len - body->bytes : chunk;

		body_reserve(body, now);
		for (size_t i = 0; i < now; i++, body->bytes++)
			body->data[body->bytes] = (uint8_t)(body->bytes * 7);
	}
}

static void
check(const struct body *body, size_t len)
{
	ck_assert_uint_eq(body->bytes, len);
	ck_assert_uint_le(len, body->capacity);
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(body->data[i], (uint8_t)(i * 7));
}

START_TEST(a_body_is_what_was_put_however_it_came)
{
	static const size_t sizes[] = {1,     511,    512,    513,
				       640,   4096,   5000,   10240,
				       65536, 262144, 262145, 300000};
	static const size_t chunks[] = {100, 1460, 16384, 1000000};
	struct body_pool pool = {0};

	for (size_t i = 0; i < COUNT(sizes) * COUNT(chunks); i++) {
		size_t len = sizes[i % COUNT(sizes)];
		struct body *body = body_new(&pool);

		fill(body, len, chunks[i / COUNT(sizes)]);
		check(body, len);
		body_close_up(body);
		check(body, len);
		if (len > 512)
			ck_assert_uint_le(body->capacity, len + len / 3 + 1);
		body_unref(body);
	}
	body_pool_done(&pool);
}
END_TEST

START_TEST(a_buffer_serves_the_next_body)
{
	struct body_pool pool = {0};
	struct body *first = body_new(&pool), *second;
	const uint8_t *data;

	fill(first, 10000, 10000);
	data = first->data;
	first->refs++;
	body_unref(first);
	ck_assert_uint_eq(pool.bytes, 0); /* somebody has it still */
	body_unref(first);
	ck_assert_uint_eq(pool.bytes, 10240);
	second = body_new(&pool);
	fill(second, 9000, 9000);
	ck_assert_ptr_eq(second->data, data);
	ck_assert_uint_eq(pool.bytes, 0);
	body_unref(second);
	body_pool_done(&pool);
	ck_assert_uint_eq(pool.bytes, 0);
}
END_TEST

START_TEST(the_pool_keeps_no_more_than_its_maximum)
{
	struct body *bodies[200];
	struct body_pool pool = {0};

	for (size_t i = 0; i < COUNT(bodies); i++) {
		bodies[i] = body_new(&pool);
		fill(bodies[i], 65536, 65536);
	}
	for (size_t i = 0; i < COUNT(bodies); i++)
		body_unref(bodies[i]);
	ck_assert_uint_eq(pool.bytes, 4u << 20);
	body_pool_done(&pool);
}
END_TEST

START_TEST(what_was_spare_all_the_time_is_freed)
{
	struct body_pool pool = {0};
	struct body *a = body_new(&pool), *b = body_new(&pool);

	fill(a, 1024, 1024);
	fill(b, 4096, 4096);
	body_unref(a);
	body_unref(b);
	body_pool_trim(&pool); /* nothing was spare before */
	ck_assert_uint_eq(pool.bytes, 5120);
	a = body_new(&pool);
	fill(a, 1024, 1024);
	body_unref(a);
	body_pool_trim(&pool); /* the larger one was not needed */
	ck_assert_uint_eq(pool.bytes, 1024);
	body_pool_trim(&pool);
	ck_assert_uint_eq(pool.bytes, 0);
}
END_TEST

UNIT_MAIN("spool_body",
	  tcase_add_test(tc, a_body_is_what_was_put_however_it_came);
	  tcase_add_test(tc, a_buffer_serves_the_next_body);
	  tcase_add_test(tc, the_pool_keeps_no_more_than_its_maximum);
	  tcase_add_test(tc, what_was_spare_all_the_time_is_freed);)
