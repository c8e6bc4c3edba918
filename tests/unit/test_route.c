/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <string.h>

#include "queue/route/route.h"
#include "tests/unit/dns_fake.h"

static uv_loop_t loop;
static struct fake *fake;
static struct resolver *resolver;
static struct route *found; /* the last one; shares */

/* A zone: what the server answers; "NAME TYPE" then the rest of a packet. */
struct zone {
	const char *question, *answer;
};

#define SOA "au example 300 SOA 40\n"
#define NX  " rcode=3\n" SOA

static const struct zone zone[] = {
	{"two.example MX", "\n"
			   "an two.example 60 MX 20 mx2.example\n"
			   "an two.example 60 MX 10 mx1.example\n"},
	{"mx1.example A", "\nan mx1.example 50 A 192.0.2.1\n"},
	{"mx1.example AAAA", "\nan mx1.example 70 AAAA 2001:db8::1\n"},
	{"mx2.example A", "\nan mx2.example 80 A 192.0.2.2\n"},
	{"mx2.example AAAA", "\n" SOA},
	{"null.example MX", "\nan null.example 60 MX 0 .\n"},
	{"dots.example MX", "\nan dots.example 60 MX 0 .\n"
			    "an dots.example 60 MX 5 192.0.2.9\n"
			    "an dots.example 60 MX 10 mx2.example\n"},
	{"bad.example MX", "\nan bad.example 60 MX 5 192.0.2.9\n"},
	{"bare.example MX", "\n" SOA},
	{"bare.example A", "\nan bare.example 60 A 192.0.2.3\n"},
	{"bare.example AAAA", "\n" SOA},
	{"none.example MX", "\n" SOA},
	{"none.example A", "\n" SOA},
	{"none.example AAAA", "\n" SOA},
	{"gone.example MX", NX},
	{"stale.example MX", NX "ar . OPT 0 19\n"},
	{"down.example MX", " rcode=2\n"},
	{"bogus.example MX", " rcode=2\nar . OPT 0 6\n"},
	{"lost.example MX", "\nan lost.example 60 MX 10 none.example\n"},
	{"losts.example MX", "\nan losts.example 60 MX 10 none.example\n"
			     "an losts.example 60 MX 20 nx.example\n"},
	{"nx.example A", NX},
	{"nx.example AAAA", NX},
	{"some.example MX", "\nan some.example 60 MX 10 nx.example\n"
			    "an some.example 60 MX 20 mx2.example\n"},
	{"half.example MX", "\nan half.example 600 MX 10 half.example\n"},
	{"half.example A", "\nan half.example 600 A 192.0.2.4\n"},
	{"half.example AAAA", " rcode=2\n"},
	{"dark.example MX", "\nan dark.example 60 MX 10 dark.example\n"},
	{"dark.example A", " rcode=2\n"},
	{"dark.example AAAA", "\n" SOA},
	{"priv.example MX", "\nan priv.example 60 MX 10 priv.example\n"},
	{"priv.example A", "\nan priv.example 60 A 10.1.2.3\n"},
	{"priv.example AAAA", "\nan priv.example 60 AAAA ::ffff:127.0.0.1\n"},
	{"alias.example MX", "\nan alias.example 60 MX 1 cn.example\n"},
	{"cn.example A", "\nan cn.example 20 CNAME mx1.example\n"
			 "an mx1.example 50 A 192.0.2.1\n"},
	{"cn.example AAAA", "\nan cn.example 20 CNAME mx1.example\n" SOA},
	/* this server among the hosts, by name and by address */
	{"self.example MX", "\n"
			    "an self.example 60 MX 5 mx1.example\n"
			    "an self.example 60 MX 10 me.example\n"
			    "an self.example 60 MX 10 mx2.example\n"
			    "an self.example 60 MX 20 bare.example\n"},
	{"best.example MX", "\nan best.example 60 MX 5 Me.Example\n"
			    "an best.example 60 MX 9 mx1.example\n"},
	{"ours.example MX", "\nan ours.example 60 MX 5 mx1.example\n"
			    "an ours.example 60 MX 10 mx2.example\n"
			    "an ours.example 60 MX 10 other.example\n"
			    "an ours.example 60 MX 20 bare.example\n"},
	{"other.example A", "\nan other.example 60 A 198.51.100.1\n"},
	{"other.example AAAA", "\n" SOA},
	{"oursbest.example MX",
	 "\nan oursbest.example 60 MX 5 other.example\n"},
	{"oursbare.example MX", "\n" SOA},
	{"oursbare.example A", "\nan oursbare.example 60 A 198.51.100.1\n"},
	{"oursbare.example AAAA", "\n" SOA},
	{"me.example MX", "\n" SOA},
	{"zero.example MX", "\nan zero.example 0 MX 1 mx1.example\n"},
	{"safe.example MX", " ad\nan safe.example 60 MX 1 safe.example\n"},
	{"safe.example A", " ad\nan safe.example 60 A 192.0.2.7\n"},
	{"safe.example AAAA", " ad\n" SOA},
	{"unsafe.example MX", "\nan unsafe.example 60 MX 1 safe.example\n"},
	{"even.example MX", "\nan even.example 60 MX 20 bare.example\n"
			    "an even.example 60 MX 10 mx1.example\n"
			    "an even.example 60 MX 10 mx2.example\n"},
	{"many.example MX", "\n" SOA},
	{"many.example A", "\nan many.example 60 A 192.0.2.1\n"
			   "an many.example 60 A 192.0.2.2\n"
			   "an many.example 60 A 192.0.2.3\n"},
	{"many.example AAAA", "\n" SOA},
	{"brief.example MX", "\nan brief.example 0 MX 1 brief.example\n"},
	{"brief.example A", "\nan brief.example 0 A 192.0.2.5\n"},
	{"brief.example AAAA", "\n"},
	{"twice.example MX", "\nan twice.example 60 MX 1 mx2.example\n"
			     "an twice.example 60 MX 9 mx2.example\n"},
};

