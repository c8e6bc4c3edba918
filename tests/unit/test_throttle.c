/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "auth/throttle.h"

#define MINUTE	UINT64_C(60000)
#define HOUR	(60 * MINUTE)
#define QUARTER (15 * MINUTE) /* limits.auth_lock as it is by default */

static struct ip
ip(const char *text)
{
	struct ip out;

	ck_assert_msg(ip_parse(str_of(text), &out), "%s", text);
	return out;
}

static struct throttle_answer
miss_max(struct throttle *throttle, const char *from, const char *login,
	 uint64_t lock_max_ms, uint64_t now_ms)
{
	struct throttle_answer answer;
	struct ip client = ip(from);

	throttle_failed(throttle, &client, login, lock_max_ms, now_ms, &answer);
	return answer;
}

static struct throttle_answer
miss(struct throttle *throttle, const char *from, const char *login,
     uint64_t now_ms)
{
	return miss_max(throttle, from, login, QUARTER, now_ms);
}

static uint64_t
locked(struct throttle *throttle, const char *from, uint64_t now_ms)
{
	struct ip client = ip(from);

	return throttle_locked_ms(throttle, &client, QUARTER, now_ms);
}

START_TEST(replies_wait_longer_and_longer_then_the_address_is_locked)
{
	static const struct {
		uint64_t delay_ms, lock_ms;
	} wanted[] = {
		{500, 0},	    {1000, 0},		{2000, 0},
		{4000, 0},	    {5000, 0},		{5000, 0},
		{5000, 0},	    {5000, 0},		{5000, 0},
		{5000, MINUTE},	    {5000, 2 * MINUTE}, {5000, 4 * MINUTE},
		{5000, 8 * MINUTE}, {5000, QUARTER},	{5000, QUARTER},
	};
	struct throttle *throttle = throttle_new();

	for (size_t i = 0; i < COUNT(wanted); i++) {
		struct throttle_answer answer =
			miss(throttle, "192.0.2.7", "anna", 1000 + i);

		ck_assert_uint_eq(answer.failures, i + 1);
		ck_assert_uint_eq(answer.delay_ms, wanted[i].delay_ms);
		ck_assert_uint_eq(answer.lock_ms, wanted[i].lock_ms);
		ck_assert_uint_eq(locked(throttle, "192.0.2.7", 1000 + i),
				  wanted[i].lock_ms);
	}
	ck_assert_uint_eq(locked(throttle, "192.0.2.8", 2000), 0);
	throttle_free(throttle);
}
END_TEST

START_TEST(a_lock_ends_and_failures_fade)
{
	struct throttle *throttle = throttle_new();

	for (unsigned i = 0; i < 10; i++)
		(void)miss(throttle, "192.0.2.7", "anna", 1000);
	ck_assert_uint_eq(locked(throttle, "192.0.2.7", 1000 + 59999), 1);
	ck_assert_uint_eq(locked(throttle, "192.0.2.7", 1000 + MINUTE), 0);
	/* two have faded within an hour: the next is the ninth, not locked */
	ck_assert_uint_eq(
		miss(throttle, "192.0.2.7", "anna", 1000 + HOUR).failures, 9);
	ck_assert_uint_eq(locked(throttle, "192.0.2.7", 1000 + HOUR), 0);
	/* and all of them within a day */
	ck_assert_uint_eq(
		miss(throttle, "192.0.2.7", "anna", 1000 + 24 * HOUR).failures,
		1);
	throttle_free(throttle);
}
END_TEST

START_TEST(without_auth_lock_nobody_waits)
{
	struct throttle *throttle = throttle_new();
	struct ip client = ip("192.0.2.7");

	for (unsigned i = 0; i < 30; i++) {
		struct throttle_answer answer =
			miss_max(throttle, "192.0.2.7", "anna", 0, 1000);

		ck_assert_uint_eq(answer.delay_ms, 0);
		ck_assert_uint_eq(answer.lock_ms, 0);
	}
	/* a reload that shortens it counts for locks that exist */
	(void)miss(throttle, "192.0.2.7", "anna", 1000);
	ck_assert_uint_eq(throttle_locked_ms(throttle, &client, 5000, 1000),
			  5000);
	ck_assert_uint_eq(throttle_locked_ms(throttle, &client, 0, 1000), 0);
	throttle_free(throttle);
}
END_TEST

START_TEST(an_ipv6_client_is_its_64)
{
	struct throttle *throttle = throttle_new();

	for (unsigned i = 0; i < 10; i++) {
		char from[32];

		(void)snprintf(from, sizeof(from), "2001:db8:0:7::%x", i + 1);
		(void)miss(throttle, from, "anna", 1000);
	}
	ck_assert_uint_eq(locked(throttle, "2001:db8:0:7:8000::", 1000),
			  MINUTE);
	ck_assert_uint_eq(locked(throttle, "2001:db8:0:8::1", 1000), 0);
	throttle_free(throttle);
}
END_TEST

START_TEST(the_right_password_forgives_its_own_failures_alone)
{
	struct throttle *throttle = throttle_new();
	struct ip client = ip("192.0.2.7");

	(void)miss(throttle, "192.0.2.7", "anna", 1000);
	(void)miss(throttle, "192.0.2.7", "anna", 1000);
	throttle_succeeded(throttle, &client, "anna");
	ck_assert_uint_eq(miss(throttle, "192.0.2.7", "anna", 1000).failures,
			  1);
	(void)miss(throttle, "192.0.2.7", "boss", 1000);
	throttle_succeeded(throttle, &client, "anna");
	ck_assert_uint_eq(miss(throttle, "192.0.2.7", "boss", 1000).failures,
			  3);
	throttle_free(throttle);
}
END_TEST

