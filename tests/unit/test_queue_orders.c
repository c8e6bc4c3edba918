/* SPDX-License-Identifier: ISC */
/*
 * What operators order, and what they are told: hold, retry, remove, bounce,
 * redirect, pause; lists, shows and destinations.
 */
#include "tests/unit/queue_world.h"

/* ------------------------------------------------------------ operators */

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
	/* what status subtracts: it is not among the queued ones */
	ck_assert_uint_eq(stats_of(&world).queued, 0);
	ck_assert_uint_eq(stats_of(&world).deferred, 0);
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

START_TEST(retry_is_obeyed_before_the_next_hops_are_known_again)
{
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later1@a.test", "later1@b.test");
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 2);
	world_reopen(&world);
	settle_down(&world);
	ck_assert_uint_eq(peer.started, 2);
	ck_assert_uint_eq(apply(&world, QUEUE_RETRY, &all), 1);
	run_until(&world, is_empty);
	ck_assert_uint_eq(peer.started, 4);
	world_done(&world);
}
END_TEST

START_TEST(retry_of_a_category_takes_what_waits_for_it_and_nothing_else)
{
	static const struct queue_filter down = {.category = "bad-connection"};
	static const struct queue_filter full = {.category = "quota-issues"};
	struct world world;

	world_init(&world);
	peer.is_down = true;
	SEND(&world, AUTHOR, "down@a.test");
	SEND(&world, AUTHOR, "later@b.test");
	settle_down(&world);
	peer.is_down = false;
	buf_clear(&peer.log);
	ck_assert_uint_eq(apply(&world, QUEUE_RETRY, &full), 0);
	ck_assert_uint_eq(apply(&world, QUEUE_RETRY, &down), 1);
	log_is("mx a.test <author@home.test>: down@a.test\n");
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(apply(&world, QUEUE_RETRY, &down), 0);
	world_done(&world);
}
END_TEST

/* Whichever of its legs waits for that, before and after a restart. */
START_TEST(mail_is_found_by_every_category_it_waits_for)
{
	static const struct queue_filter down = {.category = "bad-connection"};
	static const struct queue_filter other = {.category = "other"};
	struct world world;

	world_init(&world);
	peer.is_down = true;
	SEND(&world, AUTHOR, "later@a.test", "down@b.test");
	SEND(&world, AUTHOR, "down@c.test", "later@a.test");
	settle_down(&world);
	ck_assert_uint_eq(apply(&world, QUEUE_HOLD, &other), 2);
	world_reopen(&world);
	run_until_set(&world, &world.is_loaded);
	ck_assert_uint_eq(apply(&world, QUEUE_RELEASE, &down), 2);
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
	guard_start(&world->guard);
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
	envelope_each_attempt(states, envelope->recipient_count,
			      on_shown_attempt, shown);
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

UNIT_MAIN(
	"queue_orders",
	tcase_add_test(tc, what_is_held_stays_until_it_is_released);
	tcase_add_test(tc, retry_does_not_wait_for_the_schedule);
	tcase_add_test(tc,
		       retry_is_obeyed_before_the_next_hops_are_known_again);
	tcase_add_test(tc, what_is_removed_is_gone_and_nobody_is_told);
	tcase_add_test(tc, what_is_bounced_goes_back_to_the_sender);
	tcase_add_test(tc, what_is_bounced_is_so_after_a_restart);
	tcase_add_test(tc, what_is_redirected_goes_there_at_once);
	tcase_add_test(tc, mail_at_work_is_redirected_when_it_comes_back);
	tcase_add_test(tc, what_is_held_and_redirected_waits_for_its_release);
	tcase_add_test(tc, a_pause_survives_a_restart);
	tcase_add_test(tc, a_list_says_what_waits_and_why);
	tcase_add_test(tc, a_list_waits_for_its_reader); tcase_add_test(
		tc,
		a_list_goes_on_while_an_order_removes_what_it_would_tell_next);
	tcase_add_test(tc, one_message_can_be_shown_with_all_its_attempts);
	tcase_add_test(tc, destinations_are_told_most_waiting_first);
	tcase_add_test(
		tc,
		retry_of_a_category_takes_what_waits_for_it_and_nothing_else);
	tcase_add_test(tc, mail_is_found_by_every_category_it_waits_for);)
