/* SPDX-License-Identifier: ISC */
/* What the spool says after damage, failing calls, and kill -9. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "queue/spool/format.h"
#include "queue/spool/files.h"
#include "tests/unit/spool_box.h"

static struct box box;

static void
setup(void)
{
	box_init(&box);
}

static void
teardown(void)
{
	disk_use(NULL);
	box_done(&box);
}

/* ------------------------------------------------------- damaged bytes */

enum { MESSAGES = 5 };

static uint64_t ids[MESSAGES];
static uint64_t settled;

/* A log with messages, a state and a settled one, cleanly closed. */
static void
make_log(void)
{
	box_open(&box);
	for (unsigned i = 0; i < MESSAGES; i++)
		ck_assert_int_eq(box_put(&box, i, 50 + 500 * i, &ids[i]), 0);
	ck_assert_int_eq(box_put(&box, 9, 100, &settled), 0);
	ck_assert_int_eq(box_state(&box, ids[0], "tried"), 0);
	spool_done(box.spool, settled);
	box_close(&box);
}

/* Whatever was found is what was put; returns how many live ones. */
static unsigned
check_found(void)
{
	unsigned live = 0;

	for (size_t i = 0; i < box.found_count; i++) {
		const struct box_found *found = &box.found[i];
		unsigned which = 0;
		char envelope[64];

		while (which < MESSAGES && ids[which] != found->id)
			which++;
		if (which == MESSAGES) {
			ck_assert_uint_eq(found->id, settled);
			which = 9;
		} else {
			live++;
		}
		box_envelope(which, envelope);
		ck_assert_str_eq(found->envelope, envelope);
		ck_assert(strcmp(found->states, "") == 0 ||
			  strcmp(found->states, "tried\n") == 0);
		ck_assert_uint_eq(found->body_bytes,
				  which == 9 ? 100 : 50 + 500 * which);
		for (size_t k = 0; k < i; k++)
			ck_assert_uint_ne(box.found[k].id, found->id);
	}
	return live;
}

static int
open_segment(unsigned slot, size_t *size)
{
	char path[200];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/log/%03u.seg", box.dir, slot);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -1;
	ck_assert_int_eq(fstat(fd, &st), 0);
	*size = (size_t)st.st_size;
	return fd;
}

static void
scan(void)
{
	struct err err;

	box_forget(&box);
	ck_assert_int_eq(spool_scan(box.dir, box_add_found, box_on_report, &box,
				    &err),
			 0);
}

START_TEST(a_flipped_byte_costs_at_most_what_it_hit_and_is_told)
{
	uint8_t *bytes;
	size_t size, flips = 0;

	make_log();
	for (unsigned slot = 1; slot < 10; slot++) {
		int fd = open_segment(slot, &size);

		if (fd < 0)
			continue;
		bytes = mem_alloc(size);
		ck_assert_int_eq(disk_read(fd, bytes, size, 0), 0);
		for (size_t at = 0; at < size; at++) {
			uint8_t other = (uint8_t)(bytes[at] ^ (1 << at % 8));
			bool is_done_batch, is_told;

			if (bytes[at] == 0 && at % 512 != 13)
				continue; /* padding, mostly */
			if (at % 4096 > 160 && at % 5 != 0)
				continue; /* in bodies every fifth will do */
			ck_assert_int_eq(disk_write(fd, &other, 1, at), 0);
			scan();
			/* the record DONE itself may be what was hit */
			is_done_batch = box_find(&box, settled) != NULL;
			is_told = box.errors != 0;
			ck_assert_uint_ge(check_found(), MESSAGES - 1);
			if (check_found() < MESSAGES || is_done_batch)
				ck_assert(is_told);
			ck_assert_int_eq(disk_write(fd, &bytes[at], 1, at), 0);
			flips++;
		}
		free(bytes);
		close(fd);
	}
	ck_assert_uint_gt(flips, 1000);
	scan();
	ck_assert_uint_eq(check_found(), MESSAGES);
	ck_assert_uint_eq(box.errors, 0);
}
END_TEST