/* What is answered instead of the zone; question NULL: nothing. */
static struct zone changed;

/* An answer that comes this much later, so often; and what is changed then. */
static struct {
	const char *question;
	uint64_t ms;
	unsigned times;
	struct zone then;
} slow;

static size_t next; /* packet to be looked at */

/* Answers what is under way until nothing is. */
static void
serve(void)
{
	bool is_busy;

	do {
		is_busy = uv_run(&loop, UV_RUN_NOWAIT) != 0 && found == NULL;
		for (; next < fake->count; next++) {
			const struct fake_sent *sent = &fake->sent[next];
			const char *answer = " rcode=5\n";
			char question[300], full[1200];

			(void)snprintf(question, sizeof(question), "%s %s",
				       sent->name,
				       sent->type == 1	  ? "A"
				       : sent->type == 15 ? "MX"
							  : "AAAA");
			for (size_t i = 0; i < COUNT(zone); i++)
				if (strcmp(zone[i].question, question) == 0)
					answer = zone[i].answer;
			if (slow.times != 0 &&
			    strcmp(slow.question, question) == 0) {
				slow.times--;
				fake->now_ms += slow.ms;
				changed = slow.then;
			}
			(void)snprintf(full, sizeof(full), "%%%s", answer);
			if (changed.question != NULL &&
			    strcmp(changed.question, question) == 0)
				(void)snprintf(full, sizeof(full), "%s",
					       changed.answer);
			if (sent->request != NULL)
				fake_answer(fake, next, full);
			is_busy = true;
		}
	} while (is_busy && found == NULL);
}

static void
start(void)
{
	struct resolver_opts opts = {
		.ttl_max_s = 86400,
		.negative_ttl_max_s = 900,
		.now_ms = fake_now,
	};
	struct err err = ERR_INIT;

	fake = fake_new(1);
	next = 0;
	opts.now_arg = fake;
	opts.backend = &fake->backend;
	(void)uv_loop_init(&loop);
	ck_assert_int_eq(resolver_new(&loop, &opts, &resolver, &err), 0);
}

