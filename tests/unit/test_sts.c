/* SPDX-License-Identifier: ISC */
/* The memory of policies, with a clock of its own, DNS that answers what a
 * test says, and a web server that is a list of what was asked for. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/file_saver.h"
#include "queue/route/route.h"
#include "queue/route/security.h"
#include "queue/route/sts.h"
#include "tests/unit/dns_fake.h"

#define DAY_S	UINT64_C(86400)
#define BODY(m) "version: STSv1\nmode: " m "\nmx: mx.d.example\nmax_age: %u\n"

/* A document that was asked for. */
struct https_fetch {
	char host[300];
	uint64_t timeout_ms;
	https_fn *on_reply; /* NULL: answered, or cancelled */
	void *owner;
	bool has_begun;
};

static uv_loop_t loop;
static struct fake *fake;
static struct resolver *resolver;
static struct sts *sts;
static size_t next; /* packet to be answered */
static uint64_t clock_ms;

static struct https_fetch fetches[600];
static size_t fetch_count, cancelled;
static bool begins_at_once; /* or never has its turn */

/* What DNS says: the id of every domain, NULL: no record */
static const char *id;
static const char *address; /* NULL: none; "": nobody can tell */

/* the last answer */
static unsigned told;
static char why[256], mode[16], read_id[STS_ID_MAX + 1];
static bool is_busy;
static uint64_t expires_ms;

static uint64_t
wall(void)
{
	return UINT64_C(1700000000000) + clock_ms;
}

static struct https_fetch *
fetch_get(uv_loop_t *of, const struct https_request *request,
	  https_fn *on_reply, void *owner)
{
	struct https_fetch *fetch = &fetches[fetch_count++];

	ck_assert_ptr_eq(of, &loop);
	ck_assert_uint_le(fetch_count, COUNT(fetches));
	ck_assert_str_eq(request->path, "/.well-known/mta-sts.txt");
	(void)snprintf(fetch->host, sizeof(fetch->host), "%s", request->host);
	fetch->timeout_ms = request->timeout_ms;
	fetch->on_reply = on_reply;
	fetch->owner = owner;
	fetch->has_begun = begins_at_once;
	return fetch;
}

static bool
fetch_has_begun(const struct https_fetch *fetch)
{
	return fetch->has_begun;
}

static void
fetch_cancel(struct https_fetch *fetch)
{
	ck_assert_ptr_nonnull(fetch->on_reply);
	fetch->on_reply = NULL;
	cancelled++;
}

static const struct sts_reader reader = {
	fetch_get,
	fetch_has_begun,
	fetch_cancel,
};

static void
open_sts(uint64_t wait_ms)
{
	const struct sts_opts opts = {
		.wall_ms = wall,
		.reader = &reader,
		.wait_ms = wait_ms,
	};
	char file[64];

	(void)snprintf(file, sizeof(file), "test_sts.%d", (int)getpid());
	sts = sts_new(&loop, &opts, resolver, file);
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

	next = fetch_count = cancelled = told = 0;
	clock_ms = 0;
	id = "1";
	begins_at_once = true;
	address = "192.0.2.1";
	fake = fake_new(1);
	opts.now_arg = fake;
	opts.backend = &fake->backend;
	(void)uv_loop_init(&loop);
	ck_assert_int_eq(resolver_new(&loop, &opts, &resolver, &err), 0);
	open_sts(0);
}

static void
close_sts(void)
{
	sts_free(sts);
	/* what is being written is written */
	(void)uv_run(&loop, UV_RUN_DEFAULT);
}

static void
stop(void)
{
	char file[64];

	close_sts();
	resolver_free(resolver);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	free(fake);
	(void)snprintf(file, sizeof(file), "test_sts.%d", (int)getpid());
	(void)unlink(file);
}

static void
pass(uint64_t seconds)
{
	clock_ms += seconds * 1000;
	fake->now_ms += seconds * 1000;
}

