/* SPDX-License-Identifier: ISC */
/* A disk without any room, and a log that is full to the last block. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

#include "queue/spool/internal.h"
#include "tests/unit/spool_box.h"

enum { MOST = 3000, SEGMENTS = 6 };

static struct box box;
static atomic_bool is_full;
static uint64_t mails[MOST];
static unsigned count;

static int
full_openat(int dir, const char *name, int flags, mode_t mode)
{
	if (!atomic_load(&is_full) || (flags & O_CREAT) == 0)
		return disk_calls_real.openat(dir, name, flags, mode);
	errno = ENOSPC;
	return -1;
}

static void
setup(void)
{
	static struct disk_calls calls;

	calls = disk_calls_real;
	calls.openat = full_openat;
	atomic_store(&is_full, false);
	count = 0;
	box_init(&box);
	box.opts.segments_soft = SEGMENTS;
	disk_use(&calls);
}

static void
teardown(void)
{
	disk_use(NULL);
	box_done(&box);
}

/* Puts so many at once, until they are refused; false: they were. */
static bool
put_some(unsigned at_once, size_t len)
{
	static struct box_put puts[MOST];
	bool is_taken = true;

	for (unsigned i = 0; i < at_once; i++)
		box_start(&box, &puts[i], count + i, len);
	for (unsigned i = 0; i < at_once; i++) {
		box_wait(&box, &puts[i].is_over);
		if (puts[i].status == 0) {
			ck_assert_uint_lt(count, MOST);
			mails[count++] = puts[i].id;
		} else {
			ck_assert_int_eq(puts[i].status, -ENOSPC);
			is_taken = false;
		}
	}
	return is_taken;
}

/* Mail as long as it is taken, then states of one of them. */
static void
fill(unsigned at_once, size_t len, unsigned noted)
{
	struct spool_stats stats;
	char line[3001];
	unsigned states = 0;

	do {
		ck_assert(put_some(at_once, len));
		spool_stats(box.spool, &stats);
	} while (stats.segments < SEGMENTS);
	atomic_store(&is_full, true);
	while (put_some(at_once, len))
		;
	ck_assert(spool_is_short(box.spool));
	memset(line, 's', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	while (box_state(&box, mails[noted], line) == 0)
		ck_assert_uint_lt(++states, 256);
}

static void
on_timer(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

/* What the spool does by itself in this time, its tick included. */
static void
run_for(unsigned ms)
{
	bool is_over = false;
	uv_timer_t timer;

	ck_assert_int_eq(uv_timer_init(&box.loop, &timer), 0);
	timer.data = &is_over;
	uv_timer_start(&timer, on_timer, ms, 0);
	while (!is_over)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	(void)uv_run(&box.loop, UV_RUN_NOWAIT);
}

static void
count_one(void *arg, const struct spool_found *found)
{
	(void)found;
	++*(unsigned *)arg;
}

static void
say_nothing(void *arg, bool is_error, const char *file, const char *text)
{
	(void)arg;
	(void)is_error;
	(void)file;
	(void)text;
}

/* What a kill right now would leave: messages in a copy of the spool. */
static unsigned
left_by_a_kill(void)
{
	char command[400], copy[sizeof(box.dir) + 8];
	struct err err;
	unsigned left = 0;

	snprintf(copy, sizeof(copy), "%s-copy", box.dir);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", box.dir, copy);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(spool_scan(copy, count_one, say_nothing, &left, &err),
			 0);
	(void)nftw(copy, box_remove, 16, FTW_DEPTH | FTW_PHYS);
	return left;
}

static const struct {
	unsigned at_once; /* puts */
	size_t len;
	unsigned settled; /* at once */
} fullness[] = {
	{1, 12000, 1},	{1, 300, 1},	  {100, 300, 1},
	{100, 300, 40}, {100, 300, 1000},
};

START_TEST(deliveries_free_a_log_that_is_full_to_the_last_block)
{
	unsigned settled = 0, waited = 0;
	struct spool_stats stats;
	unsigned total;

	box_open(&box);
	fill(fullness[_i].at_once, fullness[_i].len, 0);
	total = count;
	ck_assert_uint_ge(total, 6);
	/* all but the newest third, as deliveries end */
	while (settled < total - total / 3) {
		for (unsigned i = 0;
		     i < fullness[_i].settled && settled < total - total / 3;
		     i++)
			spool_done(box.spool, mails[settled++]);
		run_for(fullness[_i].settled == 1 && total > 100 ? 3 : 30);
	}
	/* nobody made room; at the latest the last delivery does */
	while (spool_is_short(box.spool)) {
		ck_assert_msg(++waited < 900, "no mail is accepted any more");
		run_for(100);
		if (waited > 20 && settled < total)
			spool_done(box.spool, mails[settled++]);
	}
	ck_assert(put_some(1, 300));
	ck_assert_uint_eq(left_by_a_kill(), total - settled + 1);
	spool_stats(box.spool, &stats);
	ck_assert_uint_eq(stats.messages, total - settled + 1);
	ck_assert(!box.is_broken);
	box_close(&box);
	atomic_store(&is_full, false);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, total - settled + 1);
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

/* Whether room comes back by itself, once all is settled. */
static bool
gets_room(void)
{
	for (unsigned i = 0; i < 900 && spool_is_short(box.spool); i++)
		run_for(100);
	return !spool_is_short(box.spool);
}

START_TEST(a_state_that_is_asked_for_again_does_not_stop_deliveries)
{
	char line[3001];

	box_open(&box);
	fill(1, 300, 0);
	memset(line, 'n', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	spool_state(box.spool, mails[count - 1], line, NULL, NULL);
	run_for(100);
	for (unsigned i = 0; i + 1 < count; i++)
		spool_done(box.spool, mails[i]);
	ck_assert(gets_room());
	ck_assert(put_some(1, 300));
	box_close(&box);
}
END_TEST

START_TEST(a_settled_file_is_removed_although_the_log_is_full)
{
	char file[300], name[FILES_NAME_MAX];
	uint64_t id;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 7, 40000, &id), 0);
	(void)snprintf(file, sizeof(file), "%s/msg/%s", box.dir,
		       files_name(id, name));
	ck_assert_int_eq(access(file, F_OK), 0);
	fill(1, 300, 0);
	spool_done(box.spool, id);
	for (unsigned i = 0; i < 30 && access(file, F_OK) == 0; i++)
		run_for(100);
	ck_assert_int_ne(access(file, F_OK), 0);
	box_close(&box);
}
END_TEST

START_TEST(much_mail_at_once_leaves_the_part_for_done_records)
{
	box.opts.ahead_bytes = 1024;
	box_open(&box);
	fill(400, 700, 0);
	for (unsigned i = 0; i < count - 1; i++) {
		spool_done(box.spool, mails[i]);
		run_for(i % 8 == 0 ? 2 : 0);
	}
	ck_assert(gets_room());
	ck_assert(put_some(1, 300));
	box_close(&box);
}
END_TEST

UNIT_MAIN("spool_full", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_set_timeout(tc, 600); tcase_add_loop_test(
		  tc, deliveries_free_a_log_that_is_full_to_the_last_block, 0,
		  (int)COUNT(fullness));
	  tcase_add_test(
		  tc, a_state_that_is_asked_for_again_does_not_stop_deliveries);
	  tcase_add_test(tc,
			 a_settled_file_is_removed_although_the_log_is_full);
	  tcase_add_test(tc,
			 much_mail_at_once_leaves_the_part_for_done_records);)
