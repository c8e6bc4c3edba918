/* SPDX-License-Identifier: ISC */
/*
 * The queue over a real spool, with deliveries that end as the recipient's
 * local part says and a clock that the test moves:
 *
 *	ok, later (450), later1 (450 once), never (550), never2 (another host's
 *	550), down (no connection while the world says so), hang (no end), own
 *	(550, our fault)
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/mem.h"
#include "policy/builder.h"
#include "queue/deliver/delivery.h"
#include "queue/queue.h"
#include "queue/spool/disk.h"

#define AUTHOR	"author@home.test"
#define LOG_MAX (1u << 20)

/* ------------------------------------------------------ the deliverer */

struct deliverer {
	int unused;
};

struct delivery {
	uv_timer_t timer;
	struct list link; /* of hanging ones */
	delivery_fn *on_done;
	void *owner;
	struct outcome *outcomes;
	size_t count;
};

static struct {
	uv_loop_t *loop;
	bool is_down;
	unsigned busy; /* deliveries to come that find a busy host */
	bool refuses_postmaster;
	unsigned started, running, running_most, aborted;
	struct buf log; /* "KEY FROM: TO TO\n" a delivery */
	struct list hanging;
} peer;

static void
outcome_for(const struct envelope *envelope, size_t index, struct outcome *out)
{
	const struct recipient *recipient = &envelope->recipients[index];
	const char *to = recipient->address;

	memset(out, 0, sizeof(*out));
	out->mx_ttl_s = 300;
	out->cause = CAUSE_REPLY;
	out->phase = PHASE_RCPT;
	(void)snprintf(out->host, sizeof(out->host), "%s", "mx.test");
	if (strncmp(to, "postmaster@", 11) == 0 && peer.refuses_postmaster)
		to = "never";
	if (strncmp(to, "later1@", 7) == 0 && recipient->attempts >= 1)
		to = "ok";
	if (strncmp(to, "later", 5) == 0) {
		out->kind = OUTCOME_DEFERRED;
		status_set(&out->status, 450, "4.2.0", "come back later");
		(void)snprintf(out->reply, sizeof(out->reply),
			       "450 4.2.0 come back later");
	} else if (strncmp(to, "never", 5) == 0 || strncmp(to, "own", 3) == 0) {
		out->kind = OUTCOME_FAILED;
		status_set(&out->status, 550, "5.1.1", "no such user");
		(void)snprintf(out->reply, sizeof(out->reply),
			       "550 5.1.1 no such user");
		out->is_own_fault = to[0] == 'o';
		if (out->is_own_fault) /* x.1.n is never ours */
			status_set(&out->status, 550, "5.7.1", "no");
		if (strncmp(to, "never2", 6) == 0)
			(void)snprintf(out->host, sizeof(out->host),
				       "mx2.test");
	} else if (peer.busy != 0) {
		peer.busy--;
		outcome_own(out, CAUSE_HOST_BUSY, PHASE_CONNECT,
			    "it has enough");
	} else if (strncmp(to, "down", 4) == 0 && peer.is_down) {
		outcome_own(out, CAUSE_CONNECT_REFUSED, PHASE_CONNECT,
			    "connection refused");
		out->kind = OUTCOME_DEFERRED;
	} else {
		out->kind = OUTCOME_DELIVERED;
		status_set(&out->status, 250, "2.0.0", "taken");
	}
}

static void
on_delivery_closed(uv_handle_t *handle)
{
	struct delivery *delivery = handle->data;

	free(delivery->outcomes);
	free(delivery);
}

static void
delivery_close(struct delivery *delivery)
{
	peer.running--;
	list_remove(&delivery->link);
	uv_close((uv_handle_t *)&delivery->timer, on_delivery_closed);
}

static void
on_delivery_time(uv_timer_t *timer)
{
	struct delivery *delivery = timer->data;

	delivery->on_done(delivery->owner, delivery->outcomes, delivery->count);
	delivery_close(delivery);
}

struct deliverer *
deliverer_new(uv_loop_t *loop, const struct deliverer_opts *opts,
	      struct resolver *resolver, struct spool *spool)
{
	peer.loop = loop;
	return mem_zalloc(sizeof(struct deliverer));
}

void
deliverer_configure(struct deliverer *deliverer,
		    const struct deliverer_opts *opts)
{
}

void
deliverer_forget_marks(struct deliverer *deliverer)
{
	(void)deliverer;
}

void
deliverer_slow_hosts(const struct deliverer *deliverer,
		     void (*each)(void *arg, const struct pace_host *host),
		     void *arg)
{
	(void)deliverer;
	(void)each;
	(void)arg;
}

void
deliverer_close_idle(struct deliverer *deliverer)
{
}

void
deliverer_free(struct deliverer *deliverer)
{
	ck_assert_uint_eq(peer.running, 0);
	free(deliverer);
}

struct delivery *
delivery_start(struct deliverer *deliverer,
	       const struct delivery_request *request, delivery_fn *on_done,
	       void *owner)
{
	struct delivery *delivery = mem_zalloc(sizeof(*delivery));
	const struct envelope *envelope = request->envelope;
	bool hangs = false;

	ck_assert_uint_gt(request->recipient_count, 0);
	peer.started++;
	if (++peer.running > peer.running_most)
		peer.running_most = peer.running;
	delivery->on_done = on_done;
	delivery->owner = owner;
	delivery->count = request->recipient_count;
	delivery->outcomes =
		mem_zalloc(delivery->count * sizeof(*delivery->outcomes));
	(void)buf_addf(&peer.log, "%s <%s>:", request->hop->key,
		       envelope->sender);
	for (size_t i = 0; i < delivery->count; i++) {
		size_t index = request->recipients[i];
		const char *to = envelope->recipients[index].address;

		(void)buf_addf(&peer.log, " %s", to);
		hangs |= strncmp(to, "hang", 4) == 0;
		outcome_for(envelope, index, &delivery->outcomes[i]);
	}
	(void)buf_adds(&peer.log, "\n");
	list_init(&delivery->link);
	uv_timer_init(peer.loop, &delivery->timer);
	delivery->timer.data = delivery;
	if (hangs)
		list_push(&peer.hanging, &delivery->link);
	else
		uv_timer_start(&delivery->timer, on_delivery_time, 0, 0);
	return delivery;
}

void
delivery_abort(struct delivery *delivery)
{
	peer.aborted++;
	delivery_close(delivery);
}

/* ---------------------------------------------------------- the world */

struct world {
	uv_loop_t loop;
	uv_timer_t guard;
	char dir[64];
	struct policy *policy;
	struct queue_opts opts;
	struct queue *queue;
	uint64_t now_ms;
	bool is_loaded, is_closed;
};

static const uint32_t retry_s[] = {60, 300};

static void
on_policy_report(void *arg, enum builder_severity severity, const char *at,
		 const char *text)
{
	if (severity == BUILDER_ERROR)
		ck_abort_msg("%s: %s", at != NULL ? at : "", text);
}

