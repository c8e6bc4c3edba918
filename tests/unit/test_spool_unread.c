/* SPDX-License-Identifier: ISC */
/* A check that cannot read or write what it needs: it forgets nothing. */
#include <dirent.h>
#include <errno.h>

#include <stdatomic.h>

#include "tests/unit/spool_damage.h"

START_TEST(a_repair_does_not_begin_when_a_folder_cannot_be_listed)
{
	char folder[300], away[300];
	struct said said;
	uint32_t before;

	damage_record_body(); /* else the log is not written again */
	file_of(ids[SMALL]);
	*strrchr(path, '/') = '\0';
	snprintf(folder, sizeof(folder), "%s", path);
	snprintf(away, sizeof(away), "%s", in_spool("away"));
	ck_assert_int_eq(rename(folder, away), 0);
	write_file(folder, "");
	before = tree();
	check_spool(false, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_ptr_nonnull(strstr(said.kinds, "folder damage|"));
	ck_assert_ptr_null(strstr(said.kinds, "missing damage|"));
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, -ENOTDIR);
	ck_assert_uint_eq(tree(), before);

	ck_assert_int_eq(unlink(folder), 0);
	ck_assert_int_eq(rename(away, folder), 0);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_uint_eq(open_and_look(false), EVERY & ~BIT(2));
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[SMALL])->states, "tried\n");
	box_close(&box);
}
END_TEST

/* -------------------------------------------- what cannot be read for now */

static struct {
	const char *name; /* in the file's */
	unsigned left;	  /* calls until the one that fails */
	int error;
} refused;

static int
refusing_openat(int dir, const char *name, int flags, mode_t mode)
{
	if (strstr(name, refused.name) != NULL && refused.left-- == 0) {
		errno = refused.error;
		return -1;
	}
	return disk_calls_real.openat(dir, name, flags, mode);
}

static const struct {
	unsigned left;
	int error;
} refusals[] = {{0, EMFILE}, {1, EMFILE}, {0, ENFILE},
		{1, ENFILE}, {0, EIO},	  {1, EIO}};

START_TEST(a_file_that_cannot_be_read_for_now_is_not_damaged)
{
	struct disk_calls calls = disk_calls_real;
	char name[SPOOL_ID_MAX];
	struct said said;
	uint32_t before;

	before = tree();
	calls.openat = refusing_openat;
	refused.name = spool_id_format(ids[SMALL], name);
	disk_use(&calls);
	for (int is_repair = 0; is_repair < 2; is_repair++) {
		refused.left = refusals[_i].left;
		refused.error = refusals[_i].error;
		check_spool(is_repair != 0, &said);
		ck_assert_int_eq(said.rc, is_repair ? -refused.error : 0);
		ck_assert_str_eq(said.kinds, is_repair ? "" : "file damage|");
	}
	disk_use(NULL);
	ck_assert_uint_eq(tree(), before);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_uint_eq(said.check.damages, 0);
	ck_assert_uint_eq(open_and_look(false), EVERY);
}
END_TEST

static int
refusing_renameat(int dir, const char *from, int to_dir, const char *to)
{
	(void)dir;
	(void)from;
	(void)to_dir;
	(void)to;
	errno = ENOSPC;
	return -1;
}

START_TEST(a_repair_ends_when_a_damaged_file_cannot_be_set_aside)
{
	struct disk_calls calls = disk_calls_real;
	struct said said;
	uint32_t before;

	damage_file_body();
	before = tree();
	calls.renameat = refusing_renameat;
	disk_use(&calls);
	check_spool(true, &said);
	disk_use(NULL);
	ck_assert_int_lt(said.rc, 0);
	ck_assert_uint_eq(tree(), before);
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_uint_eq(open_and_look(false), EVERY & ~BIT(SMALL));
}
END_TEST

static size_t refused_len; /* of a read */

static ssize_t
refusing_pread(int fd, void *to, size_t len, off_t at)
{
	if (len != refused_len)
		return pread(fd, to, len, at);
	errno = EIO;
	return -1;
}

