/* SPDX-License-Identifier: ISC */
/* Segments of the log: when they are made, and when they are given back. */
#include "queue/spool/internal.h"
#include "tests/unit/spool_world.h"

enum { SOFT = 8, EXTRA = 6, EACH = 3000, A_SEGMENT = 20 };

static unsigned made, dropped; /* segments */
static bool stay;	       /* they cannot be removed */

static int
counting_openat(int dir, const char *name, int flags, mode_t mode)
{
	pthread_mutex_lock(&world_lock);
	made += world_is_segment_made(name, flags);
	pthread_mutex_unlock(&world_lock);
	return world_openat(dir, name, flags, mode);
}

static int
counting_unlinkat(int dir, const char *name, int flags)
{
	bool fails;

	pthread_mutex_lock(&world_lock);
	dropped += strstr(name, ".seg") != NULL;
	fails = stay && strstr(name, ".seg") != NULL;
	pthread_mutex_unlock(&world_lock);
	if (fails) {
		errno = EIO;
		return -1;
	}
	return disk_calls_real.unlinkat(dir, name, flags);
}

static void
setup(void)
{
	world_setup();
	world_disk.openat = counting_openat;
	world_disk.unlinkat = counting_unlinkat;
	box.opts.segments_soft = SOFT;
	box.opts.segments_hard = 64;
	box.opts.files_per_s = 1;
	/* no part of a turn needs a segment larger than others, which would
	 * have to make room for these one by one */
	box.opts.ahead_bytes = 16 << 10;
}

/* More mail than the soft limit has room for, and all of it settled. */
static void
burst(void)
{
	static struct box_put puts[2 * SOFT * A_SEGMENT];
	struct spool_stats stats;

	for (unsigned i = 0; i < COUNT(puts); i++)
		box_start(&box, &puts[i], i, EACH);
	for (unsigned i = 0; i < COUNT(puts); i++) {
		box_wait(&box, &puts[i].is_over);
		ck_assert_int_eq(puts[i].status, 0);
	}
	spool_stats(box.spool, &stats);
	ck_assert_uint_gt(stats.log_bytes, SOFT * 65536);
	for (unsigned i = 0; i < COUNT(puts); i++)
		spool_done(box.spool, puts[i].id);
}

/* One message, and no hurry: what it started ends before the next. */
static uint64_t
put_one(unsigned which)
{
	uint64_t id;

	/* as when commits had just to wait for a segment */
	box.spool->free_extra = EXTRA;
	ck_assert_int_eq(box_put(&box, which, EACH, &id), 0);
	while (box.spool->is_making || box.spool->is_retiring ||
	       box.spool->copying != NULL)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	return id;
}

START_TEST(segments_are_not_made_and_dropped_in_turn)
{
	/* so much mail waits that few segments are free */
	enum { TURNS = 40, LAG = (SOFT - 3) * A_SEGMENT };
	static uint64_t waiting[LAG];
	unsigned made_before = 0, left = 0;

	box_open(&box);
	burst();
	for (unsigned i = 0; i < TURNS * A_SEGMENT; i++) {
		if (i == 2 * LAG) {
			struct spool_stats stats;

			spool_stats(box.spool, &stats);
			left = (unsigned)(stats.log_bytes / 65536);
			made_before = made;
			dropped = 0;
		}
		if (i >= LAG)
			spool_done(box.spool, waiting[i % LAG]);
		waiting[i % LAG] = put_one(i);
	}
	/* as many as are kept in hand, and those that are left of the burst:
	 * one for each turn otherwise */
	ck_assert_uint_le(made - made_before, 2 * SOFT);
	ck_assert_uint_le(dropped, 2 * SOFT + left);
	box_close(&box);
}
END_TEST

static void
set_stay(bool value)
{
	pthread_mutex_lock(&world_lock);
	stay = value;
	pthread_mutex_unlock(&world_lock);
}

START_TEST(a_segment_that_cannot_be_removed_is_not_in_the_way)
{
	box_open(&box);
	set_stay(true);
	burst();
	for (unsigned i = 0; i < 4 * SOFT * A_SEGMENT; i++)
		spool_done(box.spool, put_one(i));
	ck_assert_uint_ne(dropped, 0);
	ck_assert_ptr_nonnull(strstr(box.last_report, "cannot be removed"));
	/* the log grows again, by names that are free */
	burst();
	ck_assert(!box.spool->cannot_make);
	set_stay(false);
	box_close(&box);
	box_open(&box);
	burst();
	box_close(&box);
}
END_TEST