/* home.test is ours; moved: a.test has a route of its own. */
static struct policy *
policy_make(bool is_moved)
{
	struct builder *builder = builder_new(on_policy_report, NULL);
	const struct builder_relay relay = {
		.hostname = {"relay.test", "t:1"},
		.postmaster = {"postmaster@home.test", "t:1"},
		.mx_points_here = {"defer", NULL},
		.sender_binding = {"domain", NULL},
	};
	const struct builder_domain home = {
		.name = {"home.test", "t:2"},
		.deliver = {"maildir:/nowhere/%d/%u", "t:2"},
		.delimiter = {"+", NULL},
	};
	const struct sourced domains[] = {{"a.test", "t:3"}};
	const struct sourced via[] = {{"smtp:127.0.0.1:25", "t:3"}};
	const struct builder_route route = {
		.name = {"inner", "t:3"},
		.for_domains = {domains, 1},
		.via = {via, 1},
		.tls = {"opportunistic", NULL},
		.family = {"any", NULL},
		.connections = 10,
		.messages_per_connection = 100,
	};
	struct policy *policy;

	builder_set_relay(builder, &relay);
	builder_add_domain(builder, &home);
	if (is_moved)
		builder_add_route(builder, &route);
	policy = builder_finish(builder);
	ck_assert_ptr_nonnull(policy);
	return policy;
}

static uint64_t
world_now(void *arg)
{
	return ((struct world *)arg)->now_ms;
}

static void
on_loaded(void *owner)
{
	((struct world *)owner)->is_loaded = true;
}

static void
on_broken(void *owner)
{
	ck_abort_msg("the spool broke");
}

static void
on_guard(uv_timer_t *timer)
{
	ck_abort_msg("nothing happened for too long");
}

static void
world_open(struct world *world)
{
	static const struct queue_events events = {on_loaded, on_broken};
	struct err err = ERR_INIT;

	world->is_loaded = world->is_closed = false;
	ck_assert_msg(queue_open(&world->loop, &world->opts, world->policy,
				 NULL, &events, world, &world->queue,
				 &err) == 0,
		      "%s", err.text);
}

static void
world_init(struct world *world)
{
	memset(world, 0, sizeof(*world));
	memset(&peer, 0, sizeof(peer));
	buf_init(&peer.log, LOG_MAX);
	list_init(&peer.hanging);
	uv_loop_init(&world->loop);
	uv_timer_init(&world->loop, &world->guard);
	uv_unref((uv_handle_t *)&world->guard);
	(void)snprintf(world->dir, sizeof(world->dir), "test_queue.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world->dir));
	world->now_ms = 1795271234567;
	world->policy = policy_make(false);
	world->opts = (struct queue_opts){
		.spool_dir = world->dir,
		.retry_s = retry_s,
		.retry_count = COUNT(retry_s),
		.expire_s = 5 * 86400,
		.warn_s = 4 * 3600,
		.bounce_expire_s = 86400,
		.grace_s = 3600,
		.connections = 200,
		.port = 25,
		.deliver = true,
		.now_ms = world_now,
		.now_arg = world,
	};
	world_open(world);
}

static void
on_closed(void *arg)
{
	((struct world *)arg)->is_closed = true;
}

/* Runs the loop until *claim, which is watched, is true. */
static void
run_until(struct world *world, bool (*is_so)(struct world *world))
{
	uv_timer_start(&world->guard, on_guard, 30000, 0);
	uv_unref((uv_handle_t *)&world->guard);
	while (!is_so(world))
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
}

static bool
is_closed(struct world *world)
{
	return world->is_closed;
}

static void
world_close(struct world *world, uint64_t drain_ms)
{
	queue_close(world->queue, drain_ms, on_closed, world);
	run_until(world, is_closed);
	world->queue = NULL;
}

static void
world_reopen(struct world *world)
{
	world_close(world, 1000);
	world_open(world);
}

static int
on_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
world_done(struct world *world)
{
	if (world->queue != NULL)
		world_close(world, 0);
	uv_close((uv_handle_t *)&world->guard, NULL);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&world->loop), 0);
	policy_unref(world->policy);
	buf_done(&peer.log);
	(void)nftw(world->dir, on_file, 16, FTW_DEPTH | FTW_PHYS);
}

static void
advance(struct world *world, uint64_t s)
{
	world->now_ms += s * 1000;
	queue_configure(world->queue, &world->opts, world->policy);
}

/* ------------------------------------------------------------- sending */

struct sending {
	struct queue_put put;
	bool has_ended;
	int status;
};

static void
on_room(void *owner)
{
}

static void
on_end(void *owner, int status)
{
	struct sending *sending = owner;

	sending->has_ended = true;
	sending->status = status;
}

static void
sending_begin(struct world *world, struct sending *sending, const char *from,
	      const char *const *to, unsigned notify)
{
	static const char body[] =
		"From: author\r\nSubject: test\r\n\r\nhello\r\n";
	struct envelope envelope;

	memset(sending, 0, sizeof(*sending));
	envelope_init(&envelope);
	envelope.sender = mem_strdup(from);
	envelope.received_ms = world->now_ms;
	envelope.listener = mem_strdup("test");
	envelope.client = mem_strdup("192.0.2.1");
	for (; *to != NULL; to++)
		envelope_add(&envelope, *to)->notify = (uint8_t)notify;
	sending->put.owner = sending;
	sending->put.on_room = on_room;
	sending->put.on_end = on_end;
	queue_put_begin(world->queue, &sending->put, &envelope);
	(void)queue_put_data(&sending->put, body, strlen(body));
	queue_put_end(&sending->put);
	ck_assert(!sending->has_ended);
}

/* Returns the id of a message that is durable. to: NULL-terminated. */
static uint64_t
send_to(struct world *world, const char *from, const char *const *to,
	unsigned notify)
{
	struct sending sending;
	uint64_t id;

	sending_begin(world, &sending, from, to, notify);
	id = sending.put.spool.id;
	uv_timer_start(&world->guard, on_guard, 30000, 0);
	while (!sending.has_ended)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	ck_assert_int_eq(sending.status, 0);
	return id;
}

#define SEND(world, from, ...)                                                 \
	send_to(world, from, (const char *const[]){__VA_ARGS__, NULL}, 0)

static struct queue_stats
stats_of(struct world *world)
{
	struct queue_stats stats;

	queue_stats(world->queue, &stats);
	return stats;
}

static bool
is_empty(struct world *world)
{
	return stats_of(world).messages == 0;
}

/* Lets the loop turn until nothing moves any more. */
static void
settle_down(struct world *world)
{
	unsigned still = 0;

	uv_timer_start(&world->guard, on_guard, 30000, 0);
	while (still < 5) {
		struct queue_stats before = stats_of(world), after;
		unsigned started = peer.started;

		uv_run(&world->loop, UV_RUN_NOWAIT);
		after = stats_of(world);
		still = peer.started == started && after.active == 0 &&
					peer.running == 0 &&
					before.accepted == after.accepted &&
					before.messages == after.messages
				? still + 1
				: 0;
	}
	uv_timer_stop(&world->guard);
}