static void
stop(void)
{
	route_unref(found);
	found = NULL;
	resolver_free(resolver);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	free(fake);
}

static void
on_route(void *owner, struct route *route)
{
	ck_assert_ptr_null(found);
	found = route_ref(route);
}

static bool
is_ours(void *arg, const struct ip *ip, uint16_t port)
{
	char text[IP_TEXT_MAX];

	return strcmp(ip_format(ip, text), "198.51.100.1") == 0 && port == 25;
}

static struct route_opts
options(void)
{
	return (struct route_opts){
		.port = 25,
		.hostname = "me.example",
		.is_ours = is_ours,
	};
}

static struct route *
find_hop(const struct next_hop *hop, const struct route_opts *opts)
{
	route_unref(found);
	found = NULL;
	(void)route_find(resolver, hop, opts, on_route, NULL);
	ck_assert_ptr_null(found);
	serve();
	ck_assert_ptr_nonnull(found);
	return found;
}

static struct route *
find(const char *domain)
{
	struct next_hop hop = {.kind = HOP_MX};
	struct route_opts opts = options();

	(void)snprintf(hop.domain, sizeof(hop.domain), "%s", domain);
	return find_hop(&hop, &opts);
}

/* "10 mx1.example [2001:db8::1 192.0.2.1]; 20 ... ttl=50" */
static const char *
shown(const struct route *route)
{
	static char text[2000];
	size_t used = 0;
	char ip[IP_TEXT_MAX];

	text[0] = '\0';
	if (route->cause != CAUSE_REPLY)
		used += (size_t)snprintf(text, sizeof(text), "%s %d: %s; ",
					 route->is_permanent ? "never"
							     : "later",
					 (int)route->cause, route->why);
	else
		for (size_t i = 0; i < route->host_count; i++) {
			const struct route_host *host = &route->hosts[i];

			used += (size_t)snprintf(text + used,
						 sizeof(text) - used, "%d %s [",
						 host->preference, host->name);
			for (size_t a = 0; a < host->addr_count; a++)
				used += (size_t)snprintf(
					text + used, sizeof(text) - used,
					"%s%s", a == 0 ? "" : " ",
					ip_format(&host->addrs[a], ip));
			used += (size_t)snprintf(text + used,
						 sizeof(text) - used, "]%s%s; ",
						 host->why[0] != '\0' ? " "
								      : "",
						 host->why);
		}
	if (route->expires_ms == UINT64_MAX)
		(void)snprintf(text + used, sizeof(text) - used, "ttl=never");
	else if (route->expires_ms < route->made_ms)
		(void)snprintf(text + used, sizeof(text) - used, "ttl=over");
	else
		(void)snprintf(text + used, sizeof(text) - used, "ttl=%llu",
			       (unsigned long long)(route->expires_ms -
						    route->made_ms) /
				       1000);
	return text;
}

