/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "queue/route/route.h"
#include "queue/route/security.h"
#include "tests/unit/dns_fake.h"

static uv_loop_t loop;
static struct fake *fake;
static struct resolver *resolver;
static struct route *route;    /* shares */
static struct security *found; /* shares */
static size_t next;	       /* packet to be answered */
static char asked[4096];       /* questions, each with a space behind it */

#define SOA	"au example 300 SOA 40\n"
#define MX(h)	" ad\nan d.example 60 MX 10 " h "\n"
#define EE	"TLSA #3 1 1 a 32\n"
#define LOST	" rcode=2\n"
#define NOTHING " ad\n" SOA

/* A zone: "NAME TYPE", then the rest of a packet. NULL ends it. */
struct zone {
	const char *question, *answer;
};

struct scene {
	enum hop_tls tls;
	struct zone zone[8];
	/* what comes of it */
	enum security_kind kind;
	enum cause cause;
	const char *name, *aliases; /* "a b" */
	unsigned records;
	uint64_t life_s; /* 0: as long as the route */
};

#define SIGNED                                                                 \
	{"d.example MX", MX("mx.example")},                                    \
	{                                                                      \
		"mx.example A", " ad\nan mx.example 60 A 192.0.2.1\n"          \
	}
#define TLSA(answer)                                                           \
	{                                                                      \
		"_25._tcp.mx.example TLSA", answer                             \
	}

