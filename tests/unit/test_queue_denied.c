/* SPDX-License-Identifier: ISC */
/*
 * The queue and refusals to relay: a real spool and resolver, DNS that says
 * what the test says, a clock that it moves, and deliveries that find their
 * route and then end as the test told of that host.
 */
#include "tests/unit/queue_box.h"

#include "lib/str.h"
#include "queue/deliver/delivery.h"
#include "queue/faults.h"
#include "queue/route/route.h"
#include "tests/unit/deliverer_fake.h"
#include "tests/unit/dns_fake.h"

#define AUTHOR	   "author@home.test"
#define QUESTIONS  4000
#define REPORT_MAX 65536

/* ------------------------------------------------------------------ DNS */

static struct {
	struct fake *fake;
	size_t next;	       /* question to be answered */
	const char *mx;	       /* of far.test: "10 old.test 20 other.test" */
	const char *flip;      /* NULL, or what it says every second time */
	unsigned ttl_s, asked; /* for that MX */
	bool is_failing, is_silent;
} dns;

static void
mx_answer(const char *name, char *to, size_t size)
{
	const char *mx =
		dns.flip != NULL && dns.asked % 2 != 0 ? dns.flip : dns.mx;
	size_t len = (size_t)snprintf(to, size, "%%\n");
	struct str rest = str_of(mx), preference, host;

	dns.asked++;
	while (rest.len != 0) {
		(void)str_cut(&rest, ' ', &preference);
		(void)str_cut(&rest, ' ', &host);
		len += (size_t)snprintf(to + len, size - len,
					"an %s %u MX %.*s %.*s\n", name,
					dns.ttl_s, STR_ARG(preference),
					STR_ARG(host));
	}
}

/* Answers what was asked, unless it is to be silent. */
static void
dns_serve(void)
{
	for (; !dns.is_silent && dns.next < dns.fake->count; dns.next++) {
		const struct fake_sent *sent = &dns.fake->sent[dns.next];
		char text[1200];

		if (sent->request == NULL)
			continue;
		if (dns.is_failing)
			(void)snprintf(text, sizeof(text), "%% rcode=2\n");
		else if (sent->type == 15)
			mx_answer(sent->name, text, sizeof(text));
		else if (sent->type == 1)
			(void)snprintf(text, sizeof(text),
				       "%%\nan %s %u A 192.0.2.%u\n",
				       sent->name, dns.ttl_s,
				       (unsigned)sent->name[0]);
		else
			(void)snprintf(text, sizeof(text),
				       "%%\nau test 60 SOA 60\n");
		fake_answer(dns.fake, dns.next, text);
	}
}

/* ------------------------------------------------------ the deliverer */

struct deliverer {
	struct resolver *resolver;
	struct spool *spool;
};

struct delivery {
	struct deliverer *deliverer;
	struct next_hop hop;
	const struct envelope *envelope;
	size_t *recipients;
	size_t count;
	delivery_fn *on_done;
	void *owner;
	struct route_query *query;
	struct resolver_later later;
};

static struct {
	const char *denies, *down; /* names of hosts */
	bool wants_a_name;	   /* of our address, and denies for that */
	struct buf log;		   /* host of each attempt */
	char report[REPORT_MAX];
	unsigned reports;
} peer;

static bool
is_among(const char *names, const char *name)
{
	struct str rest = str_of(names != NULL ? names : ""), one;

	while (rest.len != 0) {
		(void)str_cut(&rest, ' ', &one);
		if (str_is(one, name))
			return true;
	}
	return false;
}

static void
delivery_free(struct delivery *delivery)
{
	if (delivery->query != NULL)
		route_cancel(delivery->query);
	list_remove(&delivery->later.link);
	free(delivery->recipients);
	free(delivery);
}

static void
refuse(struct outcome *out)
{
	const char *code = peer.wants_a_name ? "5.7.25" : "5.7.1";
	const char *text = peer.wants_a_name
				   ? "cannot find your reverse hostname"
				   : "relay access denied";

	out->kind = OUTCOME_FAILED;
	status_set(&out->status, 550, code, "%s", text);
	(void)snprintf(out->reply, sizeof(out->reply), "550 %s %s", code, text);
}