static const struct {
	const char *domain, *route;
} routes[] = {
	{"two.example", "10 mx1.example [2001:db8::1 192.0.2.1]; "
			"20 mx2.example [192.0.2.2]; ttl=50"},
	{"alias.example", "1 cn.example [192.0.2.1]; ttl=20"},
	{"bare.example", "0 bare.example [192.0.2.3]; ttl=40"},
	{"twice.example", "1 mx2.example [192.0.2.2]; ttl=60"},
	{"dots.example", "10 mx2.example [192.0.2.2]; ttl=60"},
	{"some.example", "10 nx.example [] does not exist in DNS; "
			 "20 mx2.example [192.0.2.2]; ttl=40"},
	/* a family that fails: what there is, but not for long */
	{"half.example", "10 half.example [192.0.2.4]; ttl=60"},
	{"zero.example", "1 mx1.example [2001:db8::1 192.0.2.1]; ttl=0"},
	{"null.example", "never 3: null.example takes no mail (its MX is "
			 "empty); ttl=60"},
	{"bad.example", "never 4: the MX of bad.example names no valid host "
			"(\"192.0.2.9\"); ttl=60"},
	{"gone.example", "never 1: gone.example does not exist in DNS; "
			 "ttl=40"},
	{"stale.example", "later 1: stale.example does not exist in DNS; "
			  "ttl=0"},
	{"none.example", "never 2: none.example has neither an MX nor an "
			 "address; ttl=40"},
	{"down.example", "later 5: DNS has no answer about the MX of "
			 "down.example: SERVFAIL; ttl=1"},
	{"bogus.example", "later 6: the MX of bogus.example cannot be "
			  "trusted: DNSSEC validation failed; ttl=1"},
	{"lost.example", "later 2: the MX of lost.example is none.example, "
			 "which has no address; ttl=40"},
	{"losts.example",
	 "later 2: the MX hosts of losts.example are none.example and "
	 "nx.example, and none has an address; ttl=40"},
	{"dark.example", "later 5: the MX of dark.example is dark.example, "
			 "which cannot be looked up: SERVFAIL; ttl=40"},
	{"priv.example",
	 "never 8: the MX of priv.example is priv.example, which leads to "
	 "the private address 10.1.2.3; ttl=60"},
	/* RFC 5321, 5.1: us, our equals and what is worse are cut */
	{"self.example", "5 mx1.example [2001:db8::1 192.0.2.1]; ttl=50"},
	{"ours.example", "5 mx1.example [2001:db8::1 192.0.2.1]; ttl=50"},
	{"best.example",
	 "never 7: the best MX of best.example is this server (me.example), "
	 "which has no row for that domain to deliver it by; ttl=60"},
	{"oursbest.example",
	 "never 7: the best MX of oursbest.example, other.example, is this "
	 "server (198.51.100.1 port 25); ttl=60"},
	{"oursbare.example",
	 "never 7: the best MX of oursbare.example, oursbare.example, is "
	 "this server (198.51.100.1 port 25); ttl=40"},
	{"me.example",
	 "never 7: me.example is this server, which has no row for that "
	 "domain to deliver it by; ttl=40"},
	{"[192.0.2.8]", "-1 [192.0.2.8] [192.0.2.8]; ttl=never"},
	{"[IPv6:2001:db8::8]",
	 "-1 [IPv6:2001:db8::8] [2001:db8::8]; ttl=never"},
	{"[10.0.0.1]", "never 8: [10.0.0.1] leads to the private address "
		       "10.0.0.1; ttl=never"},
};

START_TEST(a_domain_leads_where_its_records_say)
{
	start();
	ck_assert_str_eq(shown(find(routes[_i].domain)), routes[_i].route);
	stop();
}
END_TEST

START_TEST(a_family_can_be_asked_for)
{
	struct next_hop hop = {.kind = HOP_MX, .domain = "two.example"};
	struct route_opts opts = options();

	start();
	hop.family = HOP_FAMILY_V4;
	ck_assert_str_eq(shown(find_hop(&hop, &opts)),
			 "10 mx1.example [192.0.2.1]; "
			 "20 mx2.example [192.0.2.2]; ttl=50");
	for (size_t i = 0; i < fake->count; i++)
		ck_assert_uint_ne(fake->sent[i].type, DNS_AAAA);
	hop.family = HOP_FAMILY_V6;
	ck_assert_str_eq(shown(find_hop(&hop, &opts)),
			 "10 mx1.example [2001:db8::1]; "
			 "20 mx2.example [] has no address; ttl=40");
	/* an address to connect from asks for its family */
	hop.family = HOP_FAMILY_ANY;
	hop.source = (struct ip){IP_V4, {192, 0, 2, 99}};
	ck_assert_str_eq(shown(find_hop(&hop, &opts)),
			 "10 mx1.example [192.0.2.1]; "
			 "20 mx2.example [192.0.2.2]; ttl=50");
	/* "no IPv6" is our wish and no reason to give up */
	hop.source.family = IP_NONE;
	hop.family = HOP_FAMILY_V6;
	(void)snprintf(hop.domain, sizeof(hop.domain), "none.example");
	ck_assert_str_eq(shown(find_hop(&hop, &opts)),
			 "later 2: none.example has neither an MX nor an "
			 "address (IPv6); ttl=40");
	stop();
}
END_TEST

