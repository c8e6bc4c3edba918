/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "server/nat_watch.h"

/* So many sessions that call themselves by so many names; warnings of them. */
static unsigned
see(struct nat_watch *watch, const char *from, unsigned sessions,
    unsigned names)
{
	unsigned warnings = 0;
	struct ip ip;

	ck_assert(ip_parse(str_of(from), &ip));
	for (unsigned i = 0; i < sessions; i++) {
		char helo[64];

		(void)snprintf(helo, sizeof(helo), "client%u.example",
			       i % names);
		warnings += nat_watch_saw(watch, &ip, helo);
	}
	return warnings;
}

START_TEST(many_names_from_one_private_address_are_a_nat)
{
	struct nat_watch watch = {.is_told = false};

	ck_assert_uint_eq(see(&watch, "172.17.0.1", 49, 20), 0);
	ck_assert_uint_eq(see(&watch, "172.17.0.1", 1, 1), 1);
	/* once */
	ck_assert_uint_eq(see(&watch, "172.17.0.1", 500, 20), 0);
	ck_assert_uint_eq(see(&watch, "10.0.0.1", 500, 20), 0);
}
END_TEST

START_TEST(one_internal_host_that_sends_a_lot_is_none)
{
	struct nat_watch watch = {.is_told = false};

	ck_assert_uint_eq(see(&watch, "10.0.0.1", 5000, 4), 0);
}
END_TEST

START_TEST(any_other_client_in_between_is_proof_that_there_is_none)
{
	struct nat_watch watch = {.is_told = false};

	for (unsigned i = 0; i < 10; i++) {
		ck_assert_uint_eq(see(&watch, "fd00::1", 49, 20), 0);
		ck_assert_uint_eq(see(&watch, i % 2 ? "10.0.0.9" : "192.0.2.1",
				      1, 1),
				  0);
	}
	ck_assert_uint_eq(see(&watch, "192.0.2.1", 5000, 100), 0);
}
END_TEST

START_TEST(a_name_of_any_length_is_a_name)
{
	struct nat_watch watch = {.is_told = false};
	struct ip ip = {IP_V4, {10, 0, 0, 1}};
	char helo[1000];

	memset(helo, 'x', sizeof(helo) - 1);
	helo[sizeof(helo) - 1] = '\0';
	for (unsigned i = 0; i < 200; i++)
		ck_assert(!nat_watch_saw(&watch, &ip, helo));
}
END_TEST

UNIT_MAIN("nat_watch", {
	tcase_add_test(tc, many_names_from_one_private_address_are_a_nat);
	tcase_add_test(tc, one_internal_host_that_sends_a_lot_is_none);
	tcase_add_test(tc,
		       any_other_client_in_between_is_proof_that_there_is_none);
	tcase_add_test(tc, a_name_of_any_length_is_a_name);
})