START_TEST(a_login_that_fails_from_many_addresses_is_told_once_a_day)
{
	struct throttle *throttle = throttle_new();
	unsigned told = 0;
	char from[32];

	for (unsigned i = 0; i < 40; i++) {
		struct throttle_answer answer;

		(void)snprintf(from, sizeof(from), "198.51.100.%u", i % 20);
		answer = miss(throttle, from, "boss", 1000 + i);
		if (answer.addresses != 0) {
			ck_assert_uint_eq(i, 4);
			ck_assert_uint_eq(answer.addresses, 5);
			told++;
		}
		/* and the boss, elsewhere, never waits */
		ck_assert_uint_eq(locked(throttle, "192.0.2.1", 1000 + i), 0);
	}
	ck_assert_uint_eq(told, 1);
	for (unsigned i = 0; i < 5; i++) {
		(void)snprintf(from, sizeof(from), "203.0.113.%u", i);
		told += miss(throttle, from, "boss", 1000 + 25 * HOUR)
				.addresses != 0;
	}
	ck_assert_uint_eq(told, 2);
	throttle_free(throttle);
}
END_TEST

START_TEST(failures_from_many_addresses_over_days_are_no_attack)
{
	struct throttle *throttle = throttle_new();
	char from[32];

	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(from, sizeof(from), "198.51.100.%u", i);
		ck_assert_uint_eq(
			miss(throttle, from, "anna", i * 2 * HOUR).addresses,
			0);
	}
	throttle_free(throttle);
}
END_TEST

struct seen {
	unsigned clients, logins, attacked;
	struct throttle_client client;
	char login[THROTTLE_LOGIN_MAX];
};

static void
on_client(void *arg, const struct throttle_client *client)
{
	struct seen *seen = arg;

	seen->clients++;
	seen->client = *client;
}

static void
on_login(void *arg, const struct throttle_login *login)
{
	struct seen *seen = arg;

	seen->logins++;
	seen->attacked += login->is_attacked;
	(void)snprintf(seen->login, sizeof(seen->login), "%s", login->login);
}

START_TEST(what_is_remembered_can_be_seen_and_cleared)
{
	struct throttle *throttle = throttle_new();
	struct ip client = ip("192.0.2.7");
	struct seen seen = {0};

	for (unsigned i = 0; i < 11; i++)
		(void)miss(throttle, "192.0.2.7", "anna", 990 + i);
	throttle_each(throttle, QUARTER, 1000, on_client, on_login, &seen);
	ck_assert_uint_eq(seen.client.last_ms, 1000);
	ck_assert_uint_eq(seen.clients, 1);
	ck_assert_uint_eq(seen.client.failures, 11);
	ck_assert_uint_eq(seen.client.locked_ms, 2 * MINUTE);
	ck_assert_uint_eq(seen.logins, 1);
	ck_assert_uint_eq(seen.attacked, 0);
	ck_assert_str_eq(seen.login, "anna");

	ck_assert(throttle_clear(throttle, &client));
	ck_assert(!throttle_clear(throttle, &client));
	ck_assert(throttle_clear_login(throttle, "anna"));
	ck_assert(!throttle_clear_login(throttle, "anna"));
	memset(&seen, 0, sizeof(seen));
	throttle_each(throttle, QUARTER, 1000, on_client, on_login, &seen);
	ck_assert_uint_eq(seen.clients + seen.logins, 0);
	ck_assert_uint_eq(locked(throttle, "192.0.2.7", 1000), 0);
	throttle_free(throttle);
}
END_TEST

START_TEST(memory_ends_at_its_bounds_and_long_logins_are_cut)
{
	struct throttle *throttle = throttle_new();
	struct ip none = {.family = IP_NONE};
	struct throttle_answer answer;
	struct seen seen = {0};
	char name[400];

	for (unsigned i = 0; i < 40000; i++) {
		struct ip client = {IP_V4,
				    {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8),
				     (uint8_t)i}};

		memset(name, 'a' + (int)(i % 26), sizeof(name) - 1);
		name[sizeof(name) - 1] = '\0';
		(void)snprintf(name, 8, "%07u", i);
		name[7] = 'x';
		throttle_failed(throttle, &client, name, QUARTER, 1000,
				&answer);
	}
	throttle_failed(throttle, &none, "root", QUARTER, 1000, &answer);
	ck_assert_uint_eq(answer.failures, 0);
	throttle_failed(throttle, &(struct ip){IP_V4, {1, 2, 3, 4}}, NULL,
			QUARTER, 1000, &answer);
	ck_assert_uint_eq(answer.failures, 1);
	throttle_each(throttle, QUARTER, 1000, on_client, on_login, &seen);
	ck_assert_uint_eq(seen.clients, 16384);
	ck_assert_uint_eq(seen.logins, 1024);
	ck_assert_uint_eq(strlen(seen.login), THROTTLE_LOGIN_MAX - 1);
	throttle_free(throttle);
}
END_TEST

UNIT_MAIN("throttle", {
	tcase_add_test(
		tc, replies_wait_longer_and_longer_then_the_address_is_locked);
	tcase_add_test(tc, a_lock_ends_and_failures_fade);
	tcase_add_test(tc, without_auth_lock_nobody_waits);
	tcase_add_test(tc, an_ipv6_client_is_its_64);
	tcase_add_test(tc, the_right_password_forgives_its_own_failures_alone);
	tcase_add_test(
		tc, a_login_that_fails_from_many_addresses_is_told_once_a_day);
	tcase_add_test(tc,
		       failures_from_many_addresses_over_days_are_no_attack);
	tcase_add_test(tc, what_is_remembered_can_be_seen_and_cleared);
	tcase_add_test(tc, memory_ends_at_its_bounds_and_long_logins_are_cut);
})
