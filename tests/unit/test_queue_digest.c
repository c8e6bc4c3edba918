/* SPDX-License-Identifier: ISC */
/*
 * What nobody could be told, once a day to the postmaster.
 */
#include "tests/unit/queue_world.h"

#include <sys/stat.h>

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

/* A folder in the file's place cannot be replaced by it. */
static void
file_block(const struct world *world, bool is_blocked)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/digest", world->dir);
	(void)unlink(path);
	if (is_blocked)
		ck_assert_int_eq(mkdir(path, 0700), 0);
	else
		ck_assert_int_eq(rmdir(path), 0);
}

START_TEST(a_failure_that_the_disk_did_not_take_is_told_once)
{
	struct world world;

	world_init(&world);
	world.opts.digest_s = 86400;
	advance(&world, 1);
	file_block(&world, true);
	SEND(&world, "", "never@a.test");
	settle_down(&world);
	/* who failed is owed: it is tried again, and fails again */
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 0);
	file_block(&world, false);
	advance(&world, 301);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 1);
	world_reopen(&world);
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 1);
	world_done(&world);
}
END_TEST

START_TEST(without_anything_to_tell_no_digest_is_sent)
{
	struct world world;

	world_init(&world);
	world.opts.digest_s = 86400;
	world.opts.bounce_expire_s = 5 * 86400;
	advance(&world, 1);
	file_block(&world, true);
	SEND(&world, "", "never@a.test");
	settle_down(&world);
	file_block(&world, false);
	(void)apply(&world, QUEUE_REMOVE, &all);
	buf_clear(&peer.log);
	advance(&world, 2 * 86400);
	settle_down(&world);
	log_is("");
	world_done(&world);
}
END_TEST

START_TEST(a_clock_that_was_ahead_does_not_keep_the_digest_back)
{
	struct world world;

	world_init(&world);
	world.opts.digest_s = 86400;
	advance(&world, 1);
	world.now_ms += 700 * UINT64_C(86400000);
	SEND(&world, "", "never@a.test");
	run_until(&world, is_empty);
	world.now_ms -= 700 * UINT64_C(86400000);
	world_reopen(&world);
	run_until(&world, was_loaded);
	settle_down(&world);
	buf_clear(&peer.log);
	advance(&world, 86400);
	while (stats_of(&world).delivered != 1)
		uv_run(&world.loop, UV_RUN_ONCE);
	log_is(DIGEST_TO);
	world_done(&world);
}
END_TEST

START_TEST(a_digest_that_cannot_be_read_stops_the_start_and_nothing_else)
{
	static const struct queue_events events = {on_loaded, on_broken};
	struct queue *queue = NULL;
	struct err err = ERR_INIT;
	struct world world;

	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test", "down@b.test");
	settle_down(&world);
	world_close(&world, 0);
	file_block(&world, true);
	ck_assert_int_lt(queue_open(&world.loop, &world.opts, world.policy,
				    NULL, &events, &world, &queue, &err),
			 0);
	ck_assert_ptr_null(queue);
	ck_assert_ptr_nonnull(strstr(err.text, "digest"));
	/* what was begun ends by itself */
	world.is_loaded = false;
	uv_run(&world.loop, UV_RUN_DEFAULT);
	ck_assert(!world.is_loaded);
	file_block(&world, false);
	box_open(&world);
	run_until_set(&world, &world.is_loaded);
	ck_assert_uint_eq(stats_of(&world).messages, 1);
	world_done(&world);
}
END_TEST

UNIT_MAIN(
	"queue_digest",
	tcase_add_test(tc, mail_of_nobody_that_fails_goes_into_a_daily_digest);
	tcase_add_test(
		tc, reports_beyond_the_cap_of_their_sender_go_into_the_digest);
	tcase_add_test(tc, a_digest_that_fails_waits_for_the_next_one);
	tcase_add_test(tc, a_digest_that_an_operator_removes_is_told_again);
	tcase_add_test(tc, a_failure_that_the_disk_did_not_take_is_told_once);
	tcase_add_test(tc, without_anything_to_tell_no_digest_is_sent);
	tcase_add_test(tc,
		       a_clock_that_was_ahead_does_not_keep_the_digest_back);
	tcase_add_test(
		tc,
		a_digest_that_cannot_be_read_stops_the_start_and_nothing_else);)
