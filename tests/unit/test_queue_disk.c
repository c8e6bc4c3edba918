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
	ck_assert_uint_eq(stats_of(&world).bounced, 0);
	ck_assert_uint_eq(stats_of(&world).deferrals, 1);
	log_is("mx a.test <author@home.test>: never@a.test ok@a.test\n");
	advance(&world, 301);
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).bounced, 1);
	ck_assert_uint_eq(stats_of(&world).delivered, 2);
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

START_TEST(a_report_that_the_disk_refused_does_not_count_as_told)
{
	struct world world;

	disk_make_faulty();
	world_init(&world);
	world.opts.reports_per_sender = (struct units_rate){1, 3600};
	advance(&world, 1);
	SEND(&world, AUTHOR, "never@a.test");
	disk_faults.syncs = 1;
	settle_down(&world);
	ck_assert_uint_eq(disk_faults.syncs, 0);
	buf_clear(&peer.log);
	advance(&world, 301);
	run_until(&world, is_empty);
	/* the sender hears of it, and not the postmaster */
	log_is("mx a.test <author@home.test>: never@a.test\n"
	       "domain home.test <>: author@home.test\n");
	ck_assert_uint_eq(stats_of(&world).digest.waiting, 0);
	world_done(&world);
	disk_use(NULL);
}
END_TEST

/* Waits until the states written so far are durable, and no envelope is in
 * memory for them any more. */
static void
forget_envelopes(struct world *world)
{
	SEND(world, AUTHOR, "ok@other.test");
	settle_down(world);
	buf_clear(&peer.log);
}

START_TEST(an_envelope_that_cannot_be_read_is_tried_again_later)
{
	struct world world;

	disk_make_faulty();
	world_init(&world);
	SEND(&world, AUTHOR, "later@a.test", "later@b.test");
	settle_down(&world);
	forget_envelopes(&world);
	disk_faults.reads = 1000;
	/* also when it is to be returned, which waits for nothing else */
	ck_assert_uint_eq(apply(&world, QUEUE_BOUNCE, &all), 1);
	for (unsigned i = 0; i < 100; i++)
		settle_down(&world);
	ck_assert_uint_ge(disk_faults.reads, 990);
	disk_faults.reads = 0;
	advance(&world, 301);
	run_until(&world, is_empty);
	log_is("domain home.test <>: author@home.test\n");
	world_done(&world);
	disk_use(NULL);
}
END_TEST

/* One leg waits for the envelope to be delivered by, when the other one gets
 * it to return the message. */
START_TEST(a_bounce_overtakes_a_leg_that_waits_for_its_envelope)
{
	static const char *const to[] = {"later@a.test", "down@b.test", NULL};
	struct queue_filter first = {.id_count = 1}, second = {.id_count = 1};
	uint64_t ids[2], count = UINT64_MAX;
	struct world world;

	disk_make_faulty();
	world_init(&world);
	peer.is_down = true;
	ids[0] = send_to(&world, AUTHOR, to, NOTIFY_NEVER);
	settle_down(&world);
	forget_envelopes(&world);
	/* kept in memory, behind a host that is down */
	peer.is_down = false;
	ids[1] = SEND(&world, AUTHOR, "ok@b.test");
	settle_down(&world);
	ck_assert_uint_eq(stats_of(&world).messages, 2);
	first.ids = &ids[0];
	second.ids = &ids[1];
	gate_close();
	/* it gets through, and wakes the other one's leg */
	queue_apply(world.queue, QUEUE_RETRY, &second, NULL, NULL);
	while (stats_of(&world).messages != 1 || stats_of(&world).active != 1)
		uv_run(&world.loop, UV_RUN_ONCE);
	queue_apply(world.queue, QUEUE_BOUNCE, &first, on_count, &count);
	while (count == UINT64_MAX || stats_of(&world).active != 2)
		uv_run(&world.loop, UV_RUN_ONCE);
	ck_assert_uint_eq(count, 1);
	gate_open();
	run_until(&world, is_empty);
	ck_assert_uint_eq(stats_of(&world).bounced, 2);
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
		a_report_too_large_for_a_batch_is_there_before_what_it_tells_of);
	tcase_add_test(tc,
		       a_report_that_the_disk_refused_does_not_count_as_told);
	tcase_add_test(tc,
		       an_envelope_that_cannot_be_read_is_tried_again_later);
	tcase_add_test(tc,
		       a_bounce_overtakes_a_leg_that_waits_for_its_envelope);)
