/* SPDX-License-Identifier: ISC */
/*
 * A disk that refuses what the queue writes: what was to be written is owed.
 */
#include "tests/unit/queue_world.h"

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

UNIT_MAIN(
	"queue_disk",
	tcase_add_test(
		tc, a_report_that_the_disk_refused_is_owed_and_nothing_else_is);
	tcase_add_test(
		tc,
		a_bounce_that_the_disk_refused_waits_before_it_is_tried_again);
	tcase_add_test(tc, an_order_that_the_disk_refused_is_not_carried_out);
	tcase_add_test(
		tc,
		a_report_too_large_for_a_batch_is_there_before_what_it_tells_of);)
