/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/deliver/marks.h"
#include "queue/deliver/pace.h"
#include "queue/deliver/targets.h"
#include "queue/route/security.h"

/* A route of three hosts; an address is named by its host's letter and its
 * family, "a4". */
#define NOW	1000
#define EXPIRES 5000

static struct marks marks;
static struct pace pace;
static struct targets targets;

static void
set_address(struct ip *ip, char host, char family)
{
	char text[16];

	(void)snprintf(text, sizeof(text),
		       family == '4' ? "10.0.0.%d" : "fd00::%d", host - 'a');
	ck_assert(ip_parse(str_of(text), ip));
}

static struct route *
make_route(void)
{
	static const struct {
		const char *addresses;
		int preference;
	} hosts[] = {{"46", 5}, {"44", 5}, {"6", 10}};
	struct route *route = mem_zalloc(sizeof(*route));

	route->refs = 1;
	route->expires_ms = EXPIRES;
	route->hosts = mem_zalloc(COUNT(hosts) * sizeof(*route->hosts));
	route->host_count = COUNT(hosts);
	for (size_t i = 0; i < COUNT(hosts); i++) {
		struct route_host *host = &route->hosts[i];

		(void)snprintf(host->name, sizeof(host->name), "%c.example",
			       (char)('a' + i));
		host->preference = hosts[i].preference;
		host->port = 25;
		host->addr_count = strlen(hosts[i].addresses);
		for (size_t j = 0; j < host->addr_count; j++)
			set_address(&host->addrs[j], (char)('a' + i),
				    hosts[i].addresses[j]);
	}
	/* the second host's second address */
	ck_assert(ip_parse(str_of("10.0.1.1"), &route->hosts[1].addrs[1]));
	return route;
}

static void
begin(void)
{
	struct route *route = make_route();

	memset(&marks, 0, sizeof(marks));
	memset(&pace, 0, sizeof(pace));
	memset(&targets, 0, sizeof(targets));
	targets_set_route(&targets, route, NOW);
	route_unref(route);
}

static struct target_choice
choice_at(uint64_t now_ms)
{
	return (struct target_choice){.marks = &marks,
				      .pace = &pace,
				      .now_ms = now_ms};
}

/* The addresses as they are tried one after the other. */
static const char *
order(struct target_choice choice)
{
	static char text[64];
	struct target target;

	text[0] = '\0';
	while (targets_choose(&targets, &choice, &target)) {
		size_t at = strlen(text);

		ck_assert_uint_lt(at, sizeof(text) - 5);
		(void)snprintf(text + at, sizeof(text) - at, "%c%c ",
			       target.host[0],
			       target.ip.family == IP_V6 ? '6' : '4');
		targets_add_tried(&targets, &target);
	}
	if (choice.is_crowded)
		strcat(text, "crowded");
	return text;
}

static struct security *
secure(enum hop_tls tls)
{
	return security_configured(tls, "a.example");
}

static const struct {
	const char *marked, *busy, *expected;
} cases[] = {
	{"", "", "a4 a6 b4 b4 c6 "},
	{"a4", "", "a6 b4 b4 c6 a4 "},
	{"c6", "", "a4 a6 b4 b4 c6 "},
	{"a4a6", "", "b4 b4 c6 a4 a6 "},
	{"", "a4", "a6 b4 b4 c6 crowded"},
	{"", "c6", "a4 a6 b4 b4 crowded"},
	{"a4", "a4", "a6 b4 b4 c6 crowded"},
	{"a6", "a4", "b4 b4 c6 a6 crowded"},
};

START_TEST(addresses_come_in_the_routes_order_marked_ones_last)
{
	begin();
	for (const char *at = cases[_i].marked; *at != '\0'; at += 2) {
		struct ip ip;

		set_address(&ip, at[0], at[1]);
		marks_set(&marks, &ip, 25, NOW);
	}
	for (const char *at = cases[_i].busy; *at != '\0'; at += 2) {
		struct ip ip;

		set_address(&ip, at[0], at[1]);
		pace_enter(&pace, &ip, 25, NOW);
		(void)pace_slow_down(&pace, &ip, 25, "421 no more", NOW);
	}
	ck_assert_str_eq(order(choice_at(NOW)), cases[_i].expected);
	targets_done(&targets);
}
END_TEST

START_TEST(a_choice_can_be_held_to_a_host_and_the_other_family)
{
	struct target_choice choice = choice_at(NOW);

	begin();
	choice.only_host = &targets.route->hosts[0];
	choice.not_family = IP_V4;
	ck_assert_str_eq(order(choice), "a6 ");
	choice.only_host = &targets.route->hosts[2];
	choice.not_family = IP_V6;
	ck_assert_str_eq(order(choice), "");
	targets_done(&targets);
}
END_TEST