static const struct {
	void (*damage)(void);
	const char *state;   /* that cannot be read, NULL: all can */
	const char *refused; /* file that cannot be made */
	const char *told;    /* when nothing is in the way any more */
} hindered[] = {
	{damage_record_body, "tried once", NULL, "batch damage|"},
	{damage_record_body, "tried", NULL, "batch damage|"},
	{remove_file, "tried", NULL, "missing damage|"},
	{remove_file, NULL, ".states", "missing damage|"},
	{damage_record_body, NULL, "segment-", "batch damage|"},
};

START_TEST(a_repair_forgets_nothing_that_it_could_not_read_or_keep)
{
	struct disk_calls calls = disk_calls_real;
	bool is_file = hindered[_i].damage != remove_file;
	struct said said;

	hindered[_i].damage();
	calls.pread = refusing_pread;
	calls.openat = refusing_openat;
	refused_len = hindered[_i].state != NULL
			      ? RECORD_HEADER + strlen(hindered[_i].state)
			      : 0;
	refused.name = hindered[_i].refused != NULL ? hindered[_i].refused
						    : "no such name";
	refused.left = 0;
	refused.error = ENOSPC;
	disk_use(&calls);
	check_spool(true, &said);
	disk_use(NULL);
	ck_assert_int_eq(said.rc, refused_len != 0 ? -EIO : -ENOSPC);

	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_msg(strstr(said.kinds, hindered[_i].told) != NULL, "%s",
		      said.kinds);
	box_open(&box);
	ck_assert_str_eq(box_find(&box, ids[0])->states, "tried once\n");
	if (is_file)
		ck_assert_str_eq(box_find(&box, ids[SMALL])->states, "tried\n");
	box_close(&box);
	if (!is_file) {
		char name[SPOOL_ID_MAX], aside[SPOOL_ID_MAX + 16], text[16];
		int fd;

		snprintf(aside, sizeof(aside), "corrupt/%s.states",
			 spool_id_format(ids[SMALL], name));
		fd = open(in_spool(aside), O_RDONLY);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(disk_read(fd, text, 6, 0), 0);
		close(fd);
		ck_assert_int_eq(memcmp(text, "tried\n", 6), 0);
	}
}
END_TEST

/* ---------------------------------------------------------- bad sectors */

/* From now on bytes of the file in path cannot be read. */
static void
lose(off_t at, off_t end)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	world_lose(st.st_ino, at, end);
}

static bool
is_in_corrupt(ino_t inode)
{
	DIR *dir = opendir(in_spool("corrupt"));
	bool is_there = false;

	ck_assert_ptr_nonnull(dir);
	for (struct dirent *item = readdir(dir); item != NULL;
	     item = readdir(dir))
		is_there |= item->d_ino == inode;
	closedir(dir);
	return is_there;
}

static void
lose_body_of_file(void)
{
	(void)file_of(ids[SMALL]);
	lose(8192, 12288);
}

/* States 1 to 200, of which some fill a whole block. */
static void
lose_state_lines(void)
{
	char line[80];
	struct stat st;
	off_t at;

	(void)file_of(ids[SMALL + 1]);
	ck_assert_int_eq(stat(path, &st), 0);
	at = (st.st_size + 4095) / 4096 * 4096;
	for (uint32_t i = 1; i <= 200; i++) {
		char text[16];
		int len = snprintf(text, sizeof(text), "state %03u", i);

		append(path, line,
		       file_state_encode(ids[SMALL + 1], i, text, (size_t)len,
					 line));
	}
	lose(at, at + 4096);
}

static void
lose_record(void)
{
	off_t at = (off_t)record_of(2);

	lose(at + RECORD_HEADER + 300, at + RECORD_HEADER + 301);
}

/* The only batch of a segment's last use begins there. */
static void
lose_batch_header(void)
{
	off_t at = (off_t)record_of(0);

	lose(at - BATCH_HEADER, at);
}

static const struct {
	const char *name;
	void (*damage)(void);
	const char *kind; /* that is told */
	unsigned left;	  /* of the messages, after a repair */
} losses[] = {
	{"a body", lose_body_of_file, "unread damage|", EVERY & ~BIT(SMALL)},
	{"state lines", lose_state_lines, "unread damage|", EVERY},
	{"a record", lose_record, "segment damage|", EVERY & ~BIT(2)},
	{"a batch's header", lose_batch_header, "segment damage|",
	 EVERY & ~BIT(0)},
};

