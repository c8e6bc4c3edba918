/* SPDX-License-Identifier: ISC */
/* What else happens while old mail is copied within the log. */
#include "queue/spool/internal.h"
#include "tests/unit/spool_world.h"

enum { OLD = 300, CHUNK = 256, EACH = 8 };

static uint64_t old[OLD];

static void
setup(void)
{
	world_setup();
	box.opts.segments_soft = 4;
	box.opts.segments_hard = 8;
	box.opts.files_per_s = 1;
}

/* A log in which the oldest segment's mail is being copied, and cannot be
 * read. */
static void
begin_copying(void)
{
	static struct box_put puts[OLD];

	box_open(&box);
	for (unsigned i = 0; i < OLD; i++)
		box_start(&box, &puts[i], i, 0);
	for (unsigned i = 0; i < OLD; i++) {
		box_wait(&box, &puts[i].is_over);
		ck_assert_int_eq(puts[i].status, 0);
		old[i] = puts[i].id;
	}
	world_shut(0);
	while (box.spool->copying == NULL) {
		uint64_t id;

		ck_assert_int_eq(box_put(&box, 1, 3000, &id), 0);
		spool_done(box.spool, id);
	}
}

static void
end_copying(void)
{
	world_open();
	while (box.spool->copying != NULL)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
}

static void
check_old(void)
{
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.errors, 0);
	for (unsigned i = 0; i < OLD; i++)
		ck_assert_ptr_nonnull(box_find(&box, old[i]));
	box_close(&box);
}

START_TEST(a_backup_that_begins_ends_the_copying)
{
	struct spool_stats stats;
	FILE *file;

	begin_copying();
	file = fopen(in_spool("backup"), "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fclose(file), 0);
	while (!box.spool->copies_nothing)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	end_copying();
	spool_stats(box.spool, &stats);
	ck_assert_uint_le(stats.copied, CHUNK);
	check_old();
}
END_TEST

/* Else a file would be made of the older one, and of the later one nobody
 * would know that there is a file. */
START_TEST(of_two_records_that_a_killed_copying_leaves_the_later_counts)
{
	static struct box killed;
	struct spool_stats stats;
	char command[400];
	uint64_t source;
	unsigned stayed = 0;

	begin_copying();
	source =
		container_of(box.spool->used.next, struct segment, link)->segno;
	end_copying();
	spool_stats(box.spool, &stats);
	ck_assert_uint_gt(stats.copied, 0);
	box_init(&killed);
	(void)snprintf(command, sizeof(command), "cp -a '%s/.' '%s'", box.dir,
		       killed.dir);
	ck_assert_int_eq(system(command), 0);
	box_open(&killed);
	for (unsigned i = 0; i < OLD; i++) {
		uint32_t handle = index_find(&killed.spool->index, old[i]);
		const struct entry *entry;

		ck_assert_uint_ne(handle, 0);
		entry = index_at(&killed.spool->index, handle);
		if ((entry->flags & ENTRY_IN_FILE) == 0 &&
		    spool_segment(killed.spool, entry->slot)->segno == source)
			stayed++;
	}
	ck_assert_uint_le(stayed, OLD - stats.copied);
	box_close(&killed);
	box_done(&killed);
	check_old();
}
END_TEST

static bool
is_waiting(void)
{
	bool is;

	pthread_mutex_lock(&box.spool->committer.lock);
	is = box.spool->committer.wanted != 0;
	pthread_mutex_unlock(&box.spool->committer.lock);
	return is;
}

START_TEST(a_full_log_waits_for_what_is_being_copied)
{
	static struct box_saved saved[256];
	unsigned count = 0;
	char line[3001];

	memset(line, 's', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	begin_copying();
	world_fill(true);
	do { /* it may be waiting for a moment already */
		ck_assert_uint_lt(count, COUNT(saved));
		saved[count] = (struct box_saved){false, 0};
		spool_state(box.spool, old[0], line, box_on_saved,
			    &saved[count]);
		while (!saved[count].is_over && !is_waiting())
			(void)uv_run(&box.loop, UV_RUN_ONCE);
		count++;
	} while (!is_waiting());
	/* the next of them is a tick at the latest */
	for (unsigned i = 0; i < EACH && !saved[count - 1].is_over; i++)
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	end_copying();
	for (unsigned i = 0; i < count; i++) {
		box_wait(&box, &saved[i].is_over);
		ck_assert_int_eq(saved[i].status, 0);
	}
	world_fill(false);
	check_old();
}
END_TEST

UNIT_MAIN("spool_copy", tcase_add_checked_fixture(tc, setup, world_teardown);
	  tcase_set_timeout(tc, 300);
	  tcase_add_test(tc, a_backup_that_begins_ends_the_copying);
	  tcase_add_test(
		  tc,
		  of_two_records_that_a_killed_copying_leaves_the_later_counts);
	  tcase_add_test(tc, a_full_log_waits_for_what_is_being_copied);)
