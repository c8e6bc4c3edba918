/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/net/dns_exchange.h"
#include "lib/str.h"
#include "tests/unit/dns_fake.h"

static struct fake *fake;
static struct dns_asker asker;
static struct dns_exchange exchange;
static char ending[200]; /* of the last exchange; "" while it goes on */

static void
on_end(struct dns_exchange *ended, struct dns_result *result)
{
	(void)snprintf(ending, sizeof(ending), "%s%s at %llu%s",
		       result->answer.why != NULL ? result->answer.why : "",
		       result->answer.kind == DNS_ANSWER_RECORDS    ? "records"
		       : result->answer.kind == DNS_ANSWER_NODATA   ? "nodata"
		       : result->answer.kind == DNS_ANSWER_NXDOMAIN ? "nxdomain"
								    : "",
		       (unsigned long long)(result->sent_ms - 1000000),
		       result->is_trusted ? "" : " untrusted");
}

/* "S0 udp", "S1 tcp plain" of each packet sent. */
static const char *
sent(void)
{
	static char text[1000];
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < fake->count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%sS%zu %s%s", i == 0 ? "" : ", ",
					 fake->sent[i].server,
					 fake->sent[i].is_tcp ? "tcp" : "udp",
					 fake->sent[i].has_edns ? ""
								: " plain");
	return text;
}

static void
start(size_t servers)
{
	fake = fake_new(servers);
	memset(&asker, 0, sizeof(asker));
	asker.backend = &fake->backend;
	asker.attempts = 3;
	asker.now_ms = fake_now;
	asker.now_arg = fake;
	ending[0] = '\0';
	dns_exchange_start(&exchange, &asker, "a.example", DNS_MX, on_end);
}

#define GOOD "%\nan a.example 60 MX 1 x\n"

/* One step: what becomes of the packet sent last, after 100 ms. */
static void
step(const char *what)
{
	size_t last = fake->count - 1;

	fake->now_ms += 100;
	if (strcmp(what, "timeout") == 0)
		fake_fail(fake, last, DNS_TIMED_OUT);
	else if (strcmp(what, "refused") == 0)
		fake_fail(fake, last, DNS_UNREACHABLE);
	else
		fake_answer(fake, last, what);
}

static const struct {
	size_t servers;
	const char *steps[6]; /* of each packet in turn */
	const char *sent, *ending;
} cases[] = {
	{1, {GOOD}, "S0 udp", "records at 0"},
	{1, {"% rcode=3\n"}, "S0 udp", "nxdomain at 0"},
	{1, {"%\n"}, "S0 udp", "nodata at 0"},
	/* lost packets: the time counts from the one that was answered */
	{1, {"timeout", GOOD}, "S0 udp, S0 udp", "records at 100"},
	{1,
	 {"timeout", "timeout", "timeout"},
	 "S0 udp, S0 udp, S0 udp",
	 "timeout at 200"},
	{2, {"refused", GOOD}, "S0 udp, S1 udp", "records at 100"},
	{2,
	 {"timeout", "refused", "timeout"},
	 "S0 udp, S1 udp, S0 udp",
	 "timeout at 200"},
	/* every server has its try, also beyond the attempts */
	{5,
	 {"timeout", "timeout", "timeout", "timeout", GOOD},
	 "S0 udp, S1 udp, S2 udp, S3 udp, S4 udp",
	 "records at 400"},
	/* a server's no is not asked for twice, but the others are */
	{1, {"% rcode=2\n"}, "S0 udp", "SERVFAIL at 0"},
	{1, {"% rcode=5\n"}, "S0 udp", "REFUSED at 0"},
	{2, {"% rcode=2\n", GOOD}, "S0 udp, S1 udp", "records at 100"},
	{2,
	 {"% -ra\nau example 60 NS ns.example\n", GOOD},
	 "S0 udp, S1 udp",
	 "records at 100"},
	{2,
	 {"%\nan a.example 1 A 1.2.3.4\nan a.example 1 CNAME a.example\n",
	  "% rcode=2\n"},
	 "S0 udp, S1 udp",
	 "SERVFAIL at 100"},
	/* TCP when it does not fit, and only then */
	{1, {"% tc\n", GOOD}, "S0 udp, S0 tcp", "records at 100"},
	{1, {"% tc\n", "% tc\n"}, "S0 udp, S0 tcp", "truncated answer at 100"},
	{1,
	 {"% tc\n", "refused", GOOD},
	 "S0 udp, S0 tcp, S0 udp",
	 "records at 200"},
	/* forged or broken: TCP cannot be forged blindly */
	{1, {"% -qr\n", GOOD}, "S0 udp, S0 tcp", "records at 100"},
	{1, {"b.example MX\n", GOOD}, "S0 udp, S0 tcp", "records at 100"},
	{1,
	 {"b.example MX\n", "b.example MX\n"},
	 "S0 udp, S0 tcp",
	 "answer to another question at 100"},
	/* servers that do not know EDNS */
	{1, {"% rcode=1\n", GOOD}, "S0 udp, S0 udp plain", "records at 100"},
	{1,
	 {"% rcode=4\n", "% rcode=4\n"},
	 "S0 udp, S0 udp plain",
	 "NOTIMP at 100"},
	/* the next one may */
	{2,
	 {"% rcode=1\n", "% rcode=2\n", GOOD},
	 "S0 udp, S0 udp plain, S1 udp",
	 "records at 200"},
	{1,
	 {"%\nar . OPT 1 -1\n", "% tc\n", GOOD},
	 "S0 udp, S0 udp plain, S0 tcp plain",
	 "records at 200"},
	{2,
	 {"% rcode=2\nar . OPT 0 7\n"},
	 "S0 udp",
	 "DNSSEC validation failed at 0"},
};

