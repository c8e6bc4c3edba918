/* SPDX-License-Identifier: ISC */
/* The spool while calls to the disk fail, and after that. */
#include <stdatomic.h>

#include "queue/spool/internal.h"
#include "tests/unit/spool_world.h"

enum call {
	OPENAT,
	PREAD,
	PWRITEV,
	FDATASYNC,
	FSYNC,
	SYNCFS,
	RENAMEAT,
	UNLINKAT,
	CALLS
};

static enum call failing;
static int failing_errno;
static atomic_uint calls_left;	 /* until the one that fails */
static atomic_uint calls_failed; /* so many have */
static unsigned fail_count;	 /* how many in a row do */
static unsigned refused;	 /* so much the spool said no to */
static uint64_t passing_first;	 /* settled at once, maybe not durably */

static bool
fails(enum call call)
{
	unsigned left;

	if (call != failing)
		return false;
	left = atomic_fetch_sub(&calls_left, 1);
	if (left == 0 || left > UINT32_MAX - fail_count + 1) {
		atomic_fetch_add(&calls_failed, 1);
		errno = failing_errno;
		return true;
	}
	return false;
}

static int
f_openat(int dir, const char *name, int flags, mode_t mode)
{
	return fails(OPENAT) ? -1
			     : disk_calls_real.openat(dir, name, flags, mode);
}

static ssize_t
f_pread(int fd, void *to, size_t len, off_t at)
{
	return fails(PREAD) ? -1 : disk_calls_real.pread(fd, to, len, at);
}

static ssize_t
f_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	if (!fails(PWRITEV))
		return disk_calls_real.pwritev(fd, iov, count, at);
	return -1;
}

static int
f_fdatasync(int fd)
{
	return fails(FDATASYNC) ? -1 : disk_calls_real.fdatasync(fd);
}

static int
f_fsync(int fd)
{
	return fails(FSYNC) ? -1 : disk_calls_real.fsync(fd);
}

static int
f_syncfs(int fd)
{
	return fails(SYNCFS) ? -1 : disk_calls_real.syncfs(fd);
}

static int
f_renameat(int dir, const char *from, int to_dir, const char *to)
{
	return fails(RENAMEAT)
		       ? -1
		       : disk_calls_real.renameat(dir, from, to_dir, to);
}

static int
f_unlinkat(int dir, const char *name, int flags)
{
	return fails(UNLINKAT) ? -1
			       : disk_calls_real.unlinkat(dir, name, flags);
}

static const struct disk_calls faulty = {
	.openat = f_openat,
	.pread = f_pread,
	.pwritev = f_pwritev,
	.fdatasync = f_fdatasync,
	.fsync = f_fsync,
	.syncfs = f_syncfs,
	.renameat = f_renameat,
	.unlinkat = f_unlinkat,
};

enum { PUTS = 24 };

struct acked {
	uint64_t id;
	unsigned seed;
	size_t len;
	bool is_acked, is_done;
};

/* Puts of all kinds, a few of them kept until they are copied or files. */
static void
work_through(struct acked acked[PUTS])
{
	for (unsigned i = 0; i < PUTS; i++) {
		struct acked *one = &acked[i];

		one->seed = i;
		one->len = i % 8 == 7 ? 40000 : 12000 + i;
		one->is_acked = box_put(&box, i, one->len, &one->id) == 0;
		if (!one->is_acked) {
			refused++;
			continue;
		}
		if (box_state(&box, one->id, "tried") != 0)
			refused++;
		if (i % 3 != 0) {
			spool_done(box.spool, one->id);
			one->is_done = true;
		}
	}
}

static void
check_acked(const struct acked acked[PUTS])
{
	for (unsigned i = 0; i < PUTS; i++) {
		if (acked[i].is_acked && !acked[i].is_done)
			ck_assert_msg(box_find(&box, acked[i].id) != NULL,
				      "message %u is lost", i);
		if (box_find(&box, acked[i].id) != NULL)
			ck_assert_int_eq(box_check_body(&box, acked[i].id,
							acked[i].seed,
							acked[i].len),
					 0);
	}
	for (size_t k = 0; k < box.found_count; k++) {
		bool is_known =
			passing_first != 0 && box.found[k].id >= passing_first;

		for (unsigned i = 0; i < PUTS; i++)
			is_known |= acked[i].id == box.found[k].id;
		ck_assert(is_known);
	}
}