static const size_t spots[] = {0, 5, 20, 45, 64, 75, 110, 160};

START_TEST(a_damaged_log_opens_and_twice_is_the_same)
{
	uint8_t *bytes;
	size_t size;
	int fd;

	make_log();
	fd = open_segment(1, &size);
	ck_assert_int_ge(fd, 0);
	bytes = mem_alloc(size);
	ck_assert_int_eq(disk_read(fd, bytes, size, 0), 0);
	/* in the batch's header, the record's, the envelope, the body */
	for (size_t at = spots[_i]; at < 12 * 4096; at += 4096) {
		uint8_t other = (uint8_t)~bytes[at];
		unsigned live;

		ck_assert_int_eq(disk_write(fd, &other, 1, at), 0);
		box_open(&box);
		live = check_found();
		ck_assert_uint_ge(live, MESSAGES - 1);
		box_close(&box);
		box_open(&box);
		ck_assert_uint_eq(check_found(), live);
		for (unsigned i = 0; i < MESSAGES; i++)
			if (box_find(&box, ids[i]) != NULL)
				ck_assert_int_eq(box_check_body(&box, ids[i], i,
								50 + 500 * i),
						 0);
		box_close(&box);
		ck_assert_int_eq(disk_write(fd, bytes, size, 0), 0);
	}
	free(bytes);
	close(fd);
}
END_TEST

START_TEST(a_file_that_was_cut_or_damaged_is_set_aside)
{
	char path[200], name[SPOOL_ID_MAX];
	uint64_t large;
	int fd;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100000, &large), 0);
	box_close(&box);
	snprintf(path, sizeof(path), "%s/msg/%02x/%s", box.dir,
		 (unsigned)(large & 255), spool_id_format(large, name));
	switch (_i) {
	case 0:
		ck_assert_int_eq(truncate(path, 50000), 0);
		break;
	case 1:
		ck_assert_int_eq(truncate(path, 40), 0);
		break;
	case 2:
		fd = open(path, O_WRONLY);
		ck_assert_int_eq(disk_write(fd, "!", 1, 90), 0);
		close(fd);
		break;
	case 3: /* in the body: found out when it is read */
		fd = open(path, O_WRONLY);
		ck_assert_int_eq(disk_write(fd, "!", 1, 60000), 0);
		close(fd);
		break;
	}
	box_open(&box);
	if (_i == 3) {
		struct box_bytes got = {.is_over = false};
		struct box_text text;

		ck_assert_uint_eq(box.found_count, 1);
		for (size_t at = 0; got.status == 0 && at < 100000;
		     at += got.len) {
			got.is_over = false;
			(void)spool_read(box.spool, large, at,
					 sizeof(got.bytes), box_on_bytes, &got);
			box_wait(&box, &got.is_over);
		}
		ck_assert_int_eq(got.status, -EBADMSG);
		ck_assert_int_eq(box_load(&box, large, &text), -ENOENT);
	} else {
		ck_assert_uint_eq(box.found_count, 0);
	}
	box_close(&box);
	ck_assert_uint_eq(box.errors, 1);
	snprintf(path, sizeof(path), "%s/corrupt/%s", box.dir, name);
	ck_assert_int_eq(access(path, F_OK), 0);
	box_open(&box);
	ck_assert_uint_eq(box.found_count, 0);
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

/* A segment that was being made when power failed may have any size. */
START_TEST(stumps_of_segments_are_no_segments)
{
	char path[200];
	uint64_t id;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100, &id), 0);
	box_close(&box);
	for (unsigned slot = 2; slot < 6; slot++) {
		int fd;

		snprintf(path, sizeof(path), "%s/log/%03u.seg", box.dir, slot);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ftruncate(fd, 2048 * (slot - 2)), 0);
		close(fd);
	}
	box_open(&box);
	ck_assert_ptr_nonnull(box_find(&box, id));
	ck_assert_int_eq(box_put(&box, 2, 100, &id), 0);
	box_close(&box);
	ck_assert_uint_eq(box.errors, 0);
}
END_TEST