START_TEST(a_question_is_asked_until_it_is_answered)
{
	start(cases[_i].servers);
	for (size_t i = 0; i < 6 && cases[_i].steps[i] != NULL; i++) {
		ck_assert_str_eq(ending, "");
		step(cases[_i].steps[i]);
	}
	ck_assert_str_eq(sent(), cases[_i].sent);
	ck_assert_str_eq(ending, cases[_i].ending);
	ck_assert_uint_eq(fake->flying, 0);
	free(fake);
}
END_TEST

START_TEST(letters_towards_other_hosts_are_of_random_case)
{
	unsigned upper = 0, lower = 0;

	for (unsigned i = 0; i < 20; i++) {
		start(1);
		ck_assert_str_eq(fake->sent[0].name, "a.example");
		fake->servers[0].ip.bytes[0] = 192;
		dns_exchange_cancel(&exchange);
		dns_exchange_start(&exchange, &asker, "a.example", DNS_MX,
				   on_end);
		ck_assert(
			str_is_nocase(str_of(fake->sent[1].name), "a.example"));
		for (const char *at = fake->sent[1].name; *at != '\0'; at++) {
			upper += *at >= 'A' && *at <= 'Z';
			lower += *at >= 'a' && *at <= 'z';
		}
		step(GOOD);
		ck_assert_str_eq(ending, "records at 0 untrusted");
		free(fake);
	}
	ck_assert_uint_gt(upper, 40);
	ck_assert_uint_gt(lower, 40);
}
END_TEST

START_TEST(an_answer_in_another_case_is_asked_for_again_by_tcp)
{
	const char *changed = "A.EXAMPLE MX\nan a.example 60 MX 1 x\n";

	start(1);
	step(changed); /* nobody forges on this host */
	ck_assert_str_eq(ending, "records at 0");
	free(fake);

	start(1);
	fake->servers[0].ip.bytes[0] = 192;
	dns_exchange_cancel(&exchange);
	/* no letter, no case: so many letters that chance is out */
	dns_exchange_start(&exchange, &asker,
			   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", DNS_MX,
			   on_end);
	step("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa MX\n");
	ck_assert_str_eq(ending, "");
	ck_assert(fake->sent[2].is_tcp);
	step("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa MX\n");
	ck_assert_str_eq(ending, "nodata at 100 untrusted");
	free(fake);
}
END_TEST

START_TEST(the_server_that_answered_is_asked_first_for_a_minute)
{
	start(2);
	step("timeout");
	step(GOOD);
	dns_exchange_start(&exchange, &asker, "b.example", DNS_MX, on_end);
	ck_assert_uint_eq(fake->sent[2].server, 1);
	step("timeout");
	ck_assert_uint_eq(fake->sent[3].server, 0);
	dns_exchange_cancel(&exchange);
	fake->now_ms += 60000;
	dns_exchange_start(&exchange, &asker, "c.example", DNS_MX, on_end);
	ck_assert_uint_eq(fake->sent[4].server, 0);
	dns_exchange_cancel(&exchange);
	free(fake);
}
END_TEST

START_TEST(servers_may_become_fewer_meanwhile)
{
	start(3);
	step("timeout");
	step("timeout");
	fake->server_count = 1;
	step("timeout");
	ck_assert_str_eq(ending, "timeout at 200");
	free(fake);
	start(3);
	step("timeout");
	fake->server_count = 1;
	step("timeout");
	ck_assert_uint_eq(fake->sent[2].server, 0);
	step(GOOD);
	ck_assert_str_eq(ending, "records at 200");
	free(fake);
}
END_TEST

START_TEST(a_server_that_did_not_answer_either_is_not_preferred)
{
	start(2);
	asker.attempts = 2;
	step("timeout");
	step("timeout");
	ck_assert_str_eq(ending, "timeout at 100");
	dns_exchange_start(&exchange, &asker, "b.example", DNS_MX, on_end);
	ck_assert_uint_eq(fake->sent[2].server, 0);
	dns_exchange_cancel(&exchange);
	free(fake);
}
END_TEST

START_TEST(packets_are_counted_and_those_by_tcp_apart)
{
	start(1);
	ck_assert_uint_eq(asker.packets, 1);
	ck_assert_uint_eq(asker.tcp_packets, 0);
	step("% tc\n");
	ck_assert(fake->sent[1].is_tcp);
	ck_assert_uint_eq(asker.packets, 2);
	ck_assert_uint_eq(asker.tcp_packets, 1);
	dns_exchange_cancel(&exchange);
	free(fake);
}
END_TEST

UNIT_MAIN("dns_exchange",
	  tcase_add_loop_test(tc, a_question_is_asked_until_it_is_answered, 0,
			      (int)COUNT(cases));
	  tcase_add_test(tc, letters_towards_other_hosts_are_of_random_case);
	  tcase_add_test(tc,
			 an_answer_in_another_case_is_asked_for_again_by_tcp);
	  tcase_add_test(tc,
			 the_server_that_answered_is_asked_first_for_a_minute);
	  tcase_add_test(tc, servers_may_become_fewer_meanwhile);
	  tcase_add_test(tc,
			 a_server_that_did_not_answer_either_is_not_preferred);
	  tcase_add_test(tc, packets_are_counted_and_those_by_tcp_apart);)
