/* SPDX-License-Identifier: ISC */
/* A sector that cannot be read, for a while or for good, as the spool runs. */
#include "queue/spool/internal.h"
#include "tests/unit/spool_world.h"

enum { OLD = 12, BAD = 5, SIZE = 1500, EACH = 3000, TRIES = 4, SOFT = 4 };

static uint64_t old[OLD];

static ino_t
inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

static void
setup(void)
{
	world_setup();
	box.opts.segments_soft = SOFT;
	box.opts.segments_hard = 3 * SOFT;
	box.opts.unread_tries = TRIES;
}

static struct entry *
entry_of(uint64_t id)
{
	uint32_t handle = index_find(&box.spool->index, id);

	return handle == 0 ? NULL : index_at(&box.spool->index, handle);
}

static uint32_t
len_of(unsigned which)
{
	return SIZE + which;
}

static void
put_old(void)
{
	for (unsigned i = 0; i < OLD; i++) {
		ck_assert_int_eq(box_put(&box, i, len_of(i), &old[i]), 0);
		/* also in memory it would be found */
		spool_forget_body(box.spool, old[i]);
	}
}

/* A second is over, in which the disk had the time to do what was begun. */
static void
tick(void)
{
	keep_tick(box.spool);
	do
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	while (box.spool->is_making || box.spool->is_retiring ||
	       box.spool->copying != NULL || box.spool->jobs != 0);
}

/* Mail that comes and goes, a tick now and then. */
static void
pass_by(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t id;

		ck_assert_int_eq(box_put(&box, i, EACH, &id), 0);
		ck_assert(!box.is_broken);
		spool_done(box.spool, id);
		if (i % 10 == 9)
			tick();
	}
}

static bool
is_in_corrupt(ino_t inode)
{
	char name[40];
	struct stat st;

	for (unsigned segno = 1; segno < 100; segno++) {
		(void)snprintf(name, sizeof(name), "corrupt/segment-%u", segno);
		if (stat(in_spool(name), &st) == 0 && st.st_ino == inode)
			return true;
	}
	return false;
}

static bool
has_copy(uint64_t id)
{
	char name[SPOOL_ID_MAX], below[SPOOL_ID_MAX + 8];

	(void)snprintf(below, sizeof(below), "corrupt/%s",
		       spool_id_format(id, name));
	return access(in_spool(below), F_OK) == 0;
}

/* All old mail but that one is whole, now and at the next start. */
static void
check_neighbours(unsigned but)
{
	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < OLD; i++)
			if (i != but)
				ck_assert_int_eq(box_check_body(&box, old[i], i,
								len_of(i)),
						 0);
		box_close(&box);
		box_open(&box);
		ck_assert_uint_eq(box.errors, 0);
		ck_assert_uint_eq(box.found_count, OLD - (but < OLD));
	}
	box_close(&box);
}

/* Of the record: its header, its envelope, its body. */
static const struct {
	off_t at;
	unsigned files_per_s; /* 1: old mail is copied */
} places[] = {{0, 1}, {0, 100}, {60, 1}, {60, 100}, {900, 1}, {900, 100}};

START_TEST(what_cannot_be_read_is_set_aside_and_all_else_goes_on)
{
	struct spool_stats stats;
	struct box_bytes got;
	struct entry *entry;
	ino_t inode;
	off_t at;

	box.opts.files_per_s = places[_i].files_per_s;
	box_open(&box);
	put_old();
	entry = entry_of(old[BAD]);
	inode = inode_of(spool_segment(box.spool, entry->slot)->fd);
	at = (off_t)entry->at * RECORD_ALIGN + places[_i].at;
	world_lose(inode, at, at + 1);

	/* whoever delivers it hears that it is not to be had now */
	if (places[_i].at > 500) {
		got.is_over = false;
		(void)spool_read(box.spool, old[BAD], 0, sizeof(got.bytes),
				 box_on_bytes, &got);
		box_wait(&box, &got.is_over);
		ck_assert_int_eq(got.status, -EIO);
	}
	for (unsigned i = 0;
	     i < 400 && (!is_in_corrupt(inode) || entry_of(old[BAD]) != NULL);
	     i++)
		pass_by(10);
	ck_assert(is_in_corrupt(inode));
	ck_assert(has_copy(old[BAD]));
	ck_assert_ptr_null(entry_of(old[BAD]));
	spool_stats(box.spool, &stats);
	ck_assert_uint_ge(stats.corrupt, 1);
	ck_assert(!spool_is_short(box.spool));
	/* that it cannot be read, that it was set aside, and its segment */
	ck_assert_uint_eq(box.errors, 3);

	/* the log is as large as before, and goes round */
	pass_by(400);
	spool_stats(box.spool, &stats);
	ck_assert_uint_le(stats.log_bytes, SOFT * 65536);
	ck_assert_uint_eq(box.errors, 3);
	check_neighbours(BAD);
}
END_TEST