/* host NULL: there is no route. Local parts "ok..." are taken anywhere. */
static void
delivery_end(struct delivery *delivery, const struct route *route,
	     const struct route_host *host, const char *name)
{
	struct outcome *outcomes =
		mem_zalloc(delivery->count * sizeof(*outcomes));

	(void)buf_addf(&peer.log, "%s ", name);
	for (size_t i = 0; i < delivery->count; i++) {
		struct outcome *out = &outcomes[i];
		const char *to =
			delivery->envelope->recipients[delivery->recipients[i]]
				.address;

		out->mx_ttl_s = -1;
		if (route != NULL && host == NULL) {
			outcome_own(out, route->cause, PHASE_DNS, "%s",
				    route->why);
			outcome_set_permanent(out, false);
			continue;
		}
		out->phase = PHASE_RCPT;
		(void)str_copy(out->host, sizeof(out->host), str_of(name));
		if (host != NULL) {
			out->ip = host->addrs[0];
			route_view(route, name, &out->ip, &out->mx);
		}
		if (is_among(peer.denies, name) && strncmp(to, "ok", 2) != 0) {
			refuse(out);
		} else {
			out->kind = OUTCOME_DELIVERED;
			status_set(&out->status, 250, "2.0.0", "taken");
		}
	}
	delivery->on_done(delivery->owner, outcomes, delivery->count);
	free(outcomes);
	delivery_free(delivery);
}

static void
on_route(void *owner, struct route *route)
{
	struct delivery *delivery = owner;

	delivery->query = NULL;
	for (size_t i = 0; i < route->host_count; i++) {
		const struct route_host *host = &route->hosts[i];

		if (host->addr_count != 0 && !is_among(peer.down, host->name)) {
			delivery_end(delivery, route, host, host->name);
			return;
		}
	}
	delivery_end(delivery, route, NULL, "none");
}

static void
on_later(struct resolver_later *later)
{
	struct delivery *delivery = container_of(later, struct delivery, later);
	struct spool *spool = delivery->deliverer->spool;

	if (delivery->hop.kind == HOP_MAILDIR) {
		size_t len;
		const uint8_t *body =
			spool_body(spool, delivery->envelope->id, &len);

		ck_assert_ptr_nonnull(body);
		ck_assert_uint_lt(len, REPORT_MAX);
		memcpy(peer.report, body, len);
		peer.report[len] = '\0';
		peer.reports++;
		delivery_end(delivery, NULL, NULL, "report");
		return;
	}
	delivery_end(delivery, NULL, NULL, "smart");
}

struct deliverer *
deliverer_new(uv_loop_t *loop, const struct deliverer_opts *opts,
	      struct resolver *resolver, struct spool *spool)
{
	struct deliverer *deliverer = mem_zalloc(sizeof(*deliverer));

	deliverer->resolver = resolver;
	deliverer->spool = spool;
	return deliverer;
}

void
deliverer_free(struct deliverer *deliverer)
{
	free(deliverer);
}

struct delivery *
delivery_start(struct deliverer *deliverer,
	       const struct delivery_request *request, delivery_fn *on_done,
	       void *owner)
{
	static const struct route_opts opts = {
		.port = 25,
		.hostname = "relay.test",
	};
	struct delivery *delivery = mem_zalloc(sizeof(*delivery));
	size_t bytes = request->recipient_count * sizeof(size_t);

	delivery->deliverer = deliverer;
	delivery->hop = *request->hop;
	delivery->envelope = request->envelope;
	delivery->count = request->recipient_count;
	delivery->recipients = mem_alloc(bytes);
	memcpy(delivery->recipients, request->recipients, bytes);
	delivery->on_done = on_done;
	delivery->owner = owner;
	list_init(&delivery->later.link);
	delivery->later.on_later = on_later;
	if (delivery->hop.kind == HOP_MX)
		delivery->query =
			route_find(deliverer->resolver, &delivery->hop, &opts,
				   on_route, delivery);
	else
		resolver_call_later(deliverer->resolver, &delivery->later);
	return delivery;
}

void
delivery_abort(struct delivery *delivery)
{
	delivery_free(delivery);
}

/* ---------------------------------------------------------- the world */

static const uint32_t retry_s[] = {1000};

/* home.test is ours, smart.test goes to a smarthost. */
static struct policy *
policy_make(void)
{
	struct builder *builder = policy_begin("postmaster@home.test");

	policy_add_domain(builder, "home.test", "maildir:/nowhere/%d/%u");
	policy_add_route(builder, "out", "smart.test");
	return policy_end(builder);
}