static const struct scene scenes[] = {
	{HOP_TLS_OPPORTUNISTIC,
	 {SIGNED, TLSA(" ad\nan _25._tcp.mx.example 30 " EE)},
	 SECURITY_DANE,
	 CAUSE_REPLY,
	 "mx.example",
	 "d.example",
	 1,
	 30},
	/* tls = "required" is the least, and records are more */
	{HOP_TLS_REQUIRED,
	 {SIGNED, TLSA(" ad\nan _25._tcp.mx.example 30 " EE)},
	 SECURITY_DANE,
	 CAUSE_REPLY,
	 "mx.example",
	 "d.example",
	 1,
	 30},
	{HOP_TLS_DANE,
	 {SIGNED, TLSA(" ad\nan _25._tcp.mx.example 30 " EE
		       "an _25._tcp.mx.example 20 TLSA #2 0 2 b 64\n"
		       "an _25._tcp.mx.example 40 TLSA #1 1 1 c 32\n")},
	 SECURITY_DANE,
	 CAUSE_REPLY,
	 "mx.example",
	 "d.example",
	 2,
	 20},
	/* nothing usable: TLS, whoever it is */
	{HOP_TLS_OPPORTUNISTIC,
	 {SIGNED, TLSA(" ad\nan _25._tcp.mx.example 30 TLSA #1 1 1 c 32\n"
		       "an _25._tcp.mx.example 30 TLSA #3 1 1 c 31\n"
		       "an _25._tcp.mx.example 30 TLSA x\n")},
	 SECURITY_DANE_UNUSABLE,
	 CAUSE_REPLY,
	 "mx.example",
	 "d.example",
	 0,
	 30},
	/* none */
	{HOP_TLS_OPPORTUNISTIC,
	 {SIGNED, TLSA(NOTHING)},
	 SECURITY_OPPORTUNISTIC,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 40},
	{HOP_TLS_REQUIRED,
	 {SIGNED, TLSA(" ad rcode=3\n" SOA)},
	 SECURITY_REQUIRED,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 40},
	{HOP_TLS_DANE,
	 {SIGNED, TLSA(NOTHING)},
	 SECURITY_DANE,
	 CAUSE_TLS_POLICY,
	 "mx.example",
	 "",
	 0,
	 40},
	/* an answer that anybody could have forged is none */
	{HOP_TLS_OPPORTUNISTIC,
	 {SIGNED, TLSA("\nan _25._tcp.mx.example 30 " EE)},
	 SECURITY_OPPORTUNISTIC,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 30},
	/* what cannot be looked up may be there: never a downgrade */
	{HOP_TLS_OPPORTUNISTIC,
	 {SIGNED, TLSA(LOST)},
	 SECURITY_DANE,
	 CAUSE_DANE_LOOKUP,
	 "mx.example",
	 "",
	 0,
	 1},
	{HOP_TLS_OPPORTUNISTIC,
	 {SIGNED, TLSA(" rcode=2\nar . OPT 0 6\n")},
	 SECURITY_DANE,
	 CAUSE_DANE_LOOKUP,
	 "mx.example",
	 "",
	 0,
	 1},
	/* who asks for less or something else is not asked */
	{HOP_TLS_NONE,
	 {SIGNED},
	 SECURITY_NONE,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 0},
	{HOP_TLS_VERIFIED,
	 {SIGNED},
	 SECURITY_VERIFIED,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 0},
	/* MX or address not signed: TLSA would prove nothing */
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", "\nan d.example 60 MX 10 mx.example\n"},
	  {"mx.example A", " ad\nan mx.example 60 A 192.0.2.1\n"}},
	 SECURITY_OPPORTUNISTIC,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 0},
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", MX("mx.example")},
	  {"mx.example A", "\nan mx.example 60 A 192.0.2.1\n"}},
	 SECURITY_OPPORTUNISTIC,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 0},
	{HOP_TLS_DANE,
	 {{"d.example MX", MX("mx.example")},
	  {"mx.example A", "\nan mx.example 60 A 192.0.2.1\n"}},
	 SECURITY_DANE,
	 CAUSE_TLS_POLICY,
	 "mx.example",
	 "",
	 0,
	 0},
	/* an alias: the name behind it first (RFC 7672, 2.2.2) */
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", MX("mx.example")},
	  {"mx.example A", " ad\nan mx.example 60 CNAME real.example\n"
			   "an real.example 60 A 192.0.2.1\n"},
	  {"_25._tcp.real.example TLSA",
	   " ad\nan _25._tcp.real.example 30 " EE}},
	 SECURITY_DANE,
	 CAUSE_REPLY,
	 "real.example",
	 "mx.example d.example",
	 1,
	 30},
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", MX("mx.example")},
	  {"mx.example A", " ad\nan mx.example 60 CNAME real.example\n"
			   "an real.example 60 A 192.0.2.1\n"},
	  {"_25._tcp.real.example TLSA", NOTHING},
	  TLSA(" ad\nan _25._tcp.mx.example 30 " EE)},
	 SECURITY_DANE,
	 CAUSE_REPLY,
	 "mx.example",
	 "d.example",
	 1,
	 30},
	/* ... which leads into a zone that is not signed */
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", MX("mx.example")},
	  {"mx.example A", "\nan mx.example 60 CNAME real.example\n"
			   "an real.example 60 A 192.0.2.1\n"},
	  {"mx.example CNAME", " ad\nan mx.example 60 CNAME real.example\n"},
	  TLSA(" ad\nan _25._tcp.mx.example 30 " EE)},
	 SECURITY_DANE,
	 CAUSE_REPLY,
	 "mx.example",
	 "d.example",
	 1,
	 30},
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", MX("mx.example")},
	  {"mx.example A", "\nan mx.example 60 CNAME real.example\n"
			   "an real.example 60 A 192.0.2.1\n"},
	  {"mx.example CNAME", "\nan mx.example 50 CNAME real.example\n"}},
	 SECURITY_OPPORTUNISTIC,
	 CAUSE_REPLY,
	 "mx.example",
	 "",
	 0,
	 50},
	/* is the alias itself signed? Not known, so it may be */
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", MX("mx.example")},
	  {"mx.example A", "\nan mx.example 60 CNAME real.example\n"
			   "an real.example 60 A 192.0.2.1\n"},
	  {"mx.example CNAME", LOST}},
	 SECURITY_DANE,
	 CAUSE_DANE_LOOKUP,
	 "mx.example",
	 "",
	 0,
	 1},
	/* the domain is its own host */
	{HOP_TLS_OPPORTUNISTIC,
	 {{"d.example MX", NOTHING},
	  {"d.example A", " ad\nan d.example 60 A 192.0.2.1\n"},
	  {"_25._tcp.d.example TLSA", " ad\nan _25._tcp.d.example 30 " EE}},
	 SECURITY_DANE,
	 CAUSE_REPLY,
	 "d.example",
	 "",
	 1,
	 30},
};

static void
start(void)
{
	struct resolver_opts opts = {
		.ttl_max_s = 86400,
		.negative_ttl_max_s = 900,
		.now_ms = fake_now,
	};
	struct err err = ERR_INIT;

	next = 0;
	asked[0] = '\0';
	fake = fake_new(1);
	opts.now_arg = fake;
	opts.backend = &fake->backend;
	(void)uv_loop_init(&loop);
	ck_assert_int_eq(resolver_new(&loop, &opts, &resolver, &err), 0);
}

static void
stop(void)
{
	route_unref(route);
	route = NULL;
	security_unref(found);
	found = NULL;
	resolver_free(resolver);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	free(fake);
}

static const char *
type_of(unsigned type)
{
	return type == 1    ? "A"
	       : type == 15 ? "MX"
	       : type == 5  ? "CNAME"
	       : type == 52 ? "TLSA"
			    : "AAAA";
}