START_TEST(what_can_be_read_again_in_time_is_not_set_aside)
{
	struct entry *entry;
	unsigned met = 0;
	ino_t inode;
	off_t at;

	box.opts.unread_tries = 1000;
	box_open(&box);
	put_old();
	entry = entry_of(old[BAD]);
	inode = inode_of(spool_segment(box.spool, entry->slot)->fd);
	at = (off_t)entry->at * RECORD_ALIGN + 900;
	world_lose(inode, at, at + 1);
	for (unsigned i = 0; i < 400 && met < 3; i++) {
		pass_by(10);
		met = world_times_lost();
	}
	ck_assert_uint_ge(met, 3);
	/* those beside it moved on all the same */
	for (unsigned i = 0; i < OLD; i++) {
		entry = entry_of(old[i]);
		ck_assert_ptr_nonnull(entry);
		if (i != BAD)
			ck_assert((entry->flags & ENTRY_IN_FILE) != 0 ||
				  inode_of(spool_segment(box.spool, entry->slot)
						   ->fd) != inode);
	}
	world_heal();
	pass_by(200);
	ck_assert(!has_copy(old[BAD]));
	/* it was told once */
	ck_assert_uint_eq(box.errors, 1);
	check_neighbours(OLD);
}
END_TEST

/* The log may not grow, so nobody waits for the disk to change its mind. */
START_TEST(a_full_log_does_not_wait_for_a_bad_sector)
{
	struct entry *entry;
	ino_t inode;
	off_t at;

	box.opts.unread_tries = 100000;
	box.opts.segments_hard = SOFT;
	box_open(&box);
	put_old();
	entry = entry_of(old[BAD]);
	inode = inode_of(spool_segment(box.spool, entry->slot)->fd);
	at = (off_t)entry->at * RECORD_ALIGN + 900;
	world_lose(inode, at, at + 1);
	for (unsigned i = 0; i < 4000 && !is_in_corrupt(inode); i++) {
		uint64_t id;

		if (box_put(&box, i, EACH, &id) == 0)
			spool_done(box.spool, id);
		if (i % 10 == 9)
			tick();
	}
	ck_assert(is_in_corrupt(inode));
	/* a few tries, and then the reading of what is around it */
	ck_assert_uint_lt(world_times_lost(), 10);
	/* the batch by which head passes it is on its way */
	while (spool_is_short(box.spool))
		(void)uv_run(&box.loop, UV_RUN_ONCE);
	ck_assert(!box.is_broken);
	pass_by(400);
	check_neighbours(BAD);
}
END_TEST

/* The states of a message count as those that the disk has damaged: what they
 * say is done once more. */
START_TEST(a_state_that_cannot_be_read_costs_the_state_alone)
{
	const struct state_note *note;
	struct entry *entry;
	ino_t inode;

	box.opts.files_per_s = _i == 0 ? 100 : 1;
	box_open(&box);
	put_old();
	ck_assert_int_eq(box_state(&box, old[BAD], "one"), 0);
	ck_assert_int_eq(box_state(&box, old[BAD], "two"), 0);
	entry = entry_of(old[BAD]);
	note = &entry->notes->each[0];
	inode = inode_of(spool_segment(box.spool, note->slot)->fd);
	world_lose(inode, note->at, note->at + 1);
	for (unsigned i = 0; i < 400 && !is_in_corrupt(inode); i++)
		pass_by(10);
	ck_assert(is_in_corrupt(inode));
	ck_assert(!has_copy(old[BAD]));
	pass_by(100);
	box_close(&box);
	box_open(&box);
	ck_assert_str_eq(box_find(&box, old[BAD])->states, "two\n");
	check_neighbours(OLD);
}
END_TEST