static const struct {
	int error;
	unsigned count; /* in a row */
	unsigned step;
} faults[] = {
	{EIO, 1, 1},
	{ENOSPC, 1, 1},
	{EIO, 1000000, 5},
	{EDQUOT, 1000000, 7},
};

static void
fail_from(unsigned at)
{
	refused = 0;
	passing_first = 0;
	atomic_store(&calls_failed, 0);
	atomic_store(&calls_left, at);
}

/* What fails is heard of: by who asked for it, or by a line of the log. Some
 * calls have another one that will do in their place. */
static void
check_told(void)
{
	static const bool has_other[CALLS] = {
		[OPENAT] = true,   /* of a segment more, or one to read */
		[RENAMEAT] = true, /* of a segment more */
		[UNLINKAT] = true, /* is tried again, or at the next start */
	};

	if (calls_failed != 0 && !has_other[failing])
		ck_assert_uint_gt(refused + box.errors, 0);
}

/* Until old mail is copied, should it be; a failure may forbid it, and have
 * puts refused, until the tick. */
static uint64_t
go_round(void)
{
	struct spool_stats stats = {.copied = 0};
	uint64_t id;

	for (unsigned i = 0; stats.copied == 0 && i < PUTS * 4; i++) {
		bool is_taken = box_put(&box, i, 12000, &id) == 0;

		if (passing_first == 0)
			passing_first = id;
		if (is_taken)
			spool_done(box.spool, id);
		else if (fail_count == 1)
			(void)uv_run(&box.loop, UV_RUN_ONCE);
		spool_stats(box.spool, &stats);
	}
	return stats.copied;
}

static bool
is_slow(void)
{
	return getenv("OSTLER_SLOW") != NULL;
}

/* Returns how many messages were copied within the log meanwhile. */
static uint64_t
fail_at_work(unsigned at, bool is_copying)
{
	struct acked acked[PUTS] = {0};
	uint64_t copied = 0;

	/* old mail is copied within the log, or becomes files */
	box.opts.files_per_s = is_copying ? 1 : 0;
	atomic_store(&calls_left, 1000000);
	disk_use(&faulty);
	box_open(&box);
	fail_from(at);
	work_through(acked);
	if (is_copying)
		copied = go_round();
	if (fail_count > 1) /* the disk is back before the end */
		atomic_store(&calls_left, 1000000);
	box_close(&box);
	disk_use(NULL);
	check_told();
	box_open(&box);
	check_acked(acked);
	for (size_t k = 0; k < box.found_count; k++)
		spool_done(box.spool, box.found[k].id);
	box_close(&box);
	return copied;
}

/*
 * One call of one kind fails, the n-th: with OSTLER_SLOW in the environment
 * for every n, else for every fourth, beginning elsewhere for each kind. Most
 * of the time goes into real syncs.
 */
START_TEST(no_failing_call_loses_what_was_acknowledged)
{
	unsigned fault = (unsigned)_i / CALLS;
	unsigned stride = is_slow() ? 1 : 4;
	unsigned at = (unsigned)_i % stride, turn = 0, failed;
	uint64_t copied = 0;

	failing = (enum call)(_i % CALLS);
	failing_errno = faults[fault].error;
	fail_count = faults[fault].count;
	box.opts.segments_soft = 3;
	box.opts.segments_hard = 20;
	do {
		copied += fail_at_work(at, turn++ % 2 == 0);
		failed = calls_failed;
		if (is_slow()) {
			copied += fail_at_work(at, turn++ % 2 == 0);
			failed += calls_failed;
		}
		at += faults[fault].step * stride;
	} while (failed != 0 && (at < 120 || is_slow()));
	if (fail_count == 1)
		ck_assert_uint_gt(copied, 0);
}
END_TEST