/* A turn of the loop, with all of DNS answered. */
static void
turn(void)
{
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	for (; next < fake->count; next++) {
		const struct fake_sent *sent = &fake->sent[next];
		char text[600] = "%\nau example 60 SOA 60\n";

		if (sent->type == 16 && id != NULL)
			(void)snprintf(text, sizeof(text),
				       "%%\nan %s 60 TXT v=STSv1; id=%s;\n",
				       sent->name, id);
		else if (sent->type == 1 && address != NULL && *address == '\0')
			(void)snprintf(text, sizeof(text), "%% rcode=2\n");
		else if (sent->type == 1 && address != NULL)
			(void)snprintf(text, sizeof(text),
				       "%%\nan %s 60 A %s\n", sent->name,
				       address);
		fake_answer(fake, next, text);
	}
}

static void
turns(void)
{
	for (unsigned i = 0; i < 20; i++)
		turn();
}

static void
on_answer(void *owner, const struct sts_answer *answer)
{
	(void)owner;
	told++;
	(void)snprintf(why, sizeof(why), "%s", answer->why);
	(void)snprintf(mode, sizeof(mode), "%s",
		       answer->policy != NULL
			       ? sts_mode_name(answer->policy->mode)
			       : "");
	(void)snprintf(read_id, sizeof(read_id), "%s",
		       answer->policy != NULL ? answer->policy->id : "");
	is_busy = answer->is_busy;
	expires_ms = answer->expires_ms;
}

static void
ask(const char *domain)
{
	(void)sts_ask(sts, domain, on_answer, NULL);
	turns();
}

static void
reply(size_t index, const struct https_reply *with)
{
	struct https_fetch *fetch = &fetches[index];
	https_fn *on_reply = fetch->on_reply;

	ck_assert_uint_lt(index, fetch_count);
	ck_assert_ptr_nonnull(on_reply);
	fetch->on_reply = NULL;
	on_reply(fetch->owner, with);
	turns();
}

static void
give(size_t index, const char *format, unsigned max_age)
{
	char text[400];

	/* the only number in it */
	ck_assert_ptr_nonnull(strstr(format, "%u"));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(text, sizeof(text), format, max_age);
#pragma GCC diagnostic pop
	reply(index, &(struct https_reply){
			     .is_good = true,
			     .body = str_of(text),
			     .type = "text/plain; charset=utf-8",
			     .why = "",
		     });
}

/* A policy of d.example is in force, its id is 1. */
static void
start_with_policy(unsigned max_age)
{
	start();
	ask("d.example");
	give(0, BODY("enforce"), max_age);
}

static void
refuse(size_t index, bool is_ours)
{
	reply(index, &(struct https_reply){
			     .is_ours = is_ours,
			     .type = "",
			     .why = "sorry",
		     });
}

START_TEST(a_policy_is_read_once_and_then_known)
{
	start();
	ask("d.example");
	ck_assert_uint_eq(told, 0);
	ck_assert_uint_eq(fetch_count, 1);
	ck_assert_str_eq(fetches[0].host, "mta-sts.d.example");
	ck_assert_uint_le(fetches[0].timeout_ms, STS_WAIT_MS);
	/* who asks meanwhile waits for the same */
	ask("d.example");
	ck_assert_uint_eq(fetch_count, 1);
	give(0, BODY("enforce"), 864000);
	ck_assert_uint_eq(told, 2);
	ck_assert_str_eq(mode, "enforce");
	ck_assert_str_eq(why, "");
	ask("d.example");
	ck_assert_uint_eq(told, 3);
	ck_assert_str_eq(mode, "enforce");
	/* as long as the TXT record */
	ck_assert_uint_eq(expires_ms, fake->now_ms + 60000);
	ck_assert_uint_eq(fetch_count, 1);
	stop();
}
END_TEST

START_TEST(another_id_has_it_read_again_and_waits_for_that)
{
	start_with_policy(864000);
	id = "2";
	pass(61);
	ask("d.example");
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_eq(fetch_count, 2);
	give(1, BODY("testing"), 864000);
	ck_assert_str_eq(mode, "testing");
	ck_assert_str_eq(read_id, "2");
	stop();
}
END_TEST

START_TEST(an_unreadable_new_one_leaves_the_old_one_in_force)
{
	start_with_policy(864000);
	id = "2";
	pass(61);
	ask("d.example");
	refuse(1, false);
	ck_assert_uint_eq(told, 2);
	ck_assert_str_eq(mode, "enforce");
	ck_assert_str_eq(read_id, "1");
	ck_assert_str_eq(why, "https://mta-sts.d.example: sorry");
	stop();
}
END_TEST