START_TEST(a_log_that_copies_its_old_mail_in_time_does_not_grow)
{
	enum { TURNS = 40, ONE_OF = 10, LIVE = 12 };
	static uint64_t old[LIVE];
	struct spool_stats stats;
	unsigned count = 0;

	box_open(&box);
	for (unsigned i = 0; i < TURNS * A_SEGMENT; i++) {
		uint64_t id = put_one(i);

		spool_stats(box.spool, &stats);
		ck_assert_uint_le(stats.log_bytes, SOFT * 65536);
		if (i % ONE_OF != 0) {
			spool_done(box.spool, id);
			continue;
		}
		if (count >= LIVE)
			spool_done(box.spool, old[count % LIVE]);
		old[count++ % LIVE] = id;
	}
	ck_assert_uint_gt(stats.copied, 0);
	box_close(&box);
}
END_TEST

/* ----------------------------------------------- a log of few segments */

static const struct {
	unsigned soft, hard;
	bool loses_one; /* to a sync that fails, as the disk gets full */
} small_logs[] = {
	{1, 1, false}, {1, 2, false}, {2, 2, false}, {2, 3, false},
	{3, 3, false}, {1, 1, true},  {2, 4, true},  {3, 3, true},
};

static unsigned syncs_left;

static int
failing_fdatasync(int fd)
{
	bool fails;

	pthread_mutex_lock(&world_lock);
	fails = syncs_left != 0 && --syncs_left == 0;
	pthread_mutex_unlock(&world_lock);
	if (!fails)
		return disk_calls_real.fdatasync(fd);
	errno = EIO;
	return -1;
}

static void
tick(void)
{
	keep_tick(box.spool);
	do
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	while (box.spool->is_making || box.spool->is_retiring ||
	       box.spool->copying != NULL || box.spool->jobs != 0 ||
	       box.spool->in_flight != 0 ||
	       box.spool->filling->item_count != 0);
}

START_TEST(an_empty_log_takes_mail_however_small_it_is)
{
	uint64_t mails[4 * A_SEGMENT];
	unsigned count = 0, refused = 0;
	uint64_t id;

	world_disk.fdatasync = failing_fdatasync;
	syncs_left = 0;
	box.opts.segments_soft = small_logs[_i].soft;
	box.opts.segments_hard = small_logs[_i].hard;
	box_open(&box);
	world_fill(true);
	if (small_logs[_i].loses_one) { /* and there are two */
		syncs_left = 1;
		ck_assert_int_eq(box_put(&box, 1, EACH, &id), -EIO);
		/* head passes it while there is room to say so */
		ck_assert_int_eq(box_put(&box, 1, EACH, &id), 0);
		spool_done(box.spool, id);
		while (box.spool->durable_head == 1) {
			tick();
			box.spool->filling->is_urgent = true;
		}
	}
	for (unsigned i = 0; i < COUNT(mails); i++)
		if (box_put(&box, i, EACH, &mails[count]) == 0)
			count++;
	for (unsigned i = 0; i < count; i++)
		spool_done(box.spool, mails[i]);
	/* some turns of the log, with a tick before each put that failed */
	for (unsigned i = 0; i < 5 * A_SEGMENT; i++) {
		if (box_put(&box, i, EACH, &id) == 0) {
			spool_done(box.spool, id);
			continue;
		}
		refused++;
		tick();
	}
	ck_assert_uint_le(refused, 20);
	ck_assert(!box.is_broken);
	box_close(&box);
	world_fill(false);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 0);
	box_close(&box);
}
END_TEST

/* What is settled in one turn needs a segment larger than any, which the hard
 * limit forbids, however many small ones are free. */