START_TEST(private_addresses_can_be_allowed)
{
	struct next_hop hop = {.kind = HOP_MX, .domain = "priv.example"};
	struct route_opts opts = options();

	start();
	opts.private_targets = true;
	ck_assert_str_eq(shown(find_hop(&hop, &opts)),
			 "10 priv.example [127.0.0.1 10.1.2.3]; ttl=60");
	stop();
}
END_TEST

START_TEST(an_address_is_ours_only_on_our_port)
{
	struct next_hop hop = {.kind = HOP_MX, .domain = "oursbest.example"};
	struct route_opts opts = options();

	start();
	opts.port = 2525;
	ck_assert_str_eq(shown(find_hop(&hop, &opts)),
			 "5 other.example [198.51.100.1]; ttl=60");
	stop();
}
END_TEST

static const struct {
	const char *host, *route;
} next_hops[] = {
	{"mx1.example", "-1 mx1.example [2001:db8::1 192.0.2.1]; ttl=50"},
	{"192.0.2.50", "-1 192.0.2.50 [192.0.2.50]; ttl=never"},
	{"::1", "-1 ::1 [::1]; ttl=never"},
	{"localhost", "-1 localhost [127.0.0.1 ::1]; ttl=never"},
	{"priv.example", "-1 priv.example [127.0.0.1 10.1.2.3]; ttl=60"},
	{"nx.example", "later 2: the next hop nx.example does not exist in "
		       "DNS; ttl=40"},
	{"dark.example", "later 5: the next hop dark.example cannot be looked "
			 "up: SERVFAIL; ttl=40"},
	{"no..name", "later 5: the next hop no..name cannot be looked up: not "
		     "a domain name; ttl=60"},
};

START_TEST(a_configured_next_hop_is_never_a_reason_to_bounce)
{
	struct hop_target target = {.host = next_hops[_i].host, .port = 587};
	struct next_hop hop = {
		.kind = HOP_SMTP,
		.domain = "a.example",
		.targets = &target,
		.target_count = 1,
	};
	struct route_opts opts = options();

	start();
	ck_assert_str_eq(shown(find_hop(&hop, &opts)), next_hops[_i].route);
	for (size_t i = 0; i < fake->count; i++)
		ck_assert_uint_ne(fake->sent[i].type, DNS_MX);
	stop();
}
END_TEST

START_TEST(next_hops_are_tried_in_their_order)
{
	struct hop_target targets[] = {
		{.host = "nx.example", .port = 25},
		{.host = "mx2.example", .port = 465, .is_implicit_tls = true},
		{.unix_path = "/run/lmtp"},
		{.host = "mx1.example", .port = 587},
	};
	struct next_hop hop = {
		.kind = HOP_SMTP,
		.domain = "a.example",
		.targets = targets,
		.target_count = 4,
	};
	struct route_opts opts = options();
	struct route *route;

	start();
	route = find_hop(&hop, &opts);
	ck_assert_str_eq(shown(route),
			 "-1 nx.example [] does not exist in DNS; "
			 "-1 mx2.example [192.0.2.2]; "
			 "-1 mx1.example [2001:db8::1 192.0.2.1]; ttl=40");
	ck_assert(route->hosts[1].is_implicit_tls);
	ck_assert_uint_eq(route->hosts[1].port, 465);
	ck_assert_uint_eq(route->hosts[2].port, 587);
	stop();
}
END_TEST