START_TEST(a_record_that_is_gone_takes_no_policy_away)
{
	start_with_policy(864000);
	id = NULL;
	pass(61);
	ask("d.example");
	ck_assert_str_eq(mode, "enforce");
	ck_assert_uint_eq(fetch_count, 1);
	stop();
}
END_TEST

START_TEST(none_withdraws_a_policy)
{
	start_with_policy(864000);
	id = "2";
	pass(61);
	ask("d.example");
	/* without a host: there is none to name */
	reply(1, &(struct https_reply){
			 .is_good = true,
			 .body = str_of("version: STSv1\nmode: none\n"
					"max_age: 86400\n"),
			 .type = "text/plain",
			 .why = "",
		 });
	ck_assert_str_eq(mode, "none");
	/* and is known as such, so that nobody is asked each time */
	ask("d.example");
	ck_assert_uint_eq(fetch_count, 2);
	stop();
}
END_TEST

START_TEST(it_ends_at_its_max_age_when_it_cannot_be_read_again)
{
	start_with_policy(5000);
	id = NULL;
	pass(4999);
	ask("d.example");
	ck_assert_str_eq(mode, "enforce");
	pass(1);
	ask("d.example");
	ck_assert_str_eq(mode, "");
	ck_assert_uint_eq(told, 3);
	stop();
}
END_TEST

static const struct {
	unsigned max_age;
	uint64_t young_s, old_s;
} ages[] = {
	/* a day, however long it counts */
	{7 * 86400, DAY_S - 1, DAY_S},
	{31557600, DAY_S - 1, DAY_S},
	/* at half of it, when it counts for less than two days */
	{1000, 500, 501},
};

START_TEST(an_old_one_is_read_again_while_it_still_counts)
{
	start();
	ask("d.example");
	give(0, BODY("enforce"), ages[_i].max_age);
	pass(ages[_i].young_s);
	ask("d.example");
	ck_assert_uint_eq(fetch_count, 1);
	pass(ages[_i].old_s - ages[_i].young_s);
	fake->now_ms += 61000; /* past the TXT record's TTL */
	ask("d.example");
	/* nobody waits for that */
	ck_assert_uint_eq(told, 3);
	ck_assert_str_eq(mode, "enforce");
	ck_assert_uint_eq(fetch_count, 2);
	ask("d.example");
	ck_assert_uint_eq(told, 4);
	ck_assert_uint_eq(fetch_count, 2);
	give(1, BODY("enforce"), ages[_i].max_age);
	ask("d.example");
	ck_assert_uint_eq(fetch_count, 2);
	stop();
}
END_TEST

START_TEST(a_failure_is_remembered_for_five_minutes)
{
	start();
	ask("d.example");
	refuse(0, false);
	ck_assert_uint_eq(told, 1);
	ck_assert_str_eq(mode, "");
	ck_assert_str_eq(why, "https://mta-sts.d.example: sorry");
	pass(299);
	ask("d.example");
	ck_assert_uint_eq(told, 2);
	ck_assert_uint_eq(fetch_count, 1);
	ck_assert_str_eq(why, "https://mta-sts.d.example: sorry");
	pass(1);
	ask("d.example");
	ck_assert_uint_eq(fetch_count, 2);
	give(1, BODY("enforce"), 86400);
	ck_assert_str_eq(mode, "enforce");
	ck_assert_str_eq(why, "");
	stop();
}
END_TEST

START_TEST(a_new_id_is_tried_at_once_after_a_failure)
{
	start();
	ask("d.example");
	refuse(0, false);
	id = "2";
	pass(61);
	ask("d.example");
	ck_assert_uint_eq(fetch_count, 2);
	give(1, BODY("enforce"), 86400);
	ck_assert_str_eq(mode, "enforce");
	stop();
}
END_TEST

static const struct {
	const char *address, *why;
} unreachable[] = {
	{NULL, "mta-sts.d.example has no address"},
	{"", "mta-sts.d.example cannot be looked up: "},
	/* a stranger's name does not have us knock within our networks */
	{"127.0.0.1", "mta-sts.d.example has a private address"},
	{"10.1.2.3", "mta-sts.d.example has a private address"},
	{"169.254.169.254", "mta-sts.d.example has a private address"},
};