/* The same, while that many deliveries hang. */
static void
settle_down_hanging(struct world *world, unsigned count)
{
	uv_timer_start(&world->guard, on_guard, 30000, 0);
	while (peer.running != count || stats_of(world).active != count)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
}

static void
log_is(const char *want)
{
	ck_assert_str_eq(buf_text(&peer.log), want);
	buf_clear(&peer.log);
}

/* -------------------------------------------------- delivered, or not */

START_TEST(accepted_mail_is_delivered_and_gone)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "ok@a.test");
	run_until(&world, is_empty);
	log_is("mx a.test <author@home.test>: ok@a.test\n");
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	ck_assert_uint_eq(stats_of(&world).accepted, 1);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_eq(peer.started, 1);
	world_done(&world);
}
END_TEST

START_TEST(deferred_mail_is_tried_again_when_it_is_due)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 1);
	ck_assert_uint_eq(stats_of(&world).deferred, 1);
	advance(&world, 53); /* a minute less the jitter, and a little */
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 1);
	advance(&world, 14);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 2);
	ck_assert_uint_eq(stats_of(&world).delivered, 1);
	ck_assert_uint_eq(stats_of(&world).deferrals, 1);
	ck_assert_uint_eq(stats_of(&world).deferred, 0);
	world_done(&world);
}
END_TEST

START_TEST(refused_mail_is_reported_to_its_sender)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "never@a.test");
	run_until(&world, is_empty);
	log_is("mx a.test <author@home.test>: never@a.test\n"
	       "domain home.test <>: author@home.test\n");
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 2);
	world_done(&world);
}
END_TEST

static const struct {
	const char *from;
	unsigned notify;
} unreported[] = {
	{"", NOTIFY_DEFAULT},
	{"", NOTIFY_FAILURE},
	{AUTHOR, NOTIFY_NEVER},
	{AUTHOR, NOTIFY_SUCCESS},
};

START_TEST(nobody_is_told_who_is_not_there_or_does_not_want_it)
{
	static const char *const to[] = {"never@a.test", NULL};
	struct world world;

	world_init(&world);
	(void)send_to(&world, unreported[_i].from, to, unreported[_i].notify);
	run_until(&world, is_empty);
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 1);
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	world_done(&world);
}
END_TEST

START_TEST(one_report_tells_of_all_that_failed_alike)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "never.a@a.test", "never.b@a.test", "ok@a.test",
	     "never2@a.test");
	run_until(&world, is_empty);
	settle_down(&world);
	log_is("mx a.test <author@home.test>: never.a@a.test never.b@a.test "
	       "ok@a.test never2@a.test\n"
	       "domain home.test <>: author@home.test\n"
	       "domain home.test <>: author@home.test\n");
	ck_assert_uint_eq(stats_of(&world).bounced, 3);
	ck_assert_uint_eq(stats_of(&world).delivered, 3);
	world_done(&world);
}
END_TEST

START_TEST(mail_that_is_never_taken_expires_with_a_warning_before)
{
	struct world world;
	unsigned reports = 0;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	for (unsigned hours = 0; hours < 121; hours++) {
		advance(&world, 3600);
		settle_down(&world);
		reports = (unsigned)stats_of(&world).delivered;
		ck_assert_uint_eq(reports, hours + 1 < 4     ? 0
					   : hours + 1 < 120 ? 1
							     : 2);
	}
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	ck_assert_uint_eq(stats_of(&world).deferrals, 120);
	world_done(&world);
}
END_TEST

START_TEST(a_fault_of_our_own_is_not_reported_at_once)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "own@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(stats_of(&world).deferrals, 1);
	advance(&world, 3601);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	world_done(&world);
}
END_TEST

/* -------------------------------------------- recipients and next hops */

#define DAY_S ((uint64_t)86400)

START_TEST(a_clock_that_goes_back_keeps_nothing_waiting)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	world.now_ms -= 700 * DAY_S * 1000;
	world_reopen(&world);
	settle_down(&world);
	advance(&world, DAY_S + 1);
	settle_down(&world);
	/* one got through, the other's sender was warned */
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	/* which expires in time, by its age since then */
	for (unsigned i = 0; i < 40; i++) {
		advance(&world, DAY_S / 8);
		settle_down(&world);
	}
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	run_until(&world, is_empty);
	world_done(&world);
}
END_TEST

START_TEST(a_clock_that_goes_forward_loses_nothing)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	buf_clear(&peer.log);
	world.now_ms += 700 * DAY_S * 1000;
	world_reopen(&world);
	run_until(&world, is_empty);
	/* one more attempt for all that is too old, and its sender hears */
	ck_assert_uint_eq(stats_of(&world).delivered, 2);
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log),
				     "domain home.test <>: author@home.test"));
	world_done(&world);
}
END_TEST

START_TEST(recipients_of_one_next_hop_travel_together)
{
	struct world world;
	const char *to[101];
	char address[100][32];

	world_init(&world);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(address[i], sizeof(address[i]), "ok%u@d%u.test",
			       i, i % 20);
		to[i] = address[i];
	}
	to[100] = NULL;
	(void)send_to(&world, AUTHOR, to, 0);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 20);
	ck_assert_uint_eq(stats_of(&world).delivered, 100);
	world_done(&world);
}
END_TEST

START_TEST(only_who_did_not_get_it_is_tried_again)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "ok@a.test", "later1@a.test", "later1@b.test",
	     "ok@b.test", "ok@c.test");
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 3);
	ck_assert_uint_eq(stats_of(&world).delivered, 3);
	ck_assert_uint_eq(stats_of(&world).queued, 2);
	buf_clear(&peer.log);
	advance(&world, 67);
	run_until(&world, is_empty);
	if (strstr(buf_text(&peer.log), "b.test") <
	    strstr(buf_text(&peer.log), "a.test"))
		log_is("mx b.test <author@home.test>: later1@b.test\n"
		       "mx a.test <author@home.test>: later1@a.test\n");
	else
		log_is("mx a.test <author@home.test>: later1@a.test\n"
		       "mx b.test <author@home.test>: later1@b.test\n");
	world_done(&world);
}
END_TEST

START_TEST(a_restart_in_between_keeps_what_became_of_each)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "ok@a.test", "later1@a.test", "later1@b.test",
	     "never@b.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).delivered, 3 - 1);
	buf_clear(&peer.log);
	world_reopen(&world);
	settle_down(&world);
	/* not before its time */
	log_is("");
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(stats_of(&world).deferred, 1);
	advance(&world, 67);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 5);
	ck_assert_uint_eq(stats_of(&world).delivered, 2);
	world_done(&world);
}
END_TEST