START_TEST(a_repair_goes_on_around_a_bad_sector_and_keeps_what_has_it)
{
	struct said said;
	ino_t inode;

	losses[_i].damage();
	inode = world.lost.inode;
	check_spool(false, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_msg(strstr(said.kinds, losses[_i].kind) != NULL, "%s: %s",
		      losses[_i].name, said.kinds);
	ck_assert_uint_eq(said.check.repaired, 0);
	check_spool(true, &said);
	ck_assert_msg(said.rc == 0, "%s", said.err.text);
	ck_assert_uint_eq(said.check.damages, said.check.repaired);
	ck_assert(is_in_corrupt(inode));
	check_spool(true, &said);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_msg(said.check.damages == 0, "%s", said.kinds);
	world_heal();
	ck_assert_msg(open_and_look(false) == losses[_i].left, "%s",
		      losses[_i].name);
	if (losses[_i].damage != lose_state_lines)
		return;
	box_open(&box);
	ck_assert_ptr_nonnull(
		strstr(box_find(&box, ids[SMALL + 1])->states, "state 200\n"));
	box_close(&box);
}
END_TEST

START_TEST(a_start_writes_over_no_segment_that_it_could_not_read)
{
	enum { BYTES = 64 << 10 };
	uint8_t *before = mem_alloc(BYTES), *after = mem_alloc(BYTES);
	struct stat st;
	int fd = open(in_spool("log/001.seg"), O_RDONLY);

	ck_assert_int_ge(fd, 0);
	box_open(&box); /* a newer one tells where the log is */
	box_close(&box);
	ck_assert_int_eq(disk_read(fd, before, BYTES, 0), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	world_lose(st.st_ino, 0, BYTES);
	box.opts.segments_soft = 3;
	box_open(&box);
	ck_assert_uint_ge(box.errors, 1);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t id;

		ck_assert_int_eq(box_put(&box, i, 3000, &id), 0);
		spool_done(box.spool, id);
	}
	box_close(&box);
	world_heal();
	ck_assert_int_eq(disk_read(fd, after, BYTES, 0), 0);
	ck_assert_mem_eq(before, after, BYTES);
	close(fd);
	free(before);
	free(after);
}
END_TEST

#define ALL_OF_IT 0, (off_t)1 << 40 /* bytes of a file */

START_TEST(mail_of_a_newest_segment_that_can_be_read_again_is_there_again)
{
	uint64_t before, during, later;
	struct said said;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, ALL, 300, &before), 0);
	box_close(&box);
	(void)record_of(ALL);
	lose(ALL_OF_IT);
	box_open(&box);
	ck_assert_uint_ge(box.errors, 1);
	ck_assert_ptr_null(box_find(&box, before));
	ck_assert_ptr_nonnull(box_find(&box, ids[0]));
	ck_assert_int_eq(box_put(&box, ALL + 1, 300, &during), 0);
	ck_assert_uint_gt(during, before);
	box_close(&box);
	/* as long as it lasts */
	box_open(&box);
	ck_assert_ptr_nonnull(box_find(&box, during));
	ck_assert_int_eq(box_put(&box, ALL + 2, 300, &later), 0);
	ck_assert_uint_gt(later, during);
	box_close(&box);
	world_heal();

	check_spool(false, &said);
	ck_assert_msg(said.check.damages == 0, "%s", said.kinds);
	for (unsigned i = 0; i < 2; i++) {
		box_open(&box);
		ck_assert_msg(box.errors == 0, "%s", box.last_report);
		ck_assert_ptr_nonnull(box_find(&box, before));
		ck_assert_ptr_nonnull(box_find(&box, during));
		ck_assert_ptr_nonnull(box_find(&box, later));
		ck_assert_uint_eq(box.found_count, ALL + 3);
		box_close(&box);
	}
}
END_TEST