START_TEST(without_an_address_to_go_to_nothing_is_fetched)
{
	start();
	address = unreachable[_i].address;
	ask("d.example");
	ck_assert_uint_eq(told, 1);
	ck_assert_uint_eq(fetch_count, 0);
	ck_assert_msg(strncmp(why, unreachable[_i].why,
			      strlen(unreachable[_i].why)) == 0,
		      "%s", why);
	stop();
}
END_TEST

static const struct {
	const char *type, *body, *why;
} bad[] = {
	{"text/html", "version: STSv1\nmode: none\nmax_age: 1\n",
	 "the policy at mta-sts.d.example has a document that is not "
	 "text/plain"},
	{"", "version: STSv1\nmode: none\nmax_age: 1\n",
	 "the policy at mta-sts.d.example has a document that is not "
	 "text/plain"},
	{"text/plain", "version: STSv1\nmax_age: 1\n",
	 "the policy at mta-sts.d.example has no mode"},
};

START_TEST(a_document_that_is_no_policy_is_a_failure)
{
	start();
	ask("d.example");
	reply(0, &(struct https_reply){
			 .is_good = true,
			 .body = str_of(bad[_i].body),
			 .type = bad[_i].type,
			 .why = "",
		 });
	ck_assert_uint_eq(told, 1);
	ck_assert_str_eq(mode, "");
	ck_assert_str_eq(why, bad[_i].why);
	stop();
}
END_TEST

START_TEST(what_nobody_asked_for_the_longest_is_forgotten)
{
	struct sts_stats stats;
	char name[64];

	start();
	/* failures take room too; these cost no document */
	address = NULL;
	for (unsigned i = 0; i < STS_DOMAINS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "d%u.example", i);
		(void)sts_ask(sts, name, on_answer, NULL);
		while (told == i)
			turn();
	}
	sts_stats(sts, &stats);
	ck_assert_uint_eq(stats.domains, STS_DOMAINS_MAX);
	ck_assert_uint_eq(stats.failed, STS_DOMAINS_MAX);
	ask("d0.example"); /* so that it is the second that goes */
	ck_assert_uint_eq(next, fake->count);
	ask("new.example");
	sts_stats(sts, &stats);
	ck_assert_uint_eq(stats.domains, STS_DOMAINS_MAX);
	ck_assert_uint_eq(stats.failed, STS_DOMAINS_MAX + 1);
	ask("d0.example"); /* known */
	sts_stats(sts, &stats);
	ck_assert_uint_eq(stats.failed, STS_DOMAINS_MAX + 1);
	ask("d1.example"); /* forgotten */
	sts_stats(sts, &stats);
	ck_assert_uint_eq(stats.failed, STS_DOMAINS_MAX + 2);
	stop();
}
END_TEST

START_TEST(policies_outlive_a_restart_and_count_from_when_they_were_read)
{
	struct sts_stats stats;

	start_with_policy(5000);
	ask("short.example");
	give(1, BODY("testing"), 100);
	pass(101);
	/* written anew by this; one that is over is left out */
	ask("e.example");
	give(2, BODY("testing"), 5000);
	(void)uv_run(&loop, UV_RUN_DEFAULT); /* all is written */
	close_sts();
	open_sts(0);
	sts_stats(sts, &stats);
	ck_assert_uint_eq(stats.domains, 2);
	id = NULL;
	ask("d.example");
	ck_assert_str_eq(mode, "enforce");
	ck_assert_str_eq(read_id, "1");
	pass(5000 - 101);
	ask("d.example");
	ck_assert_str_eq(mode, "");
	ask("e.example");
	ck_assert_str_eq(mode, "testing");
	ck_assert_uint_eq(fetch_count, 3);
	stop();
}
END_TEST

START_TEST(a_change_while_it_is_written_is_written_next)
{
	struct buf text;
	char name[64];

	start();
	for (unsigned i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "d%u.example", i);
		(void)sts_ask(sts, name, on_answer, NULL);
	}
	turns();
	/* without a turn of the loop in between the first is still written */
	for (size_t i = 0; i < 50; i++) {
		struct https_fetch *fetch = &fetches[i];

		fetch->on_reply(fetch->owner,
				&(struct https_reply){
					.is_good = true,
					.body = str_of("version: STSv1\n"
						       "mode: none\n"
						       "max_age: 86400\n"),
					.type = "text/plain",
					.why = "",
				});
	}
	ck_assert_uint_eq(told, 50);
	/* the loop is without work only when all is written */
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)snprintf(name, sizeof(name), "test_sts.%d", (int)getpid());
	buf_init(&text, 65536);
	ck_assert_int_eq(file_load(name, &text), 0);
	for (unsigned i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "domain: d%u.example\n", i);
		ck_assert_ptr_nonnull(strstr(buf_text(&text), name));
	}
	buf_done(&text);
	stop();
}
END_TEST