START_TEST(waiting_mail_follows_a_changed_policy)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	SEND(&world, AUTHOR, "later1@a.test", "later1@b.test");
	settle_down(&world);
	buf_clear(&peer.log);
	policy_unref(world.policy);
	world.policy = policy_make(true);
	advance(&world, 67);
	run_until(&world, is_empty);
	ck_assert_ptr_null(strstr(buf_text(&peer.log), "mx a.test"));
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log), "route inner"));
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log), "mx b.test"));
	ck_assert_uint_eq(stats_of(&world).delivered, 3);
	world_done(&world);
}
END_TEST

START_TEST(a_destination_that_is_down_is_probed_and_then_gets_everything)
{
	struct world world;

	world_init(&world);
	peer.is_down = true;
	for (unsigned i = 0; i < 50; i++)
		SEND(&world, AUTHOR, "down@a.test");
	settle_down(&world);
	ck_assert_uint_le(peer.started, 3);
	ck_assert_uint_eq(stats_of(&world).queued, 50);
	advance(&world, 61);
	settle_down(&world);
	ck_assert_uint_le(peer.started, 6);
	peer.is_down = false;
	advance(&world, 400);
	run_until(&world, is_empty);
	ck_assert_uint_le(peer.started, 56);
	world_done(&world);
}
END_TEST

START_TEST(a_host_that_answers_again_wakes_what_waits_for_it)
{
	struct world world;

	world_init(&world);
	peer.is_down = true;
	for (unsigned i = 0; i < 20; i++)
		SEND(&world, AUTHOR, "down@a.test");
	settle_down(&world);
	peer.is_down = false;
	/* none of them is due, but a newcomer gets through */
	world.now_ms += 1000;
	SEND(&world, AUTHOR, "down@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 21);
	advance(&world, 60);
	run_until(&world, is_empty);
	world_done(&world);
}
END_TEST

START_TEST(a_busy_host_is_asked_again_soon_and_that_is_no_attempt)
{
	struct world world;

	world_init(&world);
	peer.busy = 3;
	for (unsigned i = 0; i < 20; i++)
		SEND(&world, AUTHOR, "ok@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 20);
	ck_assert_uint_eq(stats_of(&world).deferrals, 0);
	ck_assert_uint_eq(stats_of(&world).deferred, 0);
	for (unsigned i = 0; i < 60 && stats_of(&world).messages != 0; i++) {
		advance(&world, 2);
		settle_down(&world);
	}
	ck_assert_uint_eq(stats_of(&world).delivered, 20);
	ck_assert_uint_le(peer.started, 23);
	world_done(&world);
}
END_TEST

START_TEST(mail_for_a_host_that_stays_busy_expires_all_the_same)
{
	struct world world;

	world_init(&world);
	peer.busy = UINT32_MAX;
	SEND(&world, "", "ok@a.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	advance(&world, 86400 + 30);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).expired, 1);
	world_done(&world);
}
END_TEST

START_TEST(mail_for_a_host_that_stays_down_expires_all_the_same)
{
	struct world world;
	unsigned before;

	world_init(&world);
	peer.is_down = true;
	for (unsigned i = 0; i < 40; i++)
		SEND(&world, "", "down@a.test");
	settle_down(&world);
	advance(&world, 86400 - 30);
	settle_down(&world);
	before = peer.started;
	/* one attempt is enough to know */
	advance(&world, 31);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).expired, 40);
	ck_assert_uint_le(peer.started, before + 2);
	world_done(&world);
}
END_TEST

/* ------------------------------------------------------------ operators */

static void
on_count(void *arg, uint64_t count)
{
	*(uint64_t *)arg = count;
}

static uint64_t
apply(struct world *world, enum queue_verb verb,
      const struct queue_filter *filter)
{
	uint64_t count = UINT64_MAX;

	queue_apply(world->queue, verb, filter, on_count, &count);
	ck_assert_uint_eq(count, UINT64_MAX);
	uv_timer_start(&world->guard, on_guard, 30000, 0);
	while (count == UINT64_MAX)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	settle_down(world);
	return count;
}

static const struct queue_filter all;

START_TEST(what_is_held_stays_until_it_is_released)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	settle_down(&world);
	ck_assert_uint_eq(apply(&world, QUEUE_HOLD, &all), 1);
	ck_assert_uint_eq(apply(&world, QUEUE_HOLD, &all), 0);
	advance(&world, 1000);
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 1);
	ck_assert_uint_eq(stats_of(&world).held, 1);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).held, 1);
	ck_assert_uint_eq(peer.started, 1);
	ck_assert_uint_eq(apply(&world, QUEUE_RELEASE, &all), 1);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 2);
	world_done(&world);
}
END_TEST

START_TEST(retry_does_not_wait_for_the_schedule)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test");
	settle_down(&world);
	ck_assert_uint_eq(apply(&world, QUEUE_RETRY, &all), 1);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 2);
	world_done(&world);
}
END_TEST

START_TEST(what_is_removed_is_gone_and_nobody_is_told)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test");
	SEND(&world, AUTHOR, "hang@a.test", "hang@b.test");
	settle_down_hanging(&world, 2);
	ck_assert_uint_eq(apply(&world, QUEUE_REMOVE, &all), 2);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_eq(peer.aborted, 2);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_eq(peer.started, 3);
	world_done(&world);
}
END_TEST

START_TEST(what_is_bounced_goes_back_to_the_sender)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test", "later@b.test", "later@a.test");
	settle_down(&world);
	buf_clear(&peer.log);
	ck_assert_uint_eq(apply(&world, QUEUE_BOUNCE, &all), 1);
	run_until(&world, is_empty);
	log_is("domain home.test <>: author@home.test\n");
	ck_assert_uint_eq(stats_of(&world).bounced, 3);
	world_done(&world);
}
END_TEST

static void
on_paused(void *arg, int status)
{
	ck_assert_int_eq(status, 0);
	*(bool *)arg = true;
}

static void
pause_all(struct world *world, bool is_paused)
{
	bool is_over = false;

	ck_assert_int_eq(queue_pause(world->queue, is_paused, on_paused,
				     &is_over),
			 0);
	ck_assert(!is_over);
	ck_assert(queue_is_paused(world->queue));
	/* one after the other */
	ck_assert_int_eq(queue_pause(world->queue, is_paused, on_paused,
				     &is_over),
			 -EBUSY);
	uv_timer_start(&world->guard, on_guard, 30000, 0);
	while (!is_over)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	ck_assert(queue_is_paused(world->queue) == is_paused);
}

START_TEST(what_is_bounced_is_so_after_a_restart)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test", "later@b.test");
	settle_down(&world);
	pause_all(&world, true);
	ck_assert_uint_eq(apply(&world, QUEUE_BOUNCE, &all), 1);
	ck_assert_uint_eq(apply(&world, QUEUE_BOUNCE, &all), 0);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	buf_clear(&peer.log);
	pause_all(&world, false);
	run_until(&world, is_empty);
	log_is("domain home.test <>: author@home.test\n");
	world_done(&world);
}
END_TEST