/* A start, with a log that has everything in it. */
static void
fail_at_start(unsigned at)
{
	struct acked acked[PUTS] = {0};
	uint64_t id;

	box.opts.segments_soft = 3;
	box.opts.segments_hard = 20;
	box.opts.files_per_s = 1;
	atomic_store(&calls_left, 1000000);
	box_open(&box);
	work_through(acked);
	box_close(&box);
	disk_use(&faulty);
	fail_from(at);
	if (box_try_open(&box) < 0) {
		ck_assert_str_ne(box.err.text, "");
	} else {
		while (!box.is_loaded && !box.is_broken)
			(void)uv_run(&box.loop, UV_RUN_ONCE);
		if (box_put(&box, 50, 3000, &id) == 0)
			spool_done(box.spool, id);
		box_close(&box);
	}
	disk_use(NULL);
	box_open(&box);
	for (unsigned i = 0; i < PUTS; i++)
		if (acked[i].is_acked && !acked[i].is_done)
			ck_assert_int_eq(box_check_body(&box, acked[i].id,
							acked[i].seed,
							acked[i].len),
					 0);
	box_close(&box);
}

/* Each time of a new spool: the starts before would make the log longer, and
 * so the calls of the next one more. */
START_TEST(no_failing_call_of_a_start_loses_anything)
{
	unsigned stride = is_slow() ? 1 : 4, at = (unsigned)_i % stride;

	failing = (enum call)(_i % CALLS);
	failing_errno = _i / CALLS == 0 ? EIO : ENOSPC;
	fail_count = 1;
	do {
		fail_at_start(at);
		at += stride;
		box_done(&box);
		box_init(&box);
		ck_assert_uint_lt(at, 1000);
	} while (calls_failed != 0);
}
END_TEST

START_TEST(what_was_settled_stays_so_when_a_full_log_ends)
{
	char line[3001];
	uint64_t mails[64];
	unsigned count = 0, states = 0;

	box.opts.segments_soft = 3;
	box_open(&box);
	/* no new segment can be made, nor a file */
	failing = OPENAT;
	failing_errno = ENOSPC;
	fail_count = 1000000;
	atomic_store(&calls_left, 0);
	atomic_store(&calls_failed, 0);
	disk_use(&faulty);
	while (box_put(&box, count, 12000, &mails[count]) == 0)
		ck_assert_uint_lt(++count, COUNT(mails));
	ck_assert_uint_gt(count, 0);
	/* states may use what puts leave, to the last block but one */
	memset(line, 's', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	while (box_state(&box, mails[0], line) == 0)
		ck_assert_uint_lt(++states, 64);
	for (unsigned i = 0; i < count; i++)
		spool_done(box.spool, mails[i]);
	box_close(&box);
	disk_use(NULL);

	box_open(&box);
	ck_assert_uint_eq(box.found_count, 0);
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

/*
 * After a failed sync the next one says nothing: what recovery reads may not
 * be on the disk. So it writes the newest batch again.
 */
START_TEST(a_start_writes_what_it_believes_again)
{
	uint64_t id;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &id), 0);
	box_close(&box);
	failing = PWRITEV;
	failing_errno = EIO;
	fail_count = 1;
	/* the first write of a start; the next would be the first batch */
	atomic_store(&calls_left, 0);
	disk_use(&faulty);
	ck_assert_int_eq(box_try_open(&box), -EIO);
	ck_assert_ptr_nonnull(strstr(box.err.text, "log/001.seg"));
	disk_use(NULL);
	box_open(&box);
	ck_assert_ptr_nonnull(box_find(&box, id));
	box_close(&box);
}
END_TEST