/* ------------------------------------------------------------ time limits */

START_TEST(nobody_waits_for_a_slow_server_longer_than_the_limit)
{
	start();
	close_sts();
	open_sts(50);
	ask("d.example");
	while (told == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_uint_eq(cancelled, 1);
	ck_assert_str_eq(mode, "");
	ck_assert(!is_busy);
	ck_assert_str_eq(
		why, "https://mta-sts.d.example: no policy within a minute");
	/* remembered, as every failure */
	ask("d.example");
	ck_assert_uint_eq(told, 2);
	ck_assert_uint_eq(fetch_count, 1);
	stop();
}
END_TEST

START_TEST(who_never_had_his_turn_was_not_asked_and_has_not_failed)
{
	struct sts_stats stats;

	start();
	close_sts();
	open_sts(50);
	begins_at_once = false;
	ask("d.example");
	while (told == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_uint_eq(cancelled, 1);
	ck_assert(is_busy);
	ck_assert_uint_le(expires_ms, fake->now_ms + 1000);
	sts_stats(sts, &stats);
	ck_assert_uint_eq(stats.failed, 0);
	/* the next one asks */
	begins_at_once = true;
	ask("d.example");
	ck_assert_uint_eq(fetch_count, 2);
	give(1, BODY("enforce"), 86400);
	ck_assert_str_eq(mode, "enforce");
	ck_assert(!is_busy);
	stop();
}
END_TEST

START_TEST(each_has_its_own_limit)
{
	start();
	close_sts();
	open_sts(300);
	(void)sts_ask(sts, "a.example", on_answer, NULL);
	turns();
	begins_at_once = false;
	(void)sts_ask(sts, "b.example", on_answer, NULL);
	turns();
	ck_assert_uint_eq(fetch_count, 2);
	while (told == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	while (told == 1)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert(is_busy); /* b came last */
	ck_assert_uint_eq(cancelled, 2);
	stop();
}
END_TEST

START_TEST(beyond_the_most_that_are_read_at_once_who_asks_is_told_so)
{
	char name[64];

	start();
	ask("known.example");
	give(0, BODY("enforce"), 864000);
	told = 0;
	for (unsigned i = 0; i < STS_FLIGHTS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "d%u.example", i);
		(void)sts_ask(sts, name, on_answer, NULL);
	}
	turns();
	ck_assert_uint_eq(told, 0);
	ask("d.example");
	ck_assert_uint_eq(told, 1);
	ck_assert(is_busy);
	ck_assert_str_eq(mode, "");
	/* a policy that counts is not doubted */
	id = "2";
	pass(61);
	ask("known.example");
	ck_assert_uint_eq(told, 2);
	ck_assert(!is_busy);
	ck_assert_str_eq(mode, "enforce");
	for (size_t i = 1; i <= STS_FLIGHTS_MAX; i++)
		refuse(i, false);
	ck_assert_uint_eq(told, 2 + STS_FLIGHTS_MAX);
	stop();
}
END_TEST

START_TEST(a_question_can_be_given_up_and_the_document_is_read_all_the_same)
{
	struct sts_query *query;

	start();
	query = sts_ask(sts, "d.example", on_answer, NULL);
	sts_cancel(query);
	turns();
	ck_assert_uint_eq(fetch_count, 0);
	query = sts_ask(sts, "d.example", on_answer, NULL);
	turns();
	ck_assert_uint_eq(fetch_count, 1);
	sts_cancel(query);
	give(0, BODY("enforce"), 86400);
	ck_assert_uint_eq(told, 0);
	ask("d.example");
	ck_assert_str_eq(mode, "enforce");
	stop();
}
END_TEST

START_TEST(a_reader_that_cannot_be_run_is_known_until_one_runs)
{
	struct sts_stats stats;

	start();
	sts_stats(sts, &stats);
	ck_assert_str_eq(stats.broken, "");
	ask("d.example");
	refuse(0, true);
	sts_stats(sts, &stats);
	ck_assert_str_eq(stats.broken, "sorry");
	ask("e.example");
	refuse(1, false);
	sts_stats(sts, &stats);
	ck_assert_str_eq(stats.broken, "");
	stop();
}
END_TEST

/* ------------------------------------------------------ what it is used for */

static struct security *found;

static void
on_security(void *owner, struct security *security)
{
	(void)owner;
	found = security_ref(security);
}

static const struct {
	enum hop_tls tls;
	enum security_kind kind;
} busy[] = {
	{HOP_TLS_OPPORTUNISTIC, SECURITY_STS},
	{HOP_TLS_REQUIRED, SECURITY_STS},
	{HOP_TLS_STS, SECURITY_STS},
};

START_TEST(mail_waits_for_a_policy_that_nobody_had_time_to_read)
{
	struct route *route = mem_zalloc(sizeof(*route));
	struct next_hop hop = {.kind = HOP_MX, .tls = busy[_i].tls};

	start();
	close_sts();
	open_sts(50);
	begins_at_once = false;
	(void)snprintf(hop.domain, sizeof(hop.domain), "d.example");
	route->refs = 2; /* one is ours, and ends with the test */
	route->hosts = mem_zalloc(sizeof(route->hosts[0]));
	route->host_count = 1;
	(void)snprintf(route->hosts[0].name, sizeof(route->hosts[0].name),
		       "mx.d.example");
	(void)security_find(resolver, sts, &hop, route, 0, on_security, NULL);
	while (found == NULL)
		turn();
	ck_assert_int_eq(found->kind, busy[_i].kind);
	ck_assert_int_eq(found->cause, CAUSE_STS_FAILED);
	ck_assert_str_eq(found->why, "the MTA-STS policy of d.example could "
				     "not be read yet: too many others are "
				     "being read");
	security_unref(found);
	found = NULL;
	free(route->hosts);
	free(route);
	stop();
}
END_TEST

UNIT_MAIN(
	"sts", tcase_add_test(tc, a_policy_is_read_once_and_then_known);
	tcase_add_test(tc, another_id_has_it_read_again_and_waits_for_that);
	tcase_add_test(tc, an_unreadable_new_one_leaves_the_old_one_in_force);
	tcase_add_test(tc, a_record_that_is_gone_takes_no_policy_away);
	tcase_add_test(tc, none_withdraws_a_policy);
	tcase_add_test(tc, it_ends_at_its_max_age_when_it_cannot_be_read_again);
	tcase_add_loop_test(tc, an_old_one_is_read_again_while_it_still_counts,
			    0, COUNT(ages));
	tcase_add_test(tc, a_failure_is_remembered_for_five_minutes);
	tcase_add_test(tc, a_new_id_is_tried_at_once_after_a_failure);
	tcase_add_loop_test(tc, without_an_address_to_go_to_nothing_is_fetched,
			    0, (int)COUNT(unreachable));
	tcase_add_loop_test(tc, a_document_that_is_no_policy_is_a_failure, 0,
			    COUNT(bad));
	tcase_add_test(tc, what_nobody_asked_for_the_longest_is_forgotten);
	tcase_add_test(
		tc,
		policies_outlive_a_restart_and_count_from_when_they_were_read);
	tcase_add_test(tc, a_change_while_it_is_written_is_written_next);
	tcase_add_test(tc,
		       nobody_waits_for_a_slow_server_longer_than_the_limit);
	tcase_add_test(tc,
		       who_never_had_his_turn_was_not_asked_and_has_not_failed);
	tcase_add_test(tc, each_has_its_own_limit); tcase_add_test(
		tc, beyond_the_most_that_are_read_at_once_who_asks_is_told_so);
	tcase_add_test(
		tc,
		a_question_can_be_given_up_and_the_document_is_read_all_the_same);
	tcase_add_test(tc, a_reader_that_cannot_be_run_is_known_until_one_runs);
	tcase_add_loop_test(
		tc, mail_waits_for_a_policy_that_nobody_had_time_to_read, 0,
		COUNT(busy));)