static void
world_init(struct world *world)
{
	struct resolver_opts resolver_opts = {
		.ttl_max_s = 86400,
		.negative_ttl_max_s = 900,
		.attempts = 1,
		.now_ms = world_now,
		.now_arg = world,
	};
	struct err err = ERR_INIT;

	memset(&peer, 0, sizeof(peer));
	memset(&dns, 0, sizeof(dns));
	buf_init(&peer.log, 1 << 20);
	dns.fake = fake_new(1);
	dns.mx = "10 old.test";
	dns.ttl_s = 60;
	box_init(world, retry_s, COUNT(retry_s));
	world->opts.warn_s = 0;
	world->policy = policy_make();
	resolver_opts.backend = &dns.fake->backend;
	ck_assert_int_eq(resolver_new(&world->loop, &resolver_opts,
				      &world->resolver, &err),
			 0);
	box_open(world);
}

static void
world_done(struct world *world)
{
	box_done(world);
	free(dns.fake);
	buf_done(&peer.log);
}

/* Lets the loop turn, and DNS answer, until nothing moves any more. */
static void
settle_down(struct world *world)
{
	unsigned still = 0;

	guard_start(&world->guard);
	while (still < 20) {
		struct queue_stats before = stats_of(world), after;
		size_t log = buf_len(&peer.log), asked = dns.fake->count;

		dns_serve();
		uv_run(&world->loop, UV_RUN_NOWAIT);
		after = stats_of(world);
		still = buf_len(&peer.log) == log && dns.fake->count == asked &&
					(after.active == 0 || dns.is_silent) &&
					before.messages == after.messages
				? still + 1
				: 0;
	}
	uv_timer_stop(&world->guard);
}

static void
advance(struct world *world, uint64_t s)
{
	world->now_ms += s * 1000;
	queue_configure(world->queue, &world->opts, world->policy);
	settle_down(world);
}

static void
attempts_are(const char *want)
{
	ck_assert_str_eq(buf_text(&peer.log), want);
	buf_clear(&peer.log);
}

/* to: NULL-terminated. Returns the id of a message that was tried once. */
static uint64_t
send_and_settle(struct world *world, const char *const *to)
{
	uint64_t id = send_to(world, AUTHOR, to, 0);

	settle_down(world);
	return id;
}

#define SEND_ALL(world, ...)                                                   \
	send_and_settle(world, (const char *const[]){__VA_ARGS__, NULL})

/* The report's lines are folded: words only are compared. */
static void
report_has(const char *words)
{
	const char *from = peer.report;
	size_t len = 0;
	char *plain = mem_alloc(strlen(from) + 1);

	for (; *from != '\0'; from++) {
		bool is_space = *from == ' ' || *from == '\r' || *from == '\n';

		if (!is_space)
			plain[len++] = *from;
		else if (len != 0 && plain[len - 1] != ' ')
			plain[len++] = ' ';
	}
	plain[len] = '\0';
	ck_assert_msg(strstr(plain, words) != NULL, "%s", plain);
	free(plain);
}

/* ---------------------------------------------------------------- tests */

START_TEST(a_new_answer_is_tried_at_once)
{
	struct world world;

	world_init(&world);
	SEND_ALL(&world, "ok@far.test");
	attempts_are("old.test ");
	peer.denies = "old.test";
	dns.mx = "10 new.test";
	SEND_ALL(&world, "eve@far.test");
	attempts_are("old.test new.test ");
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_eq(stats_of(&world).delivered, 2);
	ck_assert_uint_eq(dns.asked, 2);
	world_done(&world);
}
END_TEST

START_TEST(the_same_answer_is_asked_for_once_more_after_its_ttl)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test";
	SEND_ALL(&world, "bob@far.test");
	attempts_are("old.test ");
	ck_assert_uint_eq(dns.asked, 2);
	advance(&world, 60);
	attempts_are("");
	ck_assert_uint_eq(stats_of(&world).bounced, 0);
	advance(&world, 2);
	attempts_are("old.test report ");
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	report_has("The best MX of the domain refuses its mail.");
	report_has("Looked into: old.test is an MX of far.test with preference "
		   "10 by an answer of 0s ago, TTL 1m;");
	world_done(&world);
}
END_TEST