START_TEST(a_log_of_which_nothing_can_be_read_is_not_begun_anew)
{
	struct said said;
	uint32_t before = tree();

	(void)record_of(0);
	lose(ALL_OF_IT);
	ck_assert_int_eq(box_try_open(&box), -EIO);
	ck_assert_ptr_nonnull(strstr(box.err.text, "fsck"));
	world_heal();
	ck_assert_uint_eq(tree(), before);
	ck_assert_uint_eq(open_and_look(false), EVERY);

	(void)record_of(0);
	lose(ALL_OF_IT);
	check_spool(true, &said);
	ck_assert_msg(said.rc == 0, "%s", said.err.text);
	ck_assert(is_in_corrupt(world.lost.inode));
	ck_assert_uint_eq(open_and_look(false), BIT(SMALL) | BIT(SMALL + 1));
}
END_TEST

/* The disk takes no batch any more once this file is not in log/. */
static char in_log[sizeof(path)];
static bool ends_there, was_passed_too_early;

static ssize_t
watching_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	bool is_in_log = access(in_log, F_OK) == 0;
	struct batch_head head;
	uint64_t tag;

	if (iov->iov_len >= FORMAT_BLOCK &&
	    batch_peek_tag(iov->iov_base, &tag) &&
	    batch_decode(iov->iov_base, tag, UINT32_MAX, &head)) {
		was_passed_too_early |= is_in_log && head.head > 1;
		if (ends_there && !is_in_log) {
			errno = EIO;
			return -1;
		}
	}
	return disk_calls_real.pwritev(fd, iov, count, at);
}

/* After a crash behind that batch a start would use it again; and one before
 * it finds the log begin with the next segment. */
START_TEST(a_segment_with_a_hole_is_set_aside_before_head_passes_it)
{
	uint8_t before[4096], after[4096];
	struct said said;
	char name[64];
	ino_t inode;
	int fd;

	lose_record();
	inode = world.lost.inode;
	(void)snprintf(in_log, sizeof(in_log), "%s", path);
	ends_there = _i != 0;
	was_passed_too_early = false;
	world_disk.pwritev = watching_pwritev;
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(disk_calls_real.pread(fd, before, sizeof(before), 0),
			 4096);
	box.opts.segments_soft = 3;
	box_open(&box);
	ck_assert_uint_ge(box.errors, 1);
	for (unsigned i = 0; !is_in_corrupt(inode) && !box.is_broken; i++) {
		uint64_t id;

		ck_assert_uint_lt(i, 2000);
		if (box_put(&box, i, 3000, &id) == 0)
			spool_done(box.spool, id);
	}
	(void)snprintf(name, sizeof(name), "corrupt/segment-1");
	ck_assert_int_eq(access(in_spool(name), F_OK), 0);
	box_close(&box);
	ck_assert(!was_passed_too_early);
	world_disk.pwritev = disk_calls_real.pwritev;
	world_heal();
	ck_assert_int_eq(disk_read(fd, after, sizeof(after), 0), 0);
	ck_assert_mem_eq(before, after, sizeof(before));
	close(fd);
	check_spool(false, &said);
	ck_assert_msg(said.check.damages == 0, "%s", said.kinds);
	box_open(&box);
	ck_assert_msg(box.errors == 0, "%s", box.last_report);
	for (unsigned i = 0; i < ALL; i++)
		ck_assert_int_eq(box_find(&box, ids[i]) != NULL, i != 2);
	box_close(&box);
}
END_TEST

/* What a crash leaves when a segment has just gone to corrupt/. */
static char crashed[sizeof(box.dir) + 8];
static atomic_bool has_crashed;

static int
copying_renameat(int dir, const char *from, int to_dir, const char *to)
{
	int rc = disk_calls_real.renameat(dir, from, to_dir, to);
	char command[400];

	if (strstr(from, ".seg") == NULL || atomic_load(&has_crashed))
		return rc;
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", box.dir, crashed);
	ck_assert_int_eq(system(command), 0);
	atomic_store(&has_crashed, true);
	return rc;
}

