/* SPDX-License-Identifier: ISC */
/* What ostlerctl is told of a message. */
#include "tests/unit/unit.h"

#include <jansson.h>
#include <stdio.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "server/queue_json.h"

enum { RECIPIENTS = 3000, ATTEMPTS = 10, TOLD = 5000 };

static json_int_t
number_of(const json_t *row, const char *name)
{
	return json_integer_value(json_object_get(row, name));
}

START_TEST(of_many_attempts_the_newest_are_told)
{
	struct envelope envelope;
	struct buf states;
	json_t *row, *tries, *one;

	envelope_init(&envelope);
	envelope.sender = mem_strdup("author@home.test");
	for (unsigned i = 0; i < RECIPIENTS; i++) {
		char address[32];

		(void)snprintf(address, sizeof(address), "r%u@a.test", i);
		(void)envelope_add(&envelope, address);
	}
	buf_init(&states, 1 << 16);
	for (unsigned i = 1; i <= ATTEMPTS; i++)
		(void)buf_addf(&states,
			       "to=0-%u state=queued attempts=%u at=%u "
			       "result=deferred code=450 reply=450 later\n",
			       RECIPIENTS - 1, i, i);
	row = queue_json_envelope(&envelope, buf_text(&states));
	tries = json_object_get(row, "tries");
	ck_assert_uint_eq(json_array_size(tries), TOLD);
	ck_assert_int_eq(number_of(row, "tries_before"),
			 RECIPIENTS * ATTEMPTS - TOLD);
	one = json_array_get(tries, 0);
	ck_assert_int_eq(number_of(one, "at_ms"), ATTEMPTS - 1);
	ck_assert_str_eq(json_string_value(json_object_get(one, "to")),
			 "r1000@a.test");
	one = json_array_get(tries, TOLD - 1);
	ck_assert_int_eq(number_of(one, "at_ms"), ATTEMPTS);
	ck_assert_str_eq(json_string_value(json_object_get(one, "to")),
			 "r2999@a.test");
	json_decref(row);
	row = queue_json_envelope(&envelope, "to=7 state=queued attempts=1 "
					     "at=1 result=deferred\n");
	ck_assert_uint_eq(json_array_size(json_object_get(row, "tries")), 1);
	ck_assert_int_eq(number_of(row, "tries_before"), 0);
	json_decref(row);
	buf_done(&states);
	envelope_done(&envelope);
}
END_TEST

UNIT_MAIN("queue_json",
	  tcase_add_test(tc, of_many_attempts_the_newest_are_told);)