static uint64_t
redirect(struct world *world, const char *via,
	 const struct queue_filter *filter)
{
	uint64_t count = UINT64_MAX;

	queue_redirect(world->queue, via, filter, on_count, &count);
	ck_assert_uint_eq(count, UINT64_MAX);
	uv_timer_start(&world->guard, on_guard, 30000, 0);
	while (count == UINT64_MAX)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	return count;
}

/* Two deliveries and no others, in any order. */
static void
log_has(const char *one, const char *other)
{
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log), one));
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log), other));
	ck_assert_uint_eq(buf_len(&peer.log), strlen(one) + strlen(other));
	buf_clear(&peer.log);
}

START_TEST(what_is_redirected_goes_there_at_once)
{
	static const struct queue_filter a = {.domain = "A.test"};
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test");
	SEND(&world, AUTHOR, "later@a.test", "later@b.test", "later@a.test");
	SEND(&world, AUTHOR, "later@b.test");
	settle_down(&world);
	buf_clear(&peer.log);
	ck_assert_uint_eq(redirect(&world, "192.0.2.1:26", &a), 2);
	settle_down(&world);
	log_has("via 192.0.2.1:26 <author@home.test>: later@a.test\n",
		"via 192.0.2.1:26 <author@home.test>: later@a.test "
		"later@a.test\n");
	/* mail that comes later goes by the routes */
	buf_clear(&peer.log);
	SEND(&world, AUTHOR, "ok@a.test");
	settle_down(&world);
	log_is("mx a.test <author@home.test>: ok@a.test\n");
	/* and the others later on still go there, after a restart too */
	world_reopen(&world);
	buf_clear(&peer.log);
	advance(&world, 400);
	settle_down(&world);
	ck_assert_ptr_null(strstr(buf_text(&peer.log), "mx a.test"));
	ck_assert_ptr_nonnull(
		strstr(buf_text(&peer.log),
		       "via 192.0.2.1:26 <author@home.test>: later@a.test "
		       "later@a.test\n"));
	/* until they are told otherwise */
	buf_clear(&peer.log);
	ck_assert_uint_eq(redirect(&world, "", &a), 2);
	settle_down(&world);
	log_has("mx a.test <author@home.test>: later@a.test\n",
		"mx a.test <author@home.test>: later@a.test later@a.test\n");
	ck_assert_uint_eq(stats_of(&world).messages, 3);
	world_done(&world);
}
END_TEST

static bool
has_log(struct world *world)
{
	(void)world;
	return buf_len(&peer.log) != 0;
}

START_TEST(mail_at_work_is_redirected_when_it_comes_back)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "hang@a.test", "later@b.test");
	settle_down_hanging(&world, 1);
	buf_clear(&peer.log);
	ck_assert_uint_eq(redirect(&world, "host.test:25", &all), 1);
	run_until(&world, has_log);
	settle_down_hanging(&world, 1);
	log_is("via host.test:25 <author@home.test>: later@b.test\n");
	world_done(&world);
}
END_TEST

START_TEST(what_is_held_and_redirected_waits_for_its_release)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	ck_assert_uint_eq(apply(&world, QUEUE_HOLD, &all), 1);
	buf_clear(&peer.log);
	ck_assert_uint_eq(redirect(&world, "[2001:db8::1]:25", &all), 1);
	settle_down(&world);
	log_is("");
	ck_assert_uint_eq(apply(&world, QUEUE_RELEASE, &all), 1);
	log_is("via [2001:db8::1]:25 <author@home.test>: later@a.test\n");
	world_done(&world);
}
END_TEST

START_TEST(a_pause_survives_a_restart)
{
	struct world world;

	world_init(&world);
	pause_all(&world, true);
	SEND(&world, AUTHOR, "ok@a.test");
	settle_down(&world);
	world_reopen(&world);
	ck_assert(queue_is_paused(world.queue));
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 0);
	pause_all(&world, false);
	run_until(&world, is_empty);
	pause_all(&world, false);
	world_reopen(&world);
	ck_assert(!queue_is_paused(world.queue));
	world_done(&world);
}
END_TEST

struct lines {
	struct buf text;
	struct queue_listing *listing;
	unsigned calls, stop_after;
	bool has_ended;
};

static bool
on_item(void *arg, const struct queue_item *item)
{
	struct lines *lines = arg;

	lines->calls++;
	(void)buf_addf(&lines->text, "%s %s %s %zu %s\n", item->sender,
		       item->recipient, item->state, item->recipients_left,
		       item->why);
	return lines->calls != lines->stop_after;
}

static void
on_list_end(void *arg)
{
	((struct lines *)arg)->has_ended = true;
}

static void
list_is(struct world *world, const struct queue_filter *filter,
	const char *want)
{
	struct lines lines = {.listing = NULL};

	buf_init(&lines.text, LOG_MAX);
	lines.listing =
		queue_list(world->queue, filter, on_item, on_list_end, &lines);
	ck_assert_uint_eq(lines.calls, 0);
	uv_timer_start(&world->guard, on_guard, 30000, 0);
	while (!lines.has_ended)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_timer_stop(&world->guard);
	ck_assert_str_eq(buf_text(&lines.text), want);
	buf_done(&lines.text);
}

START_TEST(a_list_says_what_waits_and_why)
{
	static const char a[] = "author@home.test later@a.test deferred 2 "
				"450 4.2.0 come back later\n";
	static const char b[] = "x@home.test hang@b.test active 1 \n";
	char both[256];
	struct world world;
	uint64_t id;

	world_init(&world);
	(void)snprintf(both, sizeof(both), "%s%s", a, b);
	SEND(&world, AUTHOR, "later@a.test", "ok@a.test", "later@c.test");
	id = SEND(&world, "x@home.test", "hang@b.test");
	settle_down_hanging(&world, 1);
	list_is(&world, &all, both);
	list_is(&world, &(struct queue_filter){.domain = "c.test"}, a);
	list_is(&world, &(struct queue_filter){.domain = "B.test"}, b);
	list_is(&world, &(struct queue_filter){.state = "deferred"}, a);
	list_is(&world, &(struct queue_filter){.sender = "x@HOME.test"}, b);
	list_is(&world, &(struct queue_filter){.category = "spam-related"}, "");
	list_is(&world, &(struct queue_filter){.ids = &id, .id_count = 1}, b);
	list_is(&world, &(struct queue_filter){.ids = &id, .id_count = 0}, "");
	world_done(&world);
}
END_TEST

START_TEST(a_list_waits_for_its_reader)
{
	struct lines lines = {.stop_after = 3};
	struct world world;

	world_init(&world);
	for (unsigned i = 0; i < 10; i++)
		SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	buf_init(&lines.text, LOG_MAX);
	lines.listing =
		queue_list(world.queue, &all, on_item, on_list_end, &lines);
	settle_down(&world);
	ck_assert_uint_eq(lines.calls, 3);
	/* meanwhile the next ones leave */
	(void)apply(&world, QUEUE_REMOVE, &all);
	queue_list_resume(lines.listing);
	settle_down(&world);
	ck_assert_uint_eq(lines.calls, 3);
	ck_assert(lines.has_ended);
	buf_done(&lines.text);
	world_done(&world);
}
END_TEST