START_TEST(equal_preferences_are_spread_evenly)
{
	unsigned first[4] = {0}, address[4] = {0};

	start();
	for (unsigned i = 0; i < 1000; i++) {
		const struct route_host *host = find("even.example")->hosts;
		const char *digit = host->name + strlen("mx");

		ck_assert_int_eq(host->preference, 10);
		ck_assert_int_eq(found->hosts[2].preference, 20);
		first[*digit - '0']++;
		address[find("many.example")->hosts[0].addrs[0].bytes[3]]++;
	}
	/* each of two, or of three, has its share of a thousand */
	ck_assert_uint_gt(first[1], 400);
	ck_assert_uint_gt(first[2], 400);
	for (unsigned i = 1; i < 4; i++)
		ck_assert_uint_gt(address[i], 250);
	stop();
}
END_TEST

START_TEST(a_route_says_how_old_its_knowledge_is)
{
	struct route *route;

	start();
	route = find("two.example");
	ck_assert(!route->hosts[0].is_cached);
	fake->now_ms += 20000;
	ck_assert(route_is_fresh(route, fake->now_ms));
	route = find("two.example");
	ck_assert(route->hosts[0].is_cached);
	ck_assert_uint_eq(route->hosts[0].mx_ttl_s, 40);
	ck_assert_uint_eq(route->hosts[0].addr_ttl_s, 30);
	ck_assert_uint_eq(route->hosts[1].addr_ttl_s, 60);
	fake->now_ms = route->expires_ms;
	ck_assert(!route_is_fresh(route, fake->now_ms));
	/* only what is expired is asked for again: A of mx1 and the negative
	 * AAAA of mx2 */
	ck_assert_uint_eq(fake->count, 5);
	(void)find("two.example");
	ck_assert_uint_eq(fake->count, 7);
	stop();
}
END_TEST

START_TEST(a_fresh_route_asks_everything_again)
{
	struct next_hop hop = {.kind = HOP_MX, .domain = "two.example"};
	struct route_opts opts = options();

	start();
	(void)find("two.example");
	opts.is_fresh = true;
	(void)find_hop(&hop, &opts);
	ck_assert_uint_eq(fake->count, 10);
	stop();
}
END_TEST

static const struct {
	const char *question, *answer; /* what changes */
	bool mx_differs, v4_differs, v6_differs;
} changes[] = {
	{"-", "", false, false, false},
	/* the order means nothing, nor does the TTL */
	{"two.example MX",
	 "%\nan two.example 99 MX 10 mx1.example\n"
	 "an two.example 99 MX 20 mx2.example\n",
	 false, false, false},
	{"two.example MX",
	 "%\nan two.example 60 MX 10 mx2.example\n"
	 "an two.example 60 MX 20 mx1.example\n",
	 true, false, false},
	{"two.example MX", "%\nan two.example 60 MX 10 mx1.example\n", true,
	 true, true},
	{"mx1.example A", "%\nan mx1.example 50 A 192.0.2.9\n", false, true,
	 false},
	{"mx1.example A",
	 "%\nan mx1.example 50 A 192.0.2.1\nan mx1.example 50 A 192.0.2.9\n",
	 false, true, false},
	{"mx1.example AAAA", "%\n" SOA, false, false, true},
	/* not known is not another */
	{"mx1.example AAAA", "% rcode=2\n", false, false, false},
};

static bool
differs(uint64_t one, uint64_t other)
{
	return one != 0 && other != 0 && one != other;
}

START_TEST(a_print_tells_whether_dns_says_another_thing)
{
	struct next_hop hop = {.kind = HOP_MX, .domain = "two.example"};
	struct route_opts opts = options();
	struct mx_view before, now;
	struct ip ip;

	start();
	(void)ip_parse(str_of("192.0.2.1"), &ip);
	route_view(find("two.example"), "mx1.example", &ip, &before);
	ck_assert(before.is_known && before.is_named && !before.is_cached);
	ck_assert_int_eq(before.preference, 10);
	ck_assert_int_eq(before.best_preference, 10);
	ck_assert_uint_eq(before.expires_ms - before.asked_ms, 60000);
	ck_assert_uint_eq(before.address_expires_ms - fake->now_ms, 50000);
	changed.question = changes[_i].question;
	changed.answer = changes[_i].answer;
	opts.is_fresh = true;
	route_view(find_hop(&hop, &opts), "mx1.example", &ip, &now);
	changed.question = NULL;
	ck_assert_int_eq(differs(before.mx_print, now.mx_print),
			 changes[_i].mx_differs);
	ck_assert_int_eq(differs(before.v4_print, now.v4_print),
			 changes[_i].v4_differs);
	ck_assert_int_eq(differs(before.v6_print, now.v6_print),
			 changes[_i].v6_differs);
	stop();
}
END_TEST