START_TEST(we_are_no_new_answer_where_we_are_a_backup_ourselves)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test";
	dns.mx = "10 old.test 20 relay.test";
	SEND_ALL(&world, "bob@far.test");
	attempts_are("old.test ");
	advance(&world, 62);
	attempts_are("old.test report ");
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	report_has("The best MX of the domain refuses its mail.");
	report_has("DNS says now: 10 old.test [192.0.2.111]");
	ck_assert_ptr_null(strstr(peer.report, "relay.test ["));
	world_done(&world);
}
END_TEST

START_TEST(a_report_tells_the_best_three_hosts_of_dns_now)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test";
	dns.mx = "10 old.test 20 b.test 30 c.test 40 d.test";
	dns.ttl_s = 7200;
	SEND_ALL(&world, "bob@far.test");
	attempts_are("old.test report ");
	report_has("DNS says now: 10 old.test [192.0.2.111], 20 b.test "
		   "[192.0.2.98], 30 c.test [192.0.2.99], ... (TTL 2h)");
	ck_assert_ptr_null(strstr(peer.report, "40 d.test"));
	world_done(&world);
}
END_TEST

START_TEST(a_report_tells_no_more_hosts_than_dns_has_now)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test";
	dns.ttl_s = 7200;
	SEND_ALL(&world, "bob@far.test");
	attempts_are("old.test report ");
	report_has("DNS says now: 10 old.test [192.0.2.111] (TTL 2h)");
	world_done(&world);
}
END_TEST

/* No matter of DNS about the domain, and nothing its sender can mend. */
START_TEST(who_wants_a_name_for_our_address_is_given_time)
{
	struct world world;
	struct faults *faults;

	world_init(&world);
	faults = queue_faults(world.queue);
	peer.denies = "old.test";
	peer.wants_a_name = true;
	SEND_ALL(&world, "ok@far.test", "bob@far.test", "eve@far.test");
	attempts_are("old.test ");
	ck_assert_uint_eq(dns.asked, 1);
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	ck_assert_uint_eq(stats_of(&world).bounced, 0);
	ck_assert_uint_eq(faults->count, 1);
	ck_assert_int_eq(faults->list[0].kind, FAULT_NAME);

	/* whoever takes our mail again shows that it is over */
	SEND_ALL(&world, "ok@far.test");
	ck_assert_uint_eq(faults->count, 0);
	for (unsigned i = 0; i < 3; i++)
		advance(&world, 1101);
	attempts_are("old.test old.test old.test old.test ");
	ck_assert_uint_eq(stats_of(&world).bounced, 0);
	advance(&world, 1101);
	attempts_are("old.test report ");
	ck_assert_uint_eq(stats_of(&world).bounced, 2);
	report_has("cannot find your reverse hostname");
	world_done(&world);
}
END_TEST

/* One domain's servers may be down; those of all are ours. */
START_TEST(dns_that_fails_for_all_is_a_fault_until_it_answers)
{
	struct world world;
	struct faults *faults;
	char to[32];

	world_init(&world);
	faults = queue_faults(world.queue);
	dns.is_failing = true;
	for (unsigned i = 0; i < FAULT_DNS_DOMAINS; i++) {
		ck_assert_uint_eq(faults->count, 0);
		(void)snprintf(to, sizeof(to), "bob@far%u.test", i);
		SEND_ALL(&world, to);
	}
	ck_assert_uint_eq(faults->count, 1);
	ck_assert_int_eq(faults->list[0].kind, FAULT_DNS);
	ck_assert_str_eq(faults->list[0].where, "");
	dns.is_failing = false;
	SEND_ALL(&world, "bob@near.test");
	ck_assert_uint_eq(faults->count, 0);
	world_done(&world);
}
END_TEST

START_TEST(what_a_resolver_kept_is_left_behind)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test";
	SEND_ALL(&world, "bob@far.test");
	dns.mx = "10 new.test";
	advance(&world, 62);
	attempts_are("old.test new.test ");
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	world_done(&world);
}
END_TEST

START_TEST(a_ttl_of_more_than_an_hour_is_not_waited_for)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test";
	dns.ttl_s = 3601;
	SEND_ALL(&world, "bob@far.test");
	attempts_are("old.test report ");
	ck_assert_uint_eq(dns.asked, 2);
	world_done(&world);
}
END_TEST