START_TEST(a_list_goes_on_while_an_order_removes_what_it_would_tell_next)
{
	static struct sending sendings[1500];
	static const char *const to[] = {"ok@a.test", NULL};
	struct lines lines = {.listing = NULL};
	struct world world;
	uint64_t count = UINT64_MAX;

	world_init(&world);
	world.opts.deliver = false;
	advance(&world, 0);
	for (unsigned i = 0; i < COUNT(sendings); i++)
		sending_begin(&world, &sendings[i], AUTHOR, to, 0);
	for (unsigned i = 0; i < COUNT(sendings); i++)
		while (!sendings[i].has_ended)
			uv_run(&world.loop, UV_RUN_ONCE);
	queue_apply(world.queue, QUEUE_REMOVE, &all, on_count, &count);
	while (stats_of(&world).messages == COUNT(sendings))
		uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_uint_ne(stats_of(&world).messages, 0);
	/* it comes second in each turn */
	buf_init(&lines.text, LOG_MAX);
	lines.listing =
		queue_list(world.queue, &all, on_item, on_list_end, &lines);
	while (count == UINT64_MAX || !lines.has_ended)
		uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_uint_eq(count, COUNT(sendings));
	ck_assert_uint_lt(lines.calls, COUNT(sendings));
	buf_done(&lines.text);
	world_done(&world);
}
END_TEST

struct shown {
	bool has_come;
	int status;
	char text[256];
	unsigned attempts;
};

static void
on_shown_attempt(void *arg, size_t recipient, const struct attempt *attempt)
{
	struct shown *shown = arg;

	shown->attempts++;
	ck_assert_uint_eq(attempt->code, 450);
	ck_assert_str_eq(attempt->host, "mx.test");
}

static void
on_shown(void *arg, int status, const struct envelope *envelope,
	 const char *states)
{
	struct shown *shown = arg;

	shown->has_come = true;
	shown->status = status;
	if (status < 0)
		return;
	(void)snprintf(shown->text, sizeof(shown->text), "%s %s %u %s",
		       envelope->recipients[0].address,
		       recipient_state_name(envelope->recipients[0].state),
		       envelope->recipients[0].attempts,
		       envelope->recipients[0].last_reply);
	envelope_each_attempt(states, on_shown_attempt, shown);
}

START_TEST(one_message_can_be_shown_with_all_its_attempts)
{
	struct shown shown = {.status = 1};
	struct world world;
	uint64_t id;

	world_init(&world);
	id = SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	(void)apply(&world, QUEUE_RETRY, &all);
	world_reopen(&world); /* what is shown is what is durable */
	queue_show(world.queue, id, on_shown, &shown);
	ck_assert(!shown.has_come);
	while (!shown.has_come)
		uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_int_eq(shown.status, 0);
	ck_assert_str_eq(shown.text, "later@a.test queued 2 450 4.2.0 come "
				     "back later");
	ck_assert_uint_eq(shown.attempts, 2);
	shown.has_come = false;
	queue_show(world.queue, id + 1000, on_shown, &shown);
	while (!shown.has_come)
		uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_int_eq(shown.status, -ENOENT);
	world_done(&world);
}
END_TEST

static void
on_destination(void *arg, const char *key, uint64_t waiting, uint64_t active,
	       const char *last_error)
{
	(void)buf_addf(arg, "%s %u %u %s\n", key, (unsigned)waiting,
		       (unsigned)active, last_error);
}

START_TEST(destinations_are_told_most_waiting_first)
{
	struct world world;
	struct buf text;

	world_init(&world);
	buf_init(&text, LOG_MAX);
	peer.is_down = true;
	SEND(&world, AUTHOR, "down@a.test");
	for (unsigned i = 0; i < 3; i++)
		SEND(&world, AUTHOR, "later@b.test");
	SEND(&world, AUTHOR, "later@c.test");
	SEND(&world, AUTHOR, "later@c.test");
	settle_down(&world);
	queue_destinations(world.queue, 2, on_destination, &text);
	ck_assert_str_eq(buf_text(&text), "mx b.test 3 0 \nmx c.test 2 0 \n");
	buf_clear(&text);
	queue_destinations(world.queue, 10, on_destination, &text);
	ck_assert_str_eq(buf_text(&text),
			 "mx b.test 3 0 \nmx c.test 2 0 \n"
			 "mx a.test 1 0 4.4.1 connection refused\n");
	buf_done(&text);
	world_done(&world);
}
END_TEST

/* ---------------------------------------------------------- the end */

START_TEST(closing_cuts_what_does_not_end_and_keeps_it)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "hang@a.test", "ok@b.test");
	settle_down_hanging(&world, 1);
	world_close(&world, 50);
	ck_assert_uint_eq(peer.aborted, 1);
	buf_clear(&peer.log);
	world_open(&world);
	settle_down_hanging(&world, 1);
	log_is("mx a.test <author@home.test>: hang@a.test\n");
	queue_close(world.queue, 3600000, on_closed, &world);
	queue_close_now(world.queue);
	run_until(&world, is_closed);
	world.queue = NULL;
	world_done(&world);
}
END_TEST

START_TEST(a_put_that_is_given_up_leaves_nothing)
{
	static const char *const to[] = {"ok@a.test", NULL};
	struct sending sending;
	struct world world;

	world_init(&world);
	sending_begin(&world, &sending, AUTHOR, to, 0);
	queue_put_abort(&sending.put);
	queue_put_abort(&sending.put);
	settle_down(&world);
	world_reopen(&world);
	settle_down(&world);
	ck_assert(!sending.has_ended);
	ck_assert_uint_eq(stats_of(&world).messages, 0);
	ck_assert_uint_eq(peer.started, 0);
	world_done(&world);
}
END_TEST

START_TEST(ten_thousand_messages_pass_within_their_limits)
{
	enum { COUNT_ALL = 10000, AT_ONCE = 500 };
	static struct sending sendings[AT_ONCE];
	struct world world;
	char address[32];

	world_init(&world);
	for (unsigned sent = 0; sent < COUNT_ALL;) {
		for (unsigned i = 0; i < AT_ONCE; i++, sent++) {
			const char *to[] = {address, NULL};

			(void)snprintf(address, sizeof(address), "ok@d%u.test",
				       sent % 100);
			sending_begin(&world, &sendings[i], AUTHOR, to, 0);
		}
		for (unsigned i = 0; i < AT_ONCE; i++)
			while (!sendings[i].has_ended)
				uv_run(&world.loop, UV_RUN_ONCE);
		buf_clear(&peer.log);
	}
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).delivered, COUNT_ALL);
	ck_assert_uint_le(peer.running_most, 200);
	world_done(&world);
}
END_TEST