START_TEST(a_full_log_is_closed_while_a_large_segment_is_wanted)
{
	enum { HARD = 8, MANY = 2000, AT_ONCE = 100 };
	static uint64_t ids[MANY];
	static struct box_put puts[AT_ONCE];

	box.opts.segments_soft = 4;
	box.opts.segments_hard = HARD;
	box.opts.ahead_bytes = 0; /* as usual: more than a segment has */
	box_open(&box);
	for (unsigned i = 0; i < MANY; i += AT_ONCE) {
		for (unsigned n = 0; n < AT_ONCE; n++)
			box_start(&box, &puts[n], i + n, 100 + 30 * (size_t)_i);
		for (unsigned n = 0; n < AT_ONCE; n++) {
			box_wait(&box, &puts[n].is_over);
			ck_assert_int_eq(puts[n].status, 0);
			ids[i + n] = puts[n].id;
		}
	}
	/* the log is as large as it may be */
	while (box.spool->log_bytes < HARD * 65536 && !box.spool->is_full)
		(void)box_put(&box, 0, EACH, &ids[0]);
	for (unsigned i = 0; i < MANY; i++)
		spool_done(box.spool, ids[i]);
	box_close(&box);
	/* what could not be noted was delivered, and is delivered again */
	box_open(&box);
	ck_assert_uint_le(box.found_count, MANY + HARD * A_SEGMENT);
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

/* All that a turn brings is one parcel, for which no segment is large enough,
 * and there are as many as there may be. */
START_TEST(a_parcel_larger_than_a_segment_is_written_at_the_hard_limit)
{
	struct box_put puts[20];
	uint64_t id;

	box.opts.segments_soft = box.opts.segments_hard = 3;
	box.opts.ahead_bytes = 160 << 10;
	box_open(&box);
	/* until all of them are as large as they get */
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_int_eq(box_put(&box, i, 12000, &id), 0);
		spool_done(box.spool, id);
	}
	for (unsigned turn = 0; turn < 5; turn++) {
		for (unsigned i = 0; i < COUNT(puts); i++)
			box_start(&box, &puts[i], i, 3500);
		for (unsigned i = 0; i < COUNT(puts); i++) {
			box_wait(&box, &puts[i].is_over);
			ck_assert_int_eq(puts[i].status, 0);
			spool_done(box.spool, puts[i].id);
		}
	}
	box_close(&box);
}
END_TEST

/* Its thread sleeps on, as one does on a busy machine. */
START_TEST(a_free_segment_that_waits_to_be_taken_is_not_made_twice)
{
	struct spool_stats before, after;
	uint64_t id;

	box_open(&box);
	for (unsigned i = 0; i < SOFT * A_SEGMENT; i++) {
		ck_assert_int_eq(box_put(&box, i, EACH, &id), 0);
		spool_done(box.spool, id);
	}
	while (box.spool->free_count == 0 || box.spool->is_retiring ||
	       box.spool->is_making || box.spool->in_flight != 0)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	spool_stats(box.spool, &before);
	pthread_mutex_lock(&box.spool->committer.lock);
	ck_assert(list_is_empty(&box.spool->committer.queue));
	box.spool->committer.wanted = 8192;
	pthread_mutex_unlock(&box.spool->committer.lock);
	for (unsigned i = 0; i < 200; i++) {
		keep_go_on(box.spool);
		(void)uv_run(&box.loop, UV_RUN_NOWAIT);
		while (box.spool->is_making)
			(void)uv_run(&box.loop, UV_RUN_ONCE);
	}
	spool_stats(box.spool, &after);
	ck_assert_uint_eq(after.log_bytes, before.log_bytes);
	ck_assert(!box.spool->is_full);
	ck_assert_int_eq(box_put(&box, 1, EACH, &id), 0);
	ck_assert_uint_eq(box.spool->committer.wanted, 0);
	box_close(&box);
}
END_TEST

UNIT_MAIN("spool_keep", tcase_add_checked_fixture(tc, setup, world_teardown);
	  tcase_set_timeout(tc, 300);
	  tcase_add_loop_test(tc, an_empty_log_takes_mail_however_small_it_is,
			      0, (int)COUNT(small_logs));
	  tcase_add_loop_test(
		  tc, a_full_log_is_closed_while_a_large_segment_is_wanted, 0,
		  3);
	  tcase_add_test(
		  tc,
		  a_parcel_larger_than_a_segment_is_written_at_the_hard_limit);
	  tcase_add_test(tc, segments_are_not_made_and_dropped_in_turn);
	  tcase_add_test(tc,
			 a_segment_that_cannot_be_removed_is_not_in_the_way);
	  tcase_add_test(tc,
			 a_log_that_copies_its_old_mail_in_time_does_not_grow);
	  tcase_add_test(
		  tc, a_free_segment_that_waits_to_be_taken_is_not_made_twice);)