START_TEST(a_restart_keeps_what_was_tried_and_when_to_ask)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test new.test";
	SEND_ALL(&world, "ok@far.test");
	dns.mx = "10 new.test";
	SEND_ALL(&world, "bob@far.test");
	attempts_are("old.test old.test new.test ");
	world_reopen(&world);
	settle_down(&world);
	advance(&world, 59);
	attempts_are("");
	advance(&world, 3);
	attempts_are("new.test report ");
	world_done(&world);
}
END_TEST

/* DNS says another thing each time, and both hosts refuse. */
START_TEST(dns_that_never_rests_is_not_followed_for_long)
{
	struct world world;

	world_init(&world);
	peer.denies = "old.test new.test";
	dns.flip = "10 new.test";
	SEND_ALL(&world, "bob@far.test");
	for (unsigned i = 0; i < 100 && stats_of(&world).bounced == 0; i++)
		advance(&world, 10);
	attempts_are("old.test new.test old.test new.test report ");
	ck_assert_uint_le(dns.asked, 5);
	world_done(&world);
}
END_TEST

START_TEST(a_stubborn_host_cannot_make_us_flood_dns)
{
	enum { ALL = 200 };
	struct world world;
	uint64_t s = 0;

	world_init(&world);
	peer.denies = "old.test";
	for (unsigned i = 0; i < ALL; i++) {
		SEND_ALL(&world, "bob@far.test");
		if (i % 20 == 0)
			advance(&world, 1);
	}
	for (; s < 1000 && stats_of(&world).bounced < ALL; s += 5)
		advance(&world, 5);
	ck_assert_uint_eq(stats_of(&world).bounced, ALL);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_le(stats_of(&world).deferrals, 2 * ALL);
	/* by the TTL, and one out of turn each 30 s */
	ck_assert_uint_le(dns.asked, (s + 10) / 60 + (s + 10) / 30 + 2);
	world_done(&world);
}
END_TEST

START_TEST(without_an_answer_mail_goes_by_the_schedule)
{
	struct world world;

	world_init(&world);
	SEND_ALL(&world, "ok@far.test");
	dns.is_failing = true;
	peer.denies = "old.test";
	SEND_ALL(&world, "bob@far.test");
	attempts_are("old.test old.test ");
	advance(&world, 800);
	attempts_are("");
	dns.is_failing = false;
	dns.mx = "10 new.test";
	advance(&world, 400);
	attempts_are("new.test ");
	ck_assert_uint_eq(stats_of(&world).bounced, 0);
	ck_assert_uint_eq(stats_of(&world).delivered, 2);
	world_done(&world);
}
END_TEST

START_TEST(a_backup_is_not_the_last_word_while_its_betters_are_down)
{
	struct world world;
	bool comes_back = _i == 1;

	world_init(&world);
	peer.denies = "spare.test";
	peer.down = "best.test";
	dns.mx = "10 best.test 20 spare.test";
	dns.ttl_s = 86400;
	SEND_ALL(&world, "bob@far.test");
	advance(&world, 3599);
	attempts_are("spare.test ");
	if (comes_back)
		peer.down = NULL;
	advance(&world, 3);
	if (comes_back) {
		attempts_are("best.test ");
		ck_assert_uint_eq(stats_of(&world).delivered, 1);
	} else {
		attempts_are("spare.test report ");
		report_has("best.test with preference 10 could not be reached");
		report_has("A backup MX of the domain refuses its mail.");
	}
	world_done(&world);
}
END_TEST

START_TEST(a_smarthost_gets_the_time_of_grace)
{
	struct world world;
	struct faults *faults;

	world_init(&world);
	faults = queue_faults(world.queue);
	peer.denies = "smart";
	SEND_ALL(&world, "bob@smart.test");
	ck_assert_uint_eq(faults->count, 1);
	ck_assert_int_eq(faults->list[0].kind, FAULT_LOGIN);
	advance(&world, 1200);
	advance(&world, 1200);
	attempts_are("smart smart smart ");
	ck_assert_uint_eq(stats_of(&world).bounced, 0);
	advance(&world, 1300);
	attempts_are("smart report ");
	report_has("is the smarthost of route out, which has no user to log in "
		   "with.");
	ck_assert_uint_eq(dns.fake->count, 0);
	SEND_ALL(&world, "ok@smart.test");
	ck_assert_uint_eq(faults->count, 0);
	world_done(&world);
}
END_TEST