START_TEST(a_view_says_where_a_host_stands)
{
	struct mx_view view;
	struct ip ip, strange;

	start();
	(void)ip_parse(str_of("192.0.2.2"), &ip);
	(void)ip_parse(str_of("192.0.2.77"), &strange);
	(void)find("two.example");
	route_view(found, "MX2.example", &ip, &view);
	ck_assert(view.is_named);
	ck_assert_int_eq(view.preference, 20);
	ck_assert_int_eq(view.best_preference, 10);
	ck_assert_str_eq(view.best, "mx1.example");
	ck_assert(!view.is_mx_cached);
	route_view(found, "mx2.example", &strange, &view);
	ck_assert(!view.is_named);
	route_view(found, "gone.example", &ip, &view);
	ck_assert(!view.is_named);
	ck_assert_int_eq(view.preference, -1);
	ck_assert_uint_eq(view.address_expires_ms, 0);
	/* from the cache, all of it or the half */
	fake->now_ms += 55000;
	route_view(find("two.example"), "mx2.example", &ip, &view);
	ck_assert(view.is_cached && view.is_mx_cached);
	ck_assert_uint_eq(view.asked_ms, fake->now_ms - 55000);
	/* of a domain that DNS fails for nothing is known */
	route_view(find("down.example"), "mx1.example", &ip, &view);
	ck_assert_uint_eq(view.mx_print, 0);
	route_view(find("dark.example"), "dark.example", &ip, &view);
	ck_assert_uint_eq(view.mx_print, 0);
	/* one that is gone is known to be gone */
	route_view(find("gone.example"), "mx1.example", &ip, &view);
	ck_assert_uint_ne(view.mx_print, 0);
	ck_assert(!view.is_named && !view.is_stale);
	route_view(find("stale.example"), "mx1.example", &ip, &view);
	ck_assert(view.is_stale);
	/* an implicit MX may be the one that refuses */
	(void)ip_parse(str_of("192.0.2.3"), &ip);
	route_view(find("bare.example"), "bare.example", &ip, &view);
	ck_assert(view.is_implicit && view.is_named);
	ck_assert_uint_ne(view.mx_print, 0);
	stop();
}
END_TEST

START_TEST(security_is_that_of_the_weakest_set)
{
	start();
	ck_assert(find("safe.example")->hosts[0].is_secure);
	ck_assert(!find("unsafe.example")->hosts[0].is_secure);
	ck_assert(!find("two.example")->hosts[0].is_secure);
	stop();
}
END_TEST

START_TEST(reuse_needs_host_address_and_port)
{
	struct ip ip, other;
	struct route *route;

	start();
	route = find("two.example");
	(void)ip_parse(str_of("192.0.2.1"), &ip);
	(void)ip_parse(str_of("192.0.2.2"), &other);
	ck_assert(route_names(route, "MX1.example", &ip, 25));
	ck_assert(!route_names(route, "mx1.example", &ip, 26));
	ck_assert(!route_names(route, "mx1.example", &other, 25));
	ck_assert(!route_names(route, "mx2.example", &ip, 25));
	stop();
}
END_TEST