START_TEST(a_host_that_spoke_is_left_with_its_family)
{
	struct target_choice choice = choice_at(NOW);
	struct target target;

	begin();
	choice.only_host = &targets.route->hosts[1];
	ck_assert(targets_choose(&targets, &choice, &target));
	targets_leave_host(&targets, &target);
	choice.only_host = &targets.route->hosts[0];
	ck_assert(targets_choose(&targets, &choice, &target));
	targets_leave_host(&targets, &target);
	ck_assert_str_eq(order(choice_at(NOW)), "a6 c6 ");
	targets_done(&targets);
}
END_TEST

START_TEST(a_second_look_is_one_and_without_tls_only_where_that_is_forgiven)
{
	static const struct {
		enum hop_tls tls;
		bool is_clear;
	} rows[] = {{HOP_TLS_OPPORTUNISTIC, true}, {HOP_TLS_REQUIRED, false}};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct security *security = secure(rows[i].tls);
		struct target_choice choice = choice_at(NOW);
		struct target target;

		begin();
		targets_set_security(&targets, 0, security);
		security_unref(security);
		ck_assert(targets_choose(&targets, &choice, &target));
		ck_assert(!target.is_clear);
		ck_assert(!targets_has_tried(&targets, &target));
		targets_add_tried(&targets, &target);
		ck_assert(targets_has_tried(&targets, &target));
		targets_retry(&targets, &target, true);
		ck_assert(targets_choose(&targets, &choice, &target));
		ck_assert_str_eq(target.host, "a.example");
		ck_assert_int_eq(target.is_clear, rows[i].is_clear);
		targets_add_tried(&targets, &target);
		ck_assert_str_eq(order(choice), "a6 b4 b4 c6 ");
		targets_done(&targets);
	}
}
END_TEST

START_TEST(what_was_tried_outlives_the_route)
{
	struct target_choice choice = choice_at(NOW);
	struct target target;
	struct route *route;

	begin();
	ck_assert(targets_choose(&targets, &choice, &target));
	targets_add_tried(&targets, &target);
	route = make_route();
	targets_set_route(&targets, route, NOW);
	route_unref(route);
	ck_assert_str_eq(order(choice), "a6 b4 b4 c6 ");
	targets_done(&targets);
}
END_TEST

START_TEST(a_route_is_good_for_one_connect_whatever_its_age)
{
	struct target_choice choice = choice_at(EXPIRES);
	struct target target;

	begin();
	ck_assert(targets_is_good(&targets, EXPIRES));
	ck_assert(!targets_is_fresh(&targets, EXPIRES));
	ck_assert(targets_choose(&targets, &choice, &target));
	targets_use(&targets, &target);
	ck_assert(!targets_is_good(&targets, EXPIRES));
	ck_assert(targets_is_good(&targets, EXPIRES - 1));
	targets_done(&targets);
	ck_assert(!targets_is_good(&targets, 0));
}
END_TEST

START_TEST(what_a_host_offers_is_good_for_one_connect_whatever_its_age)
{
	struct security *security = secure(HOP_TLS_REQUIRED);
	struct target_choice choice = choice_at(NOW);
	struct target target;

	begin();
	security->expires_ms = NOW;
	ck_assert(targets_choose(&targets, &choice, &target));
	ck_assert(!targets_is_secured(&targets, &target, NOW));
	targets_set_security(&targets, 0, security);
	ck_assert(targets_choose(&targets, &choice, &target));
	ck_assert_uint_eq(target.expires_ms, NOW);
	ck_assert(targets_is_secured(&targets, &target, NOW));
	targets_use(&targets, &target);
	ck_assert(!targets_is_secured(&targets, &target, NOW));
	ck_assert(targets_is_secured(&targets, &target, NOW - 1));
	security_unref(security);
	targets_done(&targets);
}
END_TEST

START_TEST(a_host_whose_tls_cannot_be_known_is_left_out)
{
	struct security *security = secure(HOP_TLS_OPPORTUNISTIC);

	begin();
	security->cause = CAUSE_DANE_LOOKUP;
	targets_set_security(&targets, 1, security);
	security_unref(security);
	ck_assert_str_eq(order(choice_at(NOW)), "a4 a6 c6 ");
	targets_done(&targets);
}
END_TEST

UNIT_MAIN(
	"targets",
	tcase_add_loop_test(tc,
			    addresses_come_in_the_routes_order_marked_ones_last,
			    0, COUNT(cases));
	tcase_add_test(tc, a_choice_can_be_held_to_a_host_and_the_other_family);
	tcase_add_test(tc, a_host_that_spoke_is_left_with_its_family);
	tcase_add_test(
		tc,
		a_second_look_is_one_and_without_tls_only_where_that_is_forgiven);
	tcase_add_test(tc, what_was_tried_outlives_the_route);
	tcase_add_test(tc, a_route_is_good_for_one_connect_whatever_its_age);
	tcase_add_test(
		tc,
		what_a_host_offers_is_good_for_one_connect_whatever_its_age);
	tcase_add_test(tc, a_host_whose_tls_cannot_be_known_is_left_out);)