START_TEST(memory_of_waiting_mail_is_counted_and_small)
{
	static struct sending sendings[2000];
	static const char *const to[] = {"later@some.domain.test", NULL};
	struct world world;
	struct queue_stats stats;

	world_init(&world);
	world.opts.deliver = false;
	advance(&world, 0);
	for (unsigned i = 0; i < COUNT(sendings); i++)
		sending_begin(&world, &sendings[i], AUTHOR, to, 0);
	for (unsigned i = 0; i < COUNT(sendings); i++)
		while (!sendings[i].has_ended)
			uv_run(&world.loop, UV_RUN_ONCE);
	world_reopen(&world);
	settle_down(&world);
	stats = stats_of(&world);
	ck_assert_uint_eq(stats.messages, COUNT(sendings));
	ck_assert_uint_gt(stats.entry_bytes, 100 * COUNT(sendings));
	ck_assert_uint_lt((stats.entry_bytes + stats.spool.index_bytes) /
				  COUNT(sendings),
			  400);
	(void)apply(&world, QUEUE_REMOVE, &all);
	ck_assert_uint_lt(stats_of(&world).entry_bytes, 65536);
	world_done(&world);
}
END_TEST

/* ------------------------------------------- a disk that does not take it */

static struct {
	unsigned passing;	 /* syncs before those that fail */
	unsigned syncs, renames; /* still to fail */
} disk_faults;

static int
faulty_fdatasync(int fd)
{
	if (disk_faults.syncs == 0)
		return disk_calls_real.fdatasync(fd);
	if (disk_faults.passing != 0) {
		disk_faults.passing--;
		return disk_calls_real.fdatasync(fd);
	}
	disk_faults.syncs--;
	errno = EIO;
	return -1;
}

static int
faulty_renameat(int dir, const char *from, int to_dir, const char *to)
{
	if (disk_faults.renames == 0)
		return disk_calls_real.renameat(dir, from, to_dir, to);
	disk_faults.renames--;
	errno = EIO;
	return -1;
}

static void
disk_make_faulty(void)
{
	static struct disk_calls calls;

	memset(&disk_faults, 0, sizeof(disk_faults));
	calls = disk_calls_real;
	calls.fdatasync = faulty_fdatasync;
	calls.renameat = faulty_renameat;
	disk_use(&calls);
}

START_TEST(a_report_that_the_disk_refused_is_owed_and_nothing_else_is)
{
	struct world world;

	disk_make_faulty();
	world_init(&world);
	SEND(&world, AUTHOR, "never@a.test", "ok@a.test");
	disk_faults.syncs = 1;
	settle_down(&world);
	ck_assert_uint_eq(disk_faults.syncs, 0);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(stats_of(&world).accepted, 1);
	log_is("mx a.test <author@home.test>: never@a.test ok@a.test\n");
	advance(&world, 301);
	run_until(&world, is_empty);
	log_is("mx a.test <author@home.test>: never@a.test\n"
	       "domain home.test <>: author@home.test\n");
	world_done(&world);
	disk_use(NULL);
}
END_TEST

START_TEST(a_bounce_that_the_disk_refused_waits_before_it_is_tried_again)
{
	struct world world;

	disk_make_faulty();
	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	world_reopen(&world); /* nothing is on its way to the disk */
	settle_down(&world);
	disk_faults.passing = 1; /* the order itself */
	disk_faults.syncs = 1;
	ck_assert_uint_eq(apply(&world, QUEUE_BOUNCE, &all), 1);
	ck_assert_uint_eq(disk_faults.syncs, 0);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	advance(&world, 299);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	buf_clear(&peer.log);
	advance(&world, 2);
	run_until(&world, is_empty);
	log_is("domain home.test <>: author@home.test\n");
	world_done(&world);
	disk_use(NULL);
}
END_TEST

START_TEST(an_order_that_the_disk_refused_is_not_carried_out)
{
	struct world world;

	disk_make_faulty();
	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test");
	settle_down(&world);
	world_reopen(&world); /* nothing is on its way to the disk */
	settle_down(&world);
	buf_clear(&peer.log);
	disk_faults.syncs = 1;
	ck_assert_uint_eq(apply(&world, QUEUE_BOUNCE, &all), 0);
	ck_assert_uint_eq(disk_faults.syncs, 0);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	log_is("");
	ck_assert_uint_eq(apply(&world, QUEUE_BOUNCE, &all), 1);
	run_until(&world, is_empty);
	log_is("domain home.test <>: author@home.test\n");
	world_done(&world);
	disk_use(NULL);
}
END_TEST

START_TEST(a_report_too_large_for_a_batch_is_there_before_what_it_tells_of)
{
	static char addresses[2000][120];
	static const char *to[COUNT(addresses) + 1];
	struct world world;

	for (size_t i = 0; i < COUNT(addresses); i++) {
		(void)snprintf(addresses[i], sizeof(addresses[i]),
			       "never.%060zu@a.test", i);
		to[i] = addresses[i];
	}
	disk_make_faulty();
	world_init(&world);
	(void)send_to(&world, AUTHOR, to, 0);
	disk_faults.renames = 1;
	settle_down(&world);
	ck_assert_uint_eq(disk_faults.renames, 0);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	buf_clear(&peer.log);
	advance(&world, 301);
	run_until(&world, is_empty);
	ck_assert_ptr_nonnull(strstr(buf_text(&peer.log), to[1999]));
	ck_assert_ptr_nonnull(
		strstr(buf_text(&peer.log), "<>: author@home.test\n"));
	world_done(&world);
	disk_use(NULL);
}
END_TEST

/* ------------------------------------------------------------ the digest */

#define DIGEST_TO "domain home.test <>: postmaster@home.test\n"

static bool
was_loaded(struct world *world)
{
	return world->is_loaded;
}

static bool
has_digest_waiting(struct world *world)
{
	return stats_of(world).digest.waiting != 0;
}

START_TEST(mail_of_nobody_that_fails_goes_into_a_daily_digest)
{
	struct world world;

	world_init(&world);
	world.opts.digest_s = 86400;
	advance(&world, 1);
	SEND(&world, "", "never@a.test");
	SEND(&world, "", "never.b@a.test");
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 2);
	buf_clear(&peer.log);
	world_reopen(&world);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 2);
	advance(&world, 86399);
	settle_down(&world);
	log_is("");
	advance(&world, 1);
	while (stats_of(&world).delivered != 1)
		uv_run(&world.loop, UV_RUN_ONCE);
	run_until(&world, is_empty);
	log_is(DIGEST_TO);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 0);
	ck_assert_uint_eq(stats_of(&world).digest.on_way, 0);
	/* and that was all of it */
	world_reopen(&world);
	advance(&world, 3 * 86400);
	settle_down(&world);
	log_is("");
	world_done(&world);
}
END_TEST

