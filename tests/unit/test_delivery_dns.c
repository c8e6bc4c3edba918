/* SPDX-License-Identifier: ISC */
/* What DNS says while a delivery is under way, by a clock that is moved. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/delivery_world.h"
#include "tests/unit/dns_fake.h"

/* For the first question of the type that is not answered yet; a minute
 * passes first where a plus stands before it. */
struct answer {
	unsigned type;
	const char *text; /* NULL: was used */
};

enum { TYPE_A = 1, TYPE_MX = 15, TYPE_TLSA = 52 };

#define SOA	"au example 300 SOA 40\n"
#define NOTHING "% ad\n" SOA
#define HOST	"% ad\nan d.example 5 MX 10 mx.example\n"
#define ADDRESS "% ad\nan mx.example 5 A 127.0.0.1\n"
#define GONE	"% ad rcode=3\n" SOA
#define EE	"%% ad\nan _%u._tcp.mx.example 30 TLSA #3 1 1 a 32\n"

static struct fake *fake;
static size_t asked; /* packets that were looked at */

/* Answers what is asked for, the answers for a question in their order. */
static void
answer(struct answer *answers, size_t count)
{
	for (; asked < fake->count; asked++) {
		const struct fake_sent *sent = &fake->sent[asked];
		const char *text = NOTHING;

		for (size_t i = 0; i < count; i++) {
			if (answers[i].text == NULL ||
			    answers[i].type != sent->type)
				continue;
			text = answers[i].text;
			answers[i].text = NULL;
			break;
		}
		if (text[0] == '+') {
			fake->now_ms += 60000;
			text++;
		}
		fake_answer(fake, asked, text);
	}
}

/* A world with a domain instead of a next hop. */
static struct server *
dns_world(const char *script)
{
	struct resolver_opts opts = {
		.ttl_max_s = 86400,
		.negative_ttl_max_s = 900,
		.now_ms = fake_now,
	};
	struct err err = ERR_INIT;
	struct server *server;

	world_init();
	deliverer_free(world.deliverer);
	resolver_free(world.resolver);
	asked = 0;
	fake = fake_new(1);
	opts.now_arg = fake;
	opts.backend = &fake->backend;
	ck_assert_int_eq(resolver_new(&world.loop, &opts, &world.resolver,
				      &err),
			 0);
	server = add_server(script);
	world.opts.port = server->port;
	world.opts.private_targets = true;
	world.deliverer = deliverer_new(&world.loop, &world.opts,
					world.resolver, &world.spool);
	world.hop.kind = HOP_MX;
	world.hop.target_count = 0;
	world.hop.tls = HOP_TLS_OPPORTUNISTIC;
	(void)snprintf(world.hop.domain, sizeof(world.hop.domain), "d.example");
	return server;
}

START_TEST(an_mx_that_ended_while_tls_was_looked_up_is_asked_for_again)
{
	struct answer answers[] = {
		{TYPE_MX, HOST},
		{TYPE_A, ADDRESS},
		{TYPE_TLSA, "+" NOTHING},
		{TYPE_MX, GONE},
	};
	const struct outcome *outcome = &world.outcomes[0];

	(void)dns_world(EHLO QUIT);
	(void)start();
	while (world.done == 0) {
		answer(answers, COUNT(answers));
		(void)uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	ck_assert_ptr_null(answers[3].text);
	ck_assert_str_eq(cause_name(outcome->cause),
			 cause_name(CAUSE_DNS_NO_DOMAIN));
	world_done();
	free(fake);
}
END_TEST

START_TEST(tls_that_is_asked_for_by_now_is_not_left_out)
{
	static char tlsa[128];
	struct answer answers[] = {
		{TYPE_MX, HOST}, {TYPE_A, ADDRESS}, {TYPE_TLSA, NOTHING},
		{TYPE_MX, HOST}, {TYPE_A, ADDRESS}, {TYPE_TLSA, tlsa},
	};
	struct server *server =
		dns_world(GREET "S 250-x\nS 250 STARTTLS\nC STARTTLS\nHANG\n");
	const struct outcome *outcome = &world.outcomes[0];

	server->scripts[1] =
		GREET "S 250-x\nS 250 STARTTLS\nC STARTTLS\nS 454 no\n" QUIT;
	(void)snprintf(tlsa, sizeof(tlsa), EE, server->port);
	(void)start();
	while (world.done == 0) {
		struct server_conn *conn = &server->conns[0];

		answer(answers, COUNT(answers));
		if (server->accepted == 1 &&
		    str_starts_nocase(conn->rest, "HANG")) {
			/* the records change, and the handshake fails */
			fake->now_ms += 60000;
			conn->rest = str_of("S 220 go\nS this is no TLS\n");
			server_run(conn);
		}
		(void)uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	ck_assert_str_eq(cause_name(outcome->cause),
			 cause_name(CAUSE_DANE_FAILED));
	ck_assert_int_eq((int)outcome->kind, OUTCOME_DEFERRED);
	ck_assert_ptr_null(answers[5].text);
	world_done();
	free(fake);
}
END_TEST

UNIT_MAIN("delivery_dns",
	  tcase_add_test(
		  tc,
		  an_mx_that_ended_while_tls_was_looked_up_is_asked_for_again);
	  tcase_add_test(tc, tls_that_is_asked_for_by_now_is_not_left_out);)