/* Answers from the scene until it is there. */
static void
serve(const struct zone *zone, void **wanted)
{
	while (*wanted == NULL) {
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		for (; next < fake->count; next++) {
			const struct fake_sent *sent = &fake->sent[next];
			const char *answer = "\n" SOA;
			char question[300], full[1200];
			size_t at = strlen(asked);

			(void)snprintf(question, sizeof(question), "%s %s",
				       sent->name, type_of(sent->type));
			(void)snprintf(asked + at, sizeof(asked) - at, "%s ",
				       question);
			for (size_t i = 0; zone[i].question != NULL; i++)
				if (strcmp(zone[i].question, question) == 0)
					answer = zone[i].answer;
			(void)snprintf(full, sizeof(full), "%%%s", answer);
			fake_answer(fake, next, full);
		}
	}
}

static void
on_route(void *owner, struct route *arrived)
{
	route = route_ref(arrived);
}

static void
on_security(void *owner, struct security *security)
{
	ck_assert_ptr_null(found);
	found = security_ref(security);
}

static struct next_hop
hop_of(enum hop_tls tls)
{
	struct next_hop hop = {.kind = HOP_MX, .tls = tls};

	(void)snprintf(hop.domain, sizeof(hop.domain), "d.example");
	return hop;
}

static struct security *
find(const struct next_hop *hop, const struct zone *zone)
{
	struct route_opts opts = {.port = 25, .hostname = "me.example"};

	if (route == NULL) {
		(void)route_find(resolver, hop, &opts, on_route, NULL);
		serve(zone, (void **)&route);
		ck_assert_str_eq(route->why, "");
	}
	security_unref(found);
	found = NULL;
	(void)security_find(resolver, NULL, hop, route, 0, on_security, NULL);
	ck_assert_ptr_null(found);
	serve(zone, (void **)&found);
	return found;
}

START_TEST(what_is_asked_of_a_host_is_what_its_zone_says)
{
	const struct scene *scene = &scenes[_i];
	struct next_hop hop = hop_of(scene->tls);
	const struct security *security;
	char aliases[600];

	start();
	security = find(&hop, scene->zone);
	ck_assert_msg(security->cause == scene->cause, "%d %s",
		      (int)security->cause, security->why);
	ck_assert_str_eq(security_name(security->kind),
			 security_name(scene->kind));
	ck_assert_str_eq(security->name, scene->name);
	(void)snprintf(aliases, sizeof(aliases), "%s%s%s", security->alias[0],
		       security->alias[0][0] != '\0' &&
				       security->alias[1][0] != '\0'
			       ? " "
			       : "",
		       security->alias[1]);
	ck_assert_str_eq(aliases, scene->aliases);
	ck_assert_uint_eq(security->tlsa_count, scene->records);
	if (scene->life_s == 0)
		ck_assert(security->expires_ms == UINT64_MAX);
	else
		ck_assert_uint_eq(security->expires_ms,
				  fake->now_ms + scene->life_s * 1000);
	ck_assert((security->why[0] == '\0') ==
		  (security->cause == CAUSE_REPLY));
	stop();
}
END_TEST

START_TEST(an_unsigned_zone_costs_no_question)
{
	static const struct zone zone[] = {
		{"d.example MX", "\nan d.example 60 MX 10 mx.example\n"},
		{"mx.example A", "\nan mx.example 60 A 192.0.2.1\n"},
		{NULL, NULL},
	};
	struct next_hop hop = hop_of(HOP_TLS_OPPORTUNISTIC);

	start();
	(void)find(&hop, zone);
	ck_assert_str_eq(asked, "d.example MX mx.example A mx.example AAAA ");
	stop();
}
END_TEST

START_TEST(other_records_make_another_print_and_another_order_does_not)
{
	static const char *const answers[] = {
		" ad\nan _25._tcp.mx.example 1 TLSA #3 1 1 a 32\n"
		"an _25._tcp.mx.example 1 TLSA #3 1 1 b 32\n",
		" ad\nan _25._tcp.mx.example 1 TLSA #3 1 1 b 32\n"
		"an _25._tcp.mx.example 1 TLSA #3 1 1 a 32\n",
		" ad\nan _25._tcp.mx.example 1 TLSA #3 1 1 a 32\n"
		"an _25._tcp.mx.example 1 TLSA #3 1 1 c 32\n",
		" ad\nan _25._tcp.mx.example 1 TLSA #3 0 1 a 32\n"
		"an _25._tcp.mx.example 1 TLSA #3 1 1 b 32\n",
	};
	struct next_hop hop = hop_of(HOP_TLS_OPPORTUNISTIC);
	uint64_t prints[COUNT(answers)];

	start();
	for (size_t i = 0; i < COUNT(answers); i++) {
		const struct zone zone[] = {SIGNED,
					    TLSA(answers[i]),
					    {NULL, NULL}};

		prints[i] = find(&hop, zone)->print;
		fake->now_ms += 2000;
	}
	ck_assert(prints[0] == prints[1]);
	ck_assert(prints[0] != prints[2] && prints[0] != prints[3]);
	stop();
}
END_TEST