START_TEST(reports_beyond_the_cap_of_their_sender_go_into_the_digest)
{
	struct world world;

	world_init(&world);
	world.opts.reports_per_sender = (struct units_rate){2, 3600};
	advance(&world, 1);
	for (unsigned i = 0; i < 5; i++)
		SEND(&world, i % 2 != 0 ? "Author@home.test" : AUTHOR,
		     "never@a.test");
	SEND(&world, "other@home.test", "never@a.test");
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).delivered, 3);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 3);
	/* a time later he is told again */
	advance(&world, 3600);
	SEND(&world, AUTHOR, "never@a.test");
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).delivered, 4);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 3);
	world_done(&world);
}
END_TEST

/* The postmaster's mailbox refuses it: at most one message a period, and
 * nothing is forgotten. */
START_TEST(a_digest_that_fails_waits_for_the_next_one)
{
	struct world world;

	world_init(&world);
	peer.refuses_postmaster = true;
	world.opts.digest_s = 86400;
	advance(&world, 1);
	SEND(&world, "", "never@a.test");
	run_until(&world, is_empty);
	buf_clear(&peer.log);
	for (unsigned days = 1; days <= 3; days++) {
		advance(&world, 86399);
		settle_down(&world);
		log_is("");
		advance(&world, 1);
		while (stats_of(&world).digest.failed != days)
			uv_run(&world.loop, UV_RUN_ONCE);
		run_until(&world, is_empty);
		log_is(DIGEST_TO);
		run_until(&world, has_digest_waiting);
		ck_assert_uint_eq(stats_of(&world).digest.waiting, 1);
		ck_assert_str_eq(stats_of(&world).digest.last_why,
				 "550 5.1.1 no such user");
	}
	peer.refuses_postmaster = false;
	advance(&world, 86400);
	while (stats_of(&world).delivered != 1)
		uv_run(&world.loop, UV_RUN_ONCE);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 0);
	ck_assert_ptr_null(stats_of(&world).digest.last_why);
	world_done(&world);
}
END_TEST

/* Held back, it is in the queue across a restart; removed, it is told again. */
START_TEST(a_digest_that_an_operator_removes_is_told_again)
{
	struct world world;

	world_init(&world);
	world.opts.digest_s = 86400;
	advance(&world, 1);
	SEND(&world, "", "never@a.test");
	run_until(&world, is_empty);
	pause_all(&world, true);
	advance(&world, 86400);
	while (stats_of(&world).messages != 1)
		uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_uint_eq(stats_of(&world).digest.on_way, 1);
	world_reopen(&world);
	run_until(&world, was_loaded);
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(stats_of(&world).digest.on_way, 1);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 0);
	ck_assert_uint_eq(apply(&world, QUEUE_REMOVE, &all), 1);
	advance(&world, 1);
	run_until(&world, has_digest_waiting);
	ck_assert_uint_eq(stats_of(&world).digest.on_way, 0);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 1);
	world_done(&world);
}
END_TEST

UNIT_MAIN(
	"queue", tcase_add_test(tc, accepted_mail_is_delivered_and_gone);
	tcase_add_test(tc, deferred_mail_is_tried_again_when_it_is_due);
	tcase_add_test(tc, refused_mail_is_reported_to_its_sender);
	tcase_add_loop_test(tc,
			    nobody_is_told_who_is_not_there_or_does_not_want_it,
			    0, (int)COUNT(unreported));
	tcase_add_test(tc, one_report_tells_of_all_that_failed_alike);
	tcase_add_test(tc,
		       mail_that_is_never_taken_expires_with_a_warning_before);
	tcase_add_test(tc, mail_of_nobody_that_fails_goes_into_a_daily_digest);
	tcase_add_test(
		tc, reports_beyond_the_cap_of_their_sender_go_into_the_digest);
	tcase_add_test(tc, a_digest_that_fails_waits_for_the_next_one);
	tcase_add_test(tc, a_digest_that_an_operator_removes_is_told_again);
	tcase_add_test(tc, a_fault_of_our_own_is_not_reported_at_once);
	tcase_add_test(tc, recipients_of_one_next_hop_travel_together);
	tcase_add_test(tc, only_who_did_not_get_it_is_tried_again);
	tcase_add_test(tc, a_restart_in_between_keeps_what_became_of_each);
	tcase_add_test(tc, waiting_mail_follows_a_changed_policy);
	tcase_add_test(
		tc,
		a_destination_that_is_down_is_probed_and_then_gets_everything);
	tcase_add_test(tc, a_host_that_answers_again_wakes_what_waits_for_it);
	tcase_add_test(tc,
		       a_busy_host_is_asked_again_soon_and_that_is_no_attempt);
	tcase_add_test(tc,
		       mail_for_a_host_that_stays_busy_expires_all_the_same);
	tcase_add_test(tc,
		       mail_for_a_host_that_stays_down_expires_all_the_same);
	tcase_add_test(tc, what_is_held_stays_until_it_is_released);
	tcase_add_test(tc, retry_does_not_wait_for_the_schedule);
	tcase_add_test(tc, what_is_removed_is_gone_and_nobody_is_told);
	tcase_add_test(tc, what_is_bounced_goes_back_to_the_sender);
	tcase_add_test(tc, what_is_bounced_is_so_after_a_restart);
	tcase_add_test(tc, what_is_redirected_goes_there_at_once);
	tcase_add_test(tc, mail_at_work_is_redirected_when_it_comes_back);
	tcase_add_test(tc, what_is_held_and_redirected_waits_for_its_release);
	tcase_add_test(tc, an_order_that_the_disk_refused_is_not_carried_out);
	tcase_add_test(tc, a_clock_that_goes_back_keeps_nothing_waiting);
	tcase_add_test(tc, a_clock_that_goes_forward_loses_nothing);
	tcase_add_test(tc, a_pause_survives_a_restart);
	tcase_add_test(tc, a_list_says_what_waits_and_why);
	tcase_add_test(tc, a_list_waits_for_its_reader); tcase_add_test(
		tc,
		a_list_goes_on_while_an_order_removes_what_it_would_tell_next);
	tcase_add_test(tc, one_message_can_be_shown_with_all_its_attempts);
	tcase_add_test(tc, destinations_are_told_most_waiting_first);
	tcase_add_test(tc, closing_cuts_what_does_not_end_and_keeps_it);
	tcase_add_test(tc, a_put_that_is_given_up_leaves_nothing);
	tcase_add_test(tc, ten_thousand_messages_pass_within_their_limits);
	tcase_add_test(
		tc, a_report_that_the_disk_refused_is_owed_and_nothing_else_is);
	tcase_add_test(
		tc,
		a_bounce_that_the_disk_refused_waits_before_it_is_tried_again);
	tcase_add_test(
		tc,
		a_report_too_large_for_a_batch_is_there_before_what_it_tells_of);
	tcase_add_test(tc, memory_of_waiting_mail_is_counted_and_small);)