/* A sector of an append may be missing after a crash, and a later one not. */
START_TEST(an_append_that_was_cut_short_is_made_again)
{
	char path[200], name[SPOOL_ID_MAX], line[64];
	const struct box_found *found;
	uint64_t large;
	size_t len;
	FILE *file;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 1, 100000, &large), 0);
	ck_assert_int_eq(box_state(&box, large, "one"), 0);
	ck_assert_int_eq(box_state(&box, large, "two"), 0);
	ck_assert_int_eq(box_state(&box, large, "three"), 0);
	box_close(&box);
	snprintf(path, sizeof(path), "%s/msg/%02x/%s", box.dir,
		 (unsigned)(large & 255), spool_id_format(large, name));
	len = file_state_encode(large, 3, "three", 5, line);
	file = fopen(path, "a");
	ck_assert_ptr_nonnull(file);
	fprintf(file, "state 1 0000\n");
	ck_assert_uint_eq(fwrite(line, 1, len, file), len);
	ck_assert_int_eq(fclose(file), 0);
	box_open(&box);
	found = box_find(&box, large);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->states, "one\ntwo\nthree\n");
	ck_assert_uint_eq(box.errors, 0);
	ck_assert_int_eq(box_state(&box, large, "four"), 0);
	/* until the log has passed on what it knew */
	box.opts.segments_soft = 3;
	for (unsigned i = 0; i < 40; i++) {
		uint64_t id;

		ck_assert_int_eq(box_put(&box, i, 12000, &id), 0);
		spool_done(box.spool, id);
	}
	box_close(&box);
	box_open(&box);
	found = box_find(&box, large);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->states, "one\ntwo\nthree\nfour\n");
	ck_assert_uint_eq(box.errors, 0);
	box_close(&box);
}
END_TEST

/* Flips a byte of it in whichever segment has it. */
static void
damage_in_log(const uint8_t *what, size_t len)
{
	bool is_hit = false;

	for (unsigned slot = 1; slot < 10; slot++) {
		size_t size;
		int fd = open_segment(slot, &size);
		uint8_t *bytes, *at;

		if (fd < 0)
			continue;
		bytes = mem_alloc(size);
		ck_assert_int_eq(disk_read(fd, bytes, size, 0), 0);
		at = memmem(bytes, size, what, len);
		if (at != NULL) {
			*at ^= 1;
			ck_assert_int_eq(disk_write(fd, at, 1,
						    (uint64_t)(at - bytes)),
					 0);
			is_hit = true;
		}
		free(bytes);
		close(fd);
	}
	ck_assert(is_hit);
}

START_TEST(a_damaged_message_does_not_close_its_folder)
{
	enum { KEPT = 24, HIT = 7, BODY = 300 };
	struct box_put puts[KEPT];
	struct spool_stats stats;
	uint8_t body[BODY];
	uint64_t id = 0;

	box.opts.segments_soft = 3;
	box_open(&box);
	/* all in one segment: enough to be synced at once */
	for (unsigned i = 0; i < KEPT; i++)
		box_start(&box, &puts[i], i, BODY);
	for (unsigned i = 0; i < KEPT; i++) {
		box_wait(&box, &puts[i].is_over);
		ck_assert_int_eq(puts[i].status, 0);
	}
	box_body(HIT, body, BODY);
	damage_in_log(body, BODY);
	do {
		ck_assert_int_eq(box_put(&box, 1, 12000, &id), 0);
		spool_done(box.spool, id);
		spool_stats(box.spool, &stats);
	} while (stats.in_files < KEPT - 1);
	while (files_folder(id + 1) != files_folder(puts[HIT].id)) {
		ck_assert_int_eq(box_put(&box, 1, 100, &id), 0);
		spool_done(box.spool, id);
	}
	ck_assert_int_eq(box_put(&box, 1, 40000, &id), 0);
	ck_assert_uint_eq(files_folder(id), files_folder(puts[HIT].id));
	box_close(&box);
}
END_TEST