/* The batch by which head passes the first segment is late. */
static ssize_t
late_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	struct batch_head head;
	uint64_t tag;

	if (iov->iov_len >= FORMAT_BLOCK &&
	    batch_peek_tag(iov->iov_base, &tag) &&
	    batch_decode(iov->iov_base, tag, UINT32_MAX, &head) &&
	    head.head > 1)
		for (unsigned i = 0; i < 50 && !atomic_load(&has_crashed); i++)
			(void)usleep(10000);
	return disk_calls_real.pwritev(fd, iov, count, at);
}

static uint64_t settled_id;

static void
find_settled(void *arg, const struct spool_found *found)
{
	*(bool *)arg |= found->id == settled_id;
}

static void
say_nothing(void *arg, bool is_error, const char *file, const char *text)
{
	(void)arg;
	(void)is_error;
	(void)file;
	(void)text;
}

/* Its DONE records may be of messages before it. */
START_TEST(a_segment_is_set_aside_when_what_stands_before_it_is_over)
{
	uint64_t noted, id;
	bool is_back = false;
	struct stat st;
	struct err err;
	char line[3001];
	off_t at;

	world_teardown();
	world_setup();
	snprintf(crashed, sizeof(crashed), "%s-copy", box.dir);
	atomic_store(&has_crashed, false);
	memset(line, 'l', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	box.opts.segments_soft = 3;
	box.opts.unread_tries = 1;
	box_open(&box);
	ck_assert_int_eq(box_put(&box, 0, 14000, &noted), 0);
	ck_assert_int_eq(box_put(&box, 1, 14000, &settled_id), 0);
	ck_assert_int_eq(box_put(&box, 2, 14000, &id), 0);
	spool_done(box.spool, id);
	ck_assert_int_eq(box_put(&box, 3, 14000, &id), 0);
	spool_done(box.spool, id);
	spool_done(box.spool, settled_id);
	ck_assert_int_eq(box_state(&box, noted, line), 0);
	at = find_in_segment(2, line, sizeof(line) - 1);
	ck_assert_int_gt(at, 0);
	ck_assert_int_eq(stat(segment_of(2), &st), 0);
	world_lose(st.st_ino, at, at + 1);
	world_disk.renameat = copying_renameat;
	world_disk.pwritev = late_pwritev;
	for (unsigned i = 0; !atomic_load(&has_crashed); i++) {
		ck_assert_uint_lt(i, 3000);
		if (box_put(&box, i, 14000, &id) == 0)
			spool_done(box.spool, id);
		else
			(void)uv_run(&box.loop, UV_RUN_ONCE);
	}
	box_close(&box);
	ck_assert_int_eq(spool_scan(crashed, find_settled, say_nothing,
				    &is_back, &err),
			 0);
	(void)nftw(crashed, box_remove, 16, FTW_DEPTH | FTW_PHYS);
	ck_assert(!is_back);
}
END_TEST

UNIT_MAIN(
	"spool_unread", tcase_add_checked_fixture(tc, setup, world_teardown);
	tcase_add_test(tc,
		       a_repair_does_not_begin_when_a_folder_cannot_be_listed);
	tcase_add_loop_test(tc,
			    a_file_that_cannot_be_read_for_now_is_not_damaged,
			    0, (int)COUNT(refusals));
	tcase_add_test(tc,
		       a_repair_ends_when_a_damaged_file_cannot_be_set_aside);
	tcase_add_loop_test(
		tc, a_repair_forgets_nothing_that_it_could_not_read_or_keep, 0,
		(int)COUNT(hindered));
	tcase_add_loop_test(
		tc, a_repair_goes_on_around_a_bad_sector_and_keeps_what_has_it,
		0, (int)COUNT(losses));
	tcase_add_test(tc,
		       a_start_writes_over_no_segment_that_it_could_not_read);
	tcase_add_test(
		tc,
		mail_of_a_newest_segment_that_can_be_read_again_is_there_again);
	tcase_add_test(tc,
		       a_log_of_which_nothing_can_be_read_is_not_begun_anew);
	tcase_add_loop_test(
		tc, a_segment_with_a_hole_is_set_aside_before_head_passes_it, 0,
		2);
	tcase_add_test(
		tc, a_segment_is_set_aside_when_what_stands_before_it_is_over);)