START_TEST(below_an_anchor_what_one_domain_verified_is_not_another_s)
{
	static const struct {
		const char *tlsa;
		bool is_same;
	} cases[] = {
		{" ad\nan _25._tcp.mx.example 60 " EE, true},
		{" ad\nan _25._tcp.mx.example 60 TLSA #2 0 1 a 32\n", false},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct zone zone[] = {
			SIGNED,
			{"e.example MX",
			 " ad\nan e.example 60 MX 10 mx.example\n"},
			TLSA(cases[i].tlsa),
			{NULL, NULL}};
		struct next_hop hop = hop_of(HOP_TLS_OPPORTUNISTIC);
		uint64_t print;

		start();
		print = find(&hop, zone)->print;
		(void)snprintf(hop.domain, sizeof(hop.domain), "e.example");
		route_unref(route);
		route = NULL;
		ck_assert_msg((find(&hop, zone)->print == print) ==
				      cases[i].is_same,
			      "%s", cases[i].tlsa);
		stop();
	}
}
END_TEST

/* The next hop is configured: its name is what the operator meant. */
START_TEST(a_smarthost_has_tlsa_records_too)
{
	static const struct zone zone[] = {
		{"mx.example A", " ad\nan mx.example 60 A 192.0.2.1\n"},
		{"_465._tcp.mx.example TLSA",
		 " ad\nan _465._tcp.mx.example 30 " EE},
		{NULL, NULL},
	};
	static const struct hop_target target = {.host = "mx.example",
						 .port = 465};
	struct next_hop hop = hop_of(HOP_TLS_REQUIRED);

	start();
	hop.kind = HOP_SMTP;
	hop.targets = &target;
	hop.target_count = 1;
	ck_assert_int_eq((int)find(&hop, zone)->kind, SECURITY_DANE);
	ck_assert_str_eq(found->alias[0], "");
	ck_assert_str_eq(found->alias[1], "");
	ck_assert_str_eq(found->from, "TLSA _465._tcp.mx.example");
	stop();
}
END_TEST

START_TEST(a_question_can_be_given_up_at_every_turn)
{
	const struct zone *zone = scenes[17].zone;
	struct next_hop hop = hop_of(HOP_TLS_OPPORTUNISTIC);
	struct security_query *query;

	for (size_t answers = 0; answers < 2; answers++) {
		start();
		(void)find(&hop, zone);
		fake->now_ms += 61000;
		security_unref(found);
		found = NULL;
		query = security_find(resolver, NULL, &hop, route, 0,
				      on_security, NULL);
		for (size_t i = 0; i < answers; i++) {
			(void)uv_run(&loop, UV_RUN_NOWAIT);
			fake_answer(fake, next++,
				    "%"
				    " ad\nan mx.example 60 CNAME "
				    "real.example\n");
		}
		security_cancel(query);
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		ck_assert_ptr_null(found);
		next = fake->count;
		stop();
	}
}
END_TEST

START_TEST(a_failure_of_tls_is_told_as_what_it_is)
{
	struct security *security =
		security_configured(HOP_TLS_REQUIRED, "mx.example");
	struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	outcome_own(&outcome, CAUSE_TLS_FAILED, PHASE_TLS, "broken");
	security_blame(security, &outcome);
	ck_assert_int_eq((int)outcome.cause, CAUSE_TLS_FAILED);
	security->kind = SECURITY_DANE;
	(void)snprintf(security->from, sizeof(security->from), "TLSA x");
	security_blame(security, &outcome);
	ck_assert_int_eq((int)outcome.cause, CAUSE_DANE_FAILED);
	ck_assert_int_eq((int)outcome.phase, PHASE_TLS);
	ck_assert_str_eq(outcome.status.text,
			 "DANE is not satisfied (TLSA x): broken");
	outcome_own(&outcome, CAUSE_CONNECTION_LOST, PHASE_MAIL, "lost");
	security_blame(security, &outcome);
	ck_assert_int_eq((int)outcome.cause, CAUSE_CONNECTION_LOST);
	security_unref(security);
}
END_TEST

UNIT_MAIN("security",
	  tcase_add_loop_test(tc, what_is_asked_of_a_host_is_what_its_zone_says,
			      0, (int)COUNT(scenes));
	  tcase_add_test(tc, an_unsigned_zone_costs_no_question);
	  tcase_add_test(
		  tc,
		  other_records_make_another_print_and_another_order_does_not);
	  tcase_add_test(
		  tc,
		  below_an_anchor_what_one_domain_verified_is_not_another_s);
	  tcase_add_test(tc, a_smarthost_has_tlsa_records_too);
	  tcase_add_test(tc, a_question_can_be_given_up_at_every_turn);
	  tcase_add_test(tc, a_failure_of_tls_is_told_as_what_it_is);)