START_TEST(a_folder_that_cannot_be_listed_costs_no_state)
{
	char name[FILES_NAME_MAX], folder[300], away[320];
	const struct box_found *found;
	uint64_t id, other;
	FILE *file;

	box_open(&box);
	ck_assert_int_eq(box_put(&box, 0, 20000, &id), 0);
	ck_assert_int_eq(box_state(&box, id, "tried"), 0);
	box_close(&box);
	snprintf(folder, sizeof(folder), "%s/msg/%s", box.dir,
		 files_name(id, name));
	*strrchr(folder, '/') = '\0';
	snprintf(away, sizeof(away), "%s-away", folder);
	ck_assert_int_eq(rename(folder, away), 0);
	file = fopen(folder, "w");
	ck_assert_ptr_nonnull(file);
	fclose(file);

	/* it ends, and not as if there were no such message */
	ck_assert_int_eq(box_try_open(&box), 0);
	box_wait(&box, &box.is_broken);
	ck_assert(!box.is_loaded);
	ck_assert_int_lt(box_put(&box, 1, 100, &other), 0);
	box_close(&box);

	ck_assert_int_eq(unlink(folder), 0);
	ck_assert_int_eq(rename(away, folder), 0);
	box_open(&box);
	found = box_find(&box, id);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found->states, "tried\n");
	box_close(&box);
}
END_TEST

/* ------------------------------------------------------- failing calls */

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
		bool is_known = false;

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
		if (box_put(&box, i, 12000, &id) == 0)
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