START_TEST(two_failed_syncs_in_a_row_end_accepting)
{
	struct box_text text;
	uint64_t id, other;
	char envelope[64];

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &id), 0);
	failing = FDATASYNC;
	failing_errno = EIO;
	fail_count = 1000000;
	atomic_store(&calls_left, 0);
	disk_use(&faulty);
	ck_assert_int_eq(box_put(&box, 2, 100, &other), -EIO);
	ck_assert(!box.is_broken);
	ck_assert_int_eq(box_put(&box, 2, 100, &other), -EIO);
	ck_assert(box.is_broken);
	ck_assert(spool_is_broken(box.spool));
	/* said once that a commit failed, and what follows from the second */
	ck_assert_uint_eq(box.errors, 2);
	ck_assert_ptr_nonnull(strstr(box.last_report, "two commits in a row"));
	disk_use(NULL);
	/* broken it stays, and what is held can still be read */
	ck_assert_int_eq(box_put(&box, 2, 100, &other), -EIO);
	ck_assert_int_eq(box_load(&box, id, &text), 0);
	box_envelope(1, envelope);
	ck_assert_str_eq(text.envelope, envelope);
	box_text_done(&text);
	box_close(&box);
	box_open(&box);
	ck_assert_ptr_nonnull(box_find(&box, id));
	box_close(&box);
}
END_TEST

START_TEST(after_one_failed_sync_the_next_batch_goes_elsewhere)
{
	uint64_t lost, kept;

	box_open(&box);
	failing = FDATASYNC;
	failing_errno = EIO;
	fail_count = 1;
	atomic_store(&calls_left, 0);
	disk_use(&faulty);
	ck_assert_int_eq(box_put(&box, 1, 100, &lost), -EIO);
	ck_assert_int_eq(box_put(&box, 2, 100, &kept), 0);
	disk_use(NULL);
	ck_assert(!box.is_broken);
	box_close(&box);
	box_open(&box);
	/* its bytes stand in the segment, and are void all the same */
	ck_assert_ptr_null(box_find(&box, lost));
	ck_assert_ptr_nonnull(box_find(&box, kept));
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

/* One call fails when asked for, and no other. */
static void
fail_once(enum call call)
{
	failing = call;
	failing_errno = EIO;
	fail_count = 1;
	atomic_store(&calls_failed, 0);
	atomic_store(&calls_left, 0);
	disk_use(&faulty);
}

/* Whoever is not told of a failure cannot ask again. */
START_TEST(what_nobody_waits_for_is_written_again_after_a_failed_sync)
{
	struct spool_stats stats;
	uint64_t tried, settled, other;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &tried), 0);
	ck_assert_int_eq(box_put(&box, 2, 100, &settled), 0);
	fail_once(FDATASYNC);
	spool_state(box.spool, tried, "tried", NULL, NULL);
	spool_done(box.spool, settled);
	while (atomic_load(&calls_failed) == 0)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	/* this one comes behind them */
	while (box_put(&box, 3, 100, &other) != 0)
		;
	spool_stats(box.spool, &stats);
	ck_assert_uint_eq(stats.sync_errors, 1);
	ck_assert_uint_eq(stats.messages, 2);
	ck_assert_uint_eq(box.errors, 1);
	ck_assert_ptr_nonnull(strstr(box.last_report, "a commit failed"));
	ck_assert(!box.is_broken);
	box_close(&box);
	disk_use(NULL);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 2);
	ck_assert_str_eq(box_find(&box, tried)->states, "tried\n");
	ck_assert_ptr_nonnull(box_find(&box, other));
	box_close(&box);
}
END_TEST

/* A bounce and the end of what bounced: neither, or both. */
START_TEST(of_a_group_whose_sync_failed_nothing_has_happened)
{
	struct box_saved saved = {false, 0};
	struct spool_stats before, after;
	struct box_put put;
	uint64_t ids[2];

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &ids[0]), 0);
	ck_assert_int_eq(box_put(&box, 2, 20000, &ids[1]), 0);
	spool_stats(box.spool, &before);
	fail_once(FDATASYNC);
	spool_group_begin(box.spool);
	box_start(&box, &put, 3, 100);
	spool_state(box.spool, ids[0], "failed", box_on_saved, &saved);
	spool_done(box.spool, ids[0]);
	spool_done(box.spool, ids[1]);
	spool_group_end(box.spool);
	box_wait(&box, &put.is_over);
	box_wait(&box, &saved.is_over);
	ck_assert_int_eq(put.status, -EIO);
	ck_assert_int_eq(saved.status, -EIO);
	disk_use(NULL);
	spool_stats(box.spool, &after);
	ck_assert_uint_eq(after.messages, before.messages);
	ck_assert_uint_eq(after.in_files, before.in_files);
	ck_assert_int_eq(box_check_body(&box, ids[0], 1, 100), 0);
	ck_assert_int_eq(box_check_body(&box, ids[1], 2, 20000), 0);
	/* and it may happen yet */
	spool_done(box.spool, ids[1]);
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 1);
	ck_assert_str_eq(box_find(&box, ids[0])->states, "");
	box_close(&box);
}
END_TEST