/* The queue closes while DNS has not answered yet. */
START_TEST(what_was_taken_is_not_sent_twice_after_a_hasty_end)
{
	struct world world;

	world_init(&world);
	SEND_ALL(&world, "ok@far.test");
	peer.denies = "old.test";
	dns.is_silent = true;
	SEND_ALL(&world, "ok@far.test", "bob@far.test");
	attempts_are("old.test old.test ");
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	world_reopen(&world);
	dns.is_silent = false;
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	peer.denies = NULL;
	advance(&world, 1101);
	attempts_are("old.test ");
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	world_done(&world);
}
END_TEST

/* The answer comes while the queue waits for the last attempts. */
START_TEST(the_end_waits_for_dns)
{
	struct world world;

	world_init(&world);
	SEND_ALL(&world, "ok@far.test");
	peer.denies = "old.test";
	dns.is_silent = true;
	SEND_ALL(&world, "bob@far.test");
	queue_close(world.queue, 1000000, on_closed, &world);
	uv_run(&world.loop, UV_RUN_NOWAIT);
	ck_assert(!world.is_closed);
	dns.is_silent = false;
	dns.mx = "10 new.test";
	guard_start(&world.guard);
	while (!world.is_closed) {
		dns_serve();
		uv_run(&world.loop, UV_RUN_ONCE);
	}
	uv_timer_stop(&world.guard);
	attempts_are("old.test old.test ");
	box_open(&world);
	settle_down(&world);
	attempts_are("new.test ");
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	world_done(&world);
}
END_TEST

static void
on_applied(void *arg, uint64_t count)
{
	*(uint64_t *)arg = count;
}

START_TEST(a_message_may_go_while_dns_is_asked_about_it)
{
	struct world world;
	struct queue_filter filter = {.ids = NULL};
	uint64_t id, removed = UINT64_MAX;

	world_init(&world);
	SEND_ALL(&world, "ok@far.test");
	peer.denies = "old.test";
	dns.is_silent = true;
	id = SEND_ALL(&world, "bob@far.test");
	SEND_ALL(&world, "eve@far.test");
	filter.ids = &id;
	filter.id_count = 1;
	queue_apply(world.queue, QUEUE_REMOVE, &filter, on_applied, &removed);
	while (removed == UINT64_MAX)
		uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_uint_eq(removed, 1);
	dns.is_silent = false;
	dns.mx = "10 new.test";
	settle_down(&world);
	/* eve's had to wait for DNS, for it was dropped from the cache */
	attempts_are("old.test old.test new.test ");
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	world_done(&world);
}
END_TEST

UNIT_MAIN("queue_denied", tcase_add_test(tc, a_new_answer_is_tried_at_once);
	  tcase_add_test(tc,
			 the_same_answer_is_asked_for_once_more_after_its_ttl);
	  tcase_add_test(tc,
			 we_are_no_new_answer_where_we_are_a_backup_ourselves);
	  tcase_add_test(tc, a_report_tells_the_best_three_hosts_of_dns_now);
	  tcase_add_test(tc, a_report_tells_no_more_hosts_than_dns_has_now);
	  tcase_add_test(tc, who_wants_a_name_for_our_address_is_given_time);
	  tcase_add_test(tc,
			 dns_that_fails_for_all_is_a_fault_until_it_answers);
	  tcase_add_test(tc, what_a_resolver_kept_is_left_behind);
	  tcase_add_test(tc, a_ttl_of_more_than_an_hour_is_not_waited_for);
	  tcase_add_test(tc, a_restart_keeps_what_was_tried_and_when_to_ask);
	  tcase_add_test(tc, dns_that_never_rests_is_not_followed_for_long);
	  tcase_add_test(tc, a_stubborn_host_cannot_make_us_flood_dns);
	  tcase_add_test(tc, without_an_answer_mail_goes_by_the_schedule);
	  tcase_add_loop_test(
		  tc, a_backup_is_not_the_last_word_while_its_betters_are_down,
		  0, 2);
	  tcase_add_test(tc, a_smarthost_gets_the_time_of_grace);
	  tcase_add_test(tc,
			 what_was_taken_is_not_sent_twice_after_a_hasty_end);
	  tcase_add_test(tc, the_end_waits_for_dns);
	  tcase_add_test(tc, a_message_may_go_while_dns_is_asked_about_it);)