/* Its states cannot be added to it. */
START_TEST(a_file_that_cannot_be_read_is_set_aside_as_it_is)
{
	struct stat st;
	uint64_t large;

	box_open(&box);
	put_old();
	ck_assert_int_eq(box_put(&box, OLD, 30000, &large), 0);
	ck_assert_int_eq(stat(file_of(large), &st), 0);
	world_lose(st.st_ino, 0, 1);
	ck_assert_int_eq(box_state(&box, large, "one"), 0);
	for (unsigned i = 0; i < 400 && !has_copy(large); i++)
		pass_by(10);
	ck_assert(has_copy(large));
	pass_by(400);
	check_neighbours(OLD);
}
END_TEST

/* Nor opened or renamed: what is bad is where the disk keeps its place. */
static char no_file[FILES_NAME_MAX];

static bool
is_no_file(const char *name)
{
	bool is_it;

	pthread_mutex_lock(&world_lock);
	is_it = strcmp(name, no_file) == 0;
	pthread_mutex_unlock(&world_lock);
	if (is_it)
		errno = EIO;
	return is_it;
}

static int
losing_openat(int dir, const char *name, int flags, mode_t mode)
{
	return is_no_file(name)
		       ? -1
		       : disk_calls_real.openat(dir, name, flags, mode);
}

static int
losing_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return is_no_file(from)
		       ? -1
		       : disk_calls_real.renameat(from_dir, from, to_dir, to);
}

static void
lose_file(const char *name)
{
	pthread_mutex_lock(&world_lock);
	(void)snprintf(no_file, sizeof(no_file), "%s", name);
	pthread_mutex_unlock(&world_lock);
}

START_TEST(a_file_that_cannot_be_opened_stops_nothing_either)
{
	char name[FILES_NAME_MAX];
	struct spool_stats stats;
	uint64_t large;

	world_disk.openat = losing_openat;
	world_disk.renameat = losing_renameat;
	box_open(&box);
	put_old();
	ck_assert_int_eq(box_put(&box, OLD, 30000, &large), 0);
	ck_assert_int_eq(box_state(&box, large, "one"), 0);
	lose_file(files_name(large, name));
	pass_by(1000);
	spool_stats(box.spool, &stats);
	ck_assert_uint_le(stats.log_bytes, SOFT * 65536);
	/* that it cannot be read, and not be set aside */
	ck_assert_uint_eq(box.errors, 2);
	ck_assert_ptr_nonnull(entry_of(large));
	lose_file("");
	box_close(&box);
	box_open(&box);
	ck_assert_uint_eq(box.errors, 0);
	ck_assert_ptr_nonnull(box_find(&box, large));
	spool_done(box.spool, large);
	box_close(&box);
	box_open(&box);
	check_neighbours(OLD);
}
END_TEST

UNIT_MAIN("spool_sector", tcase_add_checked_fixture(tc, setup, world_teardown);
	  tcase_set_timeout(tc, 300); tcase_add_loop_test(
		  tc, what_cannot_be_read_is_set_aside_and_all_else_goes_on, 0,
		  (int)COUNT(places));
	  tcase_add_test(tc, what_can_be_read_again_in_time_is_not_set_aside);
	  tcase_add_test(tc, a_full_log_does_not_wait_for_a_bad_sector);
	  tcase_add_loop_test(tc,
			      a_state_that_cannot_be_read_costs_the_state_alone,
			      0, 2);
	  tcase_add_test(tc, a_file_that_cannot_be_read_is_set_aside_as_it_is);
	  tcase_add_test(tc,
			 a_file_that_cannot_be_opened_stops_nothing_either);)