/* Mail passes by the one message that is to become a file. */
static void
pass_by(unsigned seed)
{
	uint64_t id;

	if (box_put(&box, seed, 12000, &id) == 0)
		spool_done(box.spool, id);
	else
		keep_tick(box.spool);
	(void)uv_run(&box.loop, UV_RUN_NOWAIT);
}

static uint64_t
fail_moves(int error)
{
	uint64_t old;

	box.opts.segments_soft = 3;
	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 12000, &old), 0);
	fail_once(SYNCFS);
	failing_errno = error;
	fail_count = 1000000;
	return old;
}

START_TEST(two_failures_to_make_files_in_a_row_end_accepting)
{
	uint64_t old = fail_moves(EIO);

	for (unsigned i = 0; !box.is_broken; i++) {
		ck_assert_uint_lt(i, 2000);
		pass_by(i);
	}
	ck_assert_uint_eq(calls_failed, 2);
	box_close(&box);
	disk_use(NULL);
	box_open(&box);
	ck_assert_int_eq(box_check_body(&box, old, 1, 12000), 0);
	box_close(&box);
}
END_TEST

START_TEST(without_room_for_files_old_mail_stays_until_there_is_some)
{
	struct spool_stats stats;
	uint64_t old = fail_moves(ENOSPC);

	for (unsigned i = 0; atomic_load(&calls_failed) < 5; i++) {
		ck_assert_uint_lt(i, 2000);
		pass_by(i);
	}
	ck_assert(!box.is_broken);
	/* said once, and perhaps that the log is full */
	ck_assert_uint_ge(box.errors, 1);
	ck_assert_uint_le(box.errors, 2);
	ck_assert_int_eq(box_check_body(&box, old, 1, 12000), 0);
	disk_use(NULL);
	for (unsigned i = 0; i < 2000; i++) {
		pass_by(i);
		spool_stats(box.spool, &stats);
		if (stats.in_files == 1 && !box.spool->cannot_move)
			break;
	}
	ck_assert_uint_eq(stats.in_files, 1);
	ck_assert(!box.spool->cannot_move);
	ck_assert_int_eq(box_check_body(&box, old, 1, 12000), 0);
	box_close(&box);
}
END_TEST

UNIT_MAIN("spool_failing",
	  tcase_add_checked_fixture(tc, world_setup, world_teardown);
	  tcase_set_timeout(tc, 600);
	  tcase_add_test(tc, what_was_settled_stays_so_when_a_full_log_ends);
	  tcase_add_test(tc, a_start_writes_what_it_believes_again);
	  tcase_add_loop_test(tc, no_failing_call_loses_what_was_acknowledged,
			      0, CALLS *(int)COUNT(faults));
	  tcase_add_loop_test(tc, no_failing_call_of_a_start_loses_anything, 0,
			      CALLS * 2);
	  tcase_add_test(
		  tc,
		  what_nobody_waits_for_is_written_again_after_a_failed_sync);
	  tcase_add_test(tc, of_a_group_whose_sync_failed_nothing_has_happened);
	  tcase_add_test(tc, two_failed_syncs_in_a_row_end_accepting);
	  tcase_add_test(tc, two_failures_to_make_files_in_a_row_end_accepting);
	  tcase_add_test(
		  tc,
		  without_room_for_files_old_mail_stays_until_there_is_some);
	  tcase_add_test(tc,
			 after_one_failed_sync_the_next_batch_goes_elsewhere);)