START_TEST(a_search_can_be_given_up_at_any_moment)
{
	const char *two_hosts = "%\nan two.example 60 MX 1 mx1.example\n"
				"an two.example 60 MX 1 mx2.example\n";
	struct next_hop hop = {.kind = HOP_MX, .domain = "two.example"};
	struct route_opts opts = options();

	start();
	route_cancel(route_find(resolver, &hop, &opts, on_route, NULL));
	(void)find("two.example");
	opts.is_fresh = true;
	for (size_t answered = 0; answered < 5; answered++) {
		size_t from = fake->count;
		struct route_query *query =
			route_find(resolver, &hop, &opts, on_route, NULL);

		route_unref(found);
		found = NULL;
		for (size_t i = 0; i < answered; i++)
			fake_answer(fake, from + i,
				    i == 0 ? two_hosts : "%\n" SOA);
		route_cancel(query);
		while (fake->flying != 0)
			for (size_t i = from; i < fake->count; i++)
				if (fake->sent[i].request != NULL)
					fake_answer(fake, i, "%\n");
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		ck_assert_ptr_null(found);
	}
	(void)snprintf(hop.domain, sizeof(hop.domain), "[192.0.2.1]");
	route_cancel(route_find(resolver, &hop, &opts, on_route, NULL));
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	ck_assert_ptr_null(found);
	stop();
}
END_TEST

START_TEST(a_set_that_expires_while_others_are_awaited_is_asked_again)
{
	start();
	slow.question = "mx1.example AAAA";
	slow.ms = 65000; /* its own TTL is 70 s */
	slow.times = 1;
	slow.then.question = "two.example MX";
	slow.then.answer = "%\nan two.example 60 MX 5 mx2.example\n";
	ck_assert_str_eq(shown(find("two.example")),
			 "5 mx2.example [192.0.2.2]; ttl=15");
	changed.question = NULL;
	stop();

	/* half a second is for slow answers; TTL 0 counts from its arrival */
	start();
	slow.question = "mx1.example AAAA";
	slow.ms = 499;
	slow.times = 1;
	slow.then.question = NULL;
	(void)find("zero.example");
	ck_assert_uint_eq(fake->count, 3);
	stop();

	start();
	slow.question = "zero.example MX";
	slow.ms = 2000;
	slow.times = 9;
	(void)find("zero.example");
	ck_assert_uint_eq(fake->count, 3);
	slow.times = 0;
	stop();
}
END_TEST

START_TEST(answers_that_are_always_late_are_used_in_the_end)
{
	start();
	slow.question = "brief.example AAAA";
	slow.ms = 700;
	slow.times = 9;
	slow.then.question = NULL;
	ck_assert_str_eq(shown(find("brief.example")),
			 "1 brief.example [192.0.2.5]; ttl=over");
	/* three times all of it */
	ck_assert_uint_eq(fake->count, 9);
	slow.times = 0;
	stop();
}
END_TEST

UNIT_MAIN("route", tcase_add_loop_test(tc, a_domain_leads_where_its_records_say,
				       0, (int)COUNT(routes));
	  tcase_add_test(tc, a_family_can_be_asked_for);
	  tcase_add_test(tc, private_addresses_can_be_allowed);
	  tcase_add_test(tc, an_address_is_ours_only_on_our_port);
	  tcase_add_loop_test(tc,
			      a_configured_next_hop_is_never_a_reason_to_bounce,
			      0, (int)COUNT(next_hops));
	  tcase_add_test(tc, next_hops_are_tried_in_their_order);
	  tcase_add_test(tc, equal_preferences_are_spread_evenly);
	  tcase_add_test(tc, a_route_says_how_old_its_knowledge_is);
	  tcase_add_test(tc, a_fresh_route_asks_everything_again);
	  tcase_add_loop_test(tc, a_print_tells_whether_dns_says_another_thing,
			      0, (int)COUNT(changes));
	  tcase_add_test(tc, a_view_says_where_a_host_stands);
	  tcase_add_test(tc, security_is_that_of_the_weakest_set);
	  tcase_add_test(tc, reuse_needs_host_address_and_port);
	  tcase_add_test(tc, a_search_can_be_given_up_at_any_moment);
	  tcase_add_test(
		  tc,
		  a_set_that_expires_while_others_are_awaited_is_asked_again);
	  tcase_add_test(tc, answers_that_are_always_late_are_used_in_the_end);)