/* The same from the very start, of a log with everything in it. */
START_TEST(no_failing_call_of_a_start_loses_anything)
{
	unsigned stride = is_slow() ? 1 : 4, at = (unsigned)_i % stride;
	struct acked acked[PUTS] = {0};
	uint64_t id;

	failing = (enum call)(_i % CALLS);
	failing_errno = _i / CALLS == 0 ? EIO : ENOSPC;
	fail_count = 1;
	box.opts.segments_soft = 3;
	box.opts.segments_hard = 20;
	box.opts.files_per_s = 1;
	atomic_store(&calls_left, 1000000);
	box_open(&box);
	work_through(acked);
	box_close(&box);
	do {
		int rc;

		disk_use(&faulty);
		fail_from(at);
		rc = box_try_open(&box);
		if (rc < 0) {
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
				ck_assert_int_eq(box_check_body(&box,
								acked[i].id,
								acked[i].seed,
								acked[i].len),
						 0);
		box_close(&box);
		at += stride;
	} while (calls_failed != 0 && at < (is_slow() ? 400 : 120));
}
END_TEST

/*
 * After a failed sync the next one says nothing: what recovery reads may not
 * be on the disk. So it writes the newest batch again.
 */
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

/* -------------------------------------------------------------- kill -9 */

struct told {
	uint64_t id;
	unsigned seed, is_done;
};

static int told_fd;

struct writer {
	struct box_put put;
	unsigned seed;
};

static void start_writer(struct writer *writer);

/* Four endless writers; every acknowledgement goes through the pipe before
 * anything else happens. Every second message is settled. */
static void
on_child_end(void *owner, int status)
{
	struct box_put *put = owner;
	struct writer *writer = container_of(put, struct writer, put);
	struct told told = {put->id, writer->seed, writer->seed % 2};

	if (status != 0 || write(told_fd, &told, sizeof(told)) != sizeof(told))
		_exit(1);
	if (told.is_done != 0)
		spool_done(box.spool, put->id);
	writer->seed += 4;
	start_writer(writer);
}

static void
start_writer(struct writer *writer)
{
	uint8_t body[3000];
	char envelope[64];

	box_begin(&box, &writer->put);
	writer->put.put.on_end = on_child_end;
	box_body(writer->seed, body, sizeof(body));
	box_envelope(writer->seed, envelope);
	spool_put_data(&writer->put.put, body, sizeof(body));
	spool_put_end(&writer->put.put, envelope);
}

static void
run_child(void)
{
	struct writer writers[4];

	box_open(&box);
	for (unsigned i = 0; i < 4; i++) {
		writers[i].seed = i;
		start_writer(&writers[i]);
	}
	uv_run(&box.loop, UV_RUN_DEFAULT);
	_exit(1);
}

START_TEST(kill_9_loses_nothing_that_was_acknowledged)
{
	size_t acks = 0;

	box.opts.segments_soft = 4;
	for (unsigned round = 0; round < 12; round++) {
		static struct told told[200000];
		size_t count = 0, want = 40 + 90 * round;
		int fds[2];
		pid_t child;

		box.opts.files_per_s = round % 2;
		ck_assert_int_eq(pipe(fds), 0);
		child = fork();
		if (child == 0) {
			told_fd = fds[1];
			run_child();
		}
		close(fds[1]);
		while (read(fds[0], &told[count], sizeof(*told)) ==
		       sizeof(*told)) {
			count++;
			if (count == want)
				kill(child, SIGKILL);
		}
		close(fds[0]);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		ck_assert_uint_ge(count, want);
		acks += count;
		box_open(&box);
		ck_assert_uint_eq(box.errors, 0);
		for (size_t i = 0; i < count; i++) {
			if (told[i].is_done == 0)
				ck_assert_ptr_nonnull(
					box_find(&box, told[i].id));
			if (i % 16 == 0 && told[i].is_done == 0)
				ck_assert_int_eq(box_check_body(&box,
								told[i].id,
								told[i].seed,
								3000),
						 0);
		}
		for (size_t i = 0; i < box.found_count; i++)
			spool_done(box.spool, box.found[i].id);
		box_close(&box);
	}
	ck_assert_uint_gt(acks, 5000);
}
END_TEST

UNIT_MAIN("spool_faults", tcase_add_checked_fixture(tc, setup, teardown);
	  tcase_set_timeout(tc, 240);
	  tcase_add_test(tc,
			 a_flipped_byte_costs_at_most_what_it_hit_and_is_told);
	  tcase_add_loop_test(tc, a_damaged_log_opens_and_twice_is_the_same, 0,
			      8);
	  tcase_add_loop_test(tc, a_file_that_was_cut_or_damaged_is_set_aside,
			      0, 4);
	  tcase_add_test(tc, stumps_of_segments_are_no_segments);
	  tcase_add_test(tc, a_damaged_message_does_not_close_its_folder);
	  tcase_add_test(tc, a_folder_that_cannot_be_listed_costs_no_state);
	  tcase_add_test(tc, what_was_settled_stays_so_when_a_full_log_ends);
	  tcase_add_test(tc, a_start_writes_what_it_believes_again);
	  tcase_add_test(tc, an_append_that_was_cut_short_is_made_again);
	  tcase_add_loop_test(tc, no_failing_call_loses_what_was_acknowledged,
			      0, CALLS *(int)COUNT(faults));
	  tcase_add_loop_test(tc, no_failing_call_of_a_start_loses_anything, 0,
			      CALLS * 2);
	  tcase_add_test(tc, two_failed_syncs_in_a_row_end_accepting);
	  tcase_add_test(tc,
			 after_one_failed_sync_the_next_batch_goes_elsewhere);
	  tcase_add_test(tc, kill_9_loses_nothing_that_was_acknowledged);)
